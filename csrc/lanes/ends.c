/* How calls end: what a worker has published is taken over, and whoever waits is told. */
#include "lanes/ends.h"

#include "lanes/dispatch.h"
#include "lanes/ending.h"
#include "lanes/events.h"
#include "lanes/series.h"
#include "lanes/strand.h"

#include <stdlib.h>
#include <string.h>

/* What a worker wrote is checked before it is used: a kind it may not claim, times that run
 * backwards, a frame count past the array. */
static void take_failure(struct aionif__call *call, const struct aionif__record *record) {
    call->failure = malloc(sizeof *call->failure);
    if (!call->failure) {
        return; /* aionif_failure then says that the details are lost */
    }
    *call->failure = record->failure;
    struct aionif_failure *failure = call->failure;
    failure->kind = record->kind;
    if (record->kind == 0) { /* it returned, but its caller has waited longer than it wanted to */
        memset(failure, 0, sizeof *failure);
        failure->kind = AIONIF_ABORTED;
    }
    if (failure->kind < AIONIF_SIGNAL || failure->kind > AIONIF_UNLOADED) {
        failure->kind = AIONIF_SIGNAL;
    }
    if (failure->frame_count < 0 || failure->frame_count > AIONIF_FRAMES) {
        failure->frame_count = 0;
    }
    failure->type_name[AIONIF_TEXT - 1] = failure->reason[AIONIF_TEXT - 1] = '\0';
    failure->timed_out = call->timed_out;
    failure->queue_ns = call->queue_ns;
    failure->run_ns = call->run_ns;
    if (call->worker->server->describe) {
        call->worker->server->describe(call->worker, call);
    }
}

static void note_run_time(struct aionif_plan *plan, int64_t run_ns) {
    uint32_t bounded = run_ns < 0 ? 0 : run_ns > 1000000000 ? 1000000000 : (uint32_t)run_ns;
    plan->usual_ns =
        plan->usual_ns ? plan->usual_ns - plan->usual_ns / 8 + bounded / 8 + 1 : bounded + 1;
}

static void count_end(struct aionif_pool *pool, struct aionif__call *call,
                      const struct aionif__record *record) {
    struct aionif_statistics *statistics = &pool->statistics;
    if (aionif__has_raised(call, record)) {
        statistics->raised++;
    } else if (record->kind == 0) {
        statistics->returned++;
    } else if (record->kind == AIONIF_ABORTED) {
        statistics->aborted++;
    } else {
        statistics->failed++;
    }
    statistics->watched += call->watched;
    if (call->measure_stack && record->stack_used > statistics->stack_high_water) {
        statistics->stack_high_water = record->stack_used;
    }
    aionif__series_ended(call, record);
}

static void note_slow(const struct aionif__call *call, const struct aionif_pool *pool) {
    if (call->slow_ns && call->run_ns > call->slow_ns) {
        int64_t ms = call->run_ns / 1000000;
        aionif__core_event(AIONIF_CORE_SLOW, ms > INT32_MAX ? INT32_MAX : (int)ms, 0,
                           call->plan->function, pool->settings.name, "");
    }
}

void aionif__outstanding_less(struct aionif_pool *pool) {
    if (--pool->outstanding == 0 && pool->closed && pool->idle_port) {
        aionif__announce(pool->idle_port, (uintptr_t)pool, AIONIF_EVENT_IDLE);
        pool->idle_port->promised--;
        pool->idle_port = NULL;
    }
}

static void leave_strand(struct aionif__call *call, const struct aionif__record *record) {
    struct aionif_strand *strand = call->strand;
    if (strand) {
        strand->broken |= strand->is_session && record->kind != 0;
        if (strand->broken) {
            aionif__strand_drop_held(strand);
        }
        aionif__strand_next(strand);
    }
}

