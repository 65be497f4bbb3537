/* The loop that serves a lane, and what a worker does after a call that did not return.
 *
 * After a crash the call is over at once: the task is told before anything else. Then the worker asks
 * what the crash may have left behind. With nothing but user code on its stack there is nothing to
 * ask, and the worker goes on. A frame of libc, or a stack that could not be read, says that a lock
 * may be held; then the worker proves that none is (lock_check.c) before it takes another call. One that
 * fails the proof is parked for ever: even its exit could block. The process is then tainted.
 *
 * A thread that a Rust panic, pthread_exit or exit() went through is healthy but marked by it
 * (panicking, exiting, its thread-local objects destroyed); it ends, and another takes its place. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "workers/serve.h"

#include "faults/exits.h"
#include "faults/fault.h"
#include "faults/heap_said.h"
#include "faults/loader.h"
#include "faults/lock_check.h"
#include "faults/unwind.h"
#include "lanes/events.h"
#include "threads/quarantine.h"
#include "workers/leftovers.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* Faults and the watchdog's signal must arrive. The rest is as it was where the pool was opened, not
 * as in the thread that started this one, which may be the watchdog: programs that a NIF starts
 * inherit it. */
static void open_signals(struct aionif__thread *self, sigset_t blocked) {
    static const int needed[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        sigdelset(&blocked, needed[i]);
    }
    sigdelset(&blocked, aionif__fault_abort_signal());
    pthread_sigmask(SIG_SETMASK, &blocked, NULL);
    memcpy(&self->signal_mask, &blocked, sizeof self->signal_mask);
}

bool aionif__worker_enter(struct aionif__thread *self, struct aionif__lane *lane,
                          const struct aionif_pool_settings *settings, sigset_t blocked) {
    if (!aionif__thread_give_stack(self, settings->stack_size, settings->guard_size)) {
        return false;
    }
    self->is_worker = true;
    self->progress = &lane->progress;
    self->control = &lane->control;
    self->contains_exit = settings->contain_exit;
    self->asks_handlers = settings->asks_handlers;
    open_signals(self, blocked);
    aionif__leftovers_enter(settings->name);
    return true;
}

void aionif__worker_filter(struct aionif__lane *lane, const struct aionif_pool_settings *settings) {
    atomic_store(&lane->unfiltered, !aionif__exits_filter(settings));
}

void aionif__note_unfiltered(struct aionif_pool *pool, const struct aionif__worker *worker) {
    if (atomic_load_explicit(&worker->lane->unfiltered, memory_order_relaxed) &&
        !pool->unfiltered_said) {
        pool->unfiltered_said = true;
        aionif__core_event(AIONIF_CORE_NO_FILTER, 0, 0, NULL, pool->settings.name,
                           aionif__exits_blind());
    }
}

void aionif__note_taint(struct aionif__thread *self) {
    const struct aionif_failure *failure = &self->failure;
    int taint = 0;
    if (aionif__heap_is_corrupt(self)) {
        taint |= AIONIF_TAINT_HEAP;
    }
    if (failure->kind == AIONIF_EXIT && (self->traits & AIONIF__IN_EXIT)) {
        taint |= AIONIF_TAINT_EXIT;
    }
    self->loader_doubted |= self->is_worker && aionif__loader_give_back(self);
    if (aionif__release_standard_streams() || self->loader_doubted) {
        taint |= AIONIF_TAINT_LOCK;
    }
    self->failure.taint = taint;
    atomic_fetch_or(&aionif__core.taint, taint);
}

void aionif__describe_throw(struct aionif__thread *self,
                            const struct aionif__invocation *invocation, int ending) {
    self->failure.kind = AIONIF_PANIC; /* its frames were recorded at the throw */
    self->failure.thread = self->tid;
    if (ending == AIONIF__UNWOUND) {
        strcpy(self->failure.reason, "pthread_exit, or a cancelled thread");
    } else {
        aionif__describe_panic(self, invocation->exception);
    }
}

static uint32_t health_after(const struct aionif__thread *self, int ending) {
    if (self->is_process && ending != AIONIF__THREW) {
        return AIONIF__LEAVING; /* who knows what it has written where */
    }
    bool rust = self->failure.language == AIONIF_LANGUAGE_RUST;
    if (ending == AIONIF__EXITED || ending == AIONIF__UNWOUND ||
        (ending == AIONIF__THREW && rust)) {
        return AIONIF__LEAVING;
    }
    if (ending != AIONIF__THREW && self->traits != 0) {
        return AIONIF__CHECKING;
    }
    return AIONIF__SERVING;
}

static void fail(struct aionif__thread *self, struct aionif__lane *lane,
                 struct aionif__record *record, const struct aionif__invocation *invocation,
                 int ending, const struct aionif__around *around) {
    if (ending == AIONIF__THREW || ending == AIONIF__UNWOUND) {
        aionif__describe_throw(self, invocation, ending);
    } else if (!self->is_process) {
        aionif__note_taint(self);
    }
    atomic_store(&lane->health, health_after(self, ending));
    self->failure.stack_size = self->stack.top - self->stack.low;
    if (self->failure.kind == AIONIF_OVERFLOW) {
        self->failure.stack_used = self->failure.stack_size;
        if (!self->on_own_stack) { /* give the pages back: few calls need this many */
            aionif__stack_clear(&self->stack);
        }
    } else if (record->measure_stack) {
        self->failure.stack_used = record->stack_used;
    }
    if (around) {
        around->describe(self, record);
    } else if (ending != AIONIF__THREW && ending != AIONIF__UNWOUND && !self->on_own_stack) {
        aionif__stack_exchange(&self->stack);
    }
    record->kind = self->failure.kind;
    record->failure = self->failure;
}

