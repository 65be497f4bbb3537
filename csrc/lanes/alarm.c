#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "lanes/alarm.h"

#include <assert.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MOST_SOURCES = 8 };

static _Atomic uint32_t bell;        /* a futex: counts up */
static _Atomic int64_t sleeps_until; /* INT64_MAX: until it is woken */
static int64_t (*sources[MOST_SOURCES])(void);

void aionif__alarm_ring(void) {
    atomic_fetch_add(&bell, 1);
    syscall(SYS_futex, &bell, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void aionif__alarm_wake(int64_t by_ns) {
    if (by_ns < atomic_load(&sleeps_until)) {
        aionif__alarm_ring();
    }
}

uint32_t aionif__alarm_seen(void) { return atomic_load(&bell); }

void aionif__alarm_awake(void) { atomic_store(&sleeps_until, 0); }

void aionif__alarm_expect(int64_t next_ns) { atomic_store(&sleeps_until, next_ns); }

/* WAIT_BITSET takes an absolute time of the monotonic clock, so a late start loses nothing. */
void aionif__alarm_sleep(int64_t until, uint32_t seen) {
    struct timespec at = {until / 1000000000, until % 1000000000};
    syscall(SYS_futex, &bell, FUTEX_WAIT_BITSET_PRIVATE, seen, until == INT64_MAX ? NULL : &at,
            NULL, FUTEX_BITSET_MATCH_ANY);
}

void aionif__alarm_hear(int64_t (*ask)(void)) {
    int at = 0;
    while (at < MOST_SOURCES && sources[at] && sources[at] != ask) {
        at++;
    }
    assert(at < MOST_SOURCES); /* one for each kind of server */
    sources[at] = ask;
}

int64_t aionif__alarm_ask(void) {
    int64_t next = INT64_MAX;
    for (int i = 0; i < MOST_SOURCES && sources[i]; i++) {
        int64_t again = sources[i]();
        next = again < next ? again : next;
    }
    return next;
}
