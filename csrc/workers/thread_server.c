/* Threads that serve lanes: start, replace, stop.
 *
 * A worker's thread runs on a stack that is mapped here, not one of glibc's: glibc keeps the stacks of
 * ended threads for later, and a closed executor would not give its mappings back. Threads are never
 * detached: only a join says that a stack is no longer used. One that never ends is never joined. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "workers/thread_server.h"

#include "faults/exits.h"
#include "faults/lock_check.h"
#include "lanes/ending.h"
#include "lanes/ends.h"
#include "lanes/events.h"
#include "lanes/lack.h"
#include "lanes/worker.h"
#include "workers/leftovers.h"
#include "workers/serve.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Room for the loop, for dlopen of the C++ helper, and for large thread-local storage. */
enum { THREAD_STACK = 512 * 1024, THREAD_GUARD = 64 * 1024 };
enum { MOST_NAME = 12 }; /* bytes of a thread's name with its NUL; Linux takes 16 */

#define PROOF_NS ((int64_t)250000000) /* without progress of a thread that could have made some */

#define END_NS ((int64_t)250000000)
#define LONGEST_END_NS ((int64_t)2000000000)

/* A worker's `own`. */
struct served {
    struct aionif__thread self;
    struct aionif__stack stack; /* of the thread itself; its calls run on another */
    pthread_t thread;
    bool joined;
    sigset_t signals;          /* its pool's */
    int64_t checking_since_ns; /* without progress */
    uint32_t progress_seen;
};

/* A thread that returns has libc give back what its caches hold to a heap that is corrupt: that could
 * abort where no call is left to fail. The kernel tells the thread that joins, and the heap stays the
 * ended thread's: libc gives it to no other while it may make new ones. */
static _Noreturn void end_at_once(void) {
    for (;;) {
        syscall(SYS_exit, 0);
    }
}

static void *thread_main(void *argument) {
    struct aionif__worker *worker = argument;
    struct aionif__lane *lane = worker->lane;
    struct served *served = worker->own;
    struct aionif__thread *self = &served->self;
    bool entered = aionif__thread_enter(self); /* its stacks are mapped: nothing else can fail */
    aionif__exits_worker(1);
    aionif__leftovers_learn();
    if (entered && aionif__worker_enter(self, lane, &worker->settings, served->signals)) {
        if (worker->settings.name[0]) {
            char name[MOST_NAME] = {0};
            memcpy(name, worker->settings.name, sizeof name - 1);
            pthread_setname_np(pthread_self(), name);
        }
        aionif__worker_filter(lane, &worker->settings);
        atomic_store(&lane->tid, self->tid);
        aionif__serve(lane, self, NULL);
    } else {
        atomic_store(&lane->health, AIONIF__LEAVING);
    }
    aionif__exits_worker(-1);
    if (entered) {
        aionif__thread_leave(self);
    }
    bool heap_doubted = self->heap_doubted;
    atomic_store(&lane->health, AIONIF__GONE);
    if (heap_doubted) {
        end_at_once();
    }
    return NULL;
}

/* All that the thread will need is had before it starts: what fails in it can't be told to anyone. */
static bool map_stacks(struct served *served, const struct aionif_pool_settings *settings) {
    struct aionif__thread *self = &served->self;
    self->on_own_stack = settings->own_stack;
    if (self->on_own_stack) {
        if (!aionif__stack_map(&served->stack, settings->stack_size + THREAD_STACK,
                               settings->guard_size)) {
            return false;
        }
        self->stack = served->stack;
    }
    return (served->stack.low || aionif__stack_map(&served->stack, THREAD_STACK, THREAD_GUARD)) &&
           aionif__altstack_map(&self->altstack) &&
           aionif__thread_give_stack(self, settings->stack_size, settings->guard_size);
}

static int start_thread(struct aionif__worker *worker) {
    struct served *served = worker->own;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, (void *)served->stack.low,
                          served->stack.top - served->stack.low);
    int failed = pthread_create(&served->thread, &attributes, thread_main, worker);
    pthread_attr_destroy(&attributes);
    return failed;
}

static void free_worker(struct aionif__worker *worker) {
    struct served *served = worker->own;
    if (worker->lane) {
        munmap(worker->lane, sizeof *worker->lane);
    }
    if (served) {
        aionif__stack_unmap(&served->stack);
        aionif__stack_unmap(&served->self.altstack.stack);
        if (!served->self.on_own_stack) {
            aionif__stack_unmap(&served->self.stack);
        }
        free(served);
    }
    free(worker);
}

static struct aionif__worker *make_worker(struct aionif_pool *pool) {
    struct aionif__worker *worker = calloc(1, sizeof *worker);
    struct served *served = calloc(1, sizeof *served);
    if (!worker || !served) {
        free(worker);
        free(served);
        return NULL;
    }
    served->signals = pool->signals;
    worker->own = served;
    worker->server = pool->server;
    worker->settings = pool->settings;
    worker->pool = pool;
    return worker;
}

