/* Events: what an event loop is told, and how it is woken for it. */
#include "lanes/events.h"

#include "lanes/dispatch.h"
#include "lanes/ends.h"
#include "lanes/worker.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { NOTICES = 64, FEED_NS = 50000, STEP_NS = 15000 };

static struct aionif_core_event notices[NOTICES];
static uint32_t notice_first, notice_count;

/* A loop is told of everything in its queue, however many turns that takes:
 *
 *   the bell is armed, and a loop may sleep, only when its queue was seen empty.
 *
 * Else it has promised to look again (`draining`), and whoever adds an event need not ring. Where calls
 * are under way it promises the same after a turn that brought something, as more will come soon.
 *
 * No event is lost for want of memory: room for those that a call may yet cause is made before the call
 * is accepted (`promised`). tests/test_events_model.py tries every order of the steps. */
static bool grow(struct aionif__events *events, uint32_t least) {
    uint32_t room = events->room ? events->room : 64;
    while (room < least) {
        room *= 2;
    }
    uint64_t *items = malloc(room * sizeof *items);
    if (!items) {
        return false;
    }
    for (uint32_t i = 0; i < events->length; i++) {
        items[i] = events->items[(events->first + i) % events->room];
    }
    free(events->items);
    *events = (struct aionif__events){items, 0, events->length, room};
    return true;
}

static bool push(struct aionif__events *events, uint64_t value, int kind) {
    if (events->length == events->room && !grow(events, events->length + 1)) {
        return false;
    }
    events->items[(events->first + events->length++) % events->room] = value << 8 | (uint64_t)kind;
    return true;
}

/* Each use is for events that come later: up to then nothing is pushed but what was promised before. */
bool aionif__events_promise(struct aionif_port *port, uint32_t count) {
    uint32_t least = port->events.length + port->promised + count;
    if (least > port->events.room && !grow(&port->events, least)) {
        return false;
    }
    port->promised += count;
    return true;
}

static int take(struct aionif__events *events, uint64_t *out, int room) {
    int count = 0;
    while (events->length && count < room) {
        out[count++] = events->items[events->first];
        events->first = (events->first + 1) % events->room;
        events->length--;
    }
    return count;
}

static void ring(struct aionif_port *port) {
    if (atomic_exchange(&port->bell.armed, 0)) {
        aionif__bell_ring(&port->bell);
    }
}

/* For what any loop may take: the loop of this or that port may have stopped running. */
static void ring_all(void) {
    for (struct aionif_port *port = aionif__core.ports; port; port = port->next) {
        ring(port);
    }
}

bool aionif__announce(struct aionif_port *port, uint64_t value, int kind) {
    if (port->closed) {
        bool pushed = push(&aionif__core.unclaimed, value, kind);
        ring_all();
        return pushed;
    }
    bool pushed = push(&port->events, value, kind);
    ring(port);
    return pushed;
}

/* When the table is full the newest is dropped: the oldest is the likelier cause. */
void aionif__core_event(int kind, int detail, int thread, const void *function, const char *text) {
    if (notice_count < NOTICES) {
        struct aionif_core_event *notice = &notices[(notice_first + notice_count++) % NOTICES];
        *notice = (struct aionif_core_event){
            .kind = kind, .detail = detail, .thread = thread, .function = (uintptr_t)function};
        strncpy(notice->text, text, AIONIF_TEXT - 1);
    }
    ring_all();
}

int aionif_take_core_event(struct aionif_core_event *out) {
    aionif__lock();
    int taken = notice_count > 0;
    if (taken) {
        *out = notices[notice_first];
        notice_first = (notice_first + 1) % NOTICES;
        notice_count--;
    }
    aionif__unlock();
    return taken;
}

struct aionif_port *aionif_port_open(void) {
    struct aionif_port *port = calloc(1, sizeof *port);
    if (!port) {
        return NULL;
    }
    port->bell.descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (port->bell.descriptor < 0) {
        free(port);
        return NULL;
    }
    aionif__lock();
    port->next = aionif__core.ports;
    aionif__core.ports = port;
    aionif__unlock();
    return port;
}

int aionif_port_descriptor(struct aionif_port *port) { return port->bell.descriptor; }

static void await_publisher(const struct aionif__worker *worker) {
    while (!worker->server->has_own_bell && atomic_load(&worker->lane->publishing)) {
        sched_yield();
    }
}

/* A worker that saw the bell armed may be about to write to its descriptor. It says so beforehand,
 * and is done within a few instructions; those that come later see the bell disarmed. */
static void quiesce(void) {
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        for (uint32_t i = 0; i < pool->worker_count; i++) {
            await_publisher(pool->workers[i]);
        }
    }
    for (struct aionif__worker *stray = aionif__core.strays; stray; stray = stray->next) {
        await_publisher(stray);
    }
}

static void free_port(struct aionif_port *port) {
    quiesce();
    free(port->events.items);
    free(port);
}

void aionif_port_close(struct aionif_port *port) {
    aionif__lock();
    struct aionif_port **link = &aionif__core.ports;
    while (*link != port) {
        link = &(*link)->next;
    }
    *link = port->next;
    port->closed = true;
    atomic_store(&port->bell.armed, 0);
    quiesce();
    close(port->bell.descriptor);
    uint64_t event;
    while (take(&port->events, &event, 1)) {
        push(&aionif__core.unclaimed, event >> 8, event & 0xff);
    }
    if (!port->outstanding) {
        free_port(port);
    }
    aionif__unlock();
}

void aionif__port_forget(struct aionif_port *port) {
    port->promised -= AIONIF__CALL_EVENTS;
    if (--port->outstanding == 0 && port->closed) {
        free_port(port);
    }
}

/* Workers set the marks, and may not take the lock; here is where they are first seen under it. */
static void note_taint(void) {
    static int said;
    int taint = atomic_load(&aionif__core.taint);
    if (taint & ~said) {
        aionif__core_event(AIONIF_CORE_TAINTED, taint & ~said, 0, NULL, "");
        said = taint;
    }
}

static void collect_all(void) {
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        aionif__collect_pool(pool);
    }
}

/* The last place is the notice's. */
static int take_all(struct aionif_port *port, uint64_t *out, int room) {
    note_taint();
    int count = take(&port->events, out, room - 1);
    count += take(&aionif__core.unclaimed, out + count, room - 1 - count);
    if (notice_count) {
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
