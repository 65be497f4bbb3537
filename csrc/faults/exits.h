/* exit(), _exit() and denied system calls of native code. */
#ifndef AIONIF_EXITS_H
#define AIONIF_EXITS_H
#include "core.h"

#include <stdbool.h>

void aionif__exits_watch(void); /* before the handlers registered so far, for every worker */
void aionif__exits_watch_again(bool quick); /* in place of the handler that was used */
void aionif__exits_worker(int change); /* 1: a worker's thread has begun; -1: it is about to end */
bool aionif__exits_filter(const struct aionif_pool_settings *settings);
const char *aionif__exits_blind(void); /* why _exit can't be trapped here */
bool aionif__exits_hold_a_lock(void);  /* exit() does, for ever: no call can be ended in it */
#endif
