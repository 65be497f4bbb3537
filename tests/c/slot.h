/* Calls through the thunk, as cffi makes them for Python: a request in the thread's call slot, a call of
 * aionif_thunk with the native function's own type, the answer in the slot.
 *
 * The types are declared with a trailing `...` after all their parameters. It changes nothing in how
 * those are passed, but makes the compiler say in al, on x86-64, how many are in vector registers, as
 * libffi always does: the thunk takes al = 0 to mean that none is. */
#ifndef SLOT_H
#define SLOT_H
#include "core.h"

#include "check.h"

/* The thunk, as a function of such a type. By its address: the compiler must not see whose it is. */
#define THROUGH(type) ((__typeof__(type) *)(uintptr_t)aionif_thunk_address())

/* More than any test passes on the stack; what is copied beyond the arguments is not looked at. */
enum { SLOT_STACK_WORDS = 32 };

static struct aionif_call_slot *slot;
static struct aionif_plan door_plan;
static struct aionif_target door_target;

static inline void slot_start(void) {
    const char *refusal = aionif_start(NULL);
    if (refusal) {
        printf("the core can't start: %s\n", refusal);
        exit(EXIT_FAILURE);
    }
    slot = aionif_call_slot_open();
    if (!slot) {
        printf("no memory for a slot\n");
        exit(EXIT_FAILURE);
    }
}

/* The next call through the thunk is of `function`, in this thread. */
#define door_inline(function) door_inline_address((void *)(function))
static inline void door_inline_address(void *function) {
    door_plan = (struct aionif_plan){.function = function, .stack_words = SLOT_STACK_WORDS};
    door_target = (struct aionif_target){.plan = &door_plan};
    slot->target = &door_target;
}

/* Runs it; 0, or the kind of its failure, which is then in *failure. */
#define door_run(function, failure) door_run_address((void *)(function), failure)
static inline int door_run_address(void *function, struct aionif_failure *failure) {
    memset(failure, 0xee, sizeof *failure);
    door_inline_address(function);
    THROUGH(void(void))();
    if (slot->outcome == AIONIF_RETURNED) {
        return 0;
    }
    return aionif_failure(0, failure) ? failure->kind : -1;
}
#endif
