/* The slot: what happens when cffi or ctypes calls aionif_thunk in place of a native function.
 *
 * Python has said in the thread's call slot what this call is: a submission to a pool, a call to run right
 * here (inline tier), or the fetching of a result that is ready. The arguments, or the result, pass
 * through the very conversion that a direct call would use, as cffi believes it is making one; errno
 * too goes in and comes out as a direct call would have it. */
#include "lanes/alarm.h"
#include "lanes/dispatch.h"
#include "lanes/ends.h"
#include "lanes/events.h"
#include "workers/inline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* On top of what the function usually takes, for the way there and back. */
#define WATCH_MARGIN_NS ((int64_t)3000)

enum { LONGEST_RUN = 6 };

__attribute__((visibility("hidden"))) struct aionif__result *
aionif__enter(struct aionif__registers *registers, const uint64_t *words);

static void leave_nothing(struct aionif__thread *self, int outcome) {
    memset(&self->result, 0, sizeof self->result);
    self->slot.outcome = outcome;
}

/* The struct that native code wrote to memory of ours goes where cffi wants it. */
static void hand_over(struct aionif__thread *self, struct aionif__call *call, uint64_t pointer) {
    self->slot.reply = call->reply;
    call->reply = NULL; /* Python's, from here on */
    self->slot.queue_ns = call->queue_ns;
    self->slot.run_ns = call->run_ns;
    self->result = call->result;
    self->result.has_x87 = call->plan->result_x87;
    if (call->memory) {
        memcpy((void *)(uintptr_t)pointer, call->memory, call->plan->result_memory);
        aionif__arch_return_pointer(&self->result, pointer);
    }
    errno = call->error_number;
}

static void replay(struct aionif__thread *self, struct aionif__registers *registers, uint64_t id) {
    uint64_t pointer = *aionif__arch_result_pointer(registers);
    aionif__lock();
    struct aionif__call *call = aionif__call_find(id);
    if (!call || call->stage != AIONIF__ENDED || call->failed) {
        leave_nothing(self, AIONIF_MISUSED);
    } else {
        hand_over(self, call, pointer);
        self->slot.outcome = AIONIF_RETURNED;
        aionif__call_free(call);
    }
    aionif__unlock();
}

/* Why this call can't be accepted, or AIONIF_PENDING. */
static int admit(const struct aionif_target *target, struct aionif_port *port) {
    struct aionif_pool *pool = target->pool;
    if (pool->closed || (target->strand && (target->strand->broken || target->strand->closed))) {
        return AIONIF_CLOSED;
    }
    if (pool->lost >= pool->settings.max_lost) {
        return AIONIF_REFUSED;
    }
    if (!aionif__has_room(pool)) {
        pool->starved = true;
        return AIONIF_FULL;
    }
    return aionif__events_promise(port, AIONIF__CALL_EVENTS) ? AIONIF_PENDING : AIONIF_NO_MEMORY;
}

static struct aionif__call *make_call(struct aionif__thread *self,
                                      const struct aionif_target *target,
                                      const struct aionif__registers *registers,
                                      const uint64_t *words) {
    struct aionif__call *call = aionif__call_take();
    if (!call) {
        return NULL;
    }
    struct aionif_plan *plan = target->plan;
    call->plan = plan;
    call->pool = target->pool;
    call->port = self->slot.port;
    call->strand = target->strand;
    call->series = target->series;
    call->slow_ns = target->slow_ns;
    call->run_timeout_ns = target->run_timeout_ns;
    call->on_timeout = target->on_timeout;
    call->on_cancel = target->on_cancel;
    call->measure_stack = target->measure_stack;
    call->registers = *registers;
    call->submitted_ns = aionif__now_ns();
    call->deadline_ns = self->slot.timeout_ns ? call->submitted_ns + self->slot.timeout_ns : 0;
    uint32_t count = self->slot.stack_words ? self->slot.stack_words : plan->stack_words;
    call->memory = plan->result_memory ? malloc(plan->result_memory) : NULL;
    call->stage = AIONIF__WAITING;
    call->block = self->slot.block;
    if ((plan->result_memory && !call->memory) || count > target->pool->server->most_words ||
        !aionif__call_keep_words(call, words, count) ||
        (call->deadline_ns && !aionif__deadline_add(call))) {
        aionif__call_free(call);
        return NULL;
    }
    return call;
}

