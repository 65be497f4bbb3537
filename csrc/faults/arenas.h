/* The locks of glibc's heaps. */
#ifndef AIONIF_ARENAS_H
#define AIONIF_ARENAS_H
#include "faults/lock_test.h"

#include <stddef.h>

enum { AIONIF__ARENAS = 1024 };

/* Finds them, once; takes the main heap's for a moment. Any thread, outside of handlers. */
void aionif__arenas_start(void);
/* The same where there are threads already. */
void aionif__arenas_refresh(void);
bool aionif__arenas_are_known(void);
/* Does so much there belong to libc, in memory that nobody writes to? False where heaps are not known. */
bool aionif__arenas_of_libc(const void *address, size_t length);
/* The locks of all heaps there are, the main one's first. How many; 0: not known, or too many. */
int aionif__arenas_list(aionif__lock_word *out[AIONIF__ARENAS]);
/* Would a new thread get a heap of its own, and many more? */
bool aionif__arenas_to_spare(void);
void aionif__arena_unlock(aionif__lock_word *lock);
#endif
