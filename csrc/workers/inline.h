/* The inline tier: a call in its caller's thread. */
#ifndef AIONIF_INLINE_H
#define AIONIF_INLINE_H
#include "threads/thread.h"

void aionif__run_inline(struct aionif__thread *self, const struct aionif_target *target,
                        struct aionif__registers *registers, const uint64_t *words);
#endif
