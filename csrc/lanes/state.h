/* The submitting side of the core: pools, their workers, strands, ports. One lock guards it all; it
 * is held for fractions of a microsecond, never by a worker, and never while anything is waited for.
 *
 *   port     one event loop: events it has not taken yet, and the bell that wakes it
 *   pool     the workers, and the queue, of one executor under one policy
 *   strand   calls that run one at a time: of a session (always the same worker, then "pinned") or of
 *            a library that is not thread-safe
 *   worker   the submitting side's view of one lane and the thread that serves it */
#ifndef AIONIF_STATE_H
#define AIONIF_STATE_H
#include "lanes/call.h"

#include <pthread.h>
#include <signal.h>

struct aionif__events {
    uint64_t *items; /* value << 8 | kind; a ring */
    uint32_t first, length, room;
};

/* That a call causes at the most: its end, and before it that nobody waits for it any more. */
enum { AIONIF__CALL_EVENTS = 2 };

struct aionif_port {
    struct aionif_port *next;
    struct aionif__bell bell;
    struct aionif__events events;
    uint64_t outstanding; /* calls that will end with an event here */
    uint32_t promised;    /* events that may yet come, at the most: there is room for them */
    bool draining;        /* the loop has promised to look again before it sleeps */
    bool closed;
};

struct aionif_strand {
    struct aionif__worker *pinned; /* a session's worker, once it has one */
    struct aionif__queue held;     /* calls that wait for the one in progress */
    bool busy;
    bool is_session;
    bool broken; /* a session whose worker is lost, or has crashed */
    bool closed; /* freed when the last call has ended */
};

struct aionif__worker {
    struct aionif__worker *next; /* in the list of strays */
    struct aionif_pool *pool;    /* NULL once stray */
    struct aionif__lane *lane;
    struct aionif__call *calls[AIONIF__SLOTS]; /* of the record at the same index */
    struct aionif_strand *reserved;            /* takes only this session's calls */
    struct aionif__stack thread_stack;
    pthread_t thread;
    uint64_t last_used;
    int64_t checking_since_ns; /* without progress */
    uint32_t progress_seen;
    struct aionif_pool *lost_by; /* counts this thread as lost, until it has gone */
    uint32_t watchers; /* submitters that look at its records without the lock: not to be freed */
    struct aionif__process *process; /* NULL: it is a thread */
    struct aionif__thread self;      /* of the thread that serves the lane */
    struct aionif_pool_settings settings;
    sigset_t signals; /* its pool's */
};

struct aionif_pool {
    struct aionif_pool *next;
    struct aionif_pool_settings settings;
    sigset_t signals;                /* blocked where it was opened, and in its workers */
    struct aionif__worker **workers; /* settings.max_workers places */
    uint32_t worker_count;
    struct aionif__queue pending;
    uint64_t held;        /* calls in strands' queues */
    uint64_t outstanding; /* accepted and not ended; abandoned ones are not counted */
    uint64_t uses;        /* counts placements; a worker's last_used */
    uint32_t lost;        /* threads retired or abandoned that have not ended since */
    bool closed;
    bool starved; /* a loop was refused, or waits, for its full queue */
    bool unfiltered_said;
    uint32_t watches_in_vain; /* in a row */
    uint32_t unwatched;       /* calls not to be watched for that */
    bool spawn_failed;        /* reported until a worker could be started again */
    const char *lacks;        /* what failed then, with `lack_error`; 0: nothing did */
    int lack_error;
    int64_t lacking_since_ns;      /* 0: calls are not waiting for that to pass */
    struct aionif_port *idle_port; /* wants to know when outstanding is 0 */
    /* Of the process tier. */
    struct aionif__worker *spare;     /* stands ready to replace one */
    int64_t spare_due_ns;             /* when the next one is to be started */
    struct aionif__worker *doomed;    /* killed; here until the zygote has said how they ended */
    uint32_t failed_starts;           /* in a row */
    char problem[AIONIF_TEXT];        /* what the last of them said */
    int seal_state;                   /* enum aionif_seal_state */
    struct aionif_seal_result sealed; /* what its workers say of their seal */
    struct aionif_statistics statistics;
    struct aionif_series *series;
};

