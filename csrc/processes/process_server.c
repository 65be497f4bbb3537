/* Processes that serve lanes: which of them serve, which leave, and what takes their place.
 *
 * A worker process differs from a worker thread in how it starts and ends, never in how it serves.
 * Ending is simple: SIGKILL, at any instruction. What is queued in its lane is taken back first, so
 * the running call alone is lost. It then waits among the pool's doomed until the zygote has said how
 * it ended; a failed call ends only then, with the worker's last words on stderr. Its place in the
 * pool is free at once, and a spare stands ready for it.
 *
 * A worker whose call crashed is never used again, whatever the crash was: its memory may hold any
 * damage. A C++ exception that was caught at the base of the call does not count as a crash here. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "lanes/alarm.h"
#include "lanes/dispatch.h"
#include "lanes/ends.h"
#include "lanes/events.h"
#include "lanes/lack.h"
#include "lanes/worker.h"
#include "processes/buffer.h"
#include "processes/process.h"
#include "processes/validate.h"
#include "processes/zygote.h"
#include "workers/serve.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define SPARE_RETRY_NS ((int64_t)1000000000)
#define STORM_NS ((int64_t)5000000000)

static bool open_tier(struct aionif_pool *pool) {
    pool->own = calloc(1, sizeof(struct aionif__tier));
    return pool->own != NULL;
}

static void close_tier(struct aionif_pool *pool) { free(pool->own); }

/* 0: no limit. Child processes die with the call that has started them, in a session with that. */
static uint32_t most_calls(const struct aionif__worker *worker) {
    bool alone = worker->settings.one_call && !worker->reserved;
    return alone ? 1 : worker->settings.max_calls;
}

static bool serves(const struct aionif__worker *worker) {
    const struct aionif__process *process = aionif__process_of(worker);
    uint32_t most = most_calls(worker);
    bool stale = process->stale && !worker->reserved; /* a session keeps what it has */
    return !stale && !process->doomed && !process->dead && !process->misbehaved &&
           (!most || process->served < most);
}

bool aionif__process_leaves(const struct aionif__worker *worker) {
    const struct aionif__process *process = aionif__process_of(worker);
    bool full = most_calls(worker) && process->served >= most_calls(worker);
    bool stale = process->stale && !worker->reserved;
    return ((full || stale) && aionif__lane_idle(worker->lane)) || process->doomed ||
           process->dead || process->misbehaved;
}

void aionif__process_drop_spare(struct aionif_pool *pool) {
    struct aionif__tier *tier = aionif__tier_of(pool);
    aionif__process_kill(tier->spare);
    tier->spare->next = pool->doomed;
    pool->doomed = tier->spare;
    tier->spare = NULL;
}

/* The next spare is started a little later, by the watchdog: now it would take the CPU from the call
 * that this one is wanted for. */
static struct aionif__worker *start(struct aionif_pool *pool) {
    enum { LATER_NS = 5000000 };
    struct aionif__tier *tier = aionif__tier_of(pool);
    if (tier->spare && !serves(tier->spare)) { /* it died as it waited */
        aionif__process_drop_spare(pool);
    }
    struct aionif__worker *worker = tier->spare ? tier->spare : aionif__process_make(pool);
    tier->spare = NULL;
    tier->spare_due_ns = aionif__now_ns() + LATER_NS;
    if (worker) {
        pool->workers[pool->worker_count++] = worker;
        aionif__alarm_wake(INT64_MAX - 1);
    }
    return worker;
}

static void keep_spare(struct aionif_pool *pool, int64_t now) {
    struct aionif__tier *tier = aionif__tier_of(pool);
    if (!tier->spare && !pool->closed && now >= tier->spare_due_ns) {
        tier->spare = aionif__process_make(pool);
        tier->spare_due_ns = tier->spare ? 0 : now + SPARE_RETRY_NS;
    }
}

static void lacks(struct aionif_pool *pool) {
    if (aionif__zygote_lost(pool->settings.zygote)) {
        aionif__core_event(AIONIF_CORE_ZYGOTE_WANTED, 0, (int)pool->settings.zygote, NULL,
                           pool->settings.name, "");
    }
}

/* ---- leaving ---- */

/* Is it worth trying again? A worker that never came to serve says something about its setup, not
 * about any call: after some of them in a row, whoever waits is told. */
/* One that is only starting does not prove that the setup works: with two, one of them always is. */
static bool some_have_served(const struct aionif_pool *pool) {
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        const struct aionif__worker *worker = pool->workers[i];
        if (!worker->reserved && atomic_load(&worker->lane->tid)) {
            return true;
        }
    }
    return false;
}

