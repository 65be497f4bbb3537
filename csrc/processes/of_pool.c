/* What Python asks of a pool of processes. */
#include "lanes/dispatch.h"
#include "processes/process.h"
#include "processes/window.h"
#include "processes/zygote.h"

#include <stdio.h>

/* A worker of the pool, by its id. */
void aionif_pool_signal(struct aionif_pool *pool, int process, int number) {
    aionif__lock();
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        if (aionif__process_of(pool->workers[i])->pid == process &&
            !aionif__process_of(pool->workers[i])->dead) {
            aionif__process_signal(aionif__process_of(pool->workers[i]), number);
        }
    }
    aionif__unlock();
}

void aionif__process_outdate(struct aionif_pool *pool) {
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct aionif__worker *worker = pool->workers[i];
        aionif__process_of(worker)->stale = true;
        if (aionif__process_leaves(worker)) {
            aionif__process_retire(worker);
            i--;
        }
    }
    if (aionif__tier_of(pool)->spare) {
        aionif__process_drop_spare(pool);
    }
}

void aionif_pool_set_up(struct aionif_pool *pool, int setup) {
    aionif__lock();
    pool->settings.setup = setup;
    aionif__process_outdate(pool);
    aionif__dispatch(pool, NULL);
    aionif__unlock();
}

/* A sealed process opens no library, so whoever was ordered before this one was named may lack it.
 * One that is at work ends its call first. */
void aionif_pool_renew(struct aionif_pool *pool, uint32_t entry) {
    aionif__lock();
    uint32_t first = aionif__catalog_first(entry);
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct aionif__worker *worker = pool->workers[i];
        aionif__process_of(worker)->stale |= aionif__process_of(worker)->known <= first;
        if (aionif__process_of(worker)->stale && aionif__process_leaves(worker)) {
            aionif__process_retire(worker);
            i--;
        }
    }
    const struct aionif__worker *spare = aionif__tier_of(pool)->spare;
    if (spare && aionif__process_of(spare)->known <= first) {
        aionif__process_drop_spare(pool);
    }
    aionif__dispatch(pool, NULL);
    aionif__unlock();
}

int aionif_pool_sealed(struct aionif_pool *pool, struct aionif_seal_result *out) {
    const struct aionif__tier *tier = aionif__tier_of(pool);
    if (!tier) {
        *out = (struct aionif_seal_result){0};
        return AIONIF_SEAL_UNKNOWN;
    }
    aionif__lock();
    *out = tier->sealed;
    int state = tier->seal_state;
    aionif__unlock();
    return state;
}

int aionif_pool_problem(struct aionif_pool *pool, char *out, int room) {
    const struct aionif__tier *tier = aionif__tier_of(pool);
    aionif__lock();
    snprintf(out, (size_t)room, "%s", tier ? tier->problem : "");
    aionif__unlock();
    return out[0] != '\0';
}

int aionif_pool_processes(struct aionif_pool *pool, int32_t *out, int room) {
    int count = 0;
    aionif__lock();
    aionif__zygote_pump();
    for (uint32_t i = 0; aionif__tier_of(pool) && i < pool->worker_count && count < room; i++) {
        if (aionif__process_of(pool->workers[i])->pid) {
            out[count++] = aionif__process_of(pool->workers[i])->pid;
        }
    }
    aionif__unlock();
    return count;
}
