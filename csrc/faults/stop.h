/* Stopping a call that runs too long, in the thread that it runs on. */
#ifndef AIONIF_STOP_H
#define AIONIF_STOP_H
#include "threads/thread.h"

#include <ucontext.h>

/* In the handler of the watchdog's signal, for the call in progress. True: it can be left where it is.
 * Else it ends as soon as the runtime returns to its own code, or is left alone until the next signal. */
bool aionif__stop(struct aionif__thread *self, const struct aionif__invocation *invocation,
                  ucontext_t *context);
/* Puts back the return address that an earlier signal replaced: before anything reads the stack, and
 * in the child of a fork. */
void aionif__stop_take_back(struct aionif__thread *self);
#endif
