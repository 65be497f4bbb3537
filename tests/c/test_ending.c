/* Calls that are not waited for to their end: deadlines in the queue and in the call, cancellation,
 * and the three ways to stop native code: abort, abandon, wait. And threads that are lost to it. */
#include "aionif.h"
#include "crash.h"
#include "pool.h"

#include <pthread.h>

enum { MILLISECOND = 1000000 };

/* ---- what runs too long ---- */

static _Atomic bool spins; /* the worker has begun with it */
static void spin(void) {
    spins = true;
    for (volatile unsigned long turns = 0;; turns++) {
    }
}
static long spin_until_told(void) {
    volatile long turns = 0;
    while (!aionif_should_stop()) {
        turns++;
    }
    return turns;
}
static void spin_ns(long ns) {
    int64_t until = check_now_ns() + ns;
    while (check_now_ns() < until) {
    }
}
/* The watchdog finds this one in user code only now and then. */
static void spin_malloc(void) {
    for (unsigned turn = 0;; turn++) {
        char *block = malloc(turn % 2 ? 24 : 1500);
        *(volatile char *)block = 1;
        free(block);
    }
}
static void hold_deaf(void) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pool_hold();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
static long answer(void) { return 42; }

static struct pool_request *request_of(struct aionif_pool *pool, void *function, int on_timeout,
                                       int on_cancel) {
    struct pool_request *request = pool_request_address(pool, function);
    request->target.watch = 0;
    request->target.on_timeout = (uint8_t)on_timeout;
    request->target.on_cancel = (uint8_t)on_cancel;
    return request;
}
#define request(pool, function, on_timeout, on_cancel)                                             \
    request_of(pool, (void *)(function), on_timeout, on_cancel)

static uint64_t submit_with_timeout(struct pool_request *request, long milliseconds) {
    slot->timeout_ns = milliseconds * MILLISECOND;
    uint64_t call = pool_submit(request, 0, 0, 0, 0);
    CHECK_EQUAL(slot->timeout_ns, 0);
    return call;
}

/* Lets it time out while it runs; on a busy machine 20 ms may pass before it does. */
static uint64_t run_into_timeout(struct pool_request *request) {
    uint64_t call = 0;
    int event = AIONIF_EVENT_QUEUE_TIMEOUT;
    for (long patience = 20; event == AIONIF_EVENT_QUEUE_TIMEOUT; patience *= 2) {
        int64_t start = check_now_ns();
        call = submit_with_timeout(request, patience);
        event = pool_wait(call, 20000);
        CHECK(check_now_ns() - start >= patience * MILLISECOND);
    }
    CHECK_EQUAL(event, AIONIF_EVENT_RUN_TIMEOUT);
    return call;
}

static bool works(struct aionif_pool *pool) {
    struct aionif_failure failure;
    return CHECK_EQUAL(pool_run(pool, answer, &failure), 0);
}

static struct aionif_pool *open_pool(uint32_t workers) {
    struct aionif_pool_settings settings = pool_settings(workers);
    settings.abort_attempts = 10;
    return pool_open(settings);
}

/* ---- deadlines ---- */

static void test_queue_timeout(void) {
    check_case("a deadline in the queue");
    struct aionif_pool *pool = open_pool(1);
    struct pool_request *holder = pool_request_of(pool, pool_hold);
    holder->target.watch = 0;
    pool_held = true;
    uint64_t running = pool_submit(holder, 0, 0, 0, 0);
    pool_await_holding(1);
    struct pool_request *waiting = request(pool, answer, AIONIF_ABORT, AIONIF_ABORT);
    int64_t start = check_now_ns();
    uint64_t call = submit_with_timeout(waiting, 20);
    uint64_t patient = submit_with_timeout(waiting, 20000);
    CHECK_EQUAL(pool_wait(call, 10000), AIONIF_EVENT_QUEUE_TIMEOUT);
    CHECK(check_now_ns() - start >= 20 * MILLISECOND);
    CHECK_EQUAL(aionif_cancel(call), 1); /* it is gone */
    pool_held = false;
    CHECK_EQUAL(pool_wait(patient, 10000), AIONIF_EVENT_RETURNED);
    CHECK_EQUAL(pool_wait(running, 10000), AIONIF_EVENT_RETURNED);
    aionif_release(patient);
    aionif_release(running);
    struct aionif_statistics statistics = pool_statistics(pool);
    CHECK_EQUAL(statistics.timed_out, 1);
    CHECK_EQUAL(statistics.returned, 2);
    CHECK(pool_close(pool));
}