struct aionif__core {
    pthread_mutex_t lock;
    struct aionif_pool *pools;
    struct aionif_port *ports;
    struct aionif__worker *strays;   /* lost by their pool; freed when their thread has gone */
    struct aionif__events unclaimed; /* of closed ports; the next loop to look takes them */
    struct aionif__call *ending;     /* calls that the watchdog is to stop */
    _Atomic int taint;
    _Atomic bool fork_would_hang; /* a thread was retired with a lock that fork() needs */
};
extern struct aionif__core aionif__core;

void aionif__lock(void);
void aionif__unlock(void);

/* events.c */
bool aionif__events_push(struct aionif__events *events, uint64_t value, int kind);
bool aionif__events_promise(struct aionif_port *port, uint32_t count); /* false: no memory */
bool aionif__announce(struct aionif_port *port, uint64_t value, int kind);
void aionif__ring(struct aionif_port *port);
void aionif__port_forget(struct aionif_port *port); /* one outstanding call less */
void aionif__core_event(int kind, int detail, int thread, const void *function, const char *text);

/* dispatch.c */
uint32_t aionif__unfinished(const struct aionif__worker *worker); /* calls in its lane */
uint64_t aionif__waiting(const struct aionif_pool *pool); /* calls that no worker has started */
bool aionif__has_room(const struct aionif_pool *pool);
struct aionif__worker *aionif__to_feed(const struct aionif_port *port);
void aionif__dispatch(struct aionif_pool *pool, struct aionif__call *watched);
void aionif__rebalance(struct aionif_pool *pool, bool may_start);
void aionif__take_back(struct aionif__worker *worker); /* its queued calls go to the pool again */

/* lack.c: what keeps a pool from having workers */
void aionif__lack(struct aionif_pool *pool, const char *what, int error); /* notes it */
void aionif__lack_begins(struct aionif_pool *pool);                       /* a call waits */
void aionif__lack_over(struct aionif_pool *pool);
void aionif__lack_tell(struct aionif_pool *pool, int64_t now); /* by the watchdog */
bool aionif__is_served(const struct aionif_pool *pool);
void aionif__drop_unserved(struct aionif_pool *pool); /* all that no worker will come for */

/* worker.c */
struct aionif__worker *aionif__worker_start(struct aionif_pool *pool);
void aionif__worker_keep_spare(struct aionif_pool *pool, int64_t now);
void aionif__worker_take_out(struct aionif__worker *worker);
void aionif__worker_stray(struct aionif__worker *worker);
void aionif__worker_retired(struct aionif_pool *pool, struct aionif__worker *worker);
void aionif__worker_join(struct aionif__worker *worker); /* without the lock */
void aionif__reap_strays(void);

/* finish.c. Where a strand goes on in another pool, that pool is told. */
void aionif__collect(struct aionif__worker *worker);
void aionif__collect_pool(struct aionif_pool *pool);
void aionif__drop(struct aionif__call *call, int event); /* it was never started */
void aionif__tell_starved(struct aionif_pool *pool);
void aionif__strand_next(struct aionif_strand *strand);
void aionif__strand_drop_held(struct aionif_strand *strand); /* they will never run */
void aionif__outstanding_less(struct aionif_pool *pool);

/* inline.c */
void aionif__run_inline(struct aionif__thread *self, const struct aionif_target *target,
                        struct aionif__registers *registers, const uint64_t *words);

/* pool.c */
void aionif__pools_forked(void);

/* watchdog.c */
bool aionif__watchdog_start(void);
void aionif__watchdog_stop(void);
bool aionif__watchdog_keep(void);
void aionif__watchdog_wake(int64_t by_ns);
void aionif__watchdog_forked(void);
void aionif__stay_in_front(void); /* of handlers that others have installed since */
void aionif__end_call(struct aionif__call *call, int mode);
void aionif__end_forget(struct aionif__call *call);
void aionif__abandon(struct aionif__worker *worker, struct aionif__call *call);
#endif
