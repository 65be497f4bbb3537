/* A lane: the ring of call records between the submitting side and exactly one worker.
 *
 * A lane says nothing of what its worker is. It holds no lock and no pointer that only one side can
 * follow, except those that the submitting side put into a record; a worker that dies at any
 * instruction leaves it readable. Each field has one writer, but for a record's state:
 *
 *        submitter          worker             submitter
 *   FREE ---------> QUEUED ---------> RUNNING  (reads result) FREE
 *                     |      claim       |  publish   ^
 *                     | withdraw         +--> FINISHED
 *                     v       skip
 *                 WITHDRAWN ---------> PASSED -> FREE
 *
 * Claim and withdraw are the same compare-and-swap from QUEUED: exactly one side gets the call.
 * Records are claimed in ring order, so the ring is the completion queue too: the submitter keeps a
 * cursor behind the worker's. A withdrawn record can only be used again once the worker has passed
 * it; were it reused earlier, the worker would meet the new call in the old one's place.
 *
 * WATCHED is a bit beside the state: the submitter is looking at this record and wants no bell.
 * Clearing it and publishing are atomic steps on the same word, so one of the two delivers. */
#ifndef AIONIF_LANE_H
#define AIONIF_LANE_H
#include "core.h"
#include "system/clock.h"
#include "threads/thread.h"

#include <stdatomic.h>
#include <stdbool.h>

enum { AIONIF__PAGE = 4096 };
enum { AIONIF__SLOTS = 32, AIONIF__STATE = 0xff, AIONIF__WATCHED = 0x100 };

enum aionif__record_state {
    AIONIF__FREE = 0,
    AIONIF__QUEUED = 1,
    AIONIF__RUNNING = 2,
    AIONIF__FINISHED = 3,
    AIONIF__WITHDRAWN = 4,
    AIONIF__PASSED = 5,
};

/* What wakes the event loop that waits for a call. */
struct aionif__bell {
    _Atomic uint32_t armed; /* the loop is, or is about to be, asleep */
    _Atomic uint32_t rung;  /* there is something to read from the descriptor */
    int descriptor;         /* an eventfd */
};

struct aionif__record {
    _Atomic uint32_t state;
    int32_t kind; /* 0, or enum aionif_failure_kind: `failure` is filled in */
    /* The submitter's. */
    void *function;
    uint64_t ticket; /* the call's id */
    const uint64_t *words;
    uint32_t word_count;
    uint32_t measure_stack;
    int32_t error_number; /* errno before the call; the worker leaves errno after it */
    uint32_t has_x87;
    uint32_t grants; /* of buffers: so many the worker must have taken before this call */
    struct aionif__bell *bell;
    struct aionif__registers registers;
    /* The worker's. */
    struct aionif__result result;
    int64_t started_ns;
    int64_t ended_ns;
    uint64_t stack_used;
    struct aionif_failure failure;
} __attribute__((aligned(64)));

enum aionif__health {
    AIONIF__SERVING = 0,
    AIONIF__CHECKING =
        1,               /* a call crashed inside the runtime; showing that no lock was left held */
    AIONIF__LEAVING = 2, /* the thread ends by itself and is to be replaced */
    AIONIF__RETIRED = 3, /* parked for good: its exit could block, or it is blocked already */
    AIONIF__GONE = 4,    /* the worker has touched the lane for the last time */
};

/* The first page is the submitter's alone: where the worker is a process it is not shared, so that
 * nothing a worker writes can lead the submitting side astray in its own books. */
struct aionif__lane {
    uint32_t submitted; /* records ever queued */
    uint32_t collected; /* records ever taken back; submitted - collected <= AIONIF__SLOTS */
    /* Written by the worker. */
    _Atomic uint32_t parked
        __attribute__((aligned(AIONIF__PAGE))); /* a futex: 1 while the worker sleeps on it */
    _Atomic uint32_t publishing;
    _Atomic uint32_t health;
    _Atomic uint32_t progress; /* of a worker that proves itself: it counts on */
    _Atomic int32_t tid;
    _Atomic uint32_t unfiltered; /* exit can't be stopped in this worker */
    _Atomic int32_t cpu;         /* that the worker looks on, or claimed its last record on */
    uint32_t cursor;             /* the next record to claim */
    int64_t usual_gap_ns;
    /* Written by the submitting side. */
    _Atomic uint32_t stop __attribute__((aligned(64)));
    _Atomic uint32_t left_alone;   /* abandoned: leave when the call is over */
    _Atomic int32_t submitter_cpu; /* of the last submission */
    struct aionif__control control;
    uint32_t spin_ns;
    struct aionif__bell bell; /* of a worker that can't reach its callers' */
    struct aionif__record records[AIONIF__SLOTS];
};

void aionif__bell_ring(struct aionif__bell *bell); /* by who has disarmed it */

/* The submitting side. */
static inline struct aionif__record *aionif__lane_at(struct aionif__lane *lane, uint32_t position) {
    return &lane->records[position % AIONIF__SLOTS];
}
struct aionif__record *aionif__lane_reserve(struct aionif__lane *lane); /* NULL: full */
void aionif__lane_queue(struct aionif__lane *lane, struct aionif__record *record, bool watched);
void aionif__lane_wake(struct aionif__lane *lane);
bool aionif__lane_withdraw(struct aionif__record *record);
/* Look at a record until it has finished; false: it has not in time. */
bool aionif__lane_await(const struct aionif__lane *lane, const struct aionif__record *record,
                        int64_t until_ns);
/* Wait for a watched record to finish. False: given up, the bell will be rung. */
bool aionif__lane_watch(const struct aionif__lane *lane, struct aionif__record *record,
                        int64_t until_ns);
bool aionif__lane_idle(const struct aionif__lane *lane);

/* The worker. */
struct aionif__record *aionif__lane_claim(struct aionif__lane *lane); /* NULL: stop */
void aionif__lane_publish(struct aionif__lane *lane, struct aionif__record *record);
#endif