static void test_abort(void) {
    check_case("a deadline aborts what spins");
    struct aionif_pool *pool = open_pool(1);
    for (uint64_t i = 1; i <= 2; i++) {
        uint64_t call = run_into_timeout(request(pool, spin, AIONIF_ABORT, AIONIF_ABORT));
        CHECK_EQUAL(pool_wait(call, 10000), AIONIF_EVENT_RELEASED);
        CHECK_EQUAL(pool_statistics(pool).aborted, i);
        CHECK(pool_statistics(pool).timed_out >= i);
        works(pool);
    }
    CHECK_EQUAL(pool_statistics(pool).started, 1);
    CHECK(pool_close(pool));
}

static void test_cooperative(void) {
    check_case("a function that asks returns by itself");
    CHECK_EQUAL(aionif_should_stop(), 0);
    struct aionif_pool *pool = open_pool(1);
    uint64_t call = run_into_timeout(request(pool, spin_until_told, AIONIF_ABANDON, AIONIF_ABORT));
    CHECK_EQUAL(pool_wait(call, 10000), AIONIF_EVENT_RELEASED);
    call = submit_with_timeout(request(pool, spin_until_told, AIONIF_WAIT, AIONIF_ABORT), 200);
    CHECK_EQUAL(pool_wait(call, 10000), AIONIF_EVENT_FAILED);
    struct aionif_failure failure;
    CHECK_EQUAL(aionif_failure(call, &failure), 1);
    CHECK_EQUAL(failure.kind, AIONIF_ABORTED);
    CHECK_EQUAL(failure.timed_out, 1);
    CHECK(failure.run_ns > 0);
    works(pool);
    CHECK(pool_close(pool));
}

static void test_abandon(int how, void *function, const char *name) {
    check_case(name);
    struct aionif_pool *pool = open_pool(1);
    pool_held = true;
    uint64_t call = run_into_timeout(request(pool, function, how, how));
    works(pool); /* on another thread */
    CHECK(pool_noticed(AIONIF_CORE_ABANDONED));
    CHECK_EQUAL(pool_statistics(pool).abandoned, 1);
    CHECK_EQUAL(pool_statistics(pool).started, 2);
    CHECK_EQUAL(pool_statistics(pool).workers, 1);
    pool_held = false;
    CHECK_EQUAL(pool_wait(call, 10000), AIONIF_EVENT_RELEASED);
    CHECK(pool_close(pool));
}

/* The submitter is watching as the deadline passes: it must still be told. */
static void test_watched_timeout(void) {
    check_case("a deadline while the submitter watches");
    struct aionif_pool_settings settings = pool_settings(1);
    settings.watch_ns = 100 * MILLISECOND;
    settings.spin_ns = 1000 * MILLISECOND;
    settings.abort_attempts = 3;
    struct aionif_pool *pool = pool_open(settings);
    struct pool_request *asked = request(pool, pool_hold, AIONIF_ABANDON, AIONIF_ABANDON);
    asked->target.watch = 1;
    works(pool); /* awake from here */
    asked->plan.usual_ns = 10 * MILLISECOND;
    pool_held = true;
    uint64_t call = submit_with_timeout(asked, 5);
    CHECK_EQUAL(slot->outcome, AIONIF_PENDING);
    CHECK_EQUAL(pool_wait(call, 10000), AIONIF_EVENT_RUN_TIMEOUT);
    pool_held = false;
    CHECK_EQUAL(pool_wait(call, 10000), AIONIF_EVENT_RELEASED);
    CHECK(pool_close(pool));
}

