/* Threads that serve lanes: start, replace, reap.
 *
 * A worker's thread runs on a stack that is mapped here, not one of glibc's: glibc keeps the stacks of
 * ended threads for later, and a closed executor would not give its mappings back. Threads are never
 * detached: only a join says that a stack is no longer used. One that never ends is never joined. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "workers/worker.h"

#include "faults/fault.h"
#include "processes/process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Room for the loop, for dlopen of the C++ helper, and for large thread-local storage. */
#define SPARE_RETRY_NS ((int64_t)1000000000)
enum { THREAD_STACK = 512 * 1024, THREAD_GUARD = 64 * 1024 };

/* Faults and the watchdog's signal must arrive. The rest is as it was where the pool was opened, not
 * as in the thread that started this one, which may be the watchdog: programs that a NIF starts
 * inherit it. */
static void open_signals(struct aionif__thread *self, sigset_t blocked) {
    static const int needed[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        sigdelset(&blocked, needed[i]);
    }
    sigdelset(&blocked, aionif__fault_abort_signal());
    pthread_sigmask(SIG_SETMASK, &blocked, NULL);
    memcpy(&self->signal_mask, &blocked, sizeof self->signal_mask);
}

bool aionif__worker_enter(struct aionif__thread *self, struct aionif__lane *lane,
                          const struct aionif_pool_settings *settings, sigset_t blocked) {
    if (!aionif__thread_give_stack(self, settings->stack_size, settings->guard_size)) {
        return false;
    }
    self->lane = lane;
    self->control = &lane->control;
    self->contains_exit = settings->contain_exit;
    open_signals(self, blocked);
    return true;
}

void aionif__worker_filter(struct aionif__lane *lane, const struct aionif_pool_settings *settings) {
    atomic_store(&lane->unfiltered, !aionif__exits_filter(settings));
}

static void *thread_main(void *argument) {
    struct aionif__worker *worker = argument;
    struct aionif__lane *lane = worker->lane;
    struct aionif__thread *self = &worker->self;
    bool entered = aionif__thread_enter(self); /* its stacks are mapped: nothing else can fail */
    aionif__exits_worker(1);
    if (entered && aionif__worker_enter(self, lane, &worker->settings, worker->signals)) {
        if (worker->settings.name[0]) {
            pthread_setname_np(pthread_self(), worker->settings.name);
        }
        aionif__worker_filter(lane, &worker->settings);
        atomic_store(&lane->tid, self->tid);
        aionif__serve(lane, self);
    } else {
        atomic_store(&lane->health, AIONIF__LEAVING);
    }
    aionif__exits_worker(-1);
    if (entered) {
        aionif__thread_leave(self);
    }
    atomic_store(&lane->health, AIONIF__GONE);
    return NULL;
}

/* All that the thread will need is had before it starts: what fails in it can't be told to anyone. */
static bool map_stacks(struct aionif__worker *worker) {
    const struct aionif_pool_settings *settings = &worker->settings;
    return aionif__stack_map(&worker->thread_stack, THREAD_STACK, THREAD_GUARD) &&
           aionif__altstack_map(&worker->self.altstack) &&
           aionif__thread_give_stack(&worker->self, settings->stack_size, settings->guard_size);
}

static int start_thread(struct aionif__worker *worker) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, (void *)worker->thread_stack.low,
                          worker->thread_stack.top - worker->thread_stack.low);
    int failed = pthread_create(&worker->thread, &attributes, thread_main, worker);
    pthread_attr_destroy(&attributes);
    return failed;
}

static void free_worker(struct aionif__worker *worker) {
    if (worker->process) {
        aionif__process_free(worker);
    }
    if (worker->lane) {
        munmap(worker->lane, sizeof *worker->lane);
    }
    aionif__stack_unmap(&worker->thread_stack);
    aionif__stack_unmap(&worker->self.altstack.stack);
    aionif__stack_unmap(&worker->self.stack);
    free(worker);
}

static struct aionif__worker *make_process(struct aionif_pool *pool) {
    struct aionif__worker *worker = calloc(1, sizeof *worker);
    if (!worker) {
        aionif__lack(pool, "memory", ENOMEM);
        return NULL;
    }
    worker->settings = pool->settings;
    worker->pool = pool;
    if (!aionif__process_start(worker)) {
        free(worker);
        return NULL;
    }
    pool->statistics.started++;
    return worker;
}

