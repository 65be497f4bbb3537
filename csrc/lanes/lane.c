#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "lanes/lane.h"

#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Reads of the clock cost more than looks at a record: so many looks for one of them. */
enum { LOOKS = 16, SPIN_MARGIN_NS = 2000 };

struct aionif__record *aionif__lane_reserve(struct aionif__lane *lane) {
    if (lane->submitted - lane->collected == AIONIF__SLOTS) {
        return NULL;
    }
    return aionif__lane_at(lane, lane->submitted);
}

void aionif__lane_queue(struct aionif__lane *lane, struct aionif__record *record, bool watched) {
    lane->submitted++;
    atomic_store_explicit(&lane->submitter_cpu, sched_getcpu(), memory_order_relaxed);
    atomic_store(&record->state, AIONIF__QUEUED | (watched ? AIONIF__WATCHED : 0));
}

/* The store of QUEUED and this load are sequentially consistent, as are the worker's store of
 * `parked` and its last look at the record: at least one of the two sees the other. */
void aionif__lane_wake(struct aionif__lane *lane) {
    if (atomic_load(&lane->parked) && atomic_exchange(&lane->parked, 0)) {
        syscall(SYS_futex, &lane->parked, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

bool aionif__lane_withdraw(struct aionif__record *record) {
    uint32_t expected = AIONIF__QUEUED;
    return atomic_compare_exchange_strong(&record->state, &expected, AIONIF__WITHDRAWN);
}

/* Two threads that look out for each other on one CPU only keep each other from running. The kernel
 * puts a woken worker on its waker's CPU often, and rightly: two switches of context cost less than
 * waking a CPU that sleeps. So whoever looks gives way between looks. */
static void give_way(const _Atomic int32_t *other_cpu) {
    if (atomic_load_explicit(other_cpu, memory_order_relaxed) == sched_getcpu()) {
        sched_yield();
    }
}

bool aionif__lane_await(const struct aionif__lane *lane, const struct aionif__record *record,
                        int64_t until_ns) {
    do {
        give_way(&lane->cpu);
        for (int look = 0; look < LOOKS; look++) {
            uint32_t state = atomic_load_explicit(&record->state, memory_order_acquire);
            if ((state & AIONIF__STATE) == AIONIF__FINISHED) {
                return true;
            }
            aionif__arch_pause();
        }
    } while (aionif__now_ns() < until_ns);
    return false;
}

bool aionif__lane_watch(const struct aionif__lane *lane, struct aionif__record *record,
                        int64_t until_ns) {
    if (aionif__lane_await(lane, record, until_ns)) {
        return true;
    }
    /* From here the publisher rings, unless it has published already. */
    uint32_t before = atomic_fetch_and(&record->state, ~(uint32_t)AIONIF__WATCHED);
    return (before & AIONIF__STATE) == AIONIF__FINISHED;
}

bool aionif__lane_idle(const struct aionif__lane *lane) {
    if (lane->submitted == lane->collected) {
        return true;
    }
    const struct aionif__record *last = &lane->records[(lane->submitted - 1) % AIONIF__SLOTS];
    uint32_t state = atomic_load(&last->state) & AIONIF__STATE;
    return state == AIONIF__FINISHED || state == AIONIF__PASSED;
}

static void park(struct aionif__lane *lane, const struct aionif__record *record) {
    atomic_store(&lane->parked, 1);
    uint32_t state = atomic_load(&record->state) & AIONIF__STATE;
    if (state != AIONIF__QUEUED && state != AIONIF__WITHDRAWN && !atomic_load(&lane->stop) &&
        !atomic_load(&lane->left_alone)) {
        syscall(SYS_futex, &lane->parked, FUTEX_WAIT, 1, NULL, NULL, 0);
    }
    atomic_store(&lane->parked, 0);
}

/* How long to stay awake for the next call: about twice the usual gap, as waking costs more than
 * that; not at all where the gaps are longer than the bound. */
static int64_t spin_budget(const struct aionif__lane *lane) {
    return lane->usual_gap_ns <= lane->spin_ns ? 2 * lane->usual_gap_ns + SPIN_MARGIN_NS : 0;
}

static void note_gap(struct aionif__lane *lane, int64_t gap) {
    int64_t bounded = gap < 4 * (int64_t)lane->spin_ns ? gap : 4 * (int64_t)lane->spin_ns;
    lane->usual_gap_ns += (bounded - lane->usual_gap_ns) / 8;
}

struct aionif__record *aionif__lane_claim(struct aionif__lane *lane) {
    int64_t since = 0;
    for (uint32_t looks = 1;; looks++) {
        struct aionif__record *record = aionif__lane_at(lane, lane->cursor);
        uint32_t state = atomic_load_explicit(&record->state, memory_order_acquire);
        if ((state & AIONIF__STATE) == AIONIF__QUEUED) {
            uint32_t running = (state & ~(uint32_t)AIONIF__STATE) | AIONIF__RUNNING;
            if (atomic_compare_exchange_strong(&record->state, &state, running)) {
                note_gap(lane, since ? aionif__now_ns() - since : 0);
                lane->cursor++;
                atomic_store_explicit(&lane->cpu, sched_getcpu(), memory_order_relaxed);
                return record;
            }
        } else if ((state & AIONIF__STATE) == AIONIF__WITHDRAWN) {
            lane->cursor++;
            atomic_store_explicit(&record->state, AIONIF__PASSED, memory_order_release);
        } else if (atomic_load(&lane->stop) || atomic_load(&lane->left_alone)) {
            return NULL;
        } else if (!since) {
            since = aionif__now_ns();
        } else if (looks % LOOKS) {
            aionif__arch_pause();
        } else if (aionif__now_ns() - since >= spin_budget(lane)) {
            park(lane, record);
        } else {
            atomic_store_explicit(&lane->cpu, sched_getcpu(), memory_order_relaxed);
            give_way(&lane->submitter_cpu);
        }
    }
}

/* Written first, said then: told the other way round, the loop may find nothing to read, and then has a
 * descriptor that stays readable and a flag that says there is nothing. */
void aionif__bell_ring(struct aionif__bell *bell) {
    uint64_t one = 1;
    /* Not by write(), which is a cancellation point: on a thread whose cancellation a call was stopped
     * in, glibc 2.36 waits there for ever. Full counts as rung. */
    syscall(SYS_write, bell->descriptor, &one, sizeof one);
    atomic_store(&bell->rung, 1);
}

/* `publishing` lets the owner of a bell wait until nobody is about to ring it. */
void aionif__lane_publish(struct aionif__lane *lane, struct aionif__record *record) {
    struct aionif__bell *bell = record->bell;
    atomic_store(&lane->publishing, 1);
    uint32_t before = atomic_exchange(&record->state, AIONIF__FINISHED);
    if (!(before & AIONIF__WATCHED) && atomic_load(&bell->armed) &&
        atomic_exchange(&bell->armed, 0)) {
        aionif__bell_ring(bell);
    }
    atomic_store_explicit(&lane->publishing, 0, memory_order_release);
}
