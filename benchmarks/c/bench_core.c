/* What the core itself costs, without Python: a guarded call, and a recovered fault.
 *
 * Prints one JSON object of arrays, one number (nanoseconds) a round. The subjects of a round run in
 * random order, so that a machine that slows down does so for all of them. */
#include "core.h"
#include "lanes/lane.h"
#include "threads/thread.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { SUBJECTS = 5, MOST_ROUNDS = 60, DEPTH = 8 };

static struct aionif__thread *self;
static struct aionif__registers registers;
static struct aionif__result result;

__attribute__((noinline)) static void nothing(void) { __asm__ volatile("" ::: "memory"); }
static void (*volatile indirect)(void) = nothing;

/* A store to an address that is not there, and what comes after it. */
void bench_fault(void);
extern const char bench_fault_after[];
#if defined(__x86_64__)
__asm__(".text\n.type bench_fault, @function\nbench_fault:\n.cfi_startproc\nmovl $0, 16\n"
        "bench_fault_after:\nret\n.cfi_endproc\n");
static void step_over(int sig, siginfo_t *info, void *context) {
    (void)sig;
    (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)bench_fault_after;
}
#elif defined(__aarch64__)
__asm__(".text\n.type bench_fault, %function\nbench_fault:\n.cfi_startproc\nmov x0, #16\n"
        "str wzr, [x0]\nbench_fault_after:\nret\n.cfi_endproc\n");
static void step_over(int sig, siginfo_t *info, void *context) {
    (void)sig;
    (void)info;
    ((ucontext_t *)context)->uc_mcontext.pc = (uintptr_t)bench_fault_after;
}
#endif

/* The empty assembly keeps the call from being a jump: each level is a frame. */
__attribute__((noinline)) static void fault_at(int depth) {
    if (depth > 1) {
        fault_at(depth - 1);
    } else {
        bench_fault();
    }
    __asm__ volatile("");
}
static void fault_deep(void) { fault_at(DEPTH); }

static struct aionif__invocation invocation_of(void (*function)(void), int frames) {
    return (struct aionif__invocation){.function = (void *)function,
                                       .registers = &registers,
                                       .result = &result,
                                       .backtrace_limit = frames};
}

static void plain_call(int count) {
    for (int i = 0; i < count; i++) {
        indirect();
    }
}

static void guarded_call(int count) {
    struct aionif__invocation invocation = invocation_of(nothing, 0);
    for (int i = 0; i < count; i++) {
        aionif__thread_run(self, &invocation);
    }
}

static void bare_handler(int count) {
    struct sigaction bare = {.sa_sigaction = step_over,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    struct sigaction ours;
    sigaction(SIGSEGV, NULL, &ours);
    bare.sa_mask = ours.sa_mask;
    sigaction(SIGSEGV, &bare, NULL);
    for (int i = 0; i < count; i++) {
        bench_fault();
    }
    sigaction(SIGSEGV, &ours, NULL);
}

static void crash(int count, void (*function)(void), int frames) {
    struct aionif__invocation invocation = invocation_of(function, frames);
    for (int i = 0; i < count; i++) {
        if (aionif__thread_run(self, &invocation) != AIONIF__FAULTED ||
            self->failure.complete != (frames != 0)) {
            abort();
        }
    }
}

static void recovered(int count) { crash(count, bench_fault, 0); }

static void recovered_backtrace(int count) { crash(count, fault_deep, AIONIF_FRAMES); }

static const struct subject {
    const char *name;
    void (*run)(int count);
    int count;
} subjects[SUBJECTS] = {
    {"plain_call", plain_call, 200000},
    {"guarded_call", guarded_call, 200000},
    {"bare_handler", bare_handler, 5000},
    {"recovered", recovered, 5000},
    {"recovered_backtrace", recovered_backtrace, 2000},
};

static void shuffle(int order[SUBJECTS]) {
    for (int i = SUBJECTS - 1; i > 0; i--) {
        int other = rand() % (i + 1), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

static void print(double samples[SUBJECTS][MOST_ROUNDS], int rounds) {
    for (int i = 0; i < SUBJECTS; i++) {
        printf("%s\"%s\": [", i ? ", " : "{", subjects[i].name);
        for (int round = 0; round < rounds; round++) {
            printf("%s%.3f", round ? ", " : "", samples[i][round]);
        }
        printf("]");
    }
    printf("}\n");
}

int main(int argc, char **argv) {
    static double samples[SUBJECTS][MOST_ROUNDS];
    int rounds = argc > 1 && strcmp(argv[1], "--quick") == 0 ? 5 : MOST_ROUNDS;
    int order[SUBJECTS] = {0, 1, 2, 3, 4};
    if (aionif_start(NULL)) {
        return 1;
    }
    self = aionif__thread_current();
    if (!self || !aionif__thread_give_stack(self, 1 << 20, 8 << 20)) {
        return 1;
    }
    for (int round = -1; round < rounds; round++) { /* the first warms up */
        shuffle(order);
        for (int i = 0; i < SUBJECTS; i++) {
            const struct subject *subject = &subjects[order[i]];
            int64_t before = aionif__now_ns();
            subject->run(subject->count);
            double each = (double)(aionif__now_ns() - before) / subject->count;
            if (round >= 0) {
                samples[order[i]][round] = each;
            }
        }
    }
    print(samples, rounds);
    return 0;
}
