/* Cancellation, the thread's name, its credentials, and what C++ knows of exceptions in progress.
 *
 * A worker can be cancelled in its calls alone, where the unwinding stops at the base of the call. In its
 * loop pthread_cancel would have it vanish at the next cancellation point, with its lane. What comes
 * meanwhile, or in a call that has no such point, stays pending, and a later call would die of it: so a
 * worker that has one pending ends by itself and another takes its place. POSIX has no
 * way to ask, short of letting it happen. So a thread of ours that has nothing to lose cancels itself
 * and looks which bits of its own pthread struct are set by that. Where they are not in one word, pending
 * ones are not seen; and a worker process, which starts no thread, does not look.
 *
 * What takes a system call is looked at after abnormal ends alone: a call that returns is trusted to
 * have put back what it changed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "workers/leftovers.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { WORDS = 256 }; /* of the pthread struct, which is larger in every glibc */

struct identity {
    uid_t uid, euid, suid;
    gid_t gid, egid, sgid;
};

/* What __cxa_get_globals returns, by the C++ ABI. */
struct exceptions {
    void *caught;
    unsigned uncaught;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t cancelled_bits; /* 0: not known */
static size_t cancelled_word;

static _Thread_local const volatile uint32_t *cancellation; /* of this thread; NULL: not known */
static _Thread_local const char *own_name;
static _Thread_local struct identity own_identity;

static void *cancel_oneself(void *unused) {
    (void)unused;
    uint32_t before[WORDS];
    const volatile uint32_t *now = (const volatile uint32_t *)pthread_self();
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    for (size_t i = 0; i < WORDS; i++) {
        before[i] = now[i];
    }
    pthread_cancel(pthread_self());
    int changed = 0;
    for (size_t i = 0; i < WORDS; i++) {
        if (now[i] != before[i]) {
            changed++;
            cancelled_word = i;
            cancelled_bits = now[i] ^ before[i];
        }
    }
    if (changed != 1 || (before[cancelled_word] & cancelled_bits)) {
        cancelled_bits = 0;
    }
    return NULL;
}

static void learn(void) {
    enum { STACK = 128 * 1024 };
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, &attributes, cancel_oneself, NULL) == 0) {
        pthread_join(thread, NULL);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

void aionif__leftovers_learn(void) { pthread_once(&once, learn); }

static void forbid_cancellation(void) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
}

/* As far as the kernel says: a policy may deny the question. */
static struct identity identity_now(void) {
    struct identity now = own_identity;
    getresuid(&now.uid, &now.euid, &now.suid);
    getresgid(&now.gid, &now.egid, &now.sgid);
    return now;
}

void aionif__leftovers_enter(const char *name) {
    own_name = name;
    own_identity = identity_now();
    forbid_cancellation();
    if (cancelled_bits) {
        cancellation = (const volatile uint32_t *)pthread_self() + cancelled_word;
    }
}

static bool is_cancelled(void) { return cancellation && (*cancellation & cancelled_bits); }

void aionif__leftovers_allow(void) {
    if (!is_cancelled()) {
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    }
}

bool aionif__leftovers_cancelled(void) {
    forbid_cancellation(); /* this call may have made it asynchronous */
    return is_cancelled();
}

static void forget_exceptions(const char *runtime) {
    void *library = dlopen(runtime, RTLD_LAZY | RTLD_NOLOAD);
    if (!library) {
        return;
    }
    struct exceptions *(*of_this_thread)(void) =
        (struct exceptions * (*)(void)) dlsym(library, "__cxa_get_globals");
    if (of_this_thread) {
        *of_this_thread() = (struct exceptions){NULL, 0};
    }
    dlclose(library); /* takes back only what this dlopen counted */
}

/* An exception that was being handled, or on its way, as the call ended would be found by the next one
 * with `throw;`, and std::uncaught_exceptions() would count it for ever. */
bool aionif__leftovers_clean(void) {
    forget_exceptions("libstdc++.so.6");
    forget_exceptions("libc++abi.so.1");
    if (own_name && own_name[0]) {
        prctl(PR_SET_NAME, own_name);
    }
    struct identity now = identity_now();
    return memcmp(&now, &own_identity, sizeof now) == 0;
}
