/* Which worker gets which call.
 *
 * Calls leave the pool's queue in the order they came. An idle worker comes first, the one used last
 * before the others: it may still be awake. With none idle, a function that is usually short goes
 * into the lane of a busy worker, a little ahead of need, so that the worker does not wait for the
 * event loop between two calls; any other gets a new worker while there may be one, and otherwise
 * waits. What is queued in a lane is taken back (a compare-and-swap on its record) as soon as another
 * worker is idle, so nothing waits behind a slow call that someone else could serve. */
#include "lanes/dispatch.h"

#include "lanes/ends.h"
#include "lanes/events.h"
#include "lanes/lack.h"

#include <errno.h>
#include <string.h>

enum { SHORT_NS = 20000, AHEAD = 16 };

/* A worker that is about to leave says so before it publishes its last call: asked after
 * aionif__lane_idle, the answer stands. */
static bool serves(const struct aionif__worker *worker) {
    return atomic_load(&worker->lane->health) == AIONIF__SERVING &&
           (!worker->server->serves || worker->server->serves(worker));
}

static uint32_t load_of(const struct aionif__worker *worker) {
    return worker->lane->submitted - worker->lane->collected;
}

/* The load counts records: also those that have ended, and those whose call was taken back. */
uint32_t aionif__unfinished(const struct aionif__worker *worker) {
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < AIONIF__SLOTS; slot++) {
        const struct aionif__call *call = worker->calls[slot];
        count += call && (atomic_load(&call->record->state) & AIONIF__STATE) != AIONIF__FINISHED;
    }
    return count;
}

uint64_t aionif__waiting(const struct aionif_pool *pool) {
    uint64_t count = pool->pending.length + pool->held;
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        uint32_t unfinished = aionif__unfinished(pool->workers[i]);
        count += unfinished > 1 ? unfinished - 1 : 0; /* the first one runs */
    }
    return count;
}

bool aionif__has_room(const struct aionif_pool *pool) {
    uint32_t most = pool->settings.max_queue;
    return pool->outstanding < most || aionif__waiting(pool) < most; /* no need to count, mostly */
}

/* Who may lie is taken at its word only once the record has been looked into. */
static bool seems_idle(const struct aionif__worker *worker) {
    return worker->server->is_trusted ? aionif__lane_idle(worker->lane) : load_of(worker) == 0;
}

static struct aionif__worker *find_idle(const struct aionif_pool *pool,
                                        const struct aionif_strand *strand) {
    struct aionif__worker *best = NULL;
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct aionif__worker *worker = pool->workers[i];
        if ((!best || worker->last_used > best->last_used) && worker->reserved == strand &&
            seems_idle(worker) && serves(worker) && load_of(worker) < AIONIF__SLOTS) {
            best = worker;
        }
    }
    return best;
}

static struct aionif__worker *find_short_queue(const struct aionif_pool *pool) {
    struct aionif__worker *best = NULL;
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct aionif__worker *worker = pool->workers[i];
        if (!worker->reserved && serves(worker) && load_of(worker) < AHEAD &&
            (!best || load_of(worker) < load_of(best))) {
            best = worker;
        }
    }
    return best;
}

static bool is_short(const struct aionif__call *call) {
    return call->plan->usual_ns && call->plan->usual_ns < SHORT_NS;
}

struct aionif__worker *aionif__to_feed(const struct aionif_port *port) {
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        const struct aionif__call *waiting = pool->pending.first;
        if (!waiting || waiting->port != port || waiting->strand || !is_short(waiting)) {
            continue;
        }
        for (uint32_t i = 0; i < pool->worker_count; i++) {
            struct aionif__worker *worker = pool->workers[i];
            const struct aionif__call *first =
                worker->calls[worker->lane->collected % AIONIF__SLOTS];
            if (!worker->reserved && serves(worker) && load_of(worker) && first &&
                is_short(first)) {
                return worker;
            }
        }
    }
    return NULL;
}

static struct aionif__worker *start_worker(struct aionif_pool *pool) {
    if (pool->worker_count == pool->settings.max_workers) {
        return NULL;
    }
    struct aionif__worker *worker = pool->server->start(pool);
    if (worker) {
        aionif__lack_over(pool);
    } else if (pool->lack_error) {
        aionif__lack_begins(pool);
        if (!pool->spawn_failed && pool->lack_error != ENOTCONN) { /* that has its own */
            aionif__core_event(AIONIF_CORE_NO_WORKER, pool->lack_error, 0, NULL,
                               pool->settings.name, pool->lacks);
        }
    }
    pool->spawn_failed = !worker;
    return worker;
}

