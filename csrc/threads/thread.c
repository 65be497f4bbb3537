/* The struct of a thread: made when it first calls a NIF, freed when it ends. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "threads/thread.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A task whose calls end without a wait does not suspend; at least this often it must. */
#define TURN_NS ((int64_t)100000)

_Thread_local struct aionif__thread *aionif__self;

static pthread_key_t at_thread_end;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void end(void *self) {
    aionif__thread_leave(self);
    free(self);
}

static void make_key(void) { pthread_key_create(&at_thread_end, end); }

bool aionif__thread_enter(struct aionif__thread *self) {
    if (!aionif__altstack_enter(&self->altstack)) {
        return false;
    }
    self->tid = (pid_t)syscall(SYS_gettid);
    self->control = &self->own_control;
    aionif__arch_float_read(&self->float_control);
    aionif__self = self;
    return true;
}

struct aionif__thread *aionif__thread_current(void) {
    if (aionif__self) {
        return aionif__self;
    }
    struct aionif__thread *self = calloc(1, sizeof *self);
    if (self && aionif__thread_enter(self)) {
        pthread_once(&once, make_key);
        pthread_setspecific(at_thread_end, self);
        return self;
    }
    free(self);
    return NULL;
}

void aionif__thread_leave(struct aionif__thread *self) {
    aionif__self = NULL;
    aionif__altstack_leave(&self->altstack);
    if (!self->on_own_stack) {
        aionif__stack_unmap(&self->stack);
    }
}

bool aionif__thread_give_stack(struct aionif__thread *self, size_t size, size_t guard) {
    return self->stack.low || aionif__stack_map(&self->stack, size, guard);
}

/* In handlers. What is counted, or has a flag that says whether it is there, need not be cleared. */
void aionif__thread_fails(struct aionif__thread *self, int kind) {
    struct aionif_failure *failure = &self->failure;
    memset(failure, 0, offsetof(struct aionif_failure, registers));
    failure->type_name[0] = failure->reason[0] = '\0';
    failure->exact = failure->stack_used = 0;
    failure->kind = kind;
    failure->thread = self->tid;
}

/* Without procfs libc can't tell where the main stack is. It begins where the kernel put the program's
 * name, or just above, and may grow as the limit says; where there is none, as Linux has it. */
static struct aionif__stack guess_main_stack(void) {
    enum { USUAL = 8 << 20 };
    struct rlimit limit;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t top = (getauxval(AT_EXECFN) + page - 1) / page * page;
    bool limited = getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return (struct aionif__stack){.low = top - (limited ? limit.rlim_cur : USUAL), .top = top};
}

/* Below the main thread's stack the kernel keeps a gap, below another's there is a guard; what lies deeper
 * is not an overflow of it. */
struct aionif__stack aionif__thread_own_stack(void) {
    enum { GAP = 8 << 20 };
    struct aionif__stack own;
    pthread_attr_t attributes;
    void *low;
    size_t size, guard = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &low, &size);
        pthread_attr_getguardsize(&attributes, &guard);
        pthread_attr_destroy(&attributes);
        own = (struct aionif__stack){.low = (uintptr_t)low, .top = (uintptr_t)low + size};
    } else {
        own = guess_main_stack();
    }
    own.guard_low = own.low - (getpid() == (pid_t)syscall(SYS_gettid) ? GAP : guard);
    return own;
}

bool aionif__thread_turn_is_due(struct aionif__thread *self, int64_t now_ns) {
    bool due = now_ns - self->turn_ns > TURN_NS;
    if (due) {
        self->turn_ns = now_ns;
    }
    return due;
}

/* The state is the letter behind the name, which is in parentheses. Where there is no /proc nothing is
 * known, and time alone has to do. */
bool aionif__thread_wants_cpu(pid_t tid) {
    char path[64], text[256];
    if (!tid) {
        return true; /* it has not even begun */
    }
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) {
        close(file);
    }
    if (length <= 0) {
        return false;
    }
    text[length] = '\0';
    const char *end = strrchr(text, ')');
    return end && end[1] && (end[2] == 'R' || end[2] == 'D');
}

/* syscall() and its like load arguments also where none was given, from above their frame. On the
 * stack of a caller there is always something. */
enum { HEADROOM = 64 };

/* A call from within a call (its callback entered Python, which called a NIF inline), or one on a
 * process's main stack, goes on below the frames that are on the stack; 256 is past any red zone. */
static uintptr_t free_top(const struct aionif__thread *self) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    bool nested = here > self->stack.low && here <= self->stack.top;
    return (nested ? here - 256 : self->stack.top - HEADROOM) & ~(uintptr_t)63;
}

/* Not inlined: free_top() goes by this function's frame, below which no variable of a caller may lie. */
__attribute__((noinline)) int aionif__thread_run(struct aionif__thread *self,
                                                 struct aionif__invocation *invocation) {
    struct aionif__invocation *outer = self->armed;
    if (!self->is_worker) { /* a worker's is what it was as it began; reading takes 7 ns on some CPUs */
        aionif__arch_float_read(&self->float_control);
    }
    struct aionif__float_control float_control = self->float_control;
    invocation->stack_top = (void *)free_top(self);
    invocation->stack_low = self->stack.low;
    invocation->guard_low = self->stack.guard_low;
    self->armed = invocation;
    int ending = aionif__invoke(invocation);
    self->armed = outer;
    aionif__arch_float_restore(&float_control); /* the next call, or its caller, relies on it */
    return ending;
}

bool aionif__thread_try(struct aionif__thread *self, void (*function)(void *), void *argument) {
    struct aionif__registers registers = {.integer = {(uintptr_t)argument}};
    struct aionif__result result = {0};
    struct aionif__invocation invocation = {
        .function = (void *)function, .registers = &registers, .result = &result};
    return aionif__thread_run(self, &invocation) == AIONIF__RETURNED;
}
