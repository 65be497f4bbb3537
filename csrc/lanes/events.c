/* Events: what an event loop is told, and how it is woken for it. */
#include "lanes/events.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { NOTICES = 64 };

static struct aionif_core_event notices[NOTICES];
static uint32_t notice_first, notice_count;

/* A loop is told of everything in its queue, however many turns that takes:
 *
 *   the bell is armed, and a loop may sleep, only when its queue was seen empty.
 *
 * Else it was rung and has not looked yet, or it has promised to look again (`draining`): whoever adds an
 * event need not ring. Where calls are under way it promises the same after a turn that brought
 * something, as more will come soon. A queue that was just opened is empty, so its bell is armed.
 *
 * No event is lost for want of memory: room for those that a call may yet cause is made before the call
 * is accepted (`promised`). tests/core/test_events_model.py tries every order of the steps. */
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

int aionif__events_take(struct aionif__events *events, uint64_t *out, int room) {
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
void aionif__ring_all(void) {
    for (struct aionif_port *port = aionif__core.ports; port; port = port->next) {
        ring(port);
    }
}

bool aionif__announce(struct aionif_port *port, uint64_t value, int kind) {
    if (port->closed) {
        bool pushed = push(&aionif__core.unclaimed, value, kind);
        aionif__ring_all();
        return pushed;
    }
    bool pushed = push(&port->events, value, kind);
    ring(port);
    return pushed;
}

/* When the table is full the newest is dropped: the oldest is the likelier cause. */
void aionif__core_event(int kind, int detail, int thread, const void *function,
                        const char *executor, const char *text) {
    if (notice_count < NOTICES) {
        struct aionif_core_event *notice = &notices[(notice_first + notice_count++) % NOTICES];
        *notice = (struct aionif_core_event){
            .kind = kind, .detail = detail, .thread = thread, .function = (uintptr_t)function};
        strncpy(notice->executor, executor, AIONIF_NAME - 1);
        strncpy(notice->text, text, AIONIF_TEXT - 1);
    }
    aionif__ring_all();
}

bool aionif__has_core_event(void) { return notice_count > 0; }

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
    atomic_store(&port->bell.armed, 1);
    aionif__lock();
    port->next = aionif__core.ports;
    aionif__core.ports = port;
    if (notice_count || aionif__core.unclaimed.length) {
        ring(port);
    }
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
    while (aionif__events_take(&port->events, &event, 1)) {
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