static void enqueue(struct aionif__call *call, const struct aionif_target *target) {
    struct aionif_pool *pool = call->pool;
    pool->outstanding++;
    pool->statistics.submitted++;
    call->port->outstanding++;
    if (call->strand && call->strand->busy) {
        aionif__queue_append(&call->strand->held, call);
        pool->held++;
        return;
    }
    if (call->strand) {
        call->strand->busy = true;
    }
    if (call->strand && call->strand->pinned) { /* its worker waits for it and takes no other's */
        aionif__queue_prepend(&pool->pending, call);
    } else {
        aionif__queue_append(&pool->pending, call);
    }
    bool watch = target->watch && call->plan->usual_ns <= pool->settings.watch_ns;
    if (watch && pool->unwatched) {
        pool->unwatched--;
        watch = false;
    }
    aionif__dispatch(pool, watch ? call : NULL);
}

/* A watch in vain costs the loop more than the suspension it was to save. It comes in runs, when
 * other threads want the CPUs, so after each one twice as many calls go unwatched. */
static void note_watch(struct aionif_pool *pool, bool paid) {
    if (paid) {
        pool->watches_in_vain = 0;
    } else {
        pool->watches_in_vain += pool->watches_in_vain < LONGEST_RUN;
        pool->unwatched = 1u << pool->watches_in_vain;
    }
}

/* Under the lock, and again on return. True: it has ended. */
static bool watch(struct aionif__call *call) {
    struct aionif__worker *worker = call->worker;
    struct aionif__record *record = call->record;
    int64_t patience = 2 * (int64_t)call->plan->usual_ns + WATCH_MARGIN_NS;
    if (call->parked) {
        patience += call->pool->settings.wake_ns;
    }
    worker->watchers++;
    aionif__unlock();
    int64_t until = call->submitted_ns + patience;
    bool finished = aionif__lane_watch(worker->lane, record, until);
    /* Seen, but late: who gives way may wait for all others that want this CPU. */
    bool paid = finished && aionif__now_ns() < until + WATCH_MARGIN_NS;
    aionif__lock();
    worker->watchers--;
    if (!worker->pool) {
        aionif__collect(worker); /* it has been taken out meanwhile, its pool perhaps freed */
    } else {
        note_watch(worker->pool, paid);
        if (finished) {
            aionif__collect_pool(worker->pool);
        }
    }
    call->watched = call->stage == AIONIF__ENDED;
    return call->watched;
}

static void submit(struct aionif__thread *self, const struct aionif_target *target,
                   struct aionif__registers *registers, const uint64_t *words) {
    int error_number = errno;
    uint64_t pointer = *aionif__arch_result_pointer(registers);
    aionif__lock();
    struct aionif_port *port = self->slot.port;
    int outcome = admit(target, port);
    struct aionif__call *call =
        outcome == AIONIF_PENDING ? make_call(self, target, registers, words) : NULL;
    if (!call) {
        if (outcome == AIONIF_PENDING) {
            port->promised -= AIONIF__CALL_EVENTS;
            outcome = AIONIF_NO_MEMORY;
        }
        aionif__unlock();
        leave_nothing(self, outcome);
        return;
    }
    call->error_number = error_number;
    self->slot.call = call->id;
    enqueue(call, target);
    if (!call->watched || !watch(call)) {
        aionif__alarm_wake(call->deadline_ns ? call->deadline_ns : INT64_MAX - 1);
        leave_nothing(self, AIONIF_PENDING);
    } else if (call->failed) {
        aionif__alarm_wake(INT64_MAX - 1); /* the worker may have to prove itself */
        leave_nothing(self, AIONIF_FAILED);
    } else {
        bool due = aionif__thread_turn_is_due(self, call->submitted_ns);
        hand_over(self, call, pointer);
        self->slot.outcome = due ? AIONIF_YIELD : AIONIF_RETURNED;
        aionif__call_free(call);
    }
    aionif__unlock();
}

struct aionif__result *aionif__enter(struct aionif__registers *registers, const uint64_t *words) {
    struct aionif__thread *self = aionif__self;
    static struct aionif__result nothing;
    if (!self) {
        return &nothing; /* a function pointer of ours, called by someone else */
    }
    /* A finalizer may run, and make a call, between a request and its thunk: it takes the slot from
     * it. The older request then finds an empty slot, and is made again. */
    struct aionif_target *target = self->slot.target;
    uint64_t ended = self->slot.replay;
    self->slot.target = NULL;
    self->slot.replay = 0;
    if (!target && ended) {
        replay(self, registers, ended);
    } else if (!target) {
        leave_nothing(self, AIONIF_MISUSED);
    } else if (target->pool) {
        submit(self, target, registers, words);
    } else {
        aionif__run_inline(self, target, registers, words);
    }
    self->slot.timeout_ns = 0;
    self->slot.stack_words = 0;
    self->slot.block = NULL;
    return &self->result;
}
