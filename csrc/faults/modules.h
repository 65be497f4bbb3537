/* Whose code an address belongs to, as far as recovery has to know. Async-signal-safe to ask. */
#ifndef AIONIF_MODULES_H
#define AIONIF_MODULES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aionif_module;

enum aionif__owner {
    AIONIF__USER = 0,    /* any other code */
    AIONIF__RUNTIME = 1, /* libc, ld.so, the C++ runtime, the allocator: locks may be held */
    AIONIF__PYTHON = 2,  /* frames of the interpreter: never recovered across */
};

void aionif__modules_refresh(void);
enum aionif__owner aionif__module_owner(uintptr_t pc);
/* Is a word in this readable memory, whose ends are aligned, an address in the interpreter's code? A
 * callback into Python has such a frame, whatever else it has. */
bool aionif__names_interpreter(uintptr_t low, uintptr_t high);
/* Where the module begins that this address is in; 0: in none, or glibc before 2.35 can't say. */
uintptr_t aionif__module_start(uintptr_t pc);
/* Is this return address inside free, malloc or their kin? Inside exit? */
bool aionif__is_heap_code(uintptr_t pc);
bool aionif__is_exit_code(uintptr_t pc);
/* Inside a runtime that divides work among threads, and lets one go in the middle of it? */
bool aionif__is_team_code(uintptr_t pc);
/* Executable memory? Asks the kernel; not for handlers. */
bool aionif__modules_is_code(uintptr_t address);
/* Does this process have a module of the same path and build? Takes the loader's lock. */
bool aionif__modules_have(const struct aionif_module *module);
bool aionif__module_same(const struct aionif_module *one, const struct aionif_module *other);
/* What libc printed before it aborted, if it did since the last time; else an empty string. */
void aionif__abort_message(char *out, size_t size);
#endif
