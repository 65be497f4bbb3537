/* The core's front: start, fork, and the small functions that Python calls. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "core.h"

#include "faults/arenas.h"
#include "faults/fault.h"
#include "faults/lock_check.h"
#include "faults/modules.h"
#include "faults/unwind.h"
#include "lanes/ending.h"
#include "lanes/ends.h"
#include "lanes/series.h"
#include "processes/zygote.h"
#include "threads/quarantine.h"
#include "workers/handlers.h"
#include "workers/watchdog.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *aionif_start(const char *cxx_helper) {
    /* They would have to be switched with ours: a return on the guarded stack would else fault. */
    if (aionif__arch_shadow_stacks()) {
        return "this process runs with user shadow stacks, which aionif can't switch yet; "
               "start it with GLIBC_TUNABLES=" AIONIF__SHADOW_STACKS_OFF;
    }
    aionif__unwind_start(cxx_helper);
    aionif__lock_check_start();
    aionif_refresh();
    return aionif__fault_start();
}

/* In the child of a fork the parent's threads do not exist, and the lock may be held by one of them.
 * What they owned is left where it is: it is a copy, and nobody can say in what state. */
void aionif_forked(void) {
    pthread_mutex_init(&aionif__core.lock, NULL);
    aionif__core.pools = NULL;
    aionif__core.ports = NULL;
    aionif__core.strays = NULL;
    aionif__core.ending = NULL;
    aionif__core.unclaimed = (struct aionif__events){0};
    aionif__quarantine_forked();
    aionif__calls_forked();
    aionif__watchdog_forked();
    aionif__fault_forked();
    aionif__zygote_forked();
    if (aionif__self) {
        aionif__self->tid = (pid_t)syscall(SYS_gettid);
        aionif__self->armed = NULL;
    }
}

uint64_t aionif_thunk_address(void) { return (uintptr_t)aionif_thunk; }

struct aionif_call_slot *aionif_call_slot_open(void) {
    struct aionif__thread *self = aionif__thread_current();
    aionif__arenas_refresh();
    aionif__lock();
    aionif__stay_in_front(); /* inline calls have no watchdog that looks */
    aionif__unlock();
    return self ? &self->slot : NULL;
}

int aionif_taint(void) { return atomic_load(&aionif__core.taint); }

uint64_t aionif_stack_minimum(void) { return aionif__stack_minimum(); }

/* Executable memory, as the kernel tells it. */
int aionif_is_code(uint64_t address) { return aionif__modules_is_code(address); }

int aionif_cancel(uint64_t id) {
    aionif__lock();
    struct aionif__call *call = aionif__call_find(id);
    int released = 1;
    if (call && call->stage == AIONIF__ENDED) {
        aionif__call_free(call);
    } else if (call && call->stage == AIONIF__WAITING) {
        call->pool->statistics.cancelled++;
        aionif__drop(call, -1);
    } else if (call && call->stage == AIONIF__LANED && aionif__lane_withdraw(call->record)) {
        call->worker->calls[call->record - call->worker->lane->records] = NULL;
        call->pool->statistics.cancelled++;
        aionif__drop(call, -1);
    } else if (call && call->stage == AIONIF__LANED) {
        aionif__collect(call->worker);
        released = call->stage != AIONIF__LANED;
        if (call->stage == AIONIF__ENDED) { /* an orphan was freed as it ended */
            aionif__call_free(call);
        } else if (!released) {
            if (!call->orphan) { /* else it is being ended already */
                call->orphan = true;
                aionif__deadline_remove(call);
                call->pool->statistics.cancelled++;
                aionif__settle(call, AIONIF_FATE_CANCELLED);
                aionif__end_call(call, call->on_cancel);
            }
        }
    }
    aionif__unlock();
    return released;
}

void aionif_release(uint64_t id) {
    aionif__lock();
    struct aionif__call *call = aionif__call_find(id);
    if (call && call->stage == AIONIF__ENDED) {
        aionif__call_free(call);
    }
    aionif__unlock();
}

/* id 0: of the calling thread's last inline call. The call is released. 0: no such failure. */
int aionif_failure(uint64_t id, struct aionif_failure *out) {
    if (id == 0) {
        if (aionif__self) {
            *out = aionif__self->failure;
        }
        return aionif__self != NULL;
    }
    aionif__lock();
    struct aionif__call *call = aionif__call_find(id);
    int found = call && call->stage == AIONIF__ENDED && call->failed && call->failure;
    if (found) {
        *out = *call->failure;
        if (aionif__self) {
            aionif__self->slot.queue_ns = call->queue_ns;
            aionif__self->slot.run_ns = call->run_ns;
        }
    }
    if (call && call->stage == AIONIF__ENDED) {
        aionif__call_free(call);
    }
    aionif__unlock();
    return found;
}

__attribute__((visibility("default"))) int aionif_core_should_stop(void) {
    const struct aionif__thread *self = aionif__self;
    const struct aionif__invocation *invocation = self ? self->armed : NULL;
    if (!invocation || !invocation->ticket) {
        return 0;
    }
    atomic_store_explicit(&self->control->look_ticket, invocation->ticket, memory_order_relaxed);
    return atomic_load_explicit(&self->control->stop_ticket, memory_order_relaxed) ==
           invocation->ticket;
}
