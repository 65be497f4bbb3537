/* The locks of the dynamic linker, which know their owner. */
#ifndef AIONIF_LOADER_H
#define AIONIF_LOADER_H
#include "threads/thread.h"

/* Finds them, once; takes that of dlopen for a moment. Any thread, outside of handlers. */
void aionif__loader_start(void);
bool aionif__loader_is_known(void);
bool aionif__loader_holds(const struct aionif__thread *self);
/* After a crash on a worker, outside of handlers: gives back what this thread holds. True: it held one,
 * and must not go on for long: what dlopen keeps for its thread is of a stack that is gone. */
bool aionif__loader_give_back(const struct aionif__thread *self);
#endif
