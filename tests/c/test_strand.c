/* Strands: calls that run one at a time, and sessions, which keep their worker to themselves. */
#include "crash.h"
#include "pool.h"

#include <sys/syscall.h>

static struct pool_request *on_strand_address(struct aionif_pool *pool, void *function,
                                              struct aionif_strand *strand) {
    struct pool_request *request = pool_request_address(pool, function);
    request->target.watch = 0;
    request->target.strand = strand;
    return request;
}
#define on_strand(pool, function, strand) on_strand_address(pool, (void *)(function), strand)

static bool returns(uint64_t call) {
    bool returned = CHECK_EQUAL(pool_wait(call, 20000), AIONIF_EVENT_RETURNED);
    aionif_release(call);
    return returned;
}

static _Atomic int inside, most_inside, last_seen, out_of_order;
static void be_alone(long number) {
    int now = ++inside;
    if (now > most_inside) {
        most_inside = now;
    }
    out_of_order += number != last_seen + 1;
    last_seen = (int)number;
    for (int64_t until = check_now_ns() + 20000; check_now_ns() < until;) {
    }
    inside--;
}

static void test_serial(void) {
    check_case("one at a time, in order");
    enum { CALLS = 200 };
    static uint64_t calls[CALLS + 1];
    struct aionif_pool *pool = pool_open(pool_settings(4));
    struct aionif_strand *strand = aionif_strand_open(0);
    struct pool_request *request = on_strand(pool, be_alone, strand);
    for (long i = 1; i <= CALLS; i++) {
        calls[i] = pool_submit(request, i, 0, 0, 0);
    }
    for (int i = 1; i <= CALLS; i++) {
        returns(calls[i]);
    }
    CHECK_EQUAL(most_inside, 1);
    CHECK_EQUAL(out_of_order, 0);
    CHECK_EQUAL(pool_statistics(pool).queued, 0);
    aionif_strand_close(strand);
    CHECK(pool_close(pool));
}

static void test_parallel(void) {
    check_case("two strands side by side");
    struct aionif_pool *pool = pool_open(pool_settings(2));
    struct aionif_strand *strands[2] = {aionif_strand_open(0), aionif_strand_open(0)};
    uint64_t calls[2];
    pool_held = true;
    for (int i = 0; i < 2; i++) {
        calls[i] = pool_submit(on_strand(pool, pool_hold, strands[i]), 0, 0, 0, 0);
    }
    pool_await_holding(2);
    pool_held = false;
    for (int i = 0; i < 2; i++) {
        returns(calls[i]);
        aionif_strand_close(strands[i]);
    }
    CHECK(pool_close(pool));
}

static void test_crash_in_strand(void) {
    check_case("a crash does not end a strand that is not a session");
    struct aionif_pool *pool = pool_open(pool_settings(2));
    struct aionif_strand *strand = aionif_strand_open(0);
    last_seen = 0;
    uint64_t first = pool_submit(on_strand(pool, crash, strand), 0, 0, 0, 0);
    uint64_t second = pool_submit(on_strand(pool, be_alone, strand), 1, 0, 0, 0);
    CHECK_EQUAL(pool_wait(first, 20000), AIONIF_EVENT_FAILED);
    aionif_release(first);
    returns(second);
    CHECK_EQUAL(aionif_strand_broken(strand), 0);
    aionif_strand_close(strand);
    CHECK(pool_close(pool));
}

/* ---- what waits in a strand ---- */

struct held {
    struct aionif_pool *pool;
    struct aionif_strand *strand;
    uint64_t running, waiting[3];
};

static struct held hold_strand(int is_session) {
    struct held held = {.pool = pool_open(pool_settings(2)),
                        .strand = aionif_strand_open(is_session)};
    pool_held = true;
    held.running = pool_submit(on_strand(held.pool, pool_hold, held.strand), 0, 0, 0, 0);
    pool_await_holding(1);
    for (int i = 0; i < 3; i++) {
        held.waiting[i] = pool_submit(on_strand(held.pool, be_alone, held.strand), i + 1, 0, 0, 0);
    }
    CHECK_EQUAL(pool_statistics(held.pool).queued, 3);
    last_seen = out_of_order = 0;
    return held;
}

