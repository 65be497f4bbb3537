/* What keeps a pool from having workers, and when its calls are told.
 *
 * A shortage passes, mostly: descriptors and processes of workers that were killed come back within
 * milliseconds, and a loop starts another zygote as soon as it looks. So a call waits for a while after a
 * loop has looked (they are all rung for that; one that is busy could do nothing yet), and as long as
 * any worker serves; only then does it end with AIONIF_EVENT_UNSERVED. Here the system's error is kept,
 * Python puts it into words. The calls are dropped by the watchdog alone: a submission is not over yet
 * when it looks for a worker. */
#include "lanes/lack.h"

#include "lanes/alarm.h"
#include "lanes/ends.h"
#include "lanes/events.h"

#include <stdio.h>

#define PATIENCE_NS ((int64_t)250000000)

void aionif__lack(struct aionif_pool *pool, const char *what, int error) {
    pool->lacks = what;
    pool->lack_error = error;
}

void aionif__lack_begins(struct aionif_pool *pool) {
    if (!pool->lacking) {
        pool->lacking = true;
        aionif__ring_all();
        if (pool->server->lacks) {
            pool->server->lacks(pool);
        }
        aionif__alarm_wake(INT64_MAX - 1);
    }
}

void aionif__lack_over(struct aionif_pool *pool) {
    pool->lacking = false;
    pool->lack_seen_ns = 0;
    pool->lack_error = 0;
}

void aionif__lack_seen(struct aionif_pool *pool) {
    if (pool->lacking && !pool->lack_seen_ns) {
        pool->lack_seen_ns = aionif__now_ns();
    }
}

/* One that is only starting will serve, mostly. Sessions keep theirs to themselves. */
static bool has_worker(const struct aionif_pool *pool) {
    bool found = false;
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        found |= !pool->workers[i]->reserved;
    }
    return found;
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
    if (pool->lack_seen_ns && now - pool->lack_seen_ns > PATIENCE_NS) {
        pool->lacking = false; /* who comes later has a time of its own */
        pool->lack_seen_ns = 0;
        if (!has_worker(pool)) {
            aionif__drop_unserved(pool);
        }
    }
}

uint32_t aionif_pool_zygote(const struct aionif_pool *pool) { return pool->settings.zygote; }

int aionif_pool_lack(struct aionif_pool *pool, char *what, int room) {
    aionif__lock();
    int error = pool->lack_error;
    snprintf(what, (size_t)room, "%s", error ? pool->lacks : "");
    aionif__unlock();
    return error;
}
