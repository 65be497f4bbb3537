/* The protocol of a lane, between a submitter and a worker that do nothing else: every record is
 * either withdrawn or run, once, in order, and whoever waits for it is woken. */
#include "check.h"
#include "lanes/lane.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

static struct aionif__lane lane;
static struct aionif__bell bell;

/* ---- the worker ---- */

enum { LATEST_SPIN = 3000 };

static int out_of_order, ran;

static void burn(uint64_t ns) {
    for (int64_t until = check_now_ns() + (int64_t)ns; check_now_ns() < until;) {
    }
}

static void *serve(void *unused) {
    uint64_t seed = 0x9e3779b97f4a7c15, last = 0;
    struct aionif__record *record;
    while ((record = aionif__lane_claim(&lane))) {
        out_of_order += record->ticket <= last;
        last = record->ticket;
        ran++;
        if (check_random(&seed) % 4 == 0) {
            burn(check_random(&seed) % LATEST_SPIN);
        }
        record->result.integer[0] = record->ticket * 3;
        aionif__lane_publish(&lane, record);
    }
    return unused;
}

/* ---- the submitter ---- */

struct submitter {
    uint64_t seed, tickets;
    bool withdrawn[AIONIF__SLOTS];
    uint64_t ticket_at[AIONIF__SLOTS];
    int withdrawals, finished, passed, wrong, watched, seen;
};

static int collect(struct submitter *self) {
    int collected = 0;
    for (; lane.collected != lane.submitted; lane.collected++, collected++) {
        uint32_t slot = lane.collected % AIONIF__SLOTS;
        struct aionif__record *record = aionif__lane_at(&lane, lane.collected);
        uint32_t state = atomic_load(&record->state) & AIONIF__STATE;
        if (state != AIONIF__FINISHED && state != AIONIF__PASSED) {
            break;
        }
        self->wrong += (state == AIONIF__PASSED) != self->withdrawn[slot];
        if (state == AIONIF__FINISHED) {
            self->finished++;
            self->wrong += record->result.integer[0] != self->ticket_at[slot] * 3;
        } else {
            self->passed++;
        }
        atomic_store(&record->state, AIONIF__FREE);
    }
    return collected;
}

static bool queue(struct submitter *self) {
    struct aionif__record *record = aionif__lane_reserve(&lane);
    if (!record) {
        return false;
    }
    uint32_t slot = lane.submitted % AIONIF__SLOTS;
    bool watched = check_random(&self->seed) % 2 && aionif__lane_idle(&lane);
    record->ticket = self->ticket_at[slot] = ++self->tickets;
    record->bell = &bell;
    self->withdrawn[slot] = false;
    aionif__lane_queue(&lane, record, watched);
    aionif__lane_wake(&lane);
    if (watched) {
        int64_t patience = (int64_t)(check_random(&self->seed) % (2 * LATEST_SPIN));
        self->watched++;
        if (aionif__lane_watch(&lane, record, check_now_ns() + patience)) {
            self->wrong += (atomic_load(&record->state) & AIONIF__STATE) != AIONIF__FINISHED;
            self->seen++;
        }
    }
    return true;
}

static void withdraw_one(struct submitter *self) {
    uint32_t waiting = lane.submitted - lane.collected;
    if (!waiting) {
        return;
    }
    uint32_t position = lane.collected + (uint32_t)(check_random(&self->seed) % waiting);
    if (aionif__lane_withdraw(aionif__lane_at(&lane, position))) {
        self->wrong += self->withdrawn[position % AIONIF__SLOTS];
        self->withdrawn[position % AIONIF__SLOTS] = true;
        self->withdrawals++;
    }
}

/* As an event loop does: arm, look once more, sleep. Withdrawn records ring no bell. */
static void wait_for_all(struct submitter *self) {
    while (lane.collected != lane.submitted) {
        atomic_store(&bell.armed, 1);
        if (collect(self)) {
            continue;
        }
        struct pollfd waiting = {.fd = bell.descriptor, .events = POLLIN};
        bool only_withdrawn = true;
        for (uint32_t at = lane.collected; at != lane.submitted; at++) {
            only_withdrawn &= self->withdrawn[at % AIONIF__SLOTS];
        }
        if (poll(&waiting, 1, only_withdrawn ? 1 : -1) > 0) {
            uint64_t rings;
            self->wrong += read(bell.descriptor, &rings, sizeof rings) != sizeof rings;
        }
    }
}