static void test_waiting(void) {
    check_case("deadline and cancellation of what waits in a strand");
    struct held held = hold_strand(0);
    CHECK_EQUAL(aionif_cancel(held.waiting[1]), 1);
    slot->timeout_ns = 20 * 1000000;
    uint64_t hasty = pool_submit(on_strand(held.pool, be_alone, held.strand), 0, 0, 0, 0);
    CHECK_EQUAL(pool_wait(hasty, 20000), AIONIF_EVENT_QUEUE_TIMEOUT);
    CHECK_EQUAL(pool_statistics(held.pool).queued, 2);
    pool_held = false;
    returns(held.running);
    returns(held.waiting[0]);
    returns(held.waiting[2]);
    CHECK_EQUAL(last_seen, 3);
    aionif_strand_close(held.strand);
    CHECK(pool_close(held.pool));
}

static void test_close_strand(int is_session) {
    check_case(is_session ? "closing a busy session" : "closing a busy strand");
    struct held held = hold_strand(is_session);
    struct pool_request *late = on_strand(held.pool, be_alone, held.strand);
    aionif_strand_close(held.strand);
    CHECK_EQUAL(pool_submit(late, 0, 0, 0, 0), 0);
    CHECK_EQUAL(slot->outcome, AIONIF_CLOSED);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(pool_wait(held.waiting[i], 20000), AIONIF_EVENT_CLOSED);
    }
    pool_held = false;
    returns(held.running);
    struct aionif_failure failure;
    CHECK_EQUAL(pool_run(held.pool, be_alone, &failure), 0);
    CHECK(pool_close(held.pool));
}

static void test_close_pool(int is_session) {
    check_case(is_session ? "closing the pool of a busy session"
                          : "closing the pool of a busy strand");
    struct held held = hold_strand(is_session);
    CHECK_EQUAL(aionif_pool_close(held.pool, pool_port), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(pool_wait(held.waiting[i], 1000), AIONIF_EVENT_CLOSED);
    }
    pool_held = false;
    returns(held.running);
    CHECK_EQUAL(pool_wait((uintptr_t)held.pool, 20000), AIONIF_EVENT_IDLE);
    CHECK_EQUAL(last_seen, 0);
    aionif_pool_stop(held.pool);
    aionif_strand_close(held.strand);
}

/* ---- sessions ---- */

static long thread_number(void) { return syscall(SYS_gettid); }
static long thread_of(uint64_t call) {
    CHECK_EQUAL(pool_wait(call, 20000), AIONIF_EVENT_RETURNED);
    return pool_result(call);
}

static void test_session(void) {
    check_case("a session has a thread of its own");
    struct aionif_pool *pool = pool_open(pool_settings(3));
    struct aionif_strand *session = aionif_strand_open(1);
    struct pool_request *inside_it = on_strand(pool, thread_number, session);
    struct pool_request *outside_it = on_strand(pool, thread_number, NULL);
    long own = thread_of(pool_submit(inside_it, 0, 0, 0, 0));
    int strangers = 0, elsewhere = 0;
    for (int i = 0; i < 50; i++) {
        uint64_t calls[4];
        for (int j = 0; j < 4; j++) {
            calls[j] = pool_submit(j == 2 ? inside_it : outside_it, 0, 0, 0, 0);
        }
        for (int j = 0; j < 4; j++) {
            long thread = thread_of(calls[j]);
            elsewhere += j == 2 && thread != own;
            strangers += j != 2 && thread == own;
        }
    }
    CHECK_EQUAL(strangers, 0);
    CHECK_EQUAL(elsewhere, 0);
    aionif_strand_close(session);
    CHECK(pool_close(pool));
}

