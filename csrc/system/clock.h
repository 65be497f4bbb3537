/* The clock that all times of the core are told by. */
#ifndef AIONIF_CLOCK_H
#define AIONIF_CLOCK_H
#include <stdint.h>

int64_t aionif__now_ns(void); /* CLOCK_MONOTONIC */
#endif
