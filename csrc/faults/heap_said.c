/* What libc said before it aborted over a corrupt heap.
 *
 * The message that it keeps for debuggers is the last one of the process: with several threads about it,
 * one reads the other's. That is good enough for a report. Whether this thread held a lock is read
 * from its own stack: what is printed is passed to writev(), so the address of the text, which lies
 * in libc, and its length are two neighbouring words above the stack pointer of the abort. They are
 * wiped out when they have been read, so that the next abort on this stack is not taken for this one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/heap_said.h"

#include "faults/arenas.h"

#include <signal.h>
#include <string.h>

/* From the abort up to the frame that prints are a few hundred bytes, in all releases looked at. */
enum { REACH = 4096, LONGEST = 80 };

/* All of malloc's messages begin with one of these. */
static bool is_of_malloc(const char *text) {
    static const char *const words[] = {
        "free(): ",           "malloc(): ",          "realloc(): ",
        "malloc_consolidate", "munmap_chunk(): ",    "mremap_chunk(): ",
        "double free or cor", "corrupted size vs. ", "corrupted double-linked list",
        "invalid fastbin",    "break adjusted to f", "tcache_thread_shutdown(): ",
    };
    bool found = false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        found |= strncmp(text, words[i], strlen(words[i])) == 0;
    }
    return found;
}

/* The messages of glibc 2.27 to 2.43 that are printed with the lock of a heap held, wherever they are
 * printed. The last is the name of the function in which an assertion about the heap's end failed. */
static bool is_under_lock(const char *text) {
    static const char *const messages[] = {
        "double free or corruption (top)",
        "double free or corruption (out)",
        "double free or corruption (!prev)",
        "free(): invalid next size (normal)",
        "free(): corrupted unsorted chunks",
        "free(): chunks in smallbin corrupted",
        "corrupted size vs. prev_size",
        "corrupted size vs. prev_size in fastbins",
        "corrupted size vs. prev_size while consolidating",
        "corrupted double-linked list",
        "corrupted double-linked list (not small)",
        "malloc_consolidate(): invalid chunk size",
        "malloc_consolidate(): unaligned fastbin chunk detected",
        "malloc(): corrupted top size",
        "malloc(): corrupted unsorted chunks",
        "malloc(): corrupted unsorted chunks 2",
        "malloc(): corrupted unsorted chunks 3",
        "malloc(): chunk size mismatch in fastbin",
        "malloc(): invalid size (unsorted)",
        "malloc(): invalid next size (unsorted)",
        "malloc(): invalid next->prev_inuse (unsorted)",
        "malloc(): mismatching next->prev_size (unsorted)",
        "malloc(): unsorted double linked list corrupted",
        "malloc(): largebin double linked list corrupted (bk)",
        "malloc(): largebin double linked list corrupted (nextsize)",
        "malloc(): smallbin double linked list corrupted",
        "malloc(): memory corruption",
        "malloc(): memory corruption (fast)",
        "malloc(): unaligned fastbin chunk detected",
        "malloc(): unaligned fastbin chunk detected 2",
        "malloc(): unaligned fastbin chunk detected 3",
        "realloc(): invalid old size",
        "realloc(): invalid next size",
        "sysmalloc",
    };
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        if (strcmp(text, messages[i]) == 0) {
            return true;
        }
    }
    return false;
}

struct said {
    int under_lock, else_of_malloc;
};

static struct said read_stack(const struct aionif__thread *self, bool wipe) {
    struct said said = {0};
    uintptr_t low = self->fault_sp, high = self->fault_top;
    bool known = aionif__arenas_are_known() && low && low < high;
    if (!known || self->failure.signal != SIGABRT) {
        return said;
    }
    high = high - low > REACH ? low + REACH : high;
    for (uintptr_t *at = (uintptr_t *)low; (uintptr_t)(at + 2) <= high; at++) {
        const char *text = (const char *)at[0];
        uintptr_t length = at[1];
        if (length < LONGEST && aionif__arenas_of_libc(text, length + 1) &&
            strnlen(text, LONGEST) == length) {
            bool locked = is_under_lock(text);
            said.under_lock += locked;
            said.else_of_malloc += !locked && is_of_malloc(text);
            at[0] = wipe ? 0 : at[0];
        }
    }
    return said;
}

/* By the stack, or by what libc said: newer ones leave free() by a jump before they abort, and with it
 * its frame. */
bool aionif__heap_is_corrupt(const struct aionif__thread *self) {
    struct said said = read_stack(self, false);
    return self->failure.signal == SIGABRT &&
           (said.under_lock || said.else_of_malloc || is_of_malloc(self->failure.reason) ||
            (self->traits & AIONIF__IN_HEAP));
}

bool aionif__heap_was_locked(const struct aionif__thread *self) {
    struct said said = read_stack(self, true);
    return said.under_lock && !said.else_of_malloc;
}
