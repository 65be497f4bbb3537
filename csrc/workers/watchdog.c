/* The watchdog: one thread for the process. It keeps deadlines, stops calls that ran too long, notices
 * workers that do not come back from their proof, and handlers that others have displaced. It sleeps
 * without a timeout while no call is under way: an idle executor uses no CPU.
 *
 * Stopping a call goes in steps. The cooperative flag is raised at once. Then the worker is signalled;
 * its handler leaves the call only where that is safe (fault.c), so this is tried again every
 * millisecond, so many times. Then the thread is abandoned: out of its pool, counted, replaced, its
 * arguments kept. For some seconds it is still tried now and then, so that a busy loop which was only
 * unlucky does not take a CPU for ever, also when its pool, the last one perhaps, has been closed.
 * Aborting without the check wedged most runs of a loop of malloc and free. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "workers/watchdog.h"

#include "faults/fault.h"
#include "lanes/alarm.h"
#include "lanes/dispatch.h"
#include "lanes/ending.h"
#include "lanes/ends.h"
#include "lanes/events.h"
#include "lanes/lack.h"
#include "lanes/series.h"
#include "lanes/worker.h"
#include "workers/handlers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STRAY_ATTEMPTS = 1000 }; /* with the pauses, five seconds */
#define STRAY_PAUSE (5 * AIONIF__MILLISECOND)
#define UNANSWERED 1000 /* milliseconds that a thread may leave attempts unanswered */

static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static uint32_t users; /* of the watchdog, `kept` one of them; it runs while there are any */
static bool kept;
static pthread_t thread;
static struct aionif__stack stack;
static bool joinable; /* it was started and not joined; under `opening` */
static bool alive;    /* under the lock */
static bool stopping; /* under the lock: to end once no call is to be stopped any more */

/* Out of its pool, but not out of memory: the native code may still use what it was given. */
static void abandon(struct aionif__worker *worker, struct aionif__call *call) {
    struct aionif_pool *pool = worker->pool;
    if (!pool) {
        return;
    }
    aionif__collect(worker);
    if (call->stage != AIONIF__LANED) {
        return; /* it ended after all, just now; another call may be in its place already */
    }
    atomic_store(&worker->lane->left_alone, 1);
    aionif__worker_take_out(worker);
    aionif__worker_stray(worker);
    pool->lost++;
    worker->lost_by = pool;
    pool->statistics.abandoned++;
    pool->statistics.restarts[AIONIF_RESTART_ABANDONED]++;
    aionif__core_event(AIONIF_CORE_ABANDONED, 0, atomic_load(&worker->lane->tid),
                       call->plan->function, pool->settings.name, "");
    aionif__outstanding_less(pool);
    aionif__dispatch(pool, NULL);
}

static void signal_call(struct aionif__call *call) {
    pid_t tid = call->thread ? call->thread->tid : atomic_load(&call->worker->lane->tid);
    atomic_store(&aionif__control_of(call)->abort_ticket, call->id);
    syscall(SYS_tgkill, aionif__fault_pid(), tid, aionif__fault_abort_signal());
}

static uint32_t attempts_for(const struct aionif__call *call) {
    return call->pool ? call->pool->settings.abort_attempts : 200;
}

/* False: enough attempts. One that was not answered is not repeated, and does not count: on a busy
 * machine the thread has not run since. (And real-time signals queue up.) */
static bool attempt(struct aionif__call *call) {
    uint32_t answers = atomic_load(&aionif__control_of(call)->answers);
    if (call->attempts && answers == call->answers) {
        return ++call->unanswered < UNANSWERED;
    }
    if (call->attempts >= attempts_for(call)) {
        return false;
    }
    call->answers = answers;
    call->attempts++;
    signal_call(call);
    return true;
}

/* One more step towards the end of a call that runs. An inline call's thread can't be abandoned. */
static void step(struct aionif__call *call, int64_t now) {
    bool stray = call->worker && !call->worker->pool;
    if (call->ending_mode == AIONIF_ABORT && stray && call->attempts < STRAY_ATTEMPTS) {
        call->attempts++;
        call->next_attempt_ns = now + STRAY_PAUSE;
        signal_call(call);
    } else if (stray || call->ending_mode == AIONIF_WAIT) {
        aionif__ending_forget(call);
    } else if (call->ending_mode == AIONIF_ABORT && attempt(call)) {
        call->next_attempt_ns = now + AIONIF__MILLISECOND;
    } else {
        if (call->ending_mode != AIONIF_ABORT || !call->worker) {
            aionif__ending_forget(call);
        } else {
            call->next_attempt_ns = now + STRAY_PAUSE;
        }
        if (call->worker) {
            abandon(call->worker, call);
        }
    }
}

static void expire(struct aionif__call *call, int64_t now) {
    aionif__deadline_remove(call);
    if (call->watched) { /* its submitter is about to see the end, or to give up watching */
        call->deadline_ns = now + AIONIF__MILLISECOND / 10;
        aionif__deadline_add(call); /* into the place just left */
        return;
    }
    if (call->stage == AIONIF__LANED && aionif__lane_withdraw(call->record)) {
        struct aionif__worker *worker = call->worker;
        worker->calls[call->record - worker->lane->records] = NULL;
        call->pool->statistics.timed_out++;
        aionif__drop(call, AIONIF_EVENT_QUEUE_TIMEOUT);
    } else if (call->stage == AIONIF__WAITING) {
        call->pool->statistics.timed_out++;
        aionif__drop(call, AIONIF_EVENT_QUEUE_TIMEOUT);
    } else if (call->stage == AIONIF__INLINE) {
        call->timed_out = true;
        aionif__end_call(call, call->on_timeout);
    } else if (call->stage == AIONIF__LANED) {
        call->timed_out = true;
        call->pool->statistics.timed_out++;
        aionif__settle(call, AIONIF_FATE_TIMED_OUT);
        if (call->on_timeout != AIONIF_WAIT) {
            call->orphan = true;
            aionif__announce(call->port, call->id, AIONIF_EVENT_RUN_TIMEOUT);
        }
        aionif__end_call(call, call->on_timeout);
    }
}

