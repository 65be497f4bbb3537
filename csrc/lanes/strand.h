/* Strands: calls that run one at a time. */
#ifndef AIONIF_STRAND_H
#define AIONIF_STRAND_H
#include "lanes/state.h"

void aionif__strand_next(struct aionif_strand *strand);
void aionif__strand_drop_held(struct aionif_strand *strand); /* they will never run */
void aionif__strand_free_when_done(struct aionif_strand *strand);
#endif
