/* What is counted, as Python sees it: of a pool, and of each function under it. */
#ifndef AIONIF_COUNTS_H
#define AIONIF_COUNTS_H
#include <stdint.h>

/* cdef: begin */
enum aionif_counts {
    AIONIF_BUCKETS = 122, /* of a histogram; see series.h */
    AIONIF_SIGNALS = 32,  /* that a crash may come with; 0: none */
};

/* What became of a call. */
enum aionif_fate {
    AIONIF_FATE_RETURNED = 0,
    AIONIF_FATE_CRASHED = 1,
    AIONIF_FATE_PANICKED = 2,
    AIONIF_FATE_EXITED = 3,
    AIONIF_FATE_LOST = 4, /* with its worker process */
    AIONIF_FATE_TIMED_OUT = 5,
    AIONIF_FATE_CANCELLED = 6,
    AIONIF_FATE_DROPPED = 7,  /* its pool was closed, or found no worker */
    AIONIF_FATE_REJECTED = 8, /* never accepted */
    AIONIF_FATE_RAISED = 9,   /* it came back, with an exception of a Python callable */
    AIONIF_FATES = 10,
};

/* Why a worker had to be replaced. */
enum aionif_restart {
    AIONIF_RESTART_RETIRED = 0,   /* thread: a crash left a lock held */
    AIONIF_RESTART_ABANDONED = 1, /* thread: its call did not end when told to */
    AIONIF_RESTART_ENDED = 2,     /* thread: it ended, after a Rust panic or pthread_exit */
    AIONIF_RESTART_CRASHED = 3,   /* process, from here on */
    AIONIF_RESTART_STOPPED = 4,   /* for a deadline or a cancellation */
    AIONIF_RESTART_LIMIT = 5,
    AIONIF_RESTART_SPENT = 6, /* it has served its number of calls */
    AIONIF_RESTART_MISBEHAVED = 7,
    AIONIF_RESTARTS = 8,
};

struct aionif_statistics {
    uint64_t submitted;
    uint64_t returned;
    uint64_t raised;
    uint64_t failed;
    uint64_t timed_out;
    uint64_t cancelled;
    uint64_t rejected;
    uint64_t queued; /* now, not started */
    uint64_t running;
    uint64_t workers; /* serving, idle or busy */
    uint64_t idle;
    uint64_t retired;   /* threads lost to a lock that a crash left held */
    uint64_t abandoned; /* threads in a call that did not end when told to */
    uint64_t started;   /* threads ever started */
    uint64_t aborted;   /* calls stopped by the watchdog */
    uint64_t watched;   /* calls whose end the submitter saw */
    uint64_t bells;     /* wake-ups of an event loop */
    uint64_t killed;    /* worker processes ended by the parent */
    uint64_t stack_high_water;
    uint64_t restarts[AIONIF_RESTARTS];
};

/* Counts of one function under one pool, freed with the pool. What each call that returns touches
 * comes first. */
struct aionif_series {
    uint64_t fates[AIONIF_FATES];
    uint64_t run_sum_ns, queue_sum_ns; /* of calls that ran */
    uint64_t run[AIONIF_BUCKETS];
    uint64_t queue[AIONIF_BUCKETS];
    uint64_t queue_timeouts; /* of those that timed out */
    uint64_t crashes[AIONIF_SIGNALS];
    struct aionif_series *next;
};

struct aionif_pool;

struct aionif_series *aionif_series_open(struct aionif_pool *pool); /* NULL: no memory */
void aionif_series_read(struct aionif_series *series, struct aionif_series *out);
void aionif_series_reject(struct aionif_series *series);
/* cdef: end */
#endif
