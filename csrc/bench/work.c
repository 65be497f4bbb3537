/*
 * What the benchmark runner calls: the same native functions for every way of calling them.
 *
 * None of them calls libc once it has begun to work, so each may be stopped at any instruction, and
 * a crash leaves no lock held: the runner compares ways of calling, not where a crash happens to
 * hit. aionif/bench/workload.py declares them.
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORTED __attribute__((noinline, visibility("default")))

EXPORTED void bench_nothing(void) {}

/* Turns, not time: a call that is preempted has the same work left. A multiplication after another
 * can't be made shorter by a compiler that does not know the outcome. */
EXPORTED unsigned long bench_work(unsigned long turns) {
    unsigned long state = turns | 1;
    while (turns--) {
        state = state * 6364136223846793005UL + 1442695040888963407UL;
        __asm__ volatile("" : "+r"(state));
    }
    return state;
}

/* The least that shows that all of an argument has arrived. */
EXPORTED long bench_read(const unsigned char *data, long size) { return data[0] + data[size - 1]; }

EXPORTED int bench_crash(void) {
    uintptr_t address = 0x10;
    __asm__ volatile("" : "+r"(address)); /* a null pointer that is known becomes a trap */
    return *(volatile int *)address;
}

/* Runs for ever, and shows that it does: counts in a file that others can map. Returns only if the
 * file can't be had. */
EXPORTED int bench_beat(const char *path) {
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0)
        return -1;
    void *page = mmap(0, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (page == MAP_FAILED)
        return -1;
    for (volatile uint64_t *beats = page;;)
        ++*beats;
}