static void test_many_aborts(void) {
    check_case("aborts of a loop of malloc and free");
    int count = check_sanitized() ? 5 : 50; /* ASan is nearly always inside its own malloc */
    struct aionif_pool_settings settings = pool_settings(2);
    settings.abort_attempts = 10000;
    struct aionif_pool *pool = pool_open(settings);
    struct pool_request *asked = request(pool, spin_malloc, AIONIF_ABORT, AIONIF_ABORT);
    for (int i = 0; i < count; i++) {
        uint64_t call = submit_with_timeout(asked, 1);
        int event = pool_wait(call, 10000);
        CHECK(event == AIONIF_EVENT_RUN_TIMEOUT || event == AIONIF_EVENT_QUEUE_TIMEOUT);
        if (event == AIONIF_EVENT_RUN_TIMEOUT) {
            CHECK_EQUAL(pool_wait(call, 10000), AIONIF_EVENT_RELEASED);
        }
        free(malloc(5000));
    }
    struct aionif_statistics statistics = pool_statistics(pool);
    CHECK_EQUAL(statistics.abandoned, 0);
    CHECK_EQUAL(statistics.retired, 0);
    CHECK_EQUAL(statistics.timed_out, count);
    works(pool);
    CHECK(pool_close(pool));
}

static void test_inline(void) {
    check_case("a deadline of an inline call");
    door_inline(spin);
    slot->timeout_ns = 20 * MILLISECOND;
    int64_t start = check_now_ns();
    THROUGH(void(void))();
    CHECK(check_now_ns() - start >= 20 * MILLISECOND);
    CHECK_EQUAL(slot->outcome, AIONIF_FAILED);
    struct aionif_failure failure;
    CHECK_EQUAL(aionif_failure(0, &failure), 1);
    CHECK_EQUAL(failure.kind, AIONIF_ABORTED);
    CHECK_EQUAL(failure.timed_out, 1);

    door_inline(answer);
    slot->timeout_ns = 1000 * (int64_t)MILLISECOND;
    CHECK_EQUAL(THROUGH(long(void))(), 42);
    CHECK_EQUAL(slot->outcome, AIONIF_RETURNED);

    door_inline(crash);
    slot->timeout_ns = 1000 * (int64_t)MILLISECOND;
    THROUGH(void(void))();
    CHECK_EQUAL(slot->outcome, AIONIF_FAILED);
    CHECK_EQUAL(aionif_failure(0, &failure), 1);
    CHECK_EQUAL(failure.kind, AIONIF_SIGNAL);
}

/* ---- cancellation ---- */

static void test_cancel(void) {
    check_case("cancelling");
    struct aionif_pool *pool = open_pool(1);
    CHECK_EQUAL(aionif_cancel(0), 1);
    CHECK_EQUAL(aionif_cancel(0x7700000001), 1);
    struct pool_request *holder = request(pool, pool_hold, AIONIF_ABORT, AIONIF_WAIT);
    pool_held = true;
    uint64_t running = pool_submit(holder, 0, 0, 0, 0);
    pool_await_holding(1);
    uint64_t queued = pool_submit(holder, 0, 0, 0, 0);
    CHECK_EQUAL(aionif_cancel(queued), 1);
    CHECK_EQUAL(pool_statistics(pool).queued, 0);
    CHECK_EQUAL(aionif_cancel(running), 0); /* waits: released when it returns */
    CHECK_EQUAL(aionif_cancel(running), 0);
    CHECK_EQUAL(pool_wait(running, 50), -1);
    pool_held = false;
    CHECK_EQUAL(pool_wait(running, 10000), AIONIF_EVENT_RELEASED);
    CHECK_EQUAL(aionif_cancel(running), 1);

    spins = false;
    uint64_t spinning = pool_submit(request(pool, spin, AIONIF_WAIT, AIONIF_ABORT), 0, 0, 0, 0);
    while (!spins) {
        usleep(100);
    }
    CHECK_EQUAL(aionif_cancel(spinning), 0);
    CHECK_EQUAL(pool_wait(spinning, 10000), AIONIF_EVENT_RELEASED);

    struct pool_request *quick = request(pool, answer, AIONIF_ABORT, AIONIF_ABORT);
    uint64_t ended = pool_submit(quick, 0, 0, 0, 0);
    while (pool_statistics(pool).returned < 2) {
        usleep(100); /* the watchdog collects */
    }
    CHECK_EQUAL(aionif_cancel(ended), 1);
    pool_result(ended);
    CHECK_EQUAL(slot->outcome, AIONIF_MISUSED);
    CHECK_EQUAL(pool_statistics(pool).cancelled, 3);
    works(pool);
    CHECK(pool_close(pool));
}

