#include "lanes/worker.h"

#include "lanes/dispatch.h"
#include "lanes/ends.h"
#include "lanes/strand.h"

/* Out of its pool; what it had not started goes back there. */
void aionif__worker_take_out(struct aionif__worker *worker) {
    struct aionif_pool *pool = worker->pool;
    aionif__collect(worker);
    aionif__take_back(worker);
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        if (pool->workers[i] == worker) {
            pool->workers[i] = pool->workers[--pool->worker_count];
        }
    }
    if (worker->reserved) {
        worker->reserved->broken = true;
        aionif__strand_drop_held(worker->reserved);
        worker->reserved->pinned = NULL;
        worker->reserved = NULL;
    }
    worker->pool = NULL;
}

/* What serves it may live on for a while, or for good: looked at whenever a loop collects. */
void aionif__worker_stray(struct aionif__worker *worker) {
    worker->next = aionif__core.strays;
    aionif__core.strays = worker;
}

static bool reap(struct aionif__worker *worker) {
    aionif__collect(worker);
    bool gone = worker->server->is_gone(worker) && !worker->watchers;
    if (gone) {
        if (worker->lost_by) {
            worker->lost_by->lost--;
        }
        worker->server->free(worker);
    }
    return gone;
}

void aionif__reap_strays(void) {
    for (struct aionif__worker **link = &aionif__core.strays; *link;) {
        struct aionif__worker *next = (*link)->next;
        if (reap(*link)) {
            *link = next;
        } else {
            link = &(*link)->next;
        }
    }
}
