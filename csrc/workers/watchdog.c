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
#include "faults/fault.h"
#include "lanes/series.h"
#include "processes/process.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MILLISECOND ((int64_t)1000000)
#define TICK (10 * MILLISECOND)
#define PROOF (250 * MILLISECOND) /* without progress of a thread that could have made some */
enum { STRAY_ATTEMPTS = 1000 };   /* with the pauses, five seconds */
#define STRAY_PAUSE (5 * MILLISECOND)
#define GRACE MILLISECOND           /* for a call that may yet look at the cooperative flag */
#define PROMISE (100 * MILLISECOND) /* for one that has looked: it is going to look again */
#define UNANSWERED 1000             /* milliseconds that a thread may leave attempts unanswered */

static pthread_t thread;
static struct aionif__stack stack;
static bool joinable; /* it was started and not joined; pool.c calls start and stop in turn */
static bool alive;    /* under the lock */
static bool stopping; /* under the lock: to end once no call is to be stopped any more */
static _Atomic uint32_t bell;        /* a futex: counts up */
static _Atomic int64_t sleeps_until; /* INT64_MAX: until it is woken */

void aionif__watchdog_wake(int64_t by_ns) {
    if (by_ns < atomic_load(&sleeps_until)) {
        atomic_fetch_add(&bell, 1);
        syscall(SYS_futex, &bell, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static struct aionif__control *control_of(const struct aionif__call *call) {
    return call->thread ? call->thread->control : &call->worker->lane->control;
}

/* Out of its pool, but not out of memory: the native code may still use what it was given. */
void aionif__abandon(struct aionif__worker *worker, struct aionif__call *call) {
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
                       call->plan->function, pool->settings.name);
    aionif__outstanding_less(pool);
    aionif__dispatch(pool, NULL);
}

void aionif__end_call(struct aionif__call *call, int mode) {
    if (call->worker && call->worker->process) {
        if (mode != AIONIF_WAIT) {
            aionif__process_end(call);
        }
        return;
    }
    call->ending_mode = (uint8_t)mode;
    if (call->ending) {
        return;
    }
    call->ending = true;
    call->attempts = call->unanswered = 0;
    bool looks = atomic_load(&control_of(call)->look_ticket) == call->id;
    int64_t grace = looks ? PROMISE : GRACE;
    call->next_attempt_ns = aionif__now_ns() + (mode == AIONIF_ABORT ? grace : 0);
    atomic_store(&control_of(call)->stop_ticket, call->id);
    call->previous_ending = NULL;
    call->next_ending = aionif__core.ending;
    if (call->next_ending) {
        call->next_ending->previous_ending = call;
    }
    aionif__core.ending = call;
    aionif__watchdog_wake(call->next_attempt_ns);
}

void aionif__end_forget(struct aionif__call *call) {
    if (!call->ending) {
        return;
    }
    call->ending = false;
    *(call->previous_ending ? &call->previous_ending->next_ending : &aionif__core.ending) =
        call->next_ending;
    if (call->next_ending) {
        call->next_ending->previous_ending = call->previous_ending;
    }
}

static void signal_call(struct aionif__call *call) {
    pid_t tid = call->thread ? call->thread->tid : atomic_load(&call->worker->lane->tid);
    atomic_store(&control_of(call)->abort_ticket, call->id);
    syscall(SYS_tgkill, aionif__fault_pid(), tid, aionif__fault_abort_signal());
}

static uint32_t attempts_for(const struct aionif__call *call) {
    return call->pool ? call->pool->settings.abort_attempts : 200;
}

/* False: enough attempts. One that was not answered is not repeated, and does not count: on a busy
 * machine the thread has not run since. (And real-time signals queue up.) */
static bool attempt(struct aionif__call *call) {
    uint32_t answers = atomic_load(&control_of(call)->answers);
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
        aionif__end_forget(call);
    } else if (call->ending_mode == AIONIF_ABORT && attempt(call)) {
        call->next_attempt_ns = now + MILLISECOND;
    } else {
        if (call->ending_mode != AIONIF_ABORT || !call->worker) {
            aionif__end_forget(call);
        } else {
            call->next_attempt_ns = now + STRAY_PAUSE;
        }
        if (call->worker) {
            aionif__abandon(call->worker, call);
        }
    }
}

static void expire(struct aionif__call *call, int64_t now) {
    aionif__deadline_remove(call);
    if (call->watched) { /* its submitter is about to see the end, or to give up watching */
        call->deadline_ns = now + MILLISECOND / 10;
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

static void retire_if_stuck(struct aionif__worker *worker, int64_t now) {
    uint32_t proving = AIONIF__CHECKING, progress = atomic_load(&worker->lane->progress);
    if (atomic_load(&worker->lane->health) != AIONIF__CHECKING) {
        worker->checking_since_ns = 0;
    } else if (!worker->checking_since_ns || worker->progress_seen != progress ||
               aionif__thread_wants_cpu(atomic_load(&worker->lane->tid))) {
        worker->checking_since_ns = now;
        worker->progress_seen = progress;
    } else if (now - worker->checking_since_ns > PROOF) {
        atomic_compare_exchange_strong(&worker->lane->health, &proving, AIONIF__RETIRED);
    }
}

/* Is anything under way that has to be looked at? */
static bool watch_pool(struct aionif_pool *pool, int64_t now) {
    bool proving = pool->doomed != NULL;
    for (uint32_t i = 0; pool->settings.is_process && i < pool->worker_count; i++) {
        i -= aionif__process_sample(pool->workers[i]);
    }
    for (uint32_t i = 0; !pool->settings.is_process && i < pool->worker_count; i++) {
        retire_if_stuck(pool->workers[i], now);
        proving |= atomic_load(&pool->workers[i]->lane->health) != AIONIF__SERVING;
    }
    if (pool->settings.is_process) {
        aionif__worker_keep_spare(pool, now);
        proving |= !pool->spare && !pool->closed && pool->spare_due_ns < now + TICK;
    }
    if (pool->outstanding || proving) {
        aionif__collect_pool(pool);
        aionif__rebalance(pool, true);
        aionif__lack_tell(pool, now);
    }
    return pool->outstanding || proving;
}

void aionif__stay_in_front(void) {
    int displaced = aionif__fault_reclaim();
    if (displaced) {
        aionif__core_event(AIONIF_CORE_DISPLACED, displaced, 0, NULL, "");
    }
}

static int64_t work(int64_t now) {
    bool active = false;
    aionif__zygote_pump();
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        active |= watch_pool(pool, now);
    }
    int64_t next = active ? now + TICK : INT64_MAX;
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

static void sleep_until(int64_t until, uint32_t seen) {
    struct timespec at = {until / 1000000000, until % 1000000000};
    /* WAIT_BITSET takes an absolute time of the monotonic clock, so a late start loses nothing. */
    syscall(SYS_futex, &bell, FUTEX_WAIT_BITSET_PRIVATE, seen, until == INT64_MAX ? NULL : &at,
            NULL, FUTEX_BITSET_MATCH_ANY);
}

static void *watch(void *unused) {
    (void)unused;
    pthread_setname_np(pthread_self(), "aionif-watchdog");
    for (;;) {
        uint32_t seen = atomic_load(&bell);
        aionif__lock();
        atomic_store(&sleeps_until, 0); /* whoever has news from here on need not call */
        int64_t next = work(aionif__now_ns());
        if (stopping && !aionif__core.ending) {
            break;
        }
        atomic_store(&sleeps_until, next);
        aionif__unlock();
        sleep_until(next, seen);
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
    atomic_store(&sleeps_until, 0);
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
bool aionif__watchdog_start(void) {
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
void aionif__watchdog_stop(void) {
    if (!joinable) {
        return;
    }
    aionif__lock();
    stopping = true;
    bool lingers = alive && aionif__core.ending;
    aionif__unlock();
    atomic_fetch_add(&bell, 1);
    syscall(SYS_futex, &bell, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    if (!lingers) {
        join();
    }
}

void aionif__watchdog_forked(void) {
    joinable = alive = stopping = false;
    aionif__stack_unmap(&stack);
}
