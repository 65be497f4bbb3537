/* The fault handler.
 *
 * Purpose: a fault inside a native call ends that call, not the process. Guarantee: a fault anywhere
 * else is met as if this file did not exist (chain.c).
 *
 * Which faults those are is said in ownership.c. Besides, the interpreter must not be on the call's
 * stack (a callback): its frames can't be dropped.
 *
 * Recovery rewrites the saved context so that sigreturn arrives at aionif__invoke_exit. The switch to
 * the call's stack is the recovery point: nothing is saved per call, the kernel restores the mask, and
 * the alternate stack is free again. siglongjmp would need a sigsetjmp before each call.
 *
 * A fault while a fault is recorded (a backtrace over a smashed stack, libc's message being unmapped)
 * ends that part of the recording (attempt.c).
 *
 * Rejected: asking for the current handlers on each call (a system call each). faulthandler and
 * others that come later are found by the watchdog; until then their handler runs first, and when it
 * raises the signal again, the interrupted stack pointer is on our alternate stack. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/fault.h"

#include "arch/context.h"
#include "faults/attempt.h"
#include "faults/chain.h"
#include "faults/exits.h"
#include "faults/fstat.h"
#include "faults/interpreter.h"
#include "faults/modules.h"
#include "faults/ownership.h"
#include "faults/stop.h"
#include "faults/unwind.h"
#include "system/glibc.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
enum { FAULTS = sizeof faults / sizeof faults[0] };

static int abort_signal;
static void (*on_denial)(int);

static void read_message(void *failure) {
    aionif__abort_message(((struct aionif_failure *)failure)->reason, AIONIF_TEXT);
}

static void record_signal(struct aionif__thread *self, const struct aionif__invocation *invocation,
                          const siginfo_t *info, const ucontext_t *context) {
    struct aionif_failure *failure = &self->failure;
    uintptr_t sp = context_sp(context);
    bool on_stack = aionif__on_call_stack(invocation, sp);
    bool is_overflow = aionif__is_overflow(self, invocation, info, context);
    aionif__thread_fails(self, is_overflow ? AIONIF_OVERFLOW : AIONIF_SIGNAL);
    failure->signal = info->si_signo;
    failure->code = info->si_code;
    failure->displaced = !on_stack && aionif__on_alternate_stack(self, sp);
    failure->has_address = aionif__raised_by_kernel(info) && info->si_signo != SIGSYS;
    failure->address = (uint64_t)(uintptr_t)info->si_addr;
    failure->has_registers = !failure->displaced;
    context_read(context, failure->registers);
    self->fault_sp = on_stack ? sp : 0;
    self->fault_top = (uintptr_t)invocation->stack_top;
    if (info->si_signo == SIGABRT) {
        aionif__attempt(self, read_message, failure);
    }
}

/* A jump to where no code is leaves a pc that no unwind table knows; its caller's address is on top
 * of the stack. */
static bool jumped_astray(const struct aionif__invocation *invocation, const siginfo_t *info,
                          const ucontext_t *context) {
    uintptr_t sp = context_sp(context);
    return aionif__raised_by_kernel(info) &&
           (info->si_signo == SIGSEGV || info->si_signo == SIGBUS) &&
           (uintptr_t)info->si_addr == context_pc(context) && sp >= invocation->stack_low &&
           sp + sizeof(uintptr_t) <= (uintptr_t)invocation->stack_top;
}

struct reading {
    struct aionif__thread *self;
    const struct aionif__invocation *invocation;
    uintptr_t pc, sp;
};

static void read_stack(void *argument) {
    const struct reading *reading = argument;
    struct aionif__thread *self = reading->self;
    self->traits = aionif__backtrace(self, reading->invocation, reading->pc, reading->sp);
}

static void record_stack(struct aionif__thread *self, const struct aionif__invocation *invocation,
                         const siginfo_t *info, ucontext_t *context) {
    self->traits = AIONIF__UNKNOWN; /* what stands if the walk itself faults */
    if (!invocation->backtrace_limit) {
        return;
    }
    aionif__stop_take_back(self);
    if (jumped_astray(invocation, info, context)) {
        context_pop_call(context);
    }
    bool displaced = self->failure.displaced;
    struct reading reading = {self, invocation, displaced ? 0 : context_pc(context),
                              displaced ? invocation->stack_low : context_sp(context)};
    aionif__attempt(self, read_stack, &reading);
}

static void resume(struct aionif__thread *self, struct aionif__invocation *invocation,
                   ucontext_t *context, int ending) {
    self->armed = NULL;
    context_resume(context, invocation, ending);
    if (self->is_worker) { /* another thread's, of the inline tier, is what the call made of it */
        memcpy(&context->uc_sigmask, &self->signal_mask, sizeof self->signal_mask);
    }
}