static void end(struct aionif__call *call, struct aionif__record *record, bool stray) {
    struct aionif_port *port = call->port;
    call->run_ns = record->ended_ns - record->started_ns;
    call->queue_ns = record->started_ns - call->submitted_ns;
    note_run_time(call->plan, call->run_ns);
    aionif__deadline_remove(call);
    aionif__ending_forget(call);
    leave_strand(call, record);
    if (!stray) {
        count_end(call->pool, call, record);
        note_slow(call, call->pool);
        aionif__outstanding_less(call->pool);
    }
    if (call->orphan) {
        aionif__announce(port, call->id, AIONIF_EVENT_RELEASED);
        aionif__call_free(call);
    } else {
        call->failed = record->kind != 0 || call->timed_out;
        if (call->failed) {
            take_failure(call, record);
        }
        call->error_number = record->error_number;
        call->result = record->result;
        call->stage = AIONIF__ENDED;
        if (!call->watched) {
            aionif__announce(port, call->id,
                             call->failed ? AIONIF_EVENT_FAILED : AIONIF_EVENT_RETURNED);
        }
    }
    aionif__port_forget(port);
}

void aionif__collect(struct aionif__worker *worker) {
    const struct aionif__server *server = worker->server;
    struct aionif__lane *lane = worker->lane;
    while (lane->collected != lane->submitted) {
        struct aionif__record *slot = aionif__lane_at(lane, lane->collected), *record = slot;
        uint32_t state = atomic_load(&slot->state) & AIONIF__STATE;
        if (!server->is_trusted && !(record = server->read(worker, lane->collected, &state))) {
            break;
        }
        if (state != AIONIF__FINISHED && state != AIONIF__PASSED) {
            break;
        }
        struct aionif__call *call = worker->calls[lane->collected % AIONIF__SLOTS];
        worker->calls[lane->collected % AIONIF__SLOTS] = NULL;
        if (state == AIONIF__FINISHED && call) {
            if (server->take) {
                server->take(worker, call, record);
            }
            end(call, record, worker->pool == NULL);
        }
        atomic_store(&slot->state, AIONIF__FREE);
        lane->collected++;
    }
}

/* Every loop is told: which of them waits for this pool is not kept. Without memory it is tried again
 * when the pool is next looked at. */
void aionif__tell_starved(struct aionif_pool *pool) {
    if (!pool->starved) {
        return;
    }
    pool->starved = false;
    for (struct aionif_port *port = aionif__core.ports; port; port = port->next) {
        pool->starved |= !aionif__announce(port, (uintptr_t)pool, AIONIF_EVENT_CAPACITY);
    }
}

bool aionif__is_publishing(struct aionif__worker *worker) {
    struct aionif__lane *lane = worker->lane;
    aionif__collect(worker);
    return lane->collected != lane->submitted &&
           (atomic_load(&aionif__lane_at(lane, lane->collected)->state) & AIONIF__STATE) ==
               AIONIF__RUNNING;
}

void aionif__collect_pool(struct aionif_pool *pool) {
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        aionif__collect(pool->workers[i]);
    }
    pool->server->replace(pool);
    aionif__dispatch(pool, NULL);
    aionif__rebalance(pool, false);
    if (aionif__has_room(pool)) {
        aionif__tell_starved(pool);
    }
}

void aionif__drop(struct aionif__call *call, int event) {
    struct aionif_port *port = call->port;
    aionif__settle(call, event < 0                             ? AIONIF_FATE_CANCELLED
                         : event == AIONIF_EVENT_QUEUE_TIMEOUT ? AIONIF_FATE_TIMED_OUT
                                                               : AIONIF_FATE_DROPPED);
    if (call->series && event == AIONIF_EVENT_QUEUE_TIMEOUT) {
        call->series->queue_timeouts++;
    }
    if (call->queue && call->strand && call->queue == &call->strand->held) {
        call->pool->held--;
        aionif__queue_remove(call);
        aionif__strand_free_when_done(call->strand);
    } else {
        if (call->queue) {
            aionif__queue_remove(call);
        }
        if (call->strand) {
            aionif__strand_next(call->strand);
        }
    }
    aionif__deadline_remove(call);
    aionif__outstanding_less(call->pool);
    if (call->orphan) { /* given up, and only then taken back from a worker */
        event = AIONIF_EVENT_RELEASED;
    }
    if (event >= 0) {
        aionif__announce(port, call->id, event);
    }
    aionif__call_free(call);
    aionif__port_forget(port);
}
