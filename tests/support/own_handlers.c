/* A library that raises faults on purpose, as virtual machines do, and one that looks for pointers on
 * the stack of its thread, as collectors do. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static struct sigaction before;
static char *page; /* what is behind it faults on purpose */
static int resolved, unknown;
enum { STEPS_OVER, JUMPS, OPENS }; /* ways to resolve a fault */
static int way;
static _Thread_local sigjmp_buf way_out;
static _Thread_local volatile sig_atomic_t may_jump;

/* Its own are resolved. Others go to the handler before, or, where that was the default action, are met by
 * it as the fault comes again. */
static void on_fault(int sig, siginfo_t *info, void *opaque) {
    ucontext_t *context = opaque;
    if (page && (char *)info->si_addr >= page && (char *)info->si_addr < page + 4096) {
        resolved++;
        if (way == JUMPS && may_jump) {
            siglongjmp(way_out, 1);
        } else if (way == OPENS) { /* and the instruction is repeated */
            mprotect(page, 4096, PROT_READ | PROT_WRITE);
        } else {
            context->uc_mcontext.gregs[REG_RIP] += 2; /* movb (%rax), %al */
        }
        return;
    }
    unknown++;
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(sig, info, opaque);
    } else if (before.sa_handler == SIG_DFL) {
        sigaction(sig, &before, NULL);
    } else {
        before.sa_handler(sig);
    }
}

int install(int how) {
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    way = how;
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return sigaction(SIGSEGV, &action, &before);
}

/* One of its own faults, which it resolves. */
int fault_on_purpose(void) {
    if (way == JUMPS) {
        if (sigsetjmp(way_out, 1) == 0) {
            may_jump = 1;
            *(volatile char *)page = 1;
        }
        may_jump = 0;
        return 7;
    }
    mprotect(page, 4096, PROT_NONE);
    __asm__ volatile("movb (%%rax), %%al" : : "a"(page) : "memory");
    return 7;
}

void fault(void) { *(volatile char *volatile)0x40 = 1; }

static void fault_in_handler(int sig) {
    (void)sig;
    fault();
}

/* On the stack of handlers: no fault of the call. */
void fault_in_a_handler(void) {
    struct sigaction action = {.sa_handler = fault_in_handler, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
}

int seen(int of_others) { return of_others ? unknown : resolved; }

/* Whether a variable of this call lies on the stack that its thread was started with. */
int is_on_own_stack(void) {
    pthread_attr_t attributes;
    void *low;
    size_t size;
    char here = 0;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &low, &size);
    pthread_attr_destroy(&attributes);
    return &here >= (char *)low && &here < (char *)low + size;
}

static int down(int depth) {
    volatile char frame[256];
    frame[0] = (char)depth;
    int deeper = down(depth + 1);
    return frame[0] + deeper;
}

int overflow(void) { return down(0); }

/* In megabytes, less one. */
int has_room(int megabytes) {
    char block[1 << 20];
    memset(block, megabytes, sizeof block);
    return megabytes > 1 ? has_room(megabytes - 1) + block[5] * 0 : block[7] * 0 + 1;
}

void spin(void) {
    for (;;) {
        free(malloc(100));
    }
}
