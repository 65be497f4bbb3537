/* The inline tier: a call in its caller's thread, on that thread's guarded stack.
 *
 * What a crash leaves behind is worse here than on a worker, as this thread can't be set aside. Where
 * the stack of the crash says that a lock may be held, this thread proves that none is, or the
 * process ends with the signal of the crash, as it would have without us (lock_check.c). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "workers/inline.h"

#include "faults/lock_check.h"
#include "lanes/alarm.h"
#include "lanes/ending.h"
#include "threads/quarantine.h"
#include "workers/exceptions.h"
#include "workers/serve.h"
#include "workers/watchdog.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { INLINE_STACK = 1 << 20, INLINE_GUARD = 128 << 20 };

static void settle_failure(struct aionif__thread *self, const struct aionif__invocation *invocation,
                           int ending, const struct aionif__exceptions *exceptions) {
    if (ending == AIONIF__THREW || ending == AIONIF__UNWOUND) {
        aionif__describe_throw(self, invocation, ending);
    } else {
        aionif__note_taint(self);
        if (self->traits) {
            aionif__check_inline_locks(self);
        }
        aionif__exceptions_restore(exceptions);
    }
    self->failure.queue_ns = self->failure.run_ns =
        0; /* not measured: it costs more than the call */
    self->failure.stack_size = self->stack.top - self->stack.low;
    if (self->failure.kind == AIONIF_OVERFLOW) {
        self->failure.stack_used = self->failure.stack_size;
        if (!self->armed && !self->on_own_stack) { /* else the frames of an outer call are on it */
            aionif__stack_clear(&self->stack);
        }
    }
    if (!self->armed && !self->on_own_stack &&
        (ending == AIONIF__FAULTED || ending == AIONIF__ABORTED)) {
        aionif__stack_exchange(&self->stack);
    }
}

/* A deadline is the watchdog's, so a call with one is entered in the books of the others. */
static struct aionif__call *book(struct aionif__thread *self, const struct aionif_target *target,
                                 int64_t now) {
    if (!aionif__watchdog_keep()) {
        return NULL;
    }
    aionif__lock();
    struct aionif__call *call = aionif__call_take();
    if (call) {
        call->stage = AIONIF__INLINE;
        call->plan = target->plan;
        call->thread = self;
        call->on_timeout = target->on_timeout;
        call->deadline_ns = now + self->slot.timeout_ns;
        if (!aionif__deadline_add(call)) {
            aionif__call_free(call);
            call = NULL;
        } else {
            aionif__alarm_wake(call->deadline_ns);
        }
    }
    aionif__unlock();
    return call;
}

static bool close_book(struct aionif__call *call) {
    aionif__lock();
    bool timed_out = call->timed_out;
    aionif__deadline_remove(call);
    aionif__ending_forget(call);
    aionif__call_free(call);
    aionif__unlock();
    return timed_out;
}

static void conclude(struct aionif__thread *self, const struct aionif__invocation *invocation,
                     int ending, const struct aionif__exceptions *exceptions,
                     struct aionif__call *call) {
    if (ending != AIONIF__RETURNED) {
        settle_failure(self, invocation, ending, exceptions);
        self->slot.outcome = AIONIF_FAILED;
        self->result.has_x87 = 0;
    }
    if (call && close_book(call)) {
        self->slot.outcome = AIONIF_FAILED;
        self->failure.kind = AIONIF_ABORTED;
        self->failure.timed_out = 1;
    }
    self->slot.call = 0;
    self->slot.queue_ns = self->slot.run_ns = 0;
}

/* The stack that the thread was started with, where it is the one in use; a call within a call on the
 * guarded one goes on there. */
static bool take_own_stack(struct aionif__thread *self) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (!self->own_stack.low) {
        self->own_stack = aionif__thread_own_stack();
    }
    bool is_here = here > self->own_stack.low && here <= self->own_stack.top;
    if (is_here) {
        self->stack = self->own_stack;
        self->on_own_stack = true;
    }
    return is_here;
}

static void run(struct aionif__thread *self, const struct aionif_target *target,
                struct aionif__invocation *invocation, int error_number) {
    struct aionif__call *call = NULL;
    if (self->slot.timeout_ns) {
        call = book(self, target, aionif__now_ns());
        if (!call) {
            return;
        }
        invocation->ticket = call->id;
    }
    struct aionif__exceptions exceptions[AIONIF__CXX_RUNTIMES];
    aionif__exceptions_note(exceptions);
    errno = error_number;
    int ending = aionif__thread_run(self, invocation);
    error_number = errno;
    bool due = target->watch && aionif__thread_turn_is_due(self, aionif__now_ns());
    self->slot.outcome = due ? AIONIF_YIELD : AIONIF_RETURNED;
    conclude(self, invocation, ending, exceptions, call);
    errno = error_number;
}

void aionif__run_inline(struct aionif__thread *self, const struct aionif_target *target,
                        struct aionif__registers *registers, const uint64_t *words) {
    int error_number = errno;
    struct aionif__stack before = self->stack;
    bool was_own = self->on_own_stack;
    self->slot.outcome = AIONIF_NO_MEMORY;
    if (!(target->own_stack && take_own_stack(self)) &&
        !aionif__thread_give_stack(self, INLINE_STACK, INLINE_GUARD)) {
        return;
    }
    const struct aionif_plan *plan = target->plan;
    struct aionif__invocation invocation = {
        .function = plan->function,
        .words = words,
        .word_count = self->slot.stack_words ? self->slot.stack_words : plan->stack_words,
        .registers = registers,
        .result = &self->result,
        .backtrace_limit = AIONIF_FRAMES,
        .asks_handlers = target->asks_handlers,
    };
    self->result.has_x87 = plan->result_x87;
    run(self, target, &invocation, error_number);
    if (self->on_own_stack != was_own) {
        self->stack = before;
        self->on_own_stack = was_own;
    }
}
