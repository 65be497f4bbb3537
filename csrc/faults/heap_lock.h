/* The lock of a heap, after libc found the heap corrupt and aborted with the lock held. */
#ifndef AIONIF_HEAP_LOCK_H
#define AIONIF_HEAP_LOCK_H
#include "threads/thread.h"

/* Gives back what this thread provably holds. True: it holds no heap's lock any more; false: that is
 * not known. On the thread that crashed, outside of handlers; `self->progress` counts on. */
bool aionif__heap_give_back(struct aionif__thread *self);
#endif
