/* Counts of functions: making, reading, and the failures among the ends of calls. */
#include "lanes/series.h"
#include "lanes/state.h"

#include <stdlib.h>

/* NULL: no memory; calls are then not counted by function. */
struct aionif_series *aionif_series_open(struct aionif_pool *pool) {
    struct aionif_series *series = calloc(1, sizeof *series);
    if (series) {
        aionif__lock();
        series->next = pool->series;
        pool->series = series;
        aionif__unlock();
    }
    return series;
}

void aionif_series_read(struct aionif_series *series, struct aionif_series *out) {
    aionif__lock();
    *out = *series;
    aionif__unlock();
    out->next = NULL;
}

/* A call that was not accepted. */
void aionif_series_reject(struct aionif_series *series) {
    aionif__lock();
    series->fates[AIONIF_FATE_REJECTED]++;
    aionif__unlock();
}

void aionif__settle_failure(struct aionif__call *call, const struct aionif__record *record) {
    static const uint8_t fates[] = {
        [AIONIF_SIGNAL] = AIONIF_FATE_CRASHED,   [AIONIF_OVERFLOW] = AIONIF_FATE_CRASHED,
        [AIONIF_PANIC] = AIONIF_FATE_PANICKED,   [AIONIF_EXIT] = AIONIF_FATE_EXITED,
        [AIONIF_DENIED] = AIONIF_FATE_CRASHED,   [AIONIF_ABORTED] = AIONIF_FATE_TIMED_OUT,
        [AIONIF_WORKER_LOST] = AIONIF_FATE_LOST, [AIONIF_UNLOADED] = AIONIF_FATE_REJECTED,
    };
    if (call->settled) {
        return; /* timed out, or cancelled: how it was ended is not its own doing */
    }
    bool known = record->kind > 0 && record->kind < (int32_t)(sizeof fates);
    enum aionif_fate fate = known ? fates[record->kind] : AIONIF_FATE_CRASHED;
    uint32_t signal = (uint32_t)record->failure.signal;
    if (fate == AIONIF_FATE_CRASHED && signal < AIONIF_SIGNALS) {
        call->series->crashes[signal]++;
    }
    aionif__settle(call, fate);
}

void aionif__series_free(struct aionif_pool *pool) {
    while (pool->series) {
        struct aionif_series *series = pool->series;
        pool->series = series->next;
        free(series);
    }
}
