/* Of a seal, what all that apply one need. */
#ifndef AIONIF_SEAL_H
#define AIONIF_SEAL_H
#include "core.h"

#include <stdbool.h>

/* The struct may come from another process: nothing in it is an index before this says so. */
bool aionif__seal_is_sound(const struct aionif_seal *seal);
/* The filter of a sound seal, with the flags of seccomp(): what that returns. */
long aionif__seal_install(const struct aionif_seal *seal, unsigned long flags);
#endif
