/* Whether a word of libc's is the lock that it is taken for: it is taken, and a thread that does what needs
 * this lock is seen to wait at it.
 *
 * Whoever else needs the lock waits too, so it is given back soon, whatever was seen; and all signals are
 * blocked meanwhile, as a handler might need it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/lock_test.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LOOKS = 2000, LOOK_NS = 50000 };

struct run {
    const struct aionif__lock_test *test;
    _Atomic uint32_t begun; /* a futex */
    _Atomic bool passed;
};

static void *use_lock(void *opaque) {
    struct run *run = opaque;
    while (!atomic_load(&run->begun)) {
        syscall(SYS_futex, &run->begun, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    }
    run->test->use();
    atomic_store(&run->passed, true);
    return NULL;
}

static bool stops(struct run *run) {
    const struct aionif__lock_test *test = run->test;
    struct timespec moment = {.tv_nsec = LOOK_NS};
    bool waited = false, passed = true, taken = test->take(test->lock);
    atomic_store(&run->begun, 1);
    syscall(SYS_futex, &run->begun, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    if (taken) {
        for (int i = 0; i < LOOKS && !waited && !atomic_load(&run->passed); i++) {
            nanosleep(&moment, NULL);
            waited = atomic_load(test->word) == 2;
        }
        passed = atomic_load(&run->passed);
        test->give(test->lock);
    }
    return taken && waited && !passed;
}

bool aionif__lock_test(const struct aionif__lock_test *test) {
    struct run run = {.test = test};
    pthread_t thread;
    sigset_t all, before;
    bool stopped = false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, use_lock, &run) == 0) {
        stopped = stops(&run);
        pthread_join(thread, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return stopped;
}