/* exit_group and forbidden calls, trapped by exits.c. In a child that the call forked, and in a
 * thread it started, there is no call to end: the exit goes through, a forbidden call fails. */
static bool is_filtered(const siginfo_t *info) {
    return info->si_signo == SIGSYS && info->si_code == SYS_SECCOMP &&
           info->si_errno == AIONIF__FILTER_MARK;
}

/* Forbidden by the policy that this process is sealed with. Outside a call nothing is to be saved:
 * the process dies of it. */
static bool is_sealed_off(const siginfo_t *info) {
    return info->si_signo == SIGSYS && info->si_code == SYS_SECCOMP &&
           info->si_errno == AIONIF_SEAL_MARK;
}

static void finish_filtered(const siginfo_t *info, ucontext_t *context) {
    if (info->si_syscall == SYS_exit_group) {
        aionif__exit_group((int)context_syscall_argument(context, 0));
    }
    context_syscall_return(context, -EPERM);
}

static int ending_of(struct aionif__thread *self, const siginfo_t *info,
                     const ucontext_t *context) {
    if (!is_filtered(info) && !is_sealed_off(info)) {
        return AIONIF__FAULTED;
    }
    if (is_sealed_off(info) || info->si_syscall != SYS_exit_group) {
        self->failure.kind = AIONIF_DENIED;
        self->failure.syscall = info->si_syscall;
        return AIONIF__DENIED;
    }
    self->failure.kind = AIONIF_EXIT;
    self->failure.status = (int)context_syscall_argument(context, 0);
    return AIONIF__EXITED;
}

/* Below frames of Python, whose state can't be unwound, and of an exit() that holds a lock to its end. */
static bool is_beyond_recovery(const struct aionif__thread *self) {
    return ((self->traits & AIONIF__IN_PYTHON) && !self->is_process) ||
           ((self->traits & AIONIF__IN_EXIT) && aionif__exits_hold_a_lock());
}

static void on_fault(int sig, siginfo_t *info, void *opaque);

static struct sigaction fault_action(void) {
    struct sigaction action = {
        .sa_sigaction = on_fault,
        /* SIGINFO: who raised it, and where. ONSTACK: the call's own stack may be what overflowed.
         * NODEFER: a second fault while recording must reach us, a blocked one kills. */
        .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
    };
    sigfillset(&action.sa_mask); /* no other handler on top of a recording */
    for (int i = 0; i < FAULTS; i++) {
        sigdelset(&action.sa_mask, faults[i]);
    }
    return action;
}

/* Virtual machines raise faults on purpose, and resolve them. */
static bool is_handled_by_library(int sig, siginfo_t *info, ucontext_t *context, uintptr_t frame) {
    struct sigaction action = fault_action();
    return aionif__chain_ask(sig, info, context, &action, frame);
}

static void on_fault(int sig, siginfo_t *info, void *opaque) {
    int error_number = errno;
    ucontext_t *context = opaque;
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    struct aionif__thread *self = aionif__self;
    struct aionif__invocation *invocation = self ? self->armed : NULL;
    if (self) {
        aionif__attempt_failed(self);
    }
    if (aionif__fstat_answer(info, context) || aionif__chain_refuses(sig, frame)) {
        errno = error_number;
        return;
    }
    if (is_sealed_off(info) && on_denial) {
        on_denial(info->si_syscall);
    }
    if (invocation && invocation->asks_handlers &&
        is_handled_by_library(sig, info, context, frame)) {
        errno = error_number;
        return;
    }
    if (invocation && aionif__is_calls_fault(self, invocation, info, context)) {
        record_signal(self, invocation, info, context);
        self->failure.error_number = error_number;
        int ending = ending_of(self, info, context);
        mcontext_t before = context->uc_mcontext; /* recording may undo a stray jump */
        record_stack(self, invocation, info, context);
        if (!is_beyond_recovery(self)) {
            resume(self, invocation, context, ending);
        } else if (is_filtered(info)) {
            finish_filtered(info, context);
        } else {
            context->uc_mcontext = before;
            aionif__chain_pass(sig, info, context);
        }
    } else if (is_filtered(info)) {
        finish_filtered(info, context);
    } else {
        aionif__chain_pass(sig, info, context);
    }
    errno = error_number;
}

/* The timer of a proof in this thread (lock_check.c): the thread hangs at a lock that its crash left held. */
static void die_if_proving(struct aionif__thread *self, const siginfo_t *info) {
    static const char last_words[] =
        "aionif: a native call crashed while it held a lock; the process ends with its signal\n";
    bool is_timer = info->si_code == SI_TIMER && info->si_value.sival_ptr == self;
    if (self && self->proving && is_timer && --self->looks_left <= 0) {
        ssize_t written = write(STDERR_FILENO, last_words, sizeof last_words - 1);
        (void)written;
        aionif__chain_die(self->proving);
    }
}

