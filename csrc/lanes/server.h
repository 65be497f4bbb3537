/* Who serves lanes: what a pool asks of the kind of workers that it has.
 *
 * Lanes, queues and events are the same whether threads of this process or processes serve them; all
 * that differs is here. Each kind fills in one table (workers/thread_server.c,
 * processes/process_server.c), and a pool is opened with it (pools.c). A worker's `own` and a pool's
 * `own` are the server's: nobody else looks at them.
 *
 * All are called under the core's lock but where it says so, and none waits for anything, but for
 * `stop`. Those that say "may be NULL" then mean that there is nothing to do.
 *
 * Whoever serves a lane keeps to lane.h, and to this:
 *   - it claims records in ring order and publishes each that it claimed, or else it will be gone;
 *   - `lane->health` is SERVING until it is about to leave, and says so before the last publication;
 *   - `lane->tid` is 0 until it can take calls. */
#ifndef AIONIF_SERVER_H
#define AIONIF_SERVER_H
#include <stdbool.h>
#include <stdint.h>

struct aionif__call;
struct aionif__record;
struct aionif__worker;
struct aionif_block;
struct aionif_pool;

struct aionif__server {
    /* What its workers write into their lanes is true. Else `read` decides what of it is, and a lane
     * counts as idle only when all its records were taken back. */
    bool is_trusted;
    /* Its workers ring `lane->bell`, and never the bell of a port: a port may be freed while one of
     * them publishes. */
    bool has_own_bell;
    uint32_t most_words; /* of stack arguments that one call may have */

    /* ---- a pool ---- */

    /* Not under the lock, before anyone else knows the pool: make its `own`. False: no memory. May be
     * NULL. `close` frees it, likewise, after `stop`; may be NULL. */
    bool (*open)(struct aionif_pool *pool);
    void (*close)(struct aionif_pool *pool);
    /* There are less workers than settings.max_workers. Add one, whose lane may be filled at once, to
     * pool->workers, and return it. NULL: aionif__lack() has been told what is missing; its error is
     * 0 where nothing is, and the same is to be tried again. */
    struct aionif__worker *(*start)(struct aionif_pool *pool);
    /* A call begins to wait because `start` failed. May be NULL. */
    void (*lacks)(struct aionif_pool *pool);
    /* What the workers published has been collected. Afterwards none is in the pool that has left, or
     * is to be left: each of those went through aionif__worker_take_out(), and is now a stray, doomed
     * or freed. New ones are not started here. */
    void (*replace)(struct aionif_pool *pool);
    /* By the watchdog, at each tick while a call is under way: notice workers that make no progress or
     * use too much. Returns by when to look again if no call is: INT64_MAX, never; up to now: at the next
     * tick, as something is under way besides calls. */
    int64_t (*tend)(struct aionif_pool *pool, int64_t now_ns);
    /* A loop is about to sleep: whoever has a call in its lane is to ring when that has ended. May be
     * NULL: `record->bell` is a port's, which the loop has armed. */
    void (*arm)(struct aionif_pool *pool);
    /* The pool is closed. Let its workers end; afterwards none is in it, and none is doomed: they were
     * freed, or are strays. May wait, with the lock given back meanwhile. */
    void (*stop)(struct aionif_pool *pool);

    /* ---- one worker ---- */

    /* Whether it may be given another call, as far as `lane->health` does not tell. May be NULL. */
    bool (*serves)(const struct aionif__worker *worker);
    /* Before a call with a block is put into its lane: have it let into the buffers that the call
     * uses. False: not now; the call stays first in the queue and is tried again. May be NULL. */
    bool (*grant)(struct aionif__worker *worker, const struct aionif_block *block);
    /* The record is filled in as for a thread of this process, and not queued yet: change what means
     * something else to this worker. May be NULL. */
    void (*fill)(struct aionif__worker *worker, struct aionif__record *record,
                 struct aionif__call *call);
    /* Of a server that is not trusted: the record at `position` as far as it can be taken as true, in
     * memory that the worker can't reach, with its state; NULL: not over yet. Must come to an end
     * once the worker has gone: a call in a lane that nobody serves has failed. */
    struct aionif__record *(*read)(struct aionif__worker *worker, uint32_t position,
                                   uint32_t *state);
    /* The call has ended as `record` says: bring what it left in memory of the worker to the call's
     * own. May be NULL. */
    void (*take)(struct aionif__worker *worker, struct aionif__call *call,
                 const struct aionif__record *record);
    /* The call has failed and call->failure is filled in: add call->remains. May be NULL. */
    void (*describe)(struct aionif__worker *worker, struct aionif__call *call);
    /* As aionif__end_call(). The call is in this worker's lane, and has been claimed. */
    bool (*end)(struct aionif__call *call, int mode);
    /* Of a stray: it has touched its lane for the last time. */
    bool (*is_gone)(const struct aionif__worker *worker);
    /* It has gone, and nobody looks at it: free it, its lane and its `own`. Under the lock or not. */
    void (*free)(struct aionif__worker *worker);
};
#endif
