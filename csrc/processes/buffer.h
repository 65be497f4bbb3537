/* Buffers: memory that calls in processes use without a copy. */
#ifndef AIONIF_BUFFER_H
#define AIONIF_BUFFER_H
#include "processes/process.h"

/* As `grant` of lanes/server.h; false: the worker's socket is full, for now. */
bool aionif__buffers_grant(struct aionif__worker *worker, const struct aionif_block *block);
#endif