/* Exactly one of: its end was first (1), or it is released later (0). Nothing is freed twice: calls
 * that can't have ended meanwhile have places of their own. */
static void test_cancel_race(void) {
    check_case("cancelling as it ends, or times out");
    enum { BATCH = 8 };
    int rounds = check_emulated() ? 50 : 1000;
    struct aionif_pool *pool = open_pool(2);
    struct pool_request *asked = request(pool, spin_ns, AIONIF_WAIT, AIONIF_WAIT);
    struct pool_request *timed = request(pool, spin_ns, AIONIF_ABORT, AIONIF_WAIT);
    uint64_t seed = 88172645463325252, calls[BATCH];
    bool has_deadline[BATCH];
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < BATCH; i++) {
            has_deadline[i] = check_random(&seed) % 4 == 0;
            slot->timeout_ns = has_deadline[i] ? (int64_t)(1 + check_random(&seed) % 30000) : 0;
            calls[i] = pool_submit(has_deadline[i] ? timed : asked,
                                   (long)(check_random(&seed) % 20000), 0, 0, 0);
            for (int j = 0; j < i; j++) {
                CHECK(calls[i] != calls[j]);
                CHECK(has_deadline[j] || (uint32_t)calls[i] != (uint32_t)calls[j]);
            }
        }
        int64_t until = check_now_ns() + (int64_t)(check_random(&seed) % 40000);
        while (check_now_ns() < until) {
        }
        for (int i = 0; i < BATCH; i++) {
            if (aionif_cancel(calls[i]) == 0) {
                int event = pool_wait(calls[i], 10000);
                if (event == AIONIF_EVENT_RUN_TIMEOUT) {
                    event = pool_wait(calls[i], 10000);
                }
                CHECK_EQUAL(event, AIONIF_EVENT_RELEASED);
            }
        }
        pool_event_count = 0; /* of calls whose end was first */
        if (check_case_failures) {
            break;
        }
    }
    works(pool);
    CHECK(pool_close(pool));
}

/* ---- lost threads ---- */

static void test_retire(void) {
    if (check_sanitized()) {
        check_exclude("a lock that a crash leaves held", "ASan's malloc makes its own report");
        return;
    }
    check_case("a lock that a crash leaves held");
    struct aionif_pool_settings settings = pool_settings(1);
    settings.max_lost = 2;
    struct aionif_pool *pool = pool_open(settings);
    for (uint64_t i = 1; i <= 2; i++) {
        struct aionif_failure failure;
        CHECK_EQUAL(pool_run(pool, crash_with_malloc_locked, &failure), AIONIF_SIGNAL);
        CHECK_EQUAL(failure.signal, SIGSEGV);
        int64_t until = check_now_ns() + 10000 * (int64_t)MILLISECOND;
        while (pool_statistics(pool).retired < i && check_now_ns() < until) {
            usleep(1000);
        }
        CHECK_EQUAL(pool_statistics(pool).retired, i);
        CHECK(pool_noticed(AIONIF_CORE_RETIRED));
        CHECK(aionif_taint() & AIONIF_TAINT_LOCK);
        if (i == 1) {
            works(pool);
        }
    }
    CHECK_EQUAL(pool_submit(pool_request_of(pool, answer), 0, 0, 0, 0), 0);
    CHECK_EQUAL(slot->outcome, AIONIF_REFUSED);
    CHECK(pool_close(pool));
}

int main(void) {
    check_deadline(200);
    slot_start();
    test_inline(); /* first: no pool has ever been open */
    test_queue_timeout();
    test_abort();
    test_cooperative();
    test_abandon(AIONIF_ABANDON, (void *)pool_hold, "a deadline abandons what sleeps");
    test_abandon(AIONIF_ABORT, (void *)pool_hold, "what libc has called back is not aborted");
    test_abandon(AIONIF_ABORT, (void *)hold_deaf, "what blocks signals can't be aborted");
    test_watched_timeout();
    test_many_aborts();
    test_cancel();
    test_cancel_race();
    test_retire();
    return check_report();
}
