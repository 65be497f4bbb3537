/* Calls that run and are to end: how one is told to, and the list of those that have been. The
 * watchdog goes through the list; see workers/watchdog.c for the steps. */
#ifndef AIONIF_ENDING_H
#define AIONIF_ENDING_H
#include "lanes/state.h"

/* A call that runs is to end, by whatever means its server has. `mode`: enum aionif_ending_policy.
 * True: its worker is out of its pool, and what was queued behind the call has gone back. */
bool aionif__end_call(struct aionif__call *call, int mode);
/* By flag and signal: for servers whose workers are threads of this process, and inline calls. */
void aionif__ending_add(struct aionif__call *call, int mode);
void aionif__ending_forget(struct aionif__call *call);
struct aionif__control *aionif__control_of(const struct aionif__call *call);
#endif
