/* A turn of an event loop: all that has ended is taken over, and the loop hears of it. */
#include "lanes/dispatch.h"
#include "lanes/ends.h"
#include "lanes/events.h"
#include "lanes/lack.h"
#include "lanes/worker.h"

#include <unistd.h>

enum { FEED_NS = 50000, STEP_NS = 15000 };

/* Workers set the marks, and may not take the lock; here is where they are first seen under it. */
static void note_taint(void) {
    static int said;
    int taint = atomic_load(&aionif__core.taint);
    if (taint & ~said) {
        aionif__core_event(AIONIF_CORE_TAINTED, taint & ~said, 0, NULL, "", "");
        said = taint;
    }
}

static void collect_all(void) {
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        aionif__collect_pool(pool);
        aionif__lack_seen(pool);
    }
}

/* The last place is the notice's. */
static int take_all(struct aionif_port *port, uint64_t *out, int room) {
    note_taint();
    int count = aionif__events_take(&port->events, out, room - 1);
    count += aionif__events_take(&aionif__core.unclaimed, out + count, room - 1 - count);
    if (aionif__has_core_event()) {
        out[count++] = AIONIF_EVENT_CORE;
    }
    return count;
}

static bool is_to_look_again(const struct aionif_port *port, int count) {
    return port->events.length || aionif__core.unclaimed.length || (count && port->outstanding);
}

/* A turn of a loop takes longer than dozens of short calls. So where this loop's short calls wait for
 * room in a lane, its thread feeds the workers from here for a while, and hears of all that ended in
 * one turn. Under the lock, but for the waits. */
static void feed(struct aionif_port *port) {
    int64_t now = aionif__now_ns(), until = now + FEED_NS;
    for (struct aionif__worker *worker; now < until && (worker = aionif__to_feed(port));) {
        struct aionif__lane *lane = worker->lane;
        struct aionif__record *last = aionif__lane_at(lane, lane->submitted - 1);
        worker->watchers++;
        aionif__unlock();
        bool ended = aionif__lane_await(lane, last, now + STEP_NS);
        aionif__lock();
        worker->watchers--;
        if (!ended) {
            return;
        }
        if (worker->pool) { /* else it was taken out meanwhile */
            aionif__collect_pool(worker->pool);
        }
        now = aionif__now_ns();
    }
}

static void arm_all(void) {
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        if (pool->server->arm) {
            pool->server->arm(pool);
        }
    }
}

/* Takes events into `out`, which has `room` places (2 at the least): twice their count, and 1 if the
 * loop is to ask again before it sleeps. Else the bell is armed. After arming comes one more look: what
 * was published before it rang no bell. */
int aionif_collect(struct aionif_port *port, uint64_t *out, int room) {
    if (atomic_exchange(&port->bell.rung, 0)) {
        uint64_t rings;
        ssize_t got = read(port->bell.descriptor, &rings, sizeof rings);
        (void)got; /* nothing to read: it was taken already */
    }
    aionif__lock();
    aionif__reap_strays();
    collect_all();
    feed(port);
    int count = take_all(port, out, room);
    port->draining = is_to_look_again(port, count);
    if (!port->draining) {
        atomic_store(&port->bell.armed, 1);
        arm_all();
        if (count == 0) {
            collect_all();
            count = take_all(port, out, room);
            port->draining = is_to_look_again(port, count);
        }
    }
    int more = port->draining;
    aionif__unlock();
    return 2 * count + more;
}
