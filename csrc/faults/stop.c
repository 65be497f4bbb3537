/* Stopping a call that runs too long.
 *
 * A call can be left where its whole stack is known and none of its frames is libc's or its kin's: it
 * holds no lock of the runtime then. One that is inside the runtime is stopped where that returns to
 * the call's own code: the return address of the outermost frame of the runtime, below which only user
 * code lies, is replaced by aionif__stop_landing. Frames of user code above it (the callback of a qsort)
 * come to their end first. What sleeps in the kernel gets EINTR, as from any other signal.
 *
 * Each signal begins anew: the address is put back, the stack is walked again. So a longjmp over the
 * replaced address costs nothing but a millisecond. Once the landing is reached, the call is over:
 *
 *   - an exception that passes is met there: the landing's personality (unwind.c) takes it, whatever it is;
 *   - in a child that shares or has a copy of the stack (vfork, clone) the landing goes on to the
 *     address that it stands for, the result untouched; so it does if a callback has taken the
 *     interpreter's lock and kept it.
 *
 * Rejected: leaving at any time, and proving afterwards that no lock is held. It wedged most runs of a
 * loop of malloc and free. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/stop.h"

#include "arch/context.h"
#include "faults/attempt.h"
#include "faults/interpreter.h"
#include "faults/modules.h"
#include "faults/ownership.h"
#include "faults/unwind.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The stack of an earlier call, whose ticket it has, may not be there any more. */
void aionif__stop_take_back(struct aionif__thread *self) {
    struct aionif__return *taken = &self->taken;
    bool is_of_this_call = self->armed && self->armed->ticket == taken->ticket;
    if (taken->slot && is_of_this_call && *taken->slot == (uintptr_t)aionif__stop_landing) {
        *taken->slot = taken->address;
    }
    taken->slot = NULL; /* the address stays: the landing may be under way already */
}

struct reading {
    struct aionif__thread *self;
    const struct aionif__invocation *invocation;
    const ucontext_t *context;
    int traits;
    struct aionif__return way_out;
};

static void read_stack(void *argument) {
    struct reading *reading = argument;
    reading->traits = aionif__find_way_out(reading->self, reading->invocation,
                                           context_pc(reading->context), &reading->way_out);
}

bool aionif__stop(struct aionif__thread *self, const struct aionif__invocation *invocation,
                  ucontext_t *context) {
    struct reading reading = {.self = self, .invocation = invocation, .context = context};
    aionif__stop_take_back(self);
    aionif__thread_fails(self, AIONIF_ABORTED);
    self->traits = 0;
    if (!aionif__attempt(self, read_stack, &reading)) {
        return false;
    }
    enum { PASSABLE = AIONIF__IN_RUNTIME | AIONIF__IN_HEAP | AIONIF__IN_TEAM };
    if (reading.traits && (reading.traits & ~PASSABLE) == 0 && reading.way_out.slot) {
        self->taken = reading.way_out;
        self->taken.ticket = invocation->ticket;
        *self->taken.slot = (uintptr_t)aionif__stop_landing;
        if (aionif__module_owner(context_pc(context)) == AIONIF__RUNTIME) {
            context_interrupt(context);
        }
    }
    return reading.traits == 0;
}

/* By the landing, on the call's stack: ends the call, or says where to go on. */
__attribute__((visibility("hidden"))) uintptr_t aionif__stop_landed(void);

uintptr_t aionif__stop_landed(void) {
    struct aionif__thread *self = aionif__self;
    struct aionif__invocation *invocation = self->armed;
    bool is_ours = aionif__is_owner(getpid()) && !aionif__interpreter_is_held();
    if (!is_ours || !invocation || self->taken.ticket != invocation->ticket) {
        return self->taken.address;
    }
    if (self->failure.kind != AIONIF_ABORTED) { /* a call within this one has failed meanwhile */
        aionif__thread_fails(self, AIONIF_ABORTED);
    }
    self->traits = 0;
    self->taken.slot = NULL;
    self->armed = NULL;
    if (self->is_worker) {
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &self->signal_mask, NULL, sizeof(uint64_t));
    }
    aionif__invoke_leave(invocation, AIONIF__ABORTED);
}
