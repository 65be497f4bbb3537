/* One call on the guarded stack: what aionif__invoke (arch/) is given and how it says it ended. */
#ifndef AIONIF_INVOKE_H
#define AIONIF_INVOKE_H
#include "arch/arch.h"
#include "arch/invoke_offsets.h"

#include <assert.h>
#include <stddef.h>

enum aionif__ending {
    AIONIF__RETURNED = 0,
    AIONIF__FAULTED = 1, /* a signal handler rewrote the context */
    AIONIF__THREW = 2,   /* an exception or panic reached the base frame */
    AIONIF__UNWOUND = 3, /* a forced unwind did: pthread_exit, thread cancellation */
    AIONIF__ABORTED = 4, /* the watchdog's signal found it safe to stop the call */
    AIONIF__EXITED = 5,  /* exit() or _exit() */
    AIONIF__DENIED = 6,  /* a system call that the policy forbids */
};

struct aionif__invocation {
    void *resume_sp; /* where the way out finds the caller's registers */
    void *stack_top;
    void *function;
    const uint64_t *words;
    uint64_t word_count;
    struct aionif__registers *registers;
    struct aionif__result *result;
    void *exception;
    /* Not read by the assembly. */
    uintptr_t stack_low; /* lowest usable byte of the stack the call runs on */
    uintptr_t guard_low; /* lowest byte of its guard; guard_low < stack_low < stack_top */
    uint64_t ticket;     /* the call's id: an abort meant for another call is not for this one */
    int backtrace_limit; /* frames to record at a fault; 0 for none */
    bool asks_handlers;  /* those of libraries, before a fault is taken for this call's */
};

#define AIONIF__OFFSET(field, offset)                                                              \
    static_assert(offsetof(struct aionif__invocation, field) == (offset), #field)
AIONIF__OFFSET(resume_sp, INVOCATION_RESUME_SP);
AIONIF__OFFSET(stack_top, INVOCATION_STACK_TOP);
AIONIF__OFFSET(function, INVOCATION_FUNCTION);
AIONIF__OFFSET(words, INVOCATION_WORDS);
AIONIF__OFFSET(word_count, INVOCATION_WORD_COUNT);
AIONIF__OFFSET(registers, INVOCATION_REGISTERS);
AIONIF__OFFSET(result, INVOCATION_RESULT);
AIONIF__OFFSET(exception, INVOCATION_EXCEPTION);

int aionif__invoke(struct aionif__invocation *invocation);
/* End the invocation from within, by code that runs on its stack. */
_Noreturn void aionif__invoke_leave(struct aionif__invocation *invocation, int ending);
/* Stands for a return address in a call that is to stop (faults/stop.c). */
extern const char aionif__stop_landing[];
extern const char aionif__invoke_exit[], aionif__invoke_landing[], aionif__invoke_end[];
_Noreturn void aionif__exit_group(int status);
void aionif_thunk(void);
#endif
