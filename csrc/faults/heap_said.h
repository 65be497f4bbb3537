/* What libc said before it aborted over a corrupt heap. */
#ifndef AIONIF_HEAP_SAID_H
#define AIONIF_HEAP_SAID_H
#include "threads/thread.h"

/* Did libc find the heap corrupt and abort? */
bool aionif__heap_is_corrupt(const struct aionif__thread *self);
/* And did it hold the lock of exactly one heap then? False where that is not certain. To be asked once
 * after each abort, before anything else runs on the stack of the call. */
bool aionif__heap_was_locked(const struct aionif__thread *self);
#endif