/* The next spare is started a little later, by the watchdog: now it would take the CPU from the call
 * that this one is wanted for. */
static struct aionif__worker *next_process(struct aionif_pool *pool) {
    enum { LATER_NS = 5000000 };
    if (pool->spare && !aionif__process_serves(pool->spare)) { /* it died as it waited */
        aionif__process_drop_spare(pool);
    }
    struct aionif__worker *worker = pool->spare ? pool->spare : make_process(pool);
    pool->spare = NULL;
    pool->spare_due_ns = aionif__now_ns() + LATER_NS;
    if (worker) {
        pool->workers[pool->worker_count++] = worker;
        aionif__watchdog_wake(INT64_MAX - 1);
    }
    return worker;
}

void aionif__worker_keep_spare(struct aionif_pool *pool, int64_t now) {
    if (!pool->spare && !pool->closed && now >= pool->spare_due_ns) {
        pool->spare = make_process(pool);
        pool->spare_due_ns = pool->spare ? 0 : now + SPARE_RETRY_NS;
    }
}

/* A lane is mapped, not allocated: its slots are touched one by one, as they come into use. */
static struct aionif__worker *make_thread(struct aionif_pool *pool) {
    struct aionif__worker *worker = calloc(1, sizeof *worker);
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
    worker->settings = pool->settings;
    worker->signals = pool->signals;
    worker->pool = pool;
    int error = !worker->lane || !map_stacks(worker) ? ENOMEM : start_thread(worker);
    if (error) {
        aionif__lack(pool, error == ENOMEM ? "memory" : "a thread", error);
        free_worker(worker);
        return NULL;
    }
    pool->workers[pool->worker_count++] = worker;
    pool->statistics.started++;
    return worker;
}

struct aionif__worker *aionif__worker_start(struct aionif_pool *pool) {
    return pool->settings.is_process ? next_process(pool) : make_thread(pool);
}

/* Out of its pool; what it had not started goes back there. */
void aionif__worker_take_out(struct aionif__worker *worker) {
    struct aionif_pool *pool = worker->pool;
    aionif__collect(worker);
    aionif__take_back(worker);
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        if (pool->workers[i] == worker) {
            pool->workers[i] = pool->workers[--pool->worker_count];
        }
    }
    if (worker->reserved) {
        worker->reserved->broken = true;
        aionif__strand_drop_held(worker->reserved);
        worker->reserved->pinned = NULL;
        worker->reserved = NULL;
    }
    worker->pool = NULL;
}

/* Its thread may live on for a while, or for good: looked at whenever a loop collects. */
void aionif__worker_stray(struct aionif__worker *worker) {
    worker->next = aionif__core.strays;
    aionif__core.strays = worker;
}

void aionif__worker_retired(struct aionif_pool *pool, struct aionif__worker *worker) {
    pool->lost++;
    pool->statistics.retired++;
    pool->statistics.restarts[AIONIF_RESTART_RETIRED]++;
    atomic_fetch_or(&aionif__core.taint, AIONIF_TAINT_LOCK);
    atomic_store(&aionif__core.fork_would_hang, true);
    aionif__core_event(AIONIF_CORE_RETIRED, 0, atomic_load(&worker->lane->tid), NULL,
                       pool->settings.name);
}

void aionif__worker_join(struct aionif__worker *worker) {
    if (!worker->process) {
        pthread_join(worker->thread, NULL);
    }
    free_worker(worker);
}

static bool reap(struct aionif__worker *worker) {
    aionif__collect(worker);
    bool gone = (worker->process ? worker->process->dead
                                 : atomic_load(&worker->lane->health) == AIONIF__GONE) &&
                !worker->watchers;
    if (gone) {
        if (worker->lost_by) {
            worker->lost_by->lost--;
        }
        aionif__worker_join(worker);
    }
    return gone;
}

void aionif__reap_strays(void) {
    for (struct aionif__worker **link = &aionif__core.strays; *link;) {
        struct aionif__worker *next = (*link)->next;
        if (reap(*link)) {
            *link = next;
        } else {
            link = &(*link)->next;
        }
    }
}
