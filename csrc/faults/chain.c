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
/* What this thread asks a library about; depth: whether that has come back to us. A library that leaves by a
 * jump leaves it behind, and a later fault may look like its answer, if it is met deeper on the stack of
 * handlers. So there is one answer to a question, and only faults that come again are asked about. */
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

/* Worth asking: a handler of a library, for a fault in code that this library or nobody has in a file, but
 * has made. Others it does not know, and may end the program over them (a JVM does). The interpreter's
 * own (faulthandler) and the sanitizers' only report. */
static bool may_resolve(const struct sigaction *action, uintptr_t pc) {
    uintptr_t handler = (uintptr_t)action->sa_sigaction, where = aionif__module_start(pc);
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN &&
           aionif__module_owner(handler) == AIONIF__USER &&
           (!where || where == aionif__module_start(handler));
}

/* One that does not know the fault may have put back what was there before it, for the fault to come again. */
static bool was_put_back(int sig, const struct sigaction *ours) {
    struct sigaction current;
    bool changed = sigaction(sig, NULL, &current) == 0 && !is_same(&current, ours);
    if (changed) {
        sigaction(sig, ours, NULL);
    }
    return changed;
}

bool aionif__chain_refuses(int sig, uintptr_t frame) {
    bool is_asked_back = asking.sig == sig && frame < asking.frame && !asking.depth;
    asking.depth |= is_asked_back;
    return is_asked_back;
}

/* A handler that does not know the fault passes it to the one before it, which may be ours, or puts that back.
 * That the context is unchanged says nothing: an access to a page that was made accessible is repeated. */
bool aionif__chain_ask(int sig, siginfo_t *info, ucontext_t *context, const struct sigaction *ours,
                       uintptr_t frame) {
    struct passing outer = asking;
    uintptr_t pc = context_pc(context);
    int count = comes_again(sig, info) ? atomic_load(&chains[sig].count) : 0;
    for (int i = count - 1; i >= 0; i--) {
        struct sigaction older = chains[sig].older[i];
        if (may_resolve(&older, pc)) {
            asking = (struct passing){frame, sig, 0};
            call(&older, sig, info, context);
            bool refused = asking.depth;
            asking = outer;
            if (!was_put_back(sig, ours) && !refused) {
                return true;
            }
        }
    }
    return false;
}
