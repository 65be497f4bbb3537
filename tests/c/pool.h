/* A pool and an event loop, as small as they can be: what Python does around slot.h's calls. */
#ifndef POOL_H
#define POOL_H
#include "slot.h"

#include <poll.h>

enum { POOL_KEPT_EVENTS = 65536, POOL_ROOM = 4 }; /* little, so that some are left for the next */

static struct aionif_port *pool_port;
static uint64_t pool_events[POOL_KEPT_EVENTS]; /* taken from the core, not yet asked for */
static int pool_event_count;
static unsigned pool_notices; /* bit k: a notice of kind k was taken */

static inline struct aionif_pool_settings pool_settings(uint32_t workers) {
    return (struct aionif_pool_settings){
        .max_workers = workers,
        .max_queue = 10000,
        .max_lost = 1000,
        .spin_ns = 200000, /* longer than waking takes, or a worker once asleep is never watched */
        .watch_ns = 20000,
        .stack_size = 256 * 1024,
        .guard_size = 8 << 20,
        .abort_attempts = 100,
        .name = "test",
    };
}

/* The port is the program's one and only loop. */
static inline struct aionif_pool *pool_open(struct aionif_pool_settings settings) {
    if (!pool_port) {
        pool_port = aionif_port_open();
        slot->port = pool_port;
    }
    struct aionif_pool *pool = aionif_pool_open(&settings);
    if (!pool || !pool_port) {
        printf("no pool\n");
        exit(EXIT_FAILURE);
    }
    return pool;
}

static inline void pool_take_notices(void) {
    struct aionif_core_event notice;
    while (aionif_take_core_event(&notice)) {
        pool_notices |= 1u << notice.kind;
    }
}

/* Was there a notice of this kind since it was last asked for? */
static inline bool pool_noticed(int kind) {
    pool_take_notices();
    bool found = pool_notices >> kind & 1;
    pool_notices &= ~(1u << kind);
    return found;
}

/* Takes what there is. False: there was nothing, and the bell will be rung. */
static inline bool pool_collect(void) {
    uint64_t events[POOL_ROOM];
    int got = aionif_collect(pool_port, events, POOL_ROOM);
    for (int i = 0; i < got / 2 && pool_event_count < POOL_KEPT_EVENTS; i++) {
        if ((events[i] & 0xff) == AIONIF_EVENT_CORE) {
            pool_take_notices();
        } else {
            pool_events[pool_event_count++] = events[i];
        }
    }
    return got != 0;
}

static inline void pool_sleep(int64_t until_ns) {
    struct pollfd bell = {.fd = aionif_port_descriptor(pool_port), .events = POLLIN};
    int64_t left = (until_ns - check_now_ns()) / 1000000 + 1;
    poll(&bell, 1, left > 0 ? (int)left : 0);
}

/* The kind of the next event about `value`, in the order they came; -1: none within the time. */
static inline int pool_wait(uint64_t value, int milliseconds) {
    int64_t until = check_now_ns() + milliseconds * (int64_t)1000000;
    for (int from = 0;;) {
        for (int i = from; i < pool_event_count; i++) {
            if (pool_events[i] >> 8 == value) {
                int kind = (int)(pool_events[i] & 0xff);
                memmove(&pool_events[i], &pool_events[i + 1],
                        (size_t)(--pool_event_count - i) * sizeof *pool_events);
                return kind;
            }
        }
        from = pool_event_count;
        if (!pool_collect()) {
            if (check_now_ns() > until) {
                return -1;
            }
            pool_sleep(until);
        }
    }
}

/* What the next call through the thunk is for. The core looks at it for as long as the call lives,
 * which may be longer than its test: they are kept to the end. */
struct pool_request {
    struct pool_request *next;
    struct aionif_plan plan;
    struct aionif_target target;
};
static struct pool_request *pool_requests;

#define pool_request_of(pool, function) pool_request_address(pool, (void *)(function))
static inline struct pool_request *pool_request_address(struct aionif_pool *pool, void *function) {
    struct pool_request *request = calloc(1, sizeof *request);
    request->next = pool_requests;
    pool_requests = request;
    request->plan = (struct aionif_plan){.function = function, .stack_words = SLOT_STACK_WORDS};
    request->target = (struct aionif_target){.plan = &request->plan, .pool = pool, .watch = 1};
    return request;
}

/* Submits a call with up to four integer arguments. Its id, or 0 and slot->outcome says why. What
 * ended while it was watched counts as an event too. */
static inline uint64_t pool_submit(struct pool_request *request, long a, long b, long c, long d) {
    slot->target = &request->target;
    long value = THROUGH(long(long, long, long, long, ...))(a, b, c, d);
    (void)value;
    if (slot->outcome == AIONIF_PENDING) {
        return slot->call;
    }
    return 0;
}

/* The result of a call that has returned. */
static inline long pool_result(uint64_t call) {
    slot->replay = call;
    return THROUGH(long(void))();
}

/* Runs it to its end on a worker; 0, or the kind of its failure, which is then in *failure. */
#define pool_run(pool, function, failure) pool_run_address(pool, (void *)(function), failure)
static inline int pool_run_address(struct aionif_pool *pool, void *function,
                                   struct aionif_failure *failure) {
    struct pool_request *request = pool_request_address(pool, function);
    request->target.watch = 0;
    uint64_t call = pool_submit(request, 0, 0, 0, 0);
    int event = call ? pool_wait(call, 20000) : -1;
    int kind = -1;
    if (event == AIONIF_EVENT_RETURNED) {
        pool_result(call);
        kind = 0;
    } else if (event == AIONIF_EVENT_FAILED) {
        kind = aionif_failure(call, failure) ? failure->kind : -1;
    }
    return kind;
}

/* A native function that runs until it is let go, and says when it has begun. */
static _Atomic int pool_holding;
static _Atomic bool pool_held;
static int pool_hold_on(const void *unused, const void *unused_too) {
    (void)unused;
    (void)unused_too;
    pool_holding++;
    while (pool_held) {
        usleep(500);
    }
    pool_holding--;
    return 0;
}
/* Within a function of libc that calls back, so that no deadline can stop it. */
static inline void pool_hold(void) {
    void *(*volatile search)(const void *, const void *, size_t, size_t,
                             int (*)(const void *, const void *)) = bsearch; /* not inlined */
    char one = 0;
    search(&one, &one, 1, 1, pool_hold_on);
}
static inline void pool_await_holding(int count) {
    while (pool_holding != count) {
        usleep(200); /* the test's deadline bounds it */
    }
}

/* Closes an idle pool and frees it. */
static inline bool pool_close(struct aionif_pool *pool) {
    bool idle = aionif_pool_close(pool, pool_port) ||
                pool_wait((uintptr_t)pool, 20000) == AIONIF_EVENT_IDLE;
    aionif_pool_stop(pool);
    return idle;
}

static inline struct aionif_statistics pool_statistics(struct aionif_pool *pool) {
    struct aionif_statistics statistics;
    aionif_pool_statistics(pool, &statistics);
    return statistics;
}
#endif
