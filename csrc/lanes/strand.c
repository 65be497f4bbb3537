/* Strands: opening, closing, and going on to the next call. */
#include "lanes/strand.h"

#include "lanes/dispatch.h"
#include "lanes/ends.h"

#include <stdlib.h>

struct aionif_strand *aionif_strand_open(int is_session) {
    struct aionif_strand *strand = calloc(1, sizeof *strand);
    if (strand) {
        strand->is_session = is_session;
    }
    return strand;
}

int aionif_strand_broken(struct aionif_strand *strand) { return strand->broken; }

/* Calls that wait in it are dropped; it is freed when the one in progress has ended. */
void aionif_strand_close(struct aionif_strand *strand) {
    aionif__lock();
    aionif__strand_drop_held(strand);
    strand->closed = true;
    struct aionif_pool *pool = strand->pinned ? strand->pinned->pool : NULL;
    aionif__strand_free_when_done(strand);
    if (pool) { /* its worker may have to leave */
        aionif__collect_pool(pool);
    }
    aionif__unlock();
}

void aionif__strand_free_when_done(struct aionif_strand *strand) {
    if (strand->closed && !strand->busy && !strand->held.first) {
        if (strand->pinned) {
            strand->pinned->reserved = NULL;
        }
        free(strand);
    }
}

/* The strand's call has ended: the next one in its queue goes to the head of the pool's, as it has
 * waited longer than anything there. */
void aionif__strand_next(struct aionif_strand *strand) {
    struct aionif__call *call = strand->held.first;
    strand->busy = call != NULL;
    if (call) {
        aionif__queue_remove(call);
        call->pool->held--;
        aionif__queue_prepend(&call->pool->pending, call);
        aionif__dispatch(call->pool, NULL);
    }
    aionif__strand_free_when_done(strand);
}

void aionif__strand_drop_held(struct aionif_strand *strand) {
    while (strand->held.first) {
        aionif__drop(strand->held.first, AIONIF_EVENT_CLOSED);
    }
}
