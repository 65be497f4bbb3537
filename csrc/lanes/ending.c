#include "lanes/ending.h"

#include "lanes/alarm.h"

#define GRACE AIONIF__MILLISECOND /* for a call that may yet look at the cooperative flag */
#define PROMISE (100 * AIONIF__MILLISECOND) /* for one that has looked: it is going to look again */

struct aionif__control *aionif__control_of(const struct aionif__call *call) {
    return call->thread ? call->thread->control : &call->worker->lane->control;
}

bool aionif__end_call(struct aionif__call *call, int mode) {
    if (call->worker) {
        return call->worker->server->end(call, mode);
    }
    aionif__ending_add(call, mode);
    return false;
}

void aionif__ending_add(struct aionif__call *call, int mode) {
    struct aionif__control *control = aionif__control_of(call);
    call->ending_mode = (uint8_t)mode;
    if (call->ending) {
        return;
    }
    call->ending = true;
    call->attempts = call->unanswered = 0;
    int64_t grace = atomic_load(&control->look_ticket) == call->id ? PROMISE : GRACE;
    call->next_attempt_ns = aionif__now_ns() + (mode == AIONIF_ABORT ? grace : 0);
    atomic_store(&control->stop_ticket, call->id);
    call->previous_ending = NULL;
    call->next_ending = aionif__core.ending;
    if (call->next_ending) {
        call->next_ending->previous_ending = call;
    }
    aionif__core.ending = call;
    aionif__alarm_wake(call->next_attempt_ns);
}

void aionif__ending_forget(struct aionif__call *call) {
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
