/* Pools: making, closing, counting. */
#include "lanes/pool.h"

#include "lanes/dispatch.h"
#include "lanes/ending.h"
#include "lanes/ends.h"
#include "lanes/events.h"
#include "lanes/series.h"
#include "lanes/worker.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct aionif_pool *aionif__pool_make(const struct aionif_pool_settings *settings,
                                      const struct aionif__server *server) {
    struct aionif_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        return NULL;
    }
    pool->settings = *settings;
    pool->server = server;
    pthread_sigmask(SIG_BLOCK, NULL, &pool->signals);
    pool->settings.name[sizeof settings->name - 1] = '\0';
    pool->workers = calloc(settings->max_workers, sizeof(struct aionif__worker *));
    if (!pool->workers || (server->open && !server->open(pool))) {
        free(pool->workers);
        free(pool);
        return NULL;
    }
    return pool;
}

/* The first call finds a worker; where none can be started it tries again. */
void aionif__pool_enter(struct aionif_pool *pool) {
    pool->next = aionif__core.pools;
    aionif__core.pools = pool;
    pool->server->start(pool);
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

/* True: the worker is out of the pool now. */
static bool end_calls_of(struct aionif__worker *worker) {
    aionif__collect(worker);
    for (int slot = 0; slot < AIONIF__SLOTS; slot++) {
        struct aionif__call *call = worker->calls[slot];
        if (call && call->stage == AIONIF__LANED) {
            tell_lost(call);
            if (aionif__end_call(call, AIONIF_ABORT)) {
                return true;
            }
        }
    }
    return false;
}

/* Calls that still run are to end: their tasks are told now, their threads stopped or abandoned.
 * Workers that were given up before may not have ended, nor their calls with them. */
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

/* After aionif_pool_close, and once nothing runs. */
void aionif__pool_stop(struct aionif_pool *pool) {
    pool->server->stop(pool);
    aionif__reap_strays();
    for (struct aionif__worker *stray = aionif__core.strays; stray; stray = stray->next) {
        stray->lost_by = stray->lost_by == pool ? NULL : stray->lost_by;
    }
    struct aionif_pool **link = &aionif__core.pools;
    while (*link != pool) {
        link = &(*link)->next;
    }
    *link = pool->next;
}

void aionif__pool_free(struct aionif_pool *pool) {
    if (pool->server->close) {
        pool->server->close(pool);
    }
    aionif__series_free(pool);
    free(pool->workers);
    free(pool);
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

/* For statistics: a caller does not wait for room, its call was rejected. */
void aionif_pool_reject(struct aionif_pool *pool) {
    aionif__lock();
    pool->statistics.rejected++;
    aionif__unlock();
}
