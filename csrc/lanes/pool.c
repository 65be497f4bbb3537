/* Pools and strands: opening, closing, counting. */
#include "lanes/series.h"
#include "processes/process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct aionif__core aionif__core = {.lock = PTHREAD_MUTEX_INITIALIZER};
static uint32_t users; /* open pools, and `kept`; the watchdog runs while there are any */
static bool kept;
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

void aionif__lock(void) { pthread_mutex_lock(&aionif__core.lock); }

void aionif__unlock(void) { pthread_mutex_unlock(&aionif__core.lock); }

static struct aionif_pool *make_pool(const struct aionif_pool_settings *settings) {
    struct aionif_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        return NULL;
    }
    pool->settings = *settings;
    pthread_sigmask(SIG_BLOCK, NULL, &pool->signals);
    pool->settings.name[sizeof settings->name - 1] = '\0';
    pool->workers = calloc(settings->max_workers, sizeof(struct aionif__worker *));
    if (!pool->workers) {
        free(pool);
        return NULL;
    }
    return pool;
}

struct aionif_pool *aionif_pool_open(const struct aionif_pool_settings *settings) {
    struct aionif_pool *pool = make_pool(settings);
    if (!pool) {
        return NULL;
    }
    pthread_mutex_lock(&opening);
    bool watched = aionif__watchdog_start();
    int error = errno;
    users += watched;
    pthread_mutex_unlock(&opening);
    if (!watched) {
        free(pool->workers);
        free(pool);
        errno = error;
        return NULL;
    }
    aionif__lock();
    pool->next = aionif__core.pools;
    aionif__core.pools = pool;
    aionif__stay_in_front();
    aionif__worker_start(pool); /* the first call finds a worker; on failure it tries again */
    aionif__unlock();
    return pool;
}

/* Those in strands first: dropping a strand's call brings up the next one that it holds. */
static void drop_waiting(struct aionif_pool *pool) {
    struct aionif__call *call;
    for (uint32_t i = 0; pool->held && (call = aionif__call_at(i)); i++) {
        if (call->stage == AIONIF__WAITING && call->pool == pool && call->queue != &pool->pending) {
            aionif__drop(call, AIONIF_EVENT_CLOSED);
        }
    }
    while (pool->pending.first) {
        aionif__drop(pool->pending.first, AIONIF_EVENT_CLOSED);
    }
}

/* Nothing more is accepted, and what has not started is dropped. 1: nothing is running; 0: `notify`
 * will be told when that is so. */
int aionif_pool_close(struct aionif_pool *pool, struct aionif_port *notify) {
    aionif__lock();
    pool->closed = true;
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        aionif__collect(pool->workers[i]);
        aionif__take_back(pool->workers[i]);
    }
    drop_waiting(pool);
    aionif__tell_starved(pool); /* whoever waits for room is refused now */
    if (pool->idle_port) {
        pool->idle_port->promised--;
    }
    /* Without memory for the event the closing executor waits out its time. */
    bool tells = pool->outstanding && notify && aionif__events_promise(notify, 1);
    pool->idle_port = tells ? notify : NULL;
    int idle = pool->outstanding == 0;
    aionif__unlock();
    return idle;
}

static void tell_lost(struct aionif__call *call) {
    if (!call->orphan) {
        call->orphan = true;
        aionif__settle(call, AIONIF_FATE_DROPPED);
        aionif__deadline_remove(call);
        aionif__announce(call->port, call->id, AIONIF_EVENT_LOST);
    }
}

/* True: it was a process, which is out of the pool now. */
static bool end_calls_of(struct aionif__worker *worker) {
    aionif__collect(worker);
    for (int slot = 0; slot < AIONIF__SLOTS; slot++) {
        struct aionif__call *call = worker->calls[slot];
        if (call && call->stage == AIONIF__LANED) {
            tell_lost(call);
            aionif__end_call(call, AIONIF_ABORT);
            if (worker->process) {
                return true;
            }
        }
    }
    return false;
}

/* Calls that still run are to end: their tasks are told now, their threads stopped or abandoned.
 * Processes that were killed before may hang in the kernel, and their calls with them. */
