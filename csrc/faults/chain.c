/* A crash that is not ours must look exactly as if aionif were absent: same handler, same output,
 * same exit status. So what was installed before is called as the kernel would have called it, and
 * where that was the default action, the default action is put back and met again.
 *
 * Others may put themselves in front later, and the watchdog puts us back in front of them. Then both
 * sides validate that the other comes after them: ours passes to theirs, theirs calls or restores ours
 * and raises again. A thread that is already passing a signal on therefore goes to the next older
 * handler; at the end of the list stands the default action, so this always ends. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/chain.h"

#include "arch/context.h"
#include "faults/modules.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_OLDER = 8, SIGNALS = 65 };

/* Oldest first. Written under the core's lock, the entry before the count. */
static struct {
    struct sigaction older[MAX_OLDER];
    _Atomic int count;
} chains[SIGNALS];

/* What this thread is passing on. A handler may also leave by siglongjmp: a later signal then finds
 * itself above `frame`, or is another signal, and starts from the newest handler again. */
struct passing {
    uintptr_t frame;
    int sig;
    int depth;
};
static _Thread_local struct passing passing __attribute__((tls_model("initial-exec")));
static _Thread_local struct passing asking __attribute__((tls_model("initial-exec")));

static bool is_same(const struct sigaction *one, const struct sigaction *other) {
    return (one->sa_flags & SA_SIGINFO) && one->sa_sigaction == other->sa_sigaction;
}

static void remember(int sig, const struct sigaction *before) {
    int count = atomic_load(&chains[sig].count);
    for (int i = 0; i < count; i++) {
        if (chains[sig].older[i].sa_sigaction == before->sa_sigaction && i == count - 1) {
            chains[sig].older[i] = *before; /* the same one again */
            return;
        }
    }
    if (count < MAX_OLDER) {
        chains[sig].older[count] = *before;
        atomic_store(&chains[sig].count, count + 1);
    } else {
        chains[sig].older[MAX_OLDER - 1] = *before;
    }
}

bool aionif__chain_install(int sig, const struct sigaction *handler) {
    struct sigaction before;
    if (sigaction(sig, NULL, &before) != 0) {
        return false;
    }
    if (is_same(&before, handler)) {
        return true;
    }
    remember(sig, &before);
    return sigaction(sig, handler, NULL) == 0;
}

bool aionif__chain_reclaim(int sig, const struct sigaction *handler) {
    struct sigaction current;
    if (sigaction(sig, NULL, &current) != 0 || is_same(&current, handler)) {
        return false;
    }
    return aionif__chain_install(sig, handler);
}

_Noreturn void aionif__chain_die(int sig) {
    struct sigaction fallback = {.sa_handler = SIG_DFL};
    sigaction(sig, &fallback, NULL);
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, sig);
    sigprocmask(SIG_UNBLOCK, &only, NULL);
    syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), sig);
    for (;;) { /* not reached: every signal handled here kills by default */
        _exit(128 + sig);
    }
}

/* Will the instruction fault again when the handler returns? A trap's, or a filtered system call's,
 * lies behind us, and what was sent by kill() comes only once. */
static bool comes_again(int sig, const siginfo_t *info) {
    return info->si_code > 0 && sig != SIGTRAP && sig != SIGSYS && sig != SIGABRT;
}

static void meet_default(int sig, const siginfo_t *info) {
    if (!comes_again(sig, info)) {
        aionif__chain_die(sig);
    }
    struct sigaction fallback = {.sa_handler = SIG_DFL};
    sigaction(sig, &fallback, NULL);
}

static void call(struct sigaction *older, int sig, siginfo_t *info, void *context) {
    struct sigaction handler = *older;
    if (handler.sa_flags & SA_RESETHAND) {
        older->sa_handler = SIG_DFL;
        older->sa_flags = 0;
    }
    sigset_t blocked = handler.sa_mask, before;
    if (!(handler.sa_flags & SA_NODEFER)) {
        sigaddset(&blocked, sig);
    }
    sigprocmask(SIG_BLOCK, &blocked, &before);
    if (handler.sa_flags & SA_SIGINFO) {
        handler.sa_sigaction(sig, info, context);
    } else {
        handler.sa_handler(sig);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
}

void aionif__chain_pass(int sig, siginfo_t *info, void *context) {
    struct passing outer = passing;
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    bool nested = outer.sig == sig && frame < outer.frame;
    int depth = nested ? outer.depth + 1 : 0;
    int index = atomic_load(&chains[sig].count) - 1 - depth;
    struct sigaction *older = index >= 0 ? &chains[sig].older[index] : NULL;
    if (!older || older->sa_handler == SIG_DFL) {
        meet_default(sig, info);
    } else if (older->sa_handler == SIG_IGN) {
        if (info->si_code > 0) { /* the kernel does not let a fault be ignored either */
            meet_default(sig, info);
        }
    } else {
        passing = (struct passing){frame, sig, depth};
        call(older, sig, info, context);
        passing = outer;
    }
}

/* The interpreter's own (faulthandler) and the sanitizers' only report. */
static bool is_of_library(const struct sigaction *action) {
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN &&
           aionif__module_owner((uintptr_t)action->sa_sigaction) == AIONIF__USER;
}

/* One that does not know the fault may have put back what was there before it, for the fault to come again. */
static void put_in_front(int sig, const struct sigaction *ours) {
    struct sigaction current;
    if (sigaction(sig, NULL, &current) == 0 && !is_same(&current, ours)) {
        sigaction(sig, ours, NULL);
    }
}

/* The library's handler may pass on to ours, which was there before it: then nobody is asked again. */
bool aionif__chain_ask(int sig, siginfo_t *info, ucontext_t *context,
                       const struct sigaction *ours) {
    struct passing outer = asking;
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    if (outer.sig == sig && frame < outer.frame) {
        return false;
    }
    uintptr_t pc = context_pc(context), sp = context_sp(context);
    bool resolved = false;
    for (int i = atomic_load(&chains[sig].count) - 1; i >= 0 && !resolved; i--) {
        struct sigaction older = chains[sig].older[i];
        if (is_of_library(&older)) {
            asking = (struct passing){frame, sig, 0};
            call(&older, sig, info, context);
            asking = outer;
            resolved = context_pc(context) != pc || context_sp(context) != sp;
            put_in_front(sig, ours);
        }
    }
    return resolved;
}
