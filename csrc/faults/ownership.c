/* Ownership of a fault is a question about the thread, not about the stack pointer: calls run on
 * stacks of their own making (fibers), and a frame of many MiB takes the pointer far below the call's
 * stack. A fault is the call's if all of this holds:
 *
 *   - this thread has a call armed, and the process is the one the core was started in: the child of
 *     a fork() inside a call must not come back into the parent's program;
 *   - the kernel raised it for an instruction of this thread, or this thread sent it to itself
 *     (abort, raise). What another thread or process sent is not the call's;
 *   - it was not met on an alternate stack, where a handler of somebody else runs. Such a handler may
 *     raise the signal again; that is accepted, the address then being lost;
 *   - this thread does not have the interpreter's lock: nobody would give it back. A worker process
 *     ends with the crash anyway. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/ownership.h"

#include "arch/context.h"
#include "faults/interpreter.h"

#include <unistd.h>

/* A frame may begin so far below its stack, and be touched anywhere; no farther, as what lies there is
 * then more likely a stack that has nothing to do with this one. */
#define LARGEST_FRAME ((uintptr_t)1 << 30)
/* An access below the stack pointer: of a call instruction, of a red zone, of a frame that is touched
 * page by page before the pointer moves. */
#define BELOW ((uintptr_t)1 << 16)

static pid_t owner;
static bool raise_blocks;

void aionif__ownership_start(pid_t process, bool blocks) {
    owner = process;
    raise_blocks = blocks;
}

pid_t aionif__ownership_process(void) { return owner; }

bool aionif__is_owner(pid_t process) { return process == owner; }

static bool within(const struct aionif__stack *stack, uintptr_t sp) {
    return sp >= stack->guard_low && sp <= stack->top;
}

bool aionif__on_alternate_stack(const struct aionif__thread *self, uintptr_t sp) {
    stack_t now; /* faulthandler.enable() gives its thread another */
    return within(&self->altstack.stack, sp) ||
           (sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE) &&
            sp - (uintptr_t)now.ss_sp < now.ss_size);
}

bool aionif__on_call_stack(const struct aionif__invocation *invocation, uintptr_t sp) {
    return sp >= invocation->guard_low && sp <= (uintptr_t)invocation->stack_top;
}

bool aionif__raised_by_kernel(const siginfo_t *info) {
    return info->si_code > 0 && !(info->si_signo == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

static bool raised_by_itself(const struct aionif__thread *self, const siginfo_t *info,
                             const ucontext_t *context) {
    return info->si_code == SI_TKILL && info->si_pid == owner &&
           context_raised_self(context, info->si_signo, self->tid, raise_blocks);
}

bool aionif__is_calls_fault(const struct aionif__thread *self,
                            const struct aionif__invocation *invocation, const siginfo_t *info,
                            const ucontext_t *context) {
    if (getpid() != owner || (!self->is_process && aionif__interpreter_is_held())) {
        return false;
    }
    uintptr_t sp = context_sp(context);
    bool is_displaced =
        !aionif__on_call_stack(invocation, sp) && aionif__on_alternate_stack(self, sp);
    return raised_by_itself(self, info, context) ||
           (aionif__raised_by_kernel(info) && !is_displaced);
}

bool aionif__is_overflow(const struct aionif__thread *self,
                         const struct aionif__invocation *invocation, const siginfo_t *info,
                         const ucontext_t *context) {
    uintptr_t address = (uintptr_t)info->si_addr, sp = context_sp(context);
    if ((info->si_signo != SIGSEGV && info->si_signo != SIGBUS) ||
        !aionif__raised_by_kernel(info)) {
        return false;
    }
    if (aionif__on_call_stack(invocation, sp)) {
        return address >= invocation->guard_low && address < invocation->stack_low;
    }
    if (aionif__on_alternate_stack(self, sp) || address < sp - BELOW) {
        return false;
    }
    bool is_below = sp < invocation->guard_low && invocation->guard_low - sp <= LARGEST_FRAME;
    return is_below ? address < invocation->stack_low : address < sp + BELOW;
}
