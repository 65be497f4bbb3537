/* Workers as the lanes see them: out of their pool, and out of memory. */
#ifndef AIONIF_WORKER_H
#define AIONIF_WORKER_H
#include "lanes/state.h"

void aionif__worker_take_out(struct aionif__worker *worker);
void aionif__worker_stray(struct aionif__worker *worker);
void aionif__reap_strays(void);
#endif
