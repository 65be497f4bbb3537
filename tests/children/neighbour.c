/* Another library in the process: it handles faults in its own ways, and does to its thread what
 * native code may do. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static struct sigaction before;
static sigjmp_buf home;
static volatile sig_atomic_t armed, count;

static void pass_on(int sig, siginfo_t *info, void *context) {
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(sig, info, context);
    else if (before.sa_handler == SIG_DFL)
        sigaction(sig, &before, NULL); /* the instruction faults again */
    else if (before.sa_handler != SIG_IGN)
        before.sa_handler(sig);
}

static void counts(int sig, siginfo_t *info, void *context) {
    static const char text[] = "counted\n";
    count++;
    if (write(STDERR_FILENO, text, sizeof text - 1) > 0)
        pass_on(sig, info, context);
}

static void jumps(int sig, siginfo_t *info, void *context) {
    if (armed)
        siglongjmp(home, 1);
    pass_on(sig, info, context);
}

static void exits(int sig, siginfo_t *info, void *context) {
    (void)sig, (void)info, (void)context;
    _exit(77);
}

int install(const char *kind) {
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    action.sa_sigaction = !strcmp(kind, "counts") ? counts : !strcmp(kind, "jumps") ? jumps : exits;
    return sigaction(SIGSEGV, &action, &before);
}

int counted(void) { return count; }

static void fault(void) {
    volatile int *volatile nowhere = (int *)0x80;
    *nowhere = 1;
}

/* 1 if the fault was caught by jumping out of the handler. */
int probe(void) {
    int caught = sigsetjmp(home, 1);
    armed = 1;
    if (!caught)
        fault();
    armed = 0;
    return caught;
}

void crash(void) { fault(); }

void call_back(void (*function)(void), int crash_after) {
    function();
    if (crash_after)
        fault();
}

void endless(volatile int *begun) {
    *begun = 1;
    for (volatile unsigned turn = 0;; turn++)
        ;
}

/* ---- what a call may do to its thread before it crashes ---- */

static char other_stack[1 << 16];

void crash_with_signals_blocked(void) {
    sigset_t most;
    sigfillset(&most);
    sigdelset(&most, SIGSEGV);
    sigprocmask(SIG_BLOCK, &most, NULL);
    fault();
}

void crash_with_own_stack(void) {
    stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
    sigaltstack(&stack, NULL);
    fault();
}

void crash_without_stack(void) {
    stack_t stack = {.ss_flags = SS_DISABLE};
    sigaltstack(&stack, NULL);
    fault();
}

void crash_with_fault_blocked(void) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGSEGV);
    sigprocmask(SIG_BLOCK, &one, NULL);
    fault();
}

int blocked(void) {
    sigset_t now;
    int amount = 0;
    sigprocmask(SIG_BLOCK, NULL, &now);
    for (int sig = 1; sig < NSIG; sig++)
        amount += sigismember(&now, sig) == 1;
    return amount;
}
