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
#include "lanes/call.h"

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

/* Says what has become of a call; the first to say so is right. */
static inline void aionif__settle(struct aionif__call *call, enum aionif_fate fate) {
    if (call->series && !call->settled) {
        call->settled = true;
        call->series->fates[fate]++;
    }
}

void aionif__settle_failure(struct aionif__call *call, const struct aionif__record *record);

#define AIONIF__ANSWER_ERROR ((uint64_t)1 << 61) /* as in aionif/process/child_python.py */

/* Whether what came back is an exception: a worker says so in a bit of its answer. */
static inline bool aionif__has_raised(const struct aionif__call *call,
                                      const struct aionif__record *record) {
    return record->kind == 0 && call->plan->entry == AIONIF_PYTHON_ENTRY &&
           (record->result.integer[0] & AIONIF__ANSWER_ERROR) != 0;
}

/* It has run, and its pool is still there. */
static inline void aionif__series_ended(struct aionif__call *call,
                                        const struct aionif__record *record) {
    if (call->series) {
        struct aionif_series *series = call->series;
        series->run_sum_ns += call->run_ns > 0 ? (uint64_t)call->run_ns : 0;
        series->queue_sum_ns += call->queue_ns > 0 ? (uint64_t)call->queue_ns : 0;
        series->run[aionif__bucket_of(call->run_ns)]++;
        series->queue[aionif__bucket_of(call->queue_ns)]++;
        if (record->kind == 0) {
            aionif__settle(call, aionif__has_raised(call, record) ? AIONIF_FATE_RAISED
                                                                  : AIONIF_FATE_RETURNED);
        } else {
            aionif__settle_failure(call, record);
        }
    }
}

void aionif__series_free(struct aionif_pool *pool);
#endif