/* A call that was given no deadline gets one when it is first seen to run: by our own books, and by no
 * clock of a worker's. One that says it has not begun what it was given is tried elsewhere. */
static void bound_run_times(const struct aionif_pool *pool, int64_t now) {
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct aionif__worker *worker = pool->workers[i];
        struct aionif__call *call = worker->calls[worker->lane->collected % AIONIF__SLOTS];
        if (call && call->run_timeout_ns && !call->deadline_ns && !call->settled &&
            (atomic_load(&call->record->state) & AIONIF__STATE) != AIONIF__QUEUED) {
            call->deadline_ns = now + call->run_timeout_ns;
            if (!aionif__deadline_add(call)) {
                call->deadline_ns = 0; /* no memory: at the next tick, then */
            }
        }
    }
}

/* Returns by when it is to be looked at again. */
static int64_t watch_pool(struct aionif_pool *pool, int64_t now) {
    int64_t again = pool->server->tend(pool, now);
    if (pool->outstanding || again <= now) {
        aionif__collect_pool(pool);
        aionif__rebalance(pool, true);
        bound_run_times(pool, now);
        aionif__lack_tell(pool, now);
    }
    return pool->outstanding || again <= now ? now + AIONIF__TICK : again;
}

static int64_t work(int64_t now) {
    int64_t next = aionif__alarm_ask();
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        int64_t again = watch_pool(pool, now);
        next = again < next ? again : next;
    }
    bool active = next <= now + AIONIF__TICK;
    for (struct aionif__call *call; (call = aionif__deadline_first());) {
        if (call->deadline_ns > now) {
            next = call->deadline_ns < next ? call->deadline_ns : next;
            break;
        }
        expire(call, now);
    }
    if (aionif__core.ending) {
        aionif__reap_strays(); /* no loop may be left to do it */
    }
    for (struct aionif__call *call = aionif__core.ending, *following; call; call = following) {
        following = call->next_ending;
        /* Abandoning a worker takes over what it has finished: the next in the list may be gone. */
        if (call->ending && call->next_attempt_ns <= now) {
            step(call, now);
        }
        if (call->ending && call->next_attempt_ns < next) {
            next = call->next_attempt_ns;
        }
    }
    if (active) {
        aionif__stay_in_front();
    }
    return next;
}

static void *watch(void *unused) {
    (void)unused;
    pthread_setname_np(pthread_self(), "aionif-watchdog");
    for (;;) {
        uint32_t seen = aionif__alarm_seen();
        aionif__lock();
        aionif__alarm_awake();
        int64_t next = work(aionif__now_ns());
        if (stopping && !aionif__core.ending) {
            break;
        }
        aionif__alarm_expect(next);
        aionif__unlock();
        aionif__alarm_sleep(next, seen);
    }
    alive = false;
    aionif__unlock();
    return NULL;
}

/* On a stack of ours: libc's would be as large as `ulimit -s` says, and where there are no addresses
 * for it, libc says that there is no thread. False, with errno. */
static bool create(void) {
    enum { STACK = 512 * 1024, GUARD = 64 * 1024 };
    sigset_t all, before;
    pthread_attr_t attributes;
    if (!aionif__stack_map(&stack, STACK, GUARD)) {
        errno = ENOMEM;
        return false;
    }
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, (void *)stack.low, stack.top - stack.low);
    sigfillset(&all);
    aionif__alarm_awake();
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, &attributes, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error) {
        aionif__stack_unmap(&stack);
    }
    errno = error;
    return !error;
}

static void join(void) {
    pthread_join(thread, NULL);
    aionif__stack_unmap(&stack);
    joinable = false;
}

/* One that was to stop, but had calls to end, goes on. */
static bool start(void) {
    aionif__lock();
    bool already = alive;
    alive = true;
    stopping = false;
    aionif__unlock();
    if (already) {
        return true;
    }
    if (joinable) {
        join();
    }
    joinable = create();
    int error = errno;
    aionif__lock();
    alive = joinable;
    aionif__unlock();
    errno = error;
    return joinable;
}

/* Not under the lock: the watchdog may be waiting for it. Where calls are still to be ended it lives
 * until they have, and is joined when it is next started or stopped. */
static void stop(void) {
    if (!joinable) {
        return;
    }
    aionif__lock();
    stopping = true;
    bool lingers = alive && aionif__core.ending;
    aionif__unlock();
    aionif__alarm_ring();
    if (!lingers) {
        join();
    }
}

bool aionif__watchdog_hold(void) {
    pthread_mutex_lock(&opening);
    bool started = start();
    int error = errno;
    users += started;
    pthread_mutex_unlock(&opening);
    errno = error;
    return started;
}

void aionif__watchdog_release(void) {
    pthread_mutex_lock(&opening);
    if (--users == 0) {
        stop();
    }
    pthread_mutex_unlock(&opening);
}

/* For the deadline of an inline call, which has no pool: the first one keeps the watchdog for good. */
bool aionif__watchdog_keep(void) {
    pthread_mutex_lock(&opening);
    if (!kept) {
        kept = start();
        users += kept;
    }
    pthread_mutex_unlock(&opening);
    return kept;
}

void aionif__watchdog_forked(void) {
    pthread_mutex_init(&opening, NULL);
    users = 0;
    kept = false;
    joinable = alive = stopping = false;
    aionif__stack_unmap(&stack);
}