static void run(const char *name, uint32_t spin_ns, int rounds) {
    check_case(name);
    memset(&lane, 0, sizeof lane);
    lane.spin_ns = spin_ns;
    ran = out_of_order = 0;
    struct submitter self = {.seed = 88172645463325252};
    pthread_t worker;
    pthread_create(&worker, NULL, serve, NULL);
    for (int round = 0; round < rounds; round++) {
        uint64_t batch = 1 + check_random(&self.seed) % AIONIF__SLOTS;
        for (uint64_t i = 0; i < batch && queue(&self); i++) {
            if (check_random(&self.seed) % 3 == 0) {
                withdraw_one(&self);
            }
            if (check_random(&self.seed) % 5 == 0) {
                collect(&self);
            }
        }
        wait_for_all(&self);
        if (check_random(&self.seed) % 50 == 0) {
            burn(spin_ns + 20000); /* let the worker fall asleep */
        }
    }
    atomic_store(&lane.stop, 1);
    aionif__lane_wake(&lane);
    pthread_join(worker, NULL);
    CHECK_EQUAL(self.wrong, 0);
    CHECK_EQUAL(out_of_order, 0);
    CHECK_EQUAL(self.finished, ran);
    CHECK_EQUAL(self.passed, self.withdrawals);
    CHECK_EQUAL(self.finished + self.passed, self.tickets);
    CHECK(self.watched > 0 && self.withdrawals > 0 && ran > 0);
}

/* ---- the same, without a race ---- */

static void test_steps(void) {
    check_case("step by step");
    memset(&lane, 0, sizeof lane);
    CHECK(aionif__lane_idle(&lane));
    struct aionif__record *records[AIONIF__SLOTS];
    for (int i = 0; i < AIONIF__SLOTS; i++) {
        records[i] = aionif__lane_reserve(&lane);
        records[i]->bell = &bell;
        aionif__lane_queue(&lane, records[i], false);
    }
    CHECK(aionif__lane_reserve(&lane) == NULL);
    CHECK(!aionif__lane_idle(&lane));
    CHECK(aionif__lane_withdraw(records[0]));
    CHECK(!aionif__lane_withdraw(records[0]));
    CHECK(aionif__lane_claim(&lane) == records[1]); /* passes over the first */
    CHECK_EQUAL(records[0]->state, AIONIF__PASSED);
    CHECK(!aionif__lane_withdraw(records[1]));
    atomic_store(&bell.armed, 1);
    aionif__lane_publish(&lane, records[1]);
    CHECK_EQUAL(records[1]->state, AIONIF__FINISHED);
    uint64_t rings = 0;
    CHECK_EQUAL(read(bell.descriptor, &rings, sizeof rings), sizeof rings);
    CHECK_EQUAL(rings, 1);
    CHECK(aionif__lane_claim(&lane) == records[2]);
    aionif__lane_publish(&lane, records[2]); /* nobody has armed the bell since */
    CHECK_EQUAL(read(bell.descriptor, &rings, sizeof rings), -1);

    lane.submitted = lane.collected = lane.cursor = 0;
    memset(lane.records, 0, sizeof lane.records);
    struct aionif__record *record = aionif__lane_reserve(&lane);
    record->bell = &bell;
    aionif__lane_queue(&lane, record, true);
    CHECK(!aionif__lane_withdraw(record)); /* it is watched */
    CHECK(!aionif__lane_watch(&lane, record, check_now_ns() + 1000));
    CHECK(aionif__lane_withdraw(record)); /* no longer */
    atomic_store(&lane.stop, 1);
    CHECK(aionif__lane_claim(&lane) == NULL);
}

int main(void) {
    check_deadline(120);
    bell.descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    test_steps();
    int rounds = check_emulated() ? 500 : 5000;
    run("a worker that parks at once", 0, rounds);
    run("a worker that stays awake a little", 5000, rounds);
    run("a worker that stays awake", 1000000, rounds);
    return check_report();
}
