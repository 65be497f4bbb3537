/* Calls that take their time. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "aionif.h"

/* What asks this call to stop interrupts the sleep, which is gone back to. */
static void nap(double seconds) {
    struct timespec left = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static int nap_once(const void *seconds, const void *state) {
    nap(*(const double *)seconds);
    ++*(volatile int *)state;
    return 0;
}

/* Asleep in the callback of a function of libc, which might hold a lock, so nothing stops it; counts in
 * `state` that it has begun, and ended. */
int asleep(double seconds, volatile int state[2]) {
    void *(*volatile search)(const void *, const void *, size_t, size_t,
                             int (*)(const void *, const void *)) = bsearch; /* not inlined */
    state[0]++;
    search(&seconds, (void *)&state[1], 1, sizeof state[1], nap_once);
    return 7;
}

void endless(volatile int *begun) {
    *begun = 1;
    for (volatile unsigned turn = 0;; turn++)
        ;
}

/* Busy in its own code, but for the clock. */
int busy(double seconds, int crash) {
    double end = now() + seconds;
    while (now() < end)
        for (volatile int i = 0; i < 300; i++)
            ;
    if (crash)
        *(volatile int *volatile)0x90 = 1;
    return 7;
}

/* Stops when told to; says how it ended. */
int cooperative(volatile int *stopped) {
    while (!aionif_should_stop())
        ;
    *stopped = 1;
    return 7;
}

int should_stop(void) { return aionif_should_stop(); }