static void note_failed_start(struct aionif_pool *pool, const struct aionif__process *process) {
    enum { MOST = 48, BY_ITSELF = 16, KILLED = 1 };
    struct aionif__tier *tier = aionif__tier_of(pool);
    int64_t now = aionif__now_ns();
    tier->failing_since_ns = tier->failing_since_ns ? tier->failing_since_ns : now;
    bool storm = now - tier->failing_since_ns < STORM_NS; /* of somebody's signals: it will pass */
    bool killed = WIFSIGNALED(process->wait_status) && WTERMSIG(process->wait_status) == SIGKILL;
    bool stillborn = aionif__zygote_stillborn(pool->settings.zygote);
    tier->failed_starts += stillborn ? MOST : !killed ? BY_ITSELF : storm ? 0 : KILLED;
    if (tier->failed_starts < MOST || some_have_served(pool)) {
        return;
    }
    tier->seal_state = AIONIF_SEAL_UNKNOWN; /* those before it may have had another setup */
    aionif__take_sealed(pool, process);
    aionif__lack(pool, stillborn ? AIONIF__ZYGOTE : "fork",
                 stillborn ? ENOTCONN : process->lack_error);
    tier->failed_starts = MOST - KILLED; /* the next one is told at once */
    tier->spare_due_ns = INT64_MAX;      /* only a call is worth another attempt */
    uint32_t length = process->text_length < sizeof tier->problem - 1 ? process->text_length
                                                                      : sizeof tier->problem - 1;
    memcpy(tier->problem, process->text + process->text_length - length, length);
    tier->problem[length] = '\0';
    aionif__drop_unserved(pool);
}

static enum aionif_restart reason_to_retire(const struct aionif__worker *worker) {
    const struct aionif__process *process = aionif__process_of(worker);
    uint32_t most = most_calls(worker);
    bool well = !process->dead && atomic_load(&worker->lane->health) == AIONIF__SERVING;
    return process->limit                            ? AIONIF_RESTART_LIMIT
           : process->misbehaved                     ? AIONIF_RESTART_MISBEHAVED
           : process->leaving                        ? AIONIF_RESTART_STOPPED
           : well && most && process->served >= most ? AIONIF_RESTART_SPENT
           : well                                    ? AIONIF_RESTART_STOPPED
                                                     : AIONIF_RESTART_CRASHED;
}

/* A worker that dies may say that it had not begun its call, and so have it made again, on and on. Of
 * workers that served that is hardly so by chance, and some are believed; of others many more, as
 * somebody may be killing all that start. But it is the worker that says whether it served. */
static void note_death(const struct aionif__worker *worker) {
    enum { MOST = 8192, SERVED = 512, NOT_YET = 1 };
    struct aionif__call *call = worker->calls[worker->lane->collected % AIONIF__SLOTS];
    if (call && !call->begun) {
        call->deaths += atomic_load(&worker->lane->tid) ? SERVED : NOT_YET;
        call->begun = call->deaths >= MOST;
    }
}

/* Queued calls go back before the kill: a worker that ends its call this very moment must not find
 * another one to begin with. */
void aionif__process_retire(struct aionif__worker *worker) {
    struct aionif_pool *pool = worker->pool;
    bool failed = aionif__process_of(worker)->dead && !atomic_load(&worker->lane->tid);
    if (!pool->closed) {
        enum aionif_restart reason = reason_to_retire(worker);
        pool->statistics.restarts[reason]++;
        if (worker->settings.has_sandbox &&
            (reason == AIONIF_RESTART_CRASHED || reason == AIONIF_RESTART_MISBEHAVED)) {
            aionif__zygote_crashed(aionif__process_of(worker));
        }
    }
    aionif__process_of(worker)->served = most_calls(worker);
    note_death(worker);
    aionif__worker_take_out(worker);
    worker->pool = pool;
    worker->next = pool->doomed;
    pool->doomed = worker;
    aionif__process_kill(worker);
    if (failed) {
        aionif__process_of(worker)->counted = true;
        note_failed_start(pool, aionif__process_of(worker));
    }
}

/* Its end was seen before it was told. One that was killed says nothing: that may have been us. */
static void note_late_news(struct aionif_pool *pool, struct aionif__worker *worker) {
    struct aionif__process *process = aionif__process_of(worker);
    int status = process->wait_status;
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!process->counted && !killed && !pool->closed && !atomic_load(&worker->lane->tid)) {
        note_failed_start(pool, process);
    }
}

