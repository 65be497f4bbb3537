/* Guarded stacks.
 *
 *        guard_low            low                                  top
 *   -------|-------------------|--------------------------------------|------ higher addresses
 *          |  PROT_NONE        |  <------------- grows down           |
 *          |  an access is an  |  frames of one native call           |
 *          |  overflow         |                                      |
 *   -------|-------------------|--------------------------------------|------
 *
 * The guard costs address space only, so it is wide: a function with one huge frame must land in it, not
 * in what lies below. Where address space is limited it is as large as the stack Linux gives a main
 * thread, which such a frame would overflow too.
 *
 * A worker keeps its stack for all of its calls; nothing is mapped or unmapped per call. */
#include "threads/stack.h"

#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Linux 5.14 named it, glibc 2.34 its headers. The number is the kernel's ABI. */
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

enum { ALTSTACK_FLOOR = 128 * 1024, ALTSTACK_GUARD = 64 * 1024, NARROW_GUARD = 8 << 20 };

static size_t round_to_pages(size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

size_t aionif__stack_minimum(void) {
    long minimum = sysconf(_SC_THREAD_STACK_MIN);
    return round_to_pages(minimum > 16384 ? (size_t)minimum : 16384);
}

static size_t affordable(size_t guard) {
    struct rlimit limit;
    bool limited = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return limited && guard > NARROW_GUARD ? NARROW_GUARD : guard;
}

bool aionif__stack_map(struct aionif__stack *stack, size_t size, size_t guard) {
    size = round_to_pages(size);
    guard = round_to_pages(affordable(guard));
    char *base = mmap(NULL, guard + size, PROT_NONE,
                      /* NORESERVE: the guard never becomes memory, and a stack rarely all of it. */
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return false;
    }
    if (mprotect(base + guard, size, PROT_READ | PROT_WRITE) != 0) {
        munmap(base, guard + size);
        return false;
    }
    stack->guard_low = (uintptr_t)base;
    stack->low = (uintptr_t)base + guard;
    stack->top = stack->low + size;
    return true;
}

void aionif__stack_unmap(struct aionif__stack *stack) {
    if (stack->guard_low) {
        munmap((void *)stack->guard_low, stack->top - stack->guard_low);
        memset(stack, 0, sizeof *stack);
    }
}

void aionif__stack_clear(const struct aionif__stack *stack) {
    madvise((void *)stack->low, stack->top - stack->low, MADV_DONTNEED);
}

size_t aionif__stack_used(const struct aionif__stack *stack) {
    const uint64_t *word = (const uint64_t *)stack->low;
    const uint64_t *end = (const uint64_t *)stack->top;
    while (word < end && *word == 0) {
        word++;
    }
    return (size_t)(end - word) * sizeof *word;
}

/* By the kernel's word: sysconf(_SC_MINSIGSTKSZ), which passes it on, came with glibc 2.34, and an
 * older one that is met at run time answers -1. Older kernels say nothing, which is 0 here. */
size_t aionif__signal_frame(void) {
    size_t said = getauxval(AT_MINSIGSTKSZ);
    return said > MINSIGSTKSZ ? said : MINSIGSTKSZ;
}

/* The handlers walk stacks with libgcc's unwinder, whose contexts take several KiB a frame, and may
 * be interrupted by one another: the kernel's minimum is only the size of one signal frame. */
bool aionif__altstack_map(struct aionif__altstack *altstack) {
    size_t size = ALTSTACK_FLOOR + aionif__signal_frame();
    return altstack->stack.low || aionif__stack_map(&altstack->stack, size, ALTSTACK_GUARD);
}

bool aionif__altstack_enter(struct aionif__altstack *altstack) {
    if (!aionif__altstack_map(altstack)) {
        return false;
    }
    stack_t ours = {.ss_sp = (void *)altstack->stack.low,
                    .ss_size = altstack->stack.top - altstack->stack.low};
    if (sigaltstack(&ours, NULL) != 0) {
        aionif__stack_unmap(&altstack->stack);
        return false;
    }
    return true;
}

void aionif__altstack_restore(const struct aionif__altstack *altstack) {
    stack_t current;
    if (sigaltstack(NULL, &current) == 0 &&
        (current.ss_sp != (void *)altstack->stack.low || current.ss_flags & SS_DISABLE)) {
        stack_t ours = {.ss_sp = (void *)altstack->stack.low,
                        .ss_size = altstack->stack.top - altstack->stack.low};
        sigaltstack(&ours, NULL);
    }
}

/* Another owner may have registered its own since: that one is left alone. */
void aionif__altstack_leave(struct aionif__altstack *altstack) {
    stack_t current;
    if (altstack->stack.low && sigaltstack(NULL, &current) == 0 &&
        current.ss_sp == (void *)altstack->stack.low) {
        stack_t none = {.ss_flags = SS_DISABLE};
        sigaltstack(&none, NULL);
    }
    aionif__stack_unmap(&altstack->stack);
}
