/* Proof that a crash inside the runtime has left no lock held.
 *
 * A crash in strlen, or in the comparator of qsort, has frames of libc on its stack and harms nobody;
 * one in malloc or under flockfile leaves a lock that the whole process needs. The frames don't tell
 * the two apart. What can be given back is given back first: the lock of a heap that libc itself found
 * corrupt (heap_lock.c), those of the dynamic linker (loader.c). Then the locks are tried, the most
 * dangerous first:
 *
 *   the main heap's   The event loop allocates from it. If it is stuck, the program stops for good and
 *                     without a word, which is worse than the crash it was: a kernel timer ends the
 *                     process with the signal of the crash. (A thread could not stand guard, as
 *                     starting one takes malloc.)
 *   the thread's own  Other arenas are this thread's alone; if its one is stuck, so is this function,
 *                     and the watchdog retires the thread.
 *   ld.so's           They know their owner. Who holds one still had left the loader's lists half
 *                     changed, and the process ends: each thread that loads something would hang.
 *                     Where they were not found, another thread takes them, for a bounded time.
 *   stdio's           The list of open files; its lock is recursive, so that its owner would not notice:
 *                     another thread takes it, likewise.
 *
 * The lock of a standard stream is known to be ours by its owner field, and the owner is still here:
 * it simply unlocks it, after every crash: the code between flockfile and funlockfile need not be
 * libc's. The stream may have lost a few bytes, so the process counts as tainted.
 *
 * Called outside of handlers, on the thread that crashed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/lock_check.h"

#include "faults/arenas.h"
#include "faults/fault.h"
#include "faults/heap_lock.h"
#include "faults/heap_said.h"
#include "faults/loader.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A lock that is free is taken at once, unless the thread that tries it gets no CPU. So patience is not
 * counted in time alone: the timer has to find the thread stuck so often, and each time it runs; and a
 * thread that only waits for a CPU is waited for. */
enum { LOOKS = 10, LOOK_MS = 50, PATIENCE_MS = 200, STEP_MS = 20, MOST_STEPS = 3000 };
enum { PROBE_STACK = 256 * 1024, PROBE_GUARD = 16 * 1024 };

struct probe {
    _Atomic uint32_t answered; /* a futex */
    _Atomic int32_t tid;
    pthread_t thread;
    struct aionif__stack stack;
};

static int look_at_nothing(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)info;
    (void)size;
    (void)unused;
    return 1;
}

/* The lock of a FILE as glibc lays it out since 2.1; its owner is a pthread_t. */
struct stdio_lock {
    int lock;
    int count;
    void *owner;
};

bool aionif__release_standard_streams(void) {
    FILE *standard[] = {stdin, stdout, stderr};
    bool released = false;
    for (int i = 0; i < 3; i++) {
        const struct stdio_lock *lock = (const struct stdio_lock *)standard[i]->_lock;
        while (lock && lock->lock && lock->owner == (void *)pthread_self()) {
            funlockfile(standard[i]);
            released = true;
        }
    }
    return released;
}

/* The option does not exist, but whatever the option, mallopt takes the main heap's lock. */
static bool use_main_heap(struct aionif__thread *self) {
    (void)self;
    mallopt(INT_MIN, 0);
    return true;
}

static bool prove_in_time(struct aionif__thread *self, bool (*proof)(struct aionif__thread *)) {
    int timer, sig = self->failure.signal ? self->failure.signal : SIGABRT;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                             .sigev_signo = aionif__fault_abort_signal(),
                             .sigev_value.sival_ptr = self,
                             ._sigev_un._tid = self->tid};
    struct timespec look = {.tv_nsec = LOOK_MS * 1000000L};
    struct itimerspec looks = {.it_value = look, .it_interval = look};
    sigset_t open, before;
    sigemptyset(&open);
    sigaddset(&open, event.sigev_signo);
    pthread_sigmask(SIG_UNBLOCK, &open, &before);
    self->looks_left = LOOKS;
    self->proving = sig; /* where the timer's signal finds this set, fault.c ends the process */
    bool timed = syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) == 0;
    if (timed) {
        syscall(SYS_timer_settime, timer, 0, &looks, NULL);
    }
    bool proved = proof(self);
    self->proving = 0;
    if (timed) {
        syscall(SYS_timer_delete, timer);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return proved;
}

static void *try_locks(void *argument) {
    struct probe *probe = argument;
    atomic_store(&probe->tid, (int32_t)syscall(SYS_gettid));
    FILE *file = fopen("/dev/null", "re"); /* the list of open files */
    if (file) {
        fclose(file);
    }
    if (!aionif__loader_is_known()) { /* else it has been asked who holds them */
        dl_iterate_phdr(look_at_nothing, NULL);
        void *program = dlopen(NULL, RTLD_LAZY);
        if (program) {
            dlclose(program);
        }
    }
    atomic_store(&probe->answered, 1);
    syscall(SYS_futex, &probe->answered, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    return NULL;
}

static bool await_answer(const struct aionif__thread *self, struct probe *probe) {
    struct timespec step = {.tv_nsec = STEP_MS * 1000000L};
    int stuck = 0;
    for (int steps = 0; steps < MOST_STEPS && stuck * STEP_MS < PATIENCE_MS; steps++) {
        syscall(SYS_futex, &probe->answered, FUTEX_WAIT_PRIVATE, 0, &step, NULL, 0);
        if (atomic_load(&probe->answered)) {
            return true;
        }
        stuck = aionif__thread_wants_cpu(atomic_load(&probe->tid)) ? 0 : stuck + 1;
        if (self->progress) { /* whoever looks sees that this thread is not */
            atomic_fetch_add(self->progress, 1);
        }
    }
    return false;
}

/* Sizes that tcache and the fast bins don't serve, and one that gets a mapping of its own. */
static void use_malloc(void *unused) {
    static const size_t sizes[] = {2000, 5000, 40000, 300000};
    void *volatile blocks[sizeof sizes / sizeof sizes[0]];
    (void)unused;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        blocks[i] = malloc(sizes[i]);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        free(blocks[i]);
    }
}