static void test_session_takes_last_worker(void) {
    check_case("a session goes on while others wait for its worker");
    struct aionif_pool *pool = pool_open(pool_settings(1));
    struct aionif_strand *session = aionif_strand_open(1);
    struct pool_request *inside_it = on_strand(pool, thread_number, session);
    long own = thread_of(pool_submit(inside_it, 0, 0, 0, 0));
    uint64_t ordinary = pool_submit(on_strand(pool, thread_number, NULL), 0, 0, 0, 0);
    for (int i = 0; i < 10; i++) {
        uint64_t calls[2];
        for (int j = 0; j < 2; j++) {
            calls[j] = pool_submit(inside_it, 0, 0, 0, 0);
        }
        for (int j = 0; j < 2; j++) {
            CHECK_EQUAL(pool_wait(calls[j], 5000), AIONIF_EVENT_RETURNED);
            aionif_release(calls[j]);
        }
    }
    CHECK_EQUAL(pool_wait(ordinary, 20), -1);
    aionif_strand_close(session);
    CHECK_EQUAL(thread_of(ordinary), own);
    CHECK(pool_close(pool));
}

static void hold_and_crash(void) {
    pool_hold();
    crash();
}

/* Nothing may run in a session after the crash: the handles it works with may be broken. */
static void test_crash_in_session(void) {
    check_case("a crash ends a session");
    struct aionif_pool *pool = pool_open(pool_settings(2));
    struct aionif_strand *session = aionif_strand_open(1);
    last_seen = 0;
    pool_held = true;
    uint64_t running = pool_submit(on_strand(pool, hold_and_crash, session), 0, 0, 0, 0);
    pool_await_holding(1);
    struct pool_request *next = on_strand(pool, be_alone, session);
    uint64_t waiting[2] = {pool_submit(next, 1, 0, 0, 0), pool_submit(next, 2, 0, 0, 0)};
    pool_held = false;
    CHECK_EQUAL(pool_wait(running, 20000), AIONIF_EVENT_FAILED);
    aionif_release(running);
    CHECK_EQUAL(pool_wait(waiting[0], 1000), AIONIF_EVENT_CLOSED);
    CHECK_EQUAL(pool_wait(waiting[1], 1000), AIONIF_EVENT_CLOSED);
    CHECK_EQUAL(last_seen, 0);
    CHECK_EQUAL(aionif_strand_broken(session), 1);
    CHECK_EQUAL(pool_submit(next, 3, 0, 0, 0), 0);
    CHECK_EQUAL(slot->outcome, AIONIF_CLOSED);
    aionif_strand_close(session);
    struct aionif_failure failure;
    for (int i = 0; i < 4; i++) {
        CHECK_EQUAL(pool_run(pool, thread_number, &failure), 0);
    }
    CHECK(pool_close(pool));
}

static void test_abandoned_session(void) {
    check_case("a session whose call is abandoned");
    struct held held = hold_strand(1);
    struct aionif_strand *session = held.strand;
    CHECK_EQUAL(aionif_cancel(held.running), 0); /* aborted, which pool_hold() does not allow */
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(pool_wait(held.waiting[i], 5000), AIONIF_EVENT_CLOSED);
    }
    CHECK_EQUAL(last_seen, 0);
    CHECK_EQUAL(aionif_strand_broken(session), 1);
    CHECK_EQUAL(pool_statistics(held.pool).abandoned, 1);
    aionif_strand_close(session);
    CHECK(pool_close(held.pool));
    pool_held = false;
    CHECK_EQUAL(pool_wait(held.running, 20000), AIONIF_EVENT_RELEASED);
}

int main(void) {
    check_deadline(120);
    slot_start();
    test_serial();
    test_parallel();
    test_crash_in_strand();
    test_waiting();
    test_close_strand(0);
    test_close_strand(1);
    test_close_pool(0);
    test_close_pool(1);
    test_session();
    test_session_takes_last_worker();
    test_crash_in_session();
    test_abandoned_session();
    return check_report();
}
