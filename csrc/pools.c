/* Pools as Python opens and stops them: here alone it is known what kinds of workers there are. */
#include "faults/arenas.h"
#include "faults/loader.h"
#include "lanes/pool.h"
#include "processes/process.h"
#include "workers/handlers.h"
#include "workers/thread_server.h"
#include "workers/watchdog.h"

#include <errno.h>

struct aionif_pool *aionif_pool_open(const struct aionif_pool_settings *settings) {
    struct aionif_pool *pool = aionif__pool_make(
        settings, settings->is_process ? &aionif__process_server : &aionif__thread_server);
    if (!pool) {
        return NULL;
    }
    if (!settings->is_process) {
        aionif__loader_start();
        aionif__arenas_start(); /* from here on there are threads, and heaps have locks */
    }
    if (!aionif__watchdog_hold()) {
        int error = errno;
        aionif__pool_free(pool);
        errno = error;
        return NULL;
    }
    aionif__lock();
    aionif__stay_in_front();
    aionif__pool_enter(pool);
    aionif__unlock();
    return pool;
}

/* After aionif_pool_close, and once nothing runs. The pool is freed. */
int aionif_pool_stop(struct aionif_pool *pool) {
    aionif__lock();
    uint64_t before = pool->statistics.abandoned;
    aionif__pool_stop(pool);
    int unended = (int)(pool->statistics.abandoned - before);
    aionif__unlock();
    aionif__pool_free(pool);
    aionif__watchdog_release();
    return unended;
}