/* What allocates is done as a call: from a corrupt heap it may crash again, perhaps with a lock held. */
static bool guarded(struct aionif__thread *self, void (*function)(void *), void *argument) {
    struct aionif_failure kept = self->failure;
    int traits = self->traits;
    bool returned = aionif__thread_try(self, function, argument);
    if (!returned) {
        self->heap_doubted = true;
        aionif__heap_give_back(self);
    }
    self->failure = kept;
    self->traits = traits;
    return returned;
}

static bool use_heaps(struct aionif__thread *self) {
    return use_main_heap(self) && guarded(self, use_malloc, NULL);
}

static bool start(struct probe *probe) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, (void *)probe->stack.low,
                          probe->stack.top - probe->stack.low);
    int failed = pthread_create(&probe->thread, &attributes, try_locks, probe);
    pthread_attr_destroy(&attributes);
    return !failed;
}

/* A thread that does not answer keeps its probe and its stack: it may still be using them. */
static bool ask(const struct aionif__thread *self, struct probe *probe) {
    if (!start(probe)) {
        return true; /* no thread to be had says nothing about locks */
    }
    if (!await_answer(self, probe)) {
        return false;
    }
    pthread_join(probe->thread, NULL);
    aionif__stack_unmap(&probe->stack);
    free(probe);
    return true;
}

struct rest {
    const struct aionif__thread *self;
    bool proved;
};

static void prove_rest(void *opaque) {
    struct rest *rest = opaque;
    struct probe *probe = calloc(1, sizeof *probe);
    if (!probe || !aionif__stack_map(&probe->stack, PROBE_STACK, PROBE_GUARD)) {
        free(probe);
        rest->proved = true; /* neither does a lack of memory */
    } else {
        rest->proved = ask(rest->self, probe);
    }
}

static bool prove_the_rest(struct aionif__thread *self) {
    struct rest rest = {.self = self};
    if (aionif__loader_holds(self)) {
        static const char last_words[] =
            "aionif: a native call crashed while it held the lock of the "
            "dynamic linker; the process ends with its signal\n";
        ssize_t written = write(STDERR_FILENO, last_words, sizeof last_words - 1);
        (void)written;
        aionif__fault_die(self->failure.signal ? self->failure.signal : SIGABRT);
    }
    return guarded(self, prove_rest, &rest) && rest.proved;
}

static void find_arenas(void *unused) {
    (void)unused;
    aionif__arenas_start();
}

static _Atomic int undecided; /* workers that prove themselves now */
static _Atomic bool failed;   /* one was set aside with a lock that fork() needs */

void aionif__lock_check_failed(void) { atomic_store(&failed, true); }

/* A heap that was found corrupt is left to itself while there are others to be had. */
enum aionif__verdict aionif__check_worker_locks(struct aionif__thread *self) {
    atomic_fetch_add(&undecided, 1);
    self->heap_doubted |= aionif__heap_is_corrupt(self);
    bool leaves = self->heap_doubted && aionif__arenas_to_spare();
    bool given_back = aionif__heap_give_back(self);
    prove_in_time(self, use_main_heap);
    bool proved =
        ((given_back && leaves) || guarded(self, use_malloc, NULL)) && prove_the_rest(self);
    if (!proved) {
        prove_in_time(self, use_main_heap); /* what was tried may have left that one locked */
    }
    atomic_fetch_sub(&undecided, 1);
    leaves |= self->loader_doubted;
    return !proved ? AIONIF__LOCK_HELD : leaves ? AIONIF__THREAD_DOUBTED : AIONIF__UNHARMED;
}

/* There is no other thread to go on in: what would retire a worker ends the process. Until now this may
 * have been the only thread there was, and malloc without locks; the probe changes that. */
void aionif__check_inline_locks(struct aionif__thread *self) {
    atomic_fetch_add(&undecided, 1);
    aionif__heap_give_back(self);
    if (!prove_in_time(self, use_heaps) || !guarded(self, find_arenas, NULL) ||
        !prove_the_rest(self)) {
        aionif__fault_die(self->failure.signal ? self->failure.signal : SIGABRT);
    }
    atomic_fetch_sub(&undecided, 1);
}

/* fork() takes every heap's lock and holds it until it has them all: with one that is stuck it would
 * stop the whole program. posix_spawn, and Python's subprocess, take none of them. */
static void before_fork(void) {
    struct timespec moment = {.tv_nsec = 1000000};
    while (atomic_load(&undecided) && !atomic_load(&failed)) {
        nanosleep(&moment, NULL); /* the watchdog decides, in the end */
    }
    if (atomic_load(&failed)) {
        static const char last_words[] = "aionif: fork() after a native crash that left a lock of "
                                         "libc held would hang; the process ends instead\n";
        ssize_t written = write(STDERR_FILENO, last_words, sizeof last_words - 1);
        (void)written;
        aionif__fault_die(SIGABRT);
    }
}

void aionif__lock_check_start(void) {
    static bool started;
    if (!started) {
        started = pthread_atfork(before_fork, NULL, NULL) == 0;
    }
}
