/* Counts of one function under one pool: what became of its calls, and how long they took.
 *
 * A target points to its series and a call copies that pointer, so nothing is searched for when a
 * call ends. All is written under the core's lock, which a call's end holds anyway: plain additions,
 * no atomics. A series belongs to its pool and is freed with it; a call that outlives its pool (its
 * thread was abandoned) has been settled before, and is not looked at again.
 *
 * Histograms have four buckets to an octave, so that a quantile read from one is off by an eighth at
 * the most; which one is a count of leading zeros and a shift. Fixed bounds, as counts of several
 * pools are added up. */
#ifndef AIONIF_SERIES_H
#define AIONIF_SERIES_H
#include "call.h"

enum { AIONIF__FIRST_OCTAVE = 7 };

/* Upper bounds belong to their bucket. Bucket 0 ends at 128 ns, the last one has no end. */
static inline uint32_t aionif__bucket_of(int64_t ns) {
    if (ns <= 1 << AIONIF__FIRST_OCTAVE) {
        return 0;
    }
    uint64_t below = (uint64_t)ns - 1;
    uint32_t octave = 63 - (uint32_t)__builtin_clzll(below);
    uint32_t index = 4 * (octave - AIONIF__FIRST_OCTAVE) + (below >> (octave - 2) & 3) + 1;
    return index < AIONIF_BUCKETS ? index : AIONIF_BUCKETS - 1;
}

static inline void aionif__histogram_add(struct aionif_histogram *histogram, int64_t ns) {
    histogram->sum_ns += ns > 0 ? (uint64_t)ns : 0;
    histogram->buckets[aionif__bucket_of(ns)]++;
}

/* Says what has become of a call; the first to say so is right. */
static inline void aionif__settle(struct aionif__call *call, enum aionif_fate fate) {
    if (call->series && !call->settled) {
        call->settled = true;
        call->series->fates[fate]++;
    }
}

void aionif__settle_failure(struct aionif__call *call, const struct aionif__record *record);

/* It has run, and its pool is still there. */
static inline void aionif__series_ended(struct aionif__call *call,
                                        const struct aionif__record *record) {
    if (call->series) {
        aionif__histogram_add(&call->series->run, call->run_ns);
        aionif__histogram_add(&call->series->queue, call->queue_ns);
        if (record->kind == 0) {
            aionif__settle(call, AIONIF_FATE_RETURNED);
        } else {
            aionif__settle_failure(call, record);
        }
    }
}

void aionif__series_free(struct aionif_pool *pool);
#endif
