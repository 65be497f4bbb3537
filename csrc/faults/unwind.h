/* Backtraces of a call, and the end of exceptions at its base. */
#ifndef AIONIF_UNWIND_H
#define AIONIF_UNWIND_H
#include "threads/thread.h"

/* In a handler, or on the call's own stack. Walks from the frame whose pc is `pc` (0: from the first
 * frame that lies on the call's stack) to the base, fills in failure->frames up to the invocation's
 * limit, and returns the traits of all that it saw. */
int aionif__backtrace(struct aionif__thread *self, const struct aionif__invocation *invocation,
                      uintptr_t pc, uintptr_t sp);

/* In a handler: the same, to the base however deep it is. And by which return address the runtime goes
 * back to the call's own code for good: slot NULL where it is not there, or can't be found. */
int aionif__find_way_out(struct aionif__thread *self, const struct aionif__invocation *invocation,
                         uintptr_t pc, struct aionif__return *out);

/* On the worker, after the unwind: what was thrown, as text, into self->failure. */
void aionif__describe_panic(struct aionif__thread *self, void *exception);

void aionif__unwind_start(const char *cxx_helper);
#endif
