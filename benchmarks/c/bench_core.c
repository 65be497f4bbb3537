/* What the core itself costs, without Python: a guarded call, and a recovered fault.
 *
 * Prints one JSON object of arrays, one number (nanoseconds) a round. The subjects of a round run in
 * random order, so that a machine that slows down does so for all of them. */
#include "arch/context.h"
#include "core.h"
#include "fault.h"
#include "lane.h"
#include "thread.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUBJECTS = 5, MOST_ROUNDS = 60, FAULT_BYTES = 2 };

static struct aionif__thread *self;
static struct aionif__registers registers;
static struct aionif__result result;

__attribute__((noinline)) static void nothing(void) { __asm__ volatile("" ::: "memory"); }
static void (*volatile indirect)(void) = nothing;

/* A load of two bytes of code from address 0: `mov (%rax), %eax`, with rax = 0. */
__attribute__((noinline)) static void fault(void) {
    __asm__ volatile("xorl %%eax, %%eax\n\tmovl (%%rax), %%eax" ::: "rax", "memory");
}

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

static void step_over(int sig, siginfo_t *info, void *context) {
    (void)sig;
    (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += FAULT_BYTES;
}

static void bare_handler(int count) {
    struct sigaction bare = {.sa_sigaction = step_over,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    struct sigaction ours;
    sigaction(SIGSEGV, &bare, &ours);
    for (int i = 0; i < count; i++) {
        fault();
    }
    sigaction(SIGSEGV, &ours, NULL);
}

static void crash(int count, int frames) {
    struct aionif__invocation invocation = invocation_of(fault, frames);
    for (int i = 0; i < count; i++) {
        if (aionif__thread_run(self, &invocation) != AIONIF__FAULTED) {
            abort();
        }
    }
}

static void recovered(int count) { crash(count, 0); }

static void recovered_backtrace(int count) { crash(count, AIONIF_FRAMES); }

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
