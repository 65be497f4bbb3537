/* What keeps a pool from having workers, and when its calls are told.
 *
 * A shortage passes, mostly: descriptors and processes of workers that were killed come back within
 * milliseconds. So a call waits for a while, and as long as any worker serves; only then does it end
 * with AIONIF_EVENT_UNSERVED. Here the system's error is kept, Python puts it into words. The calls
 * are dropped by the watchdog alone: a submission is not over yet when it looks for a worker. */
#include "lanes/lack.h"

#include "lanes/alarm.h"
#include "lanes/ends.h"

#include <stdio.h>

#define PATIENCE_NS ((int64_t)250000000)

void aionif__lack(struct aionif_pool *pool, const char *what, int error) {
    pool->lacks = what;
    pool->lack_error = error;
}

void aionif__lack_begins(struct aionif_pool *pool) {
    if (!pool->lacking_since_ns) {
        pool->lacking_since_ns = aionif__now_ns();
        if (pool->server->lacks) {
            pool->server->lacks(pool);
        }
        aionif__alarm_wake(INT64_MAX - 1);
    }
}

void aionif__lack_over(struct aionif_pool *pool) {
    pool->lacking_since_ns = 0;
    pool->lack_error = 0;
}

/* Sessions keep theirs to themselves. */
bool aionif__is_served(const struct aionif_pool *pool) {
    bool served = false;
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        served |= !pool->workers[i]->reserved;
    }
    return served;
}

static struct aionif__call *find_unserved(const struct aionif_pool *pool) {
    struct aionif__call *call = pool->pending.first;
    while (call && call->strand && call->strand->pinned) {
        call = call->next;
    }
    return call;
}

/* Dropping one may bring up the next of its strand, and tries to start a worker for that. */
void aionif__drop_unserved(struct aionif_pool *pool) {
    for (struct aionif__call *call; (call = find_unserved(pool));) {
        aionif__drop(call, AIONIF_EVENT_UNSERVED);
    }
}

void aionif__lack_tell(struct aionif_pool *pool, int64_t now) {
    if (pool->lacking_since_ns && now - pool->lacking_since_ns > PATIENCE_NS) {
        pool->lacking_since_ns = 0; /* who comes later has a time of its own */
        if (!aionif__is_served(pool)) {
            aionif__drop_unserved(pool);
        }
    }
}

int aionif_pool_lack(struct aionif_pool *pool, char *what, int room) {
    aionif__lock();
    int error = pool->lack_error;
    snprintf(what, (size_t)room, "%s", error ? pool->lacks : "");
    aionif__unlock();
    return error;
}
