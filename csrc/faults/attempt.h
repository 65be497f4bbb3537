/* Reading, in a handler, what may not be readable: a smashed stack, a message of libc. */
#ifndef AIONIF_ATTEMPT_H
#define AIONIF_ATTEMPT_H
#include "threads/thread.h"

/* In a handler that blocks all signals but faults. False: it faulted, and was left there. */
bool aionif__attempt(struct aionif__thread *self, void (*function)(void *), void *argument);
/* By the handler of a fault, first of all: does not return while an attempt is under way. */
void aionif__attempt_failed(struct aionif__thread *self);
#endif
