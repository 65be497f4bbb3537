/* exit() and _exit() inside a call end the call, not the process.
 *
 * exit() first runs what atexit registered, the newest first. A handler of ours, registered anew
 * whenever a function is bound, is therefore met before those of libraries that came earlier: it ends
 * the call there, with nothing else having run. Libraries loaded in between have run theirs. exit()
 * strikes a handler off its list before it runs it, so there is one for each worker: several may be
 * in exit() at once, and one that found ours gone would run those of the process. quick_exit() has
 * a list of its own. It must not get to its end either, as libc then takes no more handlers of either
 * kind; its status is lost on the way, as its handlers are not told.
 *
 * From glibc 2.41 on exit() takes a lock that is never given back: were a call ended there, the exit of
 * the process itself would wait for ever. There exit() is not stopped.
 *
 * _exit() is a system call and nothing else, so each worker has a seccomp filter, for its thread only,
 * that traps exit_group and what the policy denies. Filters are inherited by every program that the
 * call starts, and there no handler is left to meet the trap: `system("true")` would die of SIGSYS.
 * The filter therefore traps only the very instructions by which this process's libc leaves
 * (instruction_pointer in seccomp_data); another program's libc is elsewhere, as addresses are random.
 * The dynamic linker, which leaves where a symbol is missing, is met anywhere in its code. Where they are not (a debugger, setarch -R), _exit is not trapped, and that is said.
 *
 * A filter needs no_new_privs or CAP_SYS_ADMIN. The former would take setuid from programs that a NIF
 * starts, so the latter is tried first; no_new_privs, too, is set for the worker's thread only. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/exits.h"

#include "arch/arch.h"
#include "faults/fault.h"
#include "faults/modules.h"
#include "system/glibc.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <gnu/lib-names.h>
#include <link.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_LEAVES = 8, MAX_FILTER = 32 + 5 * MAX_LEAVES + 2 * AIONIF_SYSCALLS };

static void on_exit_handler(int status, void *unused) {
    (void)unused;
    aionif__fault_exit(status);
}

static void on_quick_exit_handler(void) { aionif__fault_exit(AIONIF_NO_STATUS); }

static _Atomic int alive, most; /* workers */

/* Any libc but a glibc whose version can be read, and is older, may. */
bool aionif__exits_hold_a_lock(void) {
    static _Atomic int known; /* 1: no, 2: yes */
    if (!atomic_load(&known)) {
        int minor = aionif__glibc_minor();
        atomic_store(&known, minor >= 0 && minor < 41 ? 1 : 2);
    }
    return atomic_load(&known) == 2;
}

static void watch(int count) {
    for (int i = 0; i < count; i++) {
        on_exit(on_exit_handler, NULL);
        at_quick_exit(on_quick_exit_handler);
    }
}

void aionif__exits_watch(void) {
    aionif__exits_hold_a_lock(); /* known from here on, and so to signal handlers */
    watch(atomic_load(&most) + 1);
}

void aionif__exits_watch_again(bool quick) {
    if (quick) {
        at_quick_exit(on_quick_exit_handler);
    } else {
        on_exit(on_exit_handler, NULL);
    }
}

void aionif__exits_worker(int change) {
    int now = atomic_fetch_add(&alive, change) + change, before = atomic_load(&most);
    while (now > before && !atomic_compare_exchange_weak(&most, &before, now)) {
    }
    if (now > before) {
        watch(now - before);
    }
}

static bool addresses_are_random(void) {
    char setting = '2';
    int file = open("/proc/sys/kernel/randomize_va_space", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ssize_t got = read(file, &setting, 1);
        close(file);
        setting = got == 1 ? setting : '2';
    }
    return setting != '0' && !(personality(0xffffffff) & ADDR_NO_RANDOMIZE);
}

const char *aionif__exits_blind(void) {
    return addresses_are_random() ? "the kernel refused a seccomp filter"
                                  : "addresses are not randomised in this process";
}

/* Where libc's `name` enters the kernel: the addresses after its syscall instructions. Libc's own: a
 * library that was loaded before it may have put a wrapper in front (ASan does). */
