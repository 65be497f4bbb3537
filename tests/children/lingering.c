/* Calls that take their time. */
#include <errno.h>
#include <time.h>

#include "aionif.h"

/* An attempt to stop the call interrupts the sleep, which has to be gone back to. */
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

/* Asleep in the kernel, so nothing stops it; counts in `state` that it has begun, and ended. */
int asleep(double seconds, volatile int state[2]) {
    state[0]++;
    nap(seconds);
    state[1]++;
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