static struct aionif__worker *choose(struct aionif_pool *pool, struct aionif__call *call) {
    struct aionif_strand *session = call->strand && call->strand->is_session ? call->strand : NULL;
    if (session && session->pinned) {
        return find_idle(pool, session);
    }
    struct aionif__worker *worker = find_idle(pool, NULL);
    if (!worker && is_short(call) && !call->strand) {
        worker = find_short_queue(pool);
    }
    if (!worker) {
        worker = start_worker(pool);
    }
    if (worker && session) {
        session->pinned = worker;
        worker->reserved = session;
    }
    return worker;
}

/* Where the worker has a way of its own to be told of addresses, these are not written, not even for a
 * moment: it may be another process. */
static void fill(const struct aionif__worker *worker, struct aionif__record *record,
                 const struct aionif__call *call) {
    record->ticket = call->id;
    record->word_count = call->word_count;
    record->measure_stack = call->measure_stack;
    record->error_number = call->error_number;
    record->has_x87 = call->plan->result_x87;
    record->registers = call->registers;
    if (worker->server->fill) {
        return;
    }
    record->function = call->plan->function;
    record->words = call->words;
    record->bell = &call->port->bell;
    if (call->memory) {
        *aionif__arch_result_pointer(&record->registers) = (uintptr_t)call->memory;
    }
}

static void put(struct aionif__worker *worker, struct aionif__call *call, bool may_watch) {
    struct aionif__lane *lane = worker->lane;
    struct aionif__record *record = aionif__lane_reserve(lane);
    call->parked = atomic_load(&lane->parked);
    bool watched = may_watch && aionif__lane_idle(lane) && serves(worker) &&
                   (!call->parked || worker->pool->settings.wake_ns);
    fill(worker, record, call);
    if (worker->server->fill) {
        worker->server->fill(worker, record, call);
    }
    worker->calls[lane->submitted % AIONIF__SLOTS] = call;
    worker->last_used = ++worker->pool->uses;
    call->worker = worker;
    call->record = record;
    call->stage = AIONIF__LANED;
    call->watched = watched;
    aionif__lane_queue(lane, record, watched);
    aionif__lane_wake(lane);
}

/* A closed pool starts nothing: what comes back to it after its queue was dropped, is dropped too. */
void aionif__dispatch(struct aionif_pool *pool, struct aionif__call *watched) {
    while (pool->closed && pool->pending.first) {
        aionif__drop(pool->pending.first, AIONIF_EVENT_CLOSED);
    }
    for (struct aionif__call *call = pool->pending.first, *next; call; call = next) {
        next = call->next;
        struct aionif__worker *worker = choose(pool, call);
        if (worker && call->block && worker->server->grant &&
            !worker->server->grant(worker, call->block)) {
            break; /* the watchdog asks again */
        }
        if (worker) {
            aionif__queue_remove(call);
            put(worker, call, call == watched);
        } else if (!(call->strand && call->strand->is_session && call->strand->pinned)) {
            break; /* first come, first served; only a session waits for a worker of its own */
        }
    }
}

/* A call that was queued in this lane and is not started goes back to the head of the queue. */
static bool take_back_one(struct aionif__worker *worker, uint32_t position) {
    struct aionif__record *record = aionif__lane_at(worker->lane, position);
    struct aionif__call *call = worker->calls[position % AIONIF__SLOTS];
    if (!call || call->begun || !aionif__lane_withdraw(record)) {
        return false;
    }
    worker->calls[position % AIONIF__SLOTS] = NULL;
    call->worker = NULL;
    call->record = NULL;
    call->stage = AIONIF__WAITING;
    aionif__queue_prepend(&worker->pool->pending, call);
    return true;
}

void aionif__take_back(struct aionif__worker *worker) {
    struct aionif__lane *lane = worker->lane;
    for (uint32_t position = lane->submitted; position-- != lane->collected;) {
        take_back_one(worker, position);
    }
}

static bool may_start_another(const struct aionif_pool *pool) {
    return pool->worker_count < pool->settings.max_workers && !pool->spawn_failed;
}

/* Where nothing is pending, an idle worker takes over what waits in a busy one's lane, whose first
 * record is running or about to. A new worker is only worth it when that has lasted: the watchdog
 * says so. */
void aionif__rebalance(struct aionif_pool *pool, bool may_start) {
    for (uint32_t i = 0; i < pool->worker_count && !pool->pending.first; i++) {
        struct aionif__worker *worker = pool->workers[i];
        struct aionif__lane *lane = worker->lane;
        if (worker->reserved || load_of(worker) < 2 || aionif__lane_idle(lane)) {
            continue;
        }
        if (!find_idle(pool, NULL) && !(may_start && may_start_another(pool))) {
            return;
        }
        for (uint32_t at = lane->collected + 1; at != lane->submitted; at++) {
            if (take_back_one(worker, at)) {
                break;
            }
        }
    }
    aionif__dispatch(pool, NULL);
}
