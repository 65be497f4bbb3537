/* What event loops see of the core: more events than they take at once, several loops and pools side
 * by side, and calls whose loop is gone. */
#include "pool.h"

#include <pthread.h>

static long answer(void) { return 42; }

static void sleep_ms(long milliseconds) { usleep((useconds_t)milliseconds * 1000); }

static long add(long a, long b, long c, long d) { return a + 2 * b + 3 * c + 4 * d; }

static void submit_and_await_all(struct aionif_pool *pool, int calls) {
    struct pool_request *request = pool_request_of(pool, answer);
    request->target.watch = 0;
    uint64_t before = pool_statistics(pool).returned;
    for (int i = 0; i < calls; i++) {
        pool_submit(request, 0, 0, 0, 0);
    }
    while (pool_statistics(pool).returned < before + (uint64_t)calls) {
        sleep_ms(1); /* the watchdog collects */
    }
}

/* Nothing is under way any more, so nothing rings: what is left has to be promised. */
static void test_no_event_is_left_behind(void) {
    check_case("a loop is told to look until its queue is empty");
    enum { CALLS = 2 * POOL_ROOM + 1 };
    struct aionif_pool *pool = pool_open(pool_settings(2));
    submit_and_await_all(pool, CALLS);
    uint64_t events[POOL_ROOM];
    int total = 0, got;
    do {
        got = aionif_collect(pool_port, events, POOL_ROOM);
        total += got / 2;
        for (int i = 0; i < got / 2; i++) {
            aionif_release(events[i] >> 8);
        }
    } while (got & 1);
    CHECK_EQUAL(total, CALLS);
    CHECK(pool_close(pool));
}

/* More events than one collection takes, and a notice with them. */
static void test_many_events(void) {
    check_case("more events than places");
    enum { CALLS = 1200 };
    struct aionif_pool *pool = pool_open(pool_settings(2));
    struct pool_request *request = pool_request_of(pool, pool_hold);
    request->target.watch = 0;
    request->target.on_cancel = AIONIF_ABANDON;
    pool_held = true;
    pool_noticed(AIONIF_CORE_ABANDONED);
    uint64_t abandoned = pool_submit(request, 0, 0, 0, 0);
    pool_await_holding(1);
    submit_and_await_all(pool, CALLS);
    CHECK_EQUAL(aionif_cancel(abandoned), 0);
    while (pool_statistics(pool).abandoned == 0) {
        sleep_ms(1);
    }
    uint64_t events[POOL_ROOM];
    int total = 0, notices = 0, got;
    do {
        got = aionif_collect(pool_port, events, POOL_ROOM);
        for (int i = 0; i < got / 2; i++) {
            int kind = (int)(events[i] & 0xff);
            total += kind == AIONIF_EVENT_RETURNED;
            notices += kind == AIONIF_EVENT_CORE && pool_noticed(AIONIF_CORE_ABANDONED);
            aionif_release(kind == AIONIF_EVENT_RETURNED ? events[i] >> 8 : 0);
        }
    } while (got);
    CHECK_EQUAL(total, CALLS);
    CHECK_EQUAL(notices, 1);
    pool_held = false;
    CHECK_EQUAL(pool_wait(abandoned, 10000), AIONIF_EVENT_RELEASED);
    CHECK(pool_close(pool));
}

struct loop {
    struct aionif_pool *pool;
    long base;
    int wrong;
};

static void *run_loop(void *argument) {
    enum { CALLS = 300 };
    struct loop *loop = argument;
    struct aionif_call_slot *own = aionif_call_slot_open();
    struct aionif_port *port = aionif_port_open();
    struct aionif_plan plan = {.function = (void *)add};
    struct aionif_target target = {.plan = &plan, .pool = loop->pool, .watch = 1};
    uint64_t events[POOL_ROOM];
    int outstanding = 0;
    own->port = port;
    for (long i = 0; i < CALLS || outstanding;) {
        for (; i < CALLS && outstanding < 20; i++) {
            own->target = &target;
            long got = THROUGH(long(long, long, long, long, ...))(loop->base, 0, 0, 0);
            if (own->outcome == AIONIF_PENDING) {
                outstanding++;
            } else {
                loop->wrong += got != loop->base;
            }
        }
        int got = aionif_collect(port, events, POOL_ROOM);
        for (int at = 0; at < got / 2; at++) {
            if ((events[at] & 0xff) == AIONIF_EVENT_RETURNED) {
                own->replay = events[at] >> 8;
                loop->wrong += THROUGH(long(void))() != loop->base;
                outstanding--;
            }
        }
        struct pollfd bell = {.fd = aionif_port_descriptor(port), .events = POLLIN};
        if (!got && outstanding && poll(&bell, 1, 5000) == 0) {
            loop->wrong += 1000;
            break;
        }
    }
    aionif_port_close(port);
    return NULL;
}

static void test_loops(void) {
    check_case("several loops and pools at once");
    enum { LOOPS = 4 };
    struct aionif_pool *pools[2] = {pool_open(pool_settings(2)), pool_open(pool_settings(2))};
    struct loop loops[LOOPS];
    pthread_t threads[LOOPS];
    for (int i = 0; i < LOOPS; i++) {
        loops[i] = (struct loop){.pool = pools[i % 2], .base = 1000 * (i + 1)};
        pthread_create(&threads[i], NULL, run_loop, &loops[i]);
    }
    for (int i = 0; i < LOOPS; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQUAL(loops[i].wrong, 0);
    }
    CHECK(pool_close(pools[0]) && pool_close(pools[1]));
}

static void test_closed_port(void) {
    check_case("calls of a loop that is gone");
    struct aionif_pool *pool = pool_open(pool_settings(1));
    struct aionif_port *port = aionif_port_open();
    struct pool_request *request = pool_request_of(pool, sleep_ms);
    request->target.watch = 0;
    slot->port = port;
    uint64_t call = pool_submit(request, 30, 0, 0, 0);
    slot->port = pool_port;
    aionif_port_close(port);
    CHECK_EQUAL(pool_wait(call, 10000), AIONIF_EVENT_RETURNED); /* any loop may take it */
    aionif_release(call);
    CHECK(pool_close(pool));
}

int main(void) {
    check_deadline(120);
    slot_start();
    test_no_event_is_left_behind();
    test_many_events();
    test_loops();
    test_closed_port();
    return check_report();
}