/* A lane is mapped, not allocated: its slots are touched one by one, as they come into use. */
static struct aionif__worker *start(struct aionif_pool *pool) {
    struct aionif__worker *worker = make_worker(pool);
    if (!worker) {
        aionif__lack(pool, "memory", ENOMEM);
        return NULL;
    }
    void *lane = mmap(NULL, sizeof *worker->lane, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (lane != MAP_FAILED) {
        worker->lane = lane;
        worker->lane->spin_ns = pool->settings.spin_ns;
    }
    bool mapped = worker->lane && map_stacks(worker->own, &worker->settings);
    int error = mapped ? start_thread(worker) : ENOMEM;
    if (error) {
        aionif__lack(pool, error == ENOMEM ? "memory" : "a thread", error);
        free_worker(worker);
        return NULL;
    }
    pool->workers[pool->worker_count++] = worker;
    pool->statistics.started++;
    return worker;
}

/* ---- replacing ---- */

static void note_retired(struct aionif_pool *pool, struct aionif__worker *worker) {
    pool->lost++;
    pool->statistics.retired++;
    pool->statistics.restarts[AIONIF_RESTART_RETIRED]++;
    atomic_fetch_or(&aionif__core.taint, AIONIF_TAINT_LOCK);
    aionif__lock_check_failed();
    aionif__core_event(AIONIF_CORE_RETIRED, 0, atomic_load(&worker->lane->tid), NULL,
                       pool->settings.name, "");
}

/* Threads that ended by themselves (a Rust panic, pthread_exit) make room for new ones. */
static void replace(struct aionif_pool *pool) {
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct aionif__worker *worker = pool->workers[i];
        uint32_t health = atomic_load(&worker->lane->health);
        aionif__note_unfiltered(pool, worker);
        if (health < AIONIF__LEAVING || aionif__is_publishing(worker)) {
            continue;
        }
        i--;
        aionif__worker_take_out(worker);
        aionif__worker_stray(worker);
        if (health == AIONIF__RETIRED) {
            note_retired(pool, worker);
        } else {
            pool->statistics.restarts[AIONIF_RESTART_ENDED]++;
        }
    }
}

static void retire_if_stuck(struct aionif__worker *worker, int64_t now) {
    struct served *served = worker->own;
    uint32_t proving = AIONIF__CHECKING, progress = atomic_load(&worker->lane->progress);
    if (atomic_load(&worker->lane->health) != AIONIF__CHECKING) {
        served->checking_since_ns = 0;
    } else if (!served->checking_since_ns || served->progress_seen != progress ||
               aionif__thread_wants_cpu(atomic_load(&worker->lane->tid))) {
        served->checking_since_ns = now;
        served->progress_seen = progress;
    } else if (now - served->checking_since_ns > PROOF_NS) {
        atomic_compare_exchange_strong(&worker->lane->health, &proving, AIONIF__RETIRED);
    }
}

static int64_t tend(struct aionif_pool *pool, int64_t now) {
    bool proving = false;
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        retire_if_stuck(pool->workers[i], now);
        proving |= atomic_load(&pool->workers[i]->lane->health) != AIONIF__SERVING;
    }
    return proving ? now : INT64_MAX;
}

/* ---- ending ---- */

/* What it takes the watchdog does, step by step. */
static bool end(struct aionif__call *call, int mode) {
    aionif__ending_add(call, mode);
    return false;
}

/* GONE is the last that the loop says. Then the thread runs destructors of thread-local data, which are
 * anybody's code and may hang: so nothing here waits for it without end. One that a call has detached
 * can't be joined; with its id the kernel has forgotten it. */
static bool is_gone(const struct aionif__worker *worker) {
    struct served *served = worker->own;
    if (atomic_load(&worker->lane->health) != AIONIF__GONE) {
        return false;
    }
    int error = served->joined ? 0 : pthread_tryjoin_np(served->thread, NULL);
    served->joined = !error;
    return !error || (error == EINVAL &&
                      syscall(SYS_tgkill, getpid(), atomic_load(&worker->lane->tid), 0) != 0);
}

/* For a thread that sleeps: this long after all were told to end. One that wants a CPU gets longer. */
static bool ends_in_time(const struct aionif__worker *worker, int64_t began_ns) {
    struct timespec pause = {.tv_nsec = 10000};
    while (!is_gone(worker)) {
        int64_t waited = aionif__now_ns() - began_ns;
        if (waited > LONGEST_END_NS ||
            (waited > END_NS && !aionif__thread_wants_cpu(atomic_load(&worker->lane->tid)))) {
            return false;
        }
        nanosleep(&pause, NULL);
        pause.tv_nsec += pause.tv_nsec < 1000000 ? pause.tv_nsec / 2 : 0;
    }
    return true;
}

static void let_go(struct aionif_pool *pool, struct aionif__worker *worker) {
    pool->statistics.abandoned++;
    aionif__core_event(AIONIF_CORE_UNENDED, 0, atomic_load(&worker->lane->tid), NULL,
                       pool->settings.name, "");
    aionif__worker_stray(worker);
}

static void tell_to_stop(struct aionif_pool *pool) {
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct aionif__lane *lane = pool->workers[i]->lane;
        atomic_store(&lane->stop, 1);
        aionif__lane_wake(lane);
    }
}

/* A worker that serves leaves at once; one that still runs a call, or proves itself, becomes a stray
 * that is freed when it has gone. */
static void stop(struct aionif_pool *pool) {
    int64_t began_ns = aionif__now_ns();
    tell_to_stop(pool);
    while (pool->worker_count) {
        struct aionif__worker *worker = pool->workers[0];
        bool idle = aionif__lane_idle(worker->lane) && !worker->watchers &&
                    atomic_load(&worker->lane->health) != AIONIF__CHECKING &&
                    atomic_load(&worker->lane->health) != AIONIF__RETIRED;
        aionif__worker_take_out(worker);
        if (idle) {
            aionif__unlock(); /* others may want the lock meanwhile */
            bool ended = ends_in_time(worker, began_ns);
            aionif__lock();
            if (ended) {
                free_worker(worker);
            } else {
                let_go(pool, worker);
            }
        } else {
            atomic_store(&worker->lane->left_alone, 1);
            aionif__worker_stray(worker);
        }
    }
}

const struct aionif__server aionif__thread_server = {
    .is_trusted = true,
    .most_words = UINT32_MAX,
    .start = start,
    .replace = replace,
    .tend = tend,
    .stop = stop,
    .end = end,
    .is_gone = is_gone,
    .free = free_worker,
};