static bool end(struct aionif__call *call, int mode) {
    struct aionif__worker *worker = call->worker;
    struct aionif_pool *pool = worker->pool;
    if (mode == AIONIF_WAIT || !pool || aionif__process_of(worker)->doomed) {
        return false;
    }
    aionif__process_of(worker)->leaving = true;
    aionif__process_retire(worker);
    aionif__dispatch(pool, NULL);
    return true;
}

/* What its submitter was watching when this worker was retired could not be taken back then: whoever
 * watches owns the record until it gives up. */
static bool is_over(struct aionif__worker *worker) {
    struct aionif__process *process = aionif__process_of(worker);
    struct pollfd end = {.fd = process->pidfd, .events = POLLIN};
    if (process->orphaned && !process->dead && poll(&end, 1, 0) == 1) {
        process->dead = true;
    }
    aionif__collect(worker);
    aionif__take_back(worker);
    return process->dead && worker->lane->collected == worker->lane->submitted && !worker->watchers;
}

static void reap(struct aionif_pool *pool) {
    for (struct aionif__worker **link = &pool->doomed; *link;) {
        struct aionif__worker *worker = *link;
        if (is_over(worker)) {
            *link = worker->next;
            note_late_news(pool, worker);
            aionif__process_free(worker);
        } else {
            link = &worker->next;
        }
    }
}

static bool is_to_leave(struct aionif__worker *worker) {
    bool serving = atomic_load(&worker->lane->health) == AIONIF__SERVING;
    return (!serving && !aionif__is_publishing(worker)) || aionif__process_leaves(worker);
}

static void replace(struct aionif_pool *pool) {
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct aionif__worker *worker = pool->workers[i];
        aionif__note_unfiltered(pool, worker);
        if (atomic_load(&worker->lane->tid)) {
            aionif__tier_of(pool)->failed_starts = 0;
            aionif__tier_of(pool)->failing_since_ns = 0;
            aionif__take_sealed(pool, aionif__process_of(worker));
        }
        if (is_to_leave(worker)) {
            aionif__process_retire(worker);
            i--;
        }
    }
    reap(pool);
}

static int64_t tend(struct aionif_pool *pool, int64_t now) {
    const struct aionif__tier *tier = aionif__tier_of(pool);
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        if (aionif__process_exceeds(pool->workers[i])) {
            aionif__process_retire(pool->workers[i--]);
        }
    }
    keep_spare(pool, now);
    bool lacks_spare = !tier->spare && !pool->closed && tier->spare_due_ns < now + AIONIF__TICK;
    return pool->doomed || lacks_spare ? now : aionif__process_look_again(pool, now);
}

/* Every worker that has something to do is to ring. */
static void arm(struct aionif_pool *pool) {
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct aionif__lane *lane = pool->workers[i]->lane;
        if (lane->submitted != lane->collected) {
            atomic_store(&lane->bell.armed, 1);
        }
    }
}

static void stop(struct aionif_pool *pool) {
    enum { PATIENCE_MS = 2000, STEP_MS = 10 };
    while (pool->worker_count) {
        aionif__process_retire(pool->workers[0]);
    }
    if (aionif__tier_of(pool)->spare) {
        aionif__process_drop_spare(pool);
    }
    for (int waited = 0; pool->doomed && waited < PATIENCE_MS; waited += STEP_MS) {
        aionif__zygote_pump();
        reap(pool);
        aionif__dispatch(pool, NULL); /* it is closed: what was taken back is dropped */
        if (pool->doomed) {
            aionif__zygote_wait(pool->settings.zygote, STEP_MS);
        }
    }
    while (pool->pending.first) { /* came back from one of them, too late for another */
        aionif__drop(pool->pending.first, AIONIF_EVENT_CLOSED);
    }
    while (pool->doomed) { /* it does not die: it hangs in the kernel */
        struct aionif__worker *worker = pool->doomed;
        pool->doomed = worker->next;
        worker->pool = NULL;
        aionif__worker_stray(worker);
    }
}

static bool is_gone(const struct aionif__worker *worker) {
    return aionif__process_of(worker)->dead;
}

const struct aionif__server aionif__process_server = {
    .has_own_bell = true,
    .most_words = AIONIF__SLOT_WORDS,
    .open = open_tier,
    .close = close_tier,
    .start = start,
    .lacks = lacks,
    .replace = replace,
    .tend = tend,
    .arm = arm,
    .stop = stop,
    .serves = serves,
    .grant = aionif__buffers_grant,
    .fill = aionif__process_fill,
    .read = aionif__validate,
    .take = aionif__take_block,
    .describe = aionif__take_remains,
    .end = end,
    .is_gone = is_gone,
    .free = aionif__process_free,
};
