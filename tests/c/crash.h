/* The two crashes that most tests need. The compiler must not see that they will crash. */
#ifndef CRASH_H
#define CRASH_H
#include <stdint.h>

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
#endif