static int find_leaves(const char *name, uint64_t leaves[MAX_LEAVES], int count) {
    void *libc = dlopen(LIBC_SO, RTLD_LAZY | RTLD_NOLOAD);
    void *address = dlsym(libc ? libc : RTLD_DEFAULT, name);
    if (libc) {
        dlclose(libc); /* takes back only what this dlopen counted */
    }
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    if (!address || !dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol) {
        return count;
    }
    const unsigned char *code = address;
    for (size_t at = 0; at + AIONIF__SYSCALL_BYTES <= symbol->st_size && count < MAX_LEAVES; at++) {
        if (memcmp(code + at, aionif__syscall_code, AIONIF__SYSCALL_BYTES) == 0) {
            leaves[count++] = (uintptr_t)(code + at + AIONIF__SYSCALL_BYTES);
        }
    }
    return count;
}

struct program {
    struct sock_filter code[MAX_FILTER];
    unsigned short length;
};

static void add(struct program *program, struct sock_filter instruction) {
    program->code[program->length++] = instruction;
}

static void load(struct program *program, uint32_t offset) {
    add(program, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

/* If the loaded word is not `value`, skip so many instructions. */
static void unless(struct program *program, uint32_t value, uint8_t skip) {
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip));
}

static void give(struct program *program, uint32_t verdict) {
    add(program, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict));
}

/* The code of the dynamic linker, which says so if a symbol is missing at its first use, and leaves by an
 * _exit of its own that has no name. False: it is not known, or the filter can't compare it. */
static bool find_linker(uint64_t *low, uint64_t *high) {
    uintptr_t base = getauxval(AT_BASE);
    const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)base;
    if (!base) {
        return false;
    }
    const ElfW(Phdr) *segment = (const ElfW(Phdr) *)(base + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++, segment++) {
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X)) {
            *low = base + segment->p_vaddr;
            *high = *low + segment->p_memsz;
            return *low >> 32 == *high >> 32;
        }
    }
    return false;
}

static void trap_linker(struct program *program, uint64_t low, uint64_t high) {
    uint32_t offset = offsetof(struct seccomp_data, instruction_pointer);
    load(program, offset + 4);
    unless(program, (uint32_t)(low >> 32), 4);
    load(program, offset);
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)low, 0, 2));
    add(program, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)high, 1, 0));
    give(program, SECCOMP_RET_TRAP | AIONIF__FILTER_MARK);
}

static void trap_leaves(struct program *program) {
    uint64_t leaves[MAX_LEAVES], low, high;
    int count = find_leaves("_exit", leaves, 0);
    count = find_leaves("syscall", leaves, count);
    bool has_linker = find_linker(&low, &high);
    unless(program, SYS_exit_group, (uint8_t)(5 * count + (has_linker ? 6 : 0) + 1));
    if (has_linker) {
        trap_linker(program, low, high);
    }
    for (int i = 0; i < count; i++) {
        uint32_t offset = offsetof(struct seccomp_data, instruction_pointer);
        load(program, offset);
        unless(program, (uint32_t)leaves[i], 3);
        load(program, offset + 4);
        unless(program, (uint32_t)(leaves[i] >> 32), 1);
        give(program, SECCOMP_RET_TRAP | AIONIF__FILTER_MARK);
    }
    give(program, SECCOMP_RET_ALLOW);
}

static void compile(struct program *program, const struct aionif_pool_settings *settings) {
    load(program, offsetof(struct seccomp_data, arch));
    unless(program, AIONIF__AUDIT_ARCH, 0);
    program->code[program->length - 1].jt = 1; /* this one skips where the word *is* the value */
    give(program, SECCOMP_RET_ALLOW);
    load(program, offsetof(struct seccomp_data, nr));
    for (uint32_t i = 0; i < settings->denied_count && i < AIONIF_SYSCALLS; i++) {
        unless(program, (uint32_t)settings->denied[i], 1);
        give(program, SECCOMP_RET_TRAP | AIONIF__FILTER_MARK);
    }
    if (settings->contain_exit && addresses_are_random()) {
        trap_leaves(program);
    }
    give(program, SECCOMP_RET_ALLOW);
}

static bool install(struct program *program) {
    struct sock_fprog filter = {.len = program->length, .filter = program->code};
    /* SPEC_ALLOW: the filter does not stand between secrets; mitigations would slow every call. */
    unsigned flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) == 0;
}

/* True: what the settings ask for is in force. */
bool aionif__exits_filter(const struct aionif_pool_settings *settings) {
    bool wants_exit = settings->contain_exit;
    if (!wants_exit && !settings->denied_count) {
        return true;
    }
    struct program program = {.length = 0};
    compile(&program, settings);
    bool installed =
        install(&program) || (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && install(&program));
    return installed && (!wants_exit || addresses_are_random());
}
