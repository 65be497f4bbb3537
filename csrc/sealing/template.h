/* What a zygote has made ready for all of its workers. */
#ifndef AIONIF_TEMPLATE_H
#define AIONIF_TEMPLATE_H
#include "sealing/account.h"

/* True: that part was tried in the zygote, and what came of it is in the account now. */
bool aionif__template_tells(struct aionif__sealing *sealing, uint32_t part);
/* The directory that is to be the root from now on; -1: the one that there is. Whoever asks has it. */
int aionif__template_take_root(void);
#endif
