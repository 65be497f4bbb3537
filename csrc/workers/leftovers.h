/* What calls leave behind on a worker's thread, beside what every call is cleaned up after
 * (floating-point control: threads/thread.c; the signal mask: faults/fault.c). */
#ifndef AIONIF_LEFTOVERS_H
#define AIONIF_LEFTOVERS_H
#include <stdbool.h>

/* By a worker's thread before its first call. `name`: its own, or empty. */
void aionif__leftovers_enter(const char *name);
/* By a thread that may start another: how a pending cancellation is seen at no cost. */
void aionif__leftovers_learn(void);
/* Before each call: it may be cancelled, as on any thread. */
void aionif__leftovers_allow(void);
/* After each call, and before anything that may be a cancellation point. True: somebody has cancelled this thread, which is to be replaced. */
bool aionif__leftovers_cancelled(void);
/* After a call that ended abnormally, where no lock is held. False: this thread can't be put right. */
bool aionif__leftovers_clean(void);
#endif
