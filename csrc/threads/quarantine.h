/* Stacks whose calls did not end by themselves. */
#ifndef AIONIF_QUARANTINE_H
#define AIONIF_QUARANTINE_H
#include "threads/stack.h"

/* Another of the same shape in its place; without memory it stays. Nothing may be on it. */
void aionif__stack_exchange(struct aionif__stack *stack);
void aionif__quarantine_forked(void);
#endif