/* The watchdog asks. Where the call can't be stopped now, it asks again a little later. */
static void on_abort(int sig, siginfo_t *info, void *opaque) {
    (void)sig;
    int error_number = errno;
    ucontext_t *context = opaque;
    struct aionif__thread *self = aionif__self;
    struct aionif__invocation *invocation = self ? self->armed : NULL;
    if (self) {
        atomic_fetch_add(&self->control->answers, 1);
    }
    die_if_proving(self, info);
    if (invocation && aionif__is_owner(info->si_pid) && aionif__is_owner(getpid()) &&
        atomic_load(&self->control->abort_ticket) == invocation->ticket &&
        !aionif__interpreter_is_held() && aionif__on_call_stack(invocation, context_sp(context)) &&
        aionif__stop(self, invocation, context)) {
        resume(self, invocation, context, AIONIF__ABORTED);
    }
    errno = error_number;
}

/* Called from an exit handler, on the stack of the call that called exit() or quick_exit(). */
void aionif__fault_exit(int status) {
    struct aionif__thread *self = aionif__self;
    struct aionif__invocation *invocation = self ? self->armed : NULL;
    if (!invocation || !self->contains_exit || aionif__exits_hold_a_lock() ||
        !aionif__is_owner(getpid()) || aionif__interpreter_is_held() ||
        !aionif__on_call_stack(invocation, (uintptr_t)__builtin_frame_address(0))) {
        return;
    }
    aionif__thread_fails(self, AIONIF_EXIT);
    self->failure.status = status;
    aionif__stop_take_back(self);
    aionif__backtrace(self, invocation, 0, (uintptr_t)__builtin_frame_address(0));
    self->traits = 0;
    self->armed = NULL;
    /* exit() has struck the handler that got us here off its list. The place is free again, so this
     * allocates nothing, and the next exit() is met as this one was. */
    aionif__exits_watch_again(status == AIONIF_NO_STATUS);
    aionif__invoke_leave(invocation, AIONIF__EXITED);
}

/* A real-time signal that nobody uses, from the top: glibc takes from the bottom. The last two are
 * left alone: qemu-user accepts a handler for them but can't deliver them. */
static bool install_abort(void) {
    struct sigaction action = {
        .sa_sigaction = on_abort,
        .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART, /* a call that can't be left goes on */
    };
    sigfillset(&action.sa_mask);
    for (int i = 0; i < FAULTS; i++) {
        sigdelset(&action.sa_mask, faults[i]);
    }
    for (int sig = SIGRTMAX - 2; sig >= SIGRTMIN; sig--) {
        struct sigaction current;
        if (sigaction(sig, NULL, &current) == 0 && current.sa_handler == SIG_DFL &&
            sigaction(sig, &action, NULL) == 0) {
            abort_signal = sig;
            return true;
        }
    }
    return false;
}

/* glibc before 2.36 raises a signal with all others blocked. Where it does not, a signal that comes as
 * the mask is restored was sent by someone else. */
static bool libc_blocks_in_raise(void) {
    int minor = aionif__glibc_minor();
    return minor >= 0 && minor < 36;
}

const char *aionif__fault_start(void) {
    aionif__interpreter_find();
    aionif__ownership_start(getpid(), libc_blocks_in_raise());
    struct sigaction action = fault_action();
    for (int i = 0; i < FAULTS; i++) {
        if (!aionif__chain_install(faults[i], &action)) {
            return "the handlers for faults could not be installed";
        }
    }
    if (!abort_signal && !install_abort()) {
        return "no real-time signal is free for stopping calls that run too long";
    }
    return NULL;
}

void aionif__fault_tell_denials(void (*told)(int)) { on_denial = told; }

void aionif__fault_forked(void) {
    aionif__ownership_start(getpid(), libc_blocks_in_raise());
    if (aionif__self) {
        aionif__stop_take_back(aionif__self);
    }
}

int aionif__fault_reclaim(void) {
    struct sigaction action = fault_action();
    int displaced = 0;
    for (int i = 0; i < FAULTS; i++) {
        if (aionif__chain_reclaim(faults[i], &action)) {
            displaced = faults[i];
        }
    }
    return displaced;
}

pid_t aionif__fault_pid(void) { return aionif__ownership_process(); }

int aionif__fault_abort_signal(void) { return abort_signal; }

_Noreturn void aionif__fault_die(int sig) { aionif__chain_die(sig); }
