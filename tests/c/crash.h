/* The crashes that several tests need. The compiler must not see that they will crash. */
#ifndef CRASH_H
#define CRASH_H
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static inline void *crash_opaque(uintptr_t address) {
    __asm__ volatile("" : "+r"(address));
    return (void *)address;
}

/* The empty assembly keeps the call of this function from being a jump: it stays in a backtrace. */
static __attribute__((noinline, unused)) void crash(void) {
    *(volatile int *)crash_opaque(16) = 1;
    __asm__ volatile("");
}

static __attribute__((noinline, unused)) int crash_recurse(int depth) {
    volatile char frame[512];
    frame[0] = (char)depth;
    return depth < 0 ? 0 : crash_recurse(depth + 1) + frame[0];
}
static inline __attribute__((unused)) void crash_overflow(void) {
    volatile int sum = crash_recurse(0);
    (void)sum;
}

/* free() of a large block takes the heap's lock before it follows what the block says of the one in
 * front: that it is free, and a terabyte long. */
static __attribute__((noinline, unused)) void crash_with_malloc_locked(void) {
    enum { IN_USE_BEFORE = 1 };
    char *volatile block = malloc(8192);
    volatile size_t *head = crash_opaque((uintptr_t)block - 2 * sizeof(size_t));
    head[0] = (size_t)1 << 40;
    head[1] &= ~(size_t)IN_USE_BEFORE;
    free(block);
    __asm__ volatile("");
}
#endif
