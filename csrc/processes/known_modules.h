/* Which files a sealed worker may name. */
#ifndef AIONIF_KNOWN_MODULES_H
#define AIONIF_KNOWN_MODULES_H
#include "core.h"

/* Clears what this process does not know itself; no frame is in it any more. Takes the core's lock. */
void aionif__forget_unknown(struct aionif_module *modules, uint32_t count, uint8_t *of_frames);
#endif