void aionif_pool_end_calls(struct aionif_pool *pool) {
    aionif__lock();
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        i -= end_calls_of(pool->workers[i]);
    }
    for (struct aionif__worker *worker = pool->doomed; worker; worker = worker->next) {
        end_calls_of(worker);
    }
    aionif__unlock();
}

static void stop_workers(struct aionif_pool *pool) {
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct aionif__lane *lane = pool->workers[i]->lane;
        atomic_store(&lane->stop, 1);
        aionif__lane_wake(lane);
    }
}

/* A worker that serves leaves at once; one that still runs a call, or proves itself, becomes a stray
 * that is freed when it has gone. */
static void join_workers(struct aionif_pool *pool) {
    while (pool->worker_count) {
        struct aionif__worker *worker = pool->workers[0];
        bool idle = aionif__lane_idle(worker->lane) && !worker->watchers &&
                    atomic_load(&worker->lane->health) != AIONIF__CHECKING &&
                    atomic_load(&worker->lane->health) != AIONIF__RETIRED;
        aionif__worker_take_out(worker);
        if (idle) {
            aionif__unlock(); /* others may want the lock meanwhile */
            aionif__worker_join(worker);
            aionif__lock();
        } else {
            atomic_store(&worker->lane->left_alone, 1);
            aionif__worker_stray(worker);
        }
    }
}

/* After aionif_pool_close, and once nothing runs. The pool is freed. */
void aionif_pool_stop(struct aionif_pool *pool) {
    aionif__lock();
    if (pool->settings.is_process) {
        aionif__process_stop(pool);
    }
    stop_workers(pool);
    join_workers(pool);
    aionif__reap_strays();
    for (struct aionif__worker *stray = aionif__core.strays; stray; stray = stray->next) {
        stray->lost_by = stray->lost_by == pool ? NULL : stray->lost_by;
    }
    struct aionif_pool **link = &aionif__core.pools;
    while (*link != pool) {
        link = &(*link)->next;
    }
    *link = pool->next;
    aionif__unlock();
    aionif__series_free(pool);
    free(pool->workers);
    free(pool);
    pthread_mutex_lock(&opening);
    if (--users == 0) {
        aionif__watchdog_stop();
    }
    pthread_mutex_unlock(&opening);
}

/* Its fate is counted, its native code still runs: until that stops, or is abandoned. */
static bool runs_on(const struct aionif__worker *worker) {
    bool found = false;
    for (uint32_t slot = 0; slot < AIONIF__SLOTS; slot++) {
        const struct aionif__call *call = worker->calls[slot];
        found |= call && call->settled &&
                 (atomic_load(&call->record->state) & AIONIF__STATE) != AIONIF__FINISHED;
    }
    return found;
}

void aionif_pool_statistics(struct aionif_pool *pool, struct aionif_statistics *out) {
    aionif__lock();
    *out = pool->statistics;
    out->workers = pool->worker_count;
    out->queued = aionif__waiting(pool);
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        bool busy = aionif__unfinished(pool->workers[i]) > 0;
        out->running += busy && !runs_on(pool->workers[i]);
        out->idle += !busy;
    }
    aionif__unlock();
}

struct aionif_strand *aionif_strand_open(int is_session) {
    struct aionif_strand *strand = calloc(1, sizeof *strand);
    if (strand) {
        strand->is_session = is_session;
    }
    return strand;
}

int aionif_strand_broken(struct aionif_strand *strand) { return strand->broken; }

/* Calls that wait in it are dropped; it is freed when the one in progress has ended. */
void aionif_strand_close(struct aionif_strand *strand) {
    aionif__lock();
    aionif__strand_drop_held(strand);
    strand->closed = true;
    if (!strand->busy) {
        if (strand->pinned) {
            strand->pinned->reserved = NULL;
        }
        free(strand);
    }
    aionif__unlock();
}

/* For the deadline of an inline call, which has no pool: the first one keeps the watchdog for good. */
bool aionif__watchdog_keep(void) {
    pthread_mutex_lock(&opening);
    if (!kept) {
        kept = aionif__watchdog_start();
        users += kept;
    }
    pthread_mutex_unlock(&opening);
    return kept;
}

void aionif__pools_forked(void) {
    users = 0;
    kept = false;
    pthread_mutex_init(&opening, NULL);
}

int aionif_taint(void) { return atomic_load(&aionif__core.taint); }