/* How long it takes to ask the kernel for the alternate stack; the shortest of some times. */
static int64_t time_of_asking(const struct aionif__thread *self) {
    enum { TIMES = 3 };
    int64_t shortest = INT64_MAX;
    for (int i = 0; i < TIMES; i++) {
        int64_t start = aionif__now_ns();
        aionif__altstack_restore(&self->altstack);
        int64_t took = aionif__now_ns() - start;
        shortest = took < shortest ? took : shortest;
    }
    return shortest;
}

/* A call that took less than a system call takes has made none. */
static void undo(const struct aionif__thread *self, const struct aionif__record *record, int ending,
                 int64_t shortest) {
    if (ending != AIONIF__RETURNED || record->ended_ns - record->started_ns >= shortest) {
        aionif__altstack_restore(&self->altstack);
    }
}

static struct aionif__invocation invocation_of(const struct aionif__thread *self,
                                               struct aionif__record *record) {
    return (struct aionif__invocation){
        .function = record->function,
        .words = record->words,
        .word_count = record->word_count,
        .registers = &record->registers,
        .result = &record->result,
        .ticket = record->ticket,
        .backtrace_limit = AIONIF_FRAMES,
        .asks_handlers = self->asks_handlers,
    };
}

static int run(struct aionif__thread *self, struct aionif__lane *lane,
               struct aionif__record *record, const struct aionif__around *around,
               int64_t shortest) {
    struct aionif__invocation invocation = invocation_of(self, record);
    record->result.has_x87 = record->has_x87;
    if (record->measure_stack) {
        aionif__stack_clear(&self->stack);
    }
    record->kind = 0;
    record->started_ns = aionif__now_ns();
    int ending = AIONIF__RETURNED;
    if (!around || around->prepare(self, record, &invocation, &ending)) {
        aionif__leftovers_allow();
        errno = record->error_number;
        ending = aionif__thread_run(self, &invocation);
        record->error_number = errno;
    }
    bool cancelled = aionif__leftovers_cancelled();
    record->ended_ns = aionif__now_ns();
    undo(self, record, ending, shortest);
    if (around) {
        ending = around->done(self, ending);
    }
    if (record->measure_stack) {
        record->stack_used = aionif__stack_used(&self->stack);
    }
    if (ending != AIONIF__RETURNED) {
        fail(self, lane, record, &invocation, ending, around);
    }
    if (cancelled && atomic_load(&lane->health) == AIONIF__SERVING) {
        atomic_store(&lane->health, AIONIF__LEAVING);
    }
    aionif__lane_publish(lane, record);
    return ending;
}

/* The watchdog may have given up on the proof meanwhile: then `health` says RETIRED already. */
static void prove(struct aionif__lane *lane, struct aionif__thread *self) {
    uint32_t proving = AIONIF__CHECKING;
    static const uint32_t health[] = {
        [AIONIF__UNHARMED] = AIONIF__SERVING,
        [AIONIF__THREAD_DOUBTED] = AIONIF__LEAVING,
        [AIONIF__LOCK_HELD] = AIONIF__RETIRED,
    };
    enum aionif__verdict verdict = aionif__check_worker_locks(self);
    atomic_compare_exchange_strong(&lane->health, &proving, health[verdict]);
}

/* Libraries keep books of their threads. To OpenMP this one is still in its region, and works alone in further
 * ones; a virtual machine's lie on the stack that the call had. */
static bool is_known_to_libraries(const struct aionif__thread *self) {
    return self->asks_handlers || (self->traits & AIONIF__IN_TEAM);
}

/* Before the next call: `health` says that no lock is held. */
static void clean(struct aionif__lane *lane, const struct aionif__thread *self) {
    uint32_t serving = AIONIF__SERVING;
    if (atomic_load(&lane->health) == AIONIF__SERVING &&
        (!aionif__leftovers_clean() || is_known_to_libraries(self))) {
        atomic_compare_exchange_strong(&lane->health, &serving, AIONIF__LEAVING);
    }
}

void aionif__serve(struct aionif__lane *lane, struct aionif__thread *self,
                   const struct aionif__around *around) {
    int64_t shortest = time_of_asking(self);
    aionif__arch_float_read(&self->float_control); /* an initialiser may have chosen another */
    for (struct aionif__record *record; (record = aionif__lane_claim(lane));) {
        int ending = run(self, lane, record, around, shortest);
        if (atomic_load(&lane->health) == AIONIF__CHECKING) {
            prove(lane, self);
        }
        if (ending != AIONIF__RETURNED && ending != AIONIF__THREW) {
            clean(lane, self);
        }
        while (atomic_load(&lane->health) == AIONIF__RETIRED) {
            pause();
        }
        if (atomic_load(&lane->health) == AIONIF__LEAVING) {
            return;
        }
    }
}
