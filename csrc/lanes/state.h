/* The submitting side of the core: pools, their workers, strands, ports. One lock guards it all; it
 * is held for fractions of a microsecond, never by a worker, and never while anything is waited for.
 *
 *   port     one event loop: events it has not taken yet, and the bell that wakes it
 *   pool     the workers, and the queue, of one executor under one policy
 *   strand   calls that run one at a time: of a session (always the same worker, then "pinned") or of
 *            a library that is not thread-safe
 *   worker   the submitting side's view of one lane. What serves it is the business of the pool's
 *            server (server.h), whose own parts of a pool and a worker hang on `own` */
#ifndef AIONIF_STATE_H
#define AIONIF_STATE_H
#include "lanes/call.h"
#include "lanes/server.h"

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
    uint64_t last_used;
    struct aionif_pool *lost_by; /* counts it as lost, until it has gone */
    uint32_t watchers; /* submitters that look at its records without the lock: not to be freed */
    const struct aionif__server *server; /* its pool's; see server.h */
    void *own;                           /* the server's part of it */
    struct aionif_pool_settings settings;
};

struct aionif_pool {
    struct aionif_pool *next;
    struct aionif_pool_settings settings;
    const struct aionif__server *server; /* of all its workers */
    void *own;                           /* the server's part of it */
    sigset_t signals;                    /* blocked where it was opened, and in its workers */
    struct aionif__worker **workers;     /* settings.max_workers places */
    uint32_t worker_count;
    struct aionif__queue pending;
    uint64_t held;        /* calls in strands' queues */
    uint64_t outstanding; /* accepted and not ended; abandoned ones are not counted */
    uint64_t uses;        /* counts placements; a worker's last_used */
    uint32_t lost;        /* workers retired or abandoned that have not gone since */
    bool closed;
    bool starved; /* a loop was refused, or waits, for its full queue */
    bool unfiltered_said;
    uint32_t watches_in_vain; /* in a row */
    uint32_t unwatched;       /* calls not to be watched for that */
    bool spawn_failed;        /* reported until a worker could be started again */
    const char *lacks;        /* what failed then, with `lack_error`; 0: nothing did */
    int lack_error;
    bool lacking;                  /* calls wait for that to pass */
    int64_t lack_seen_ns;          /* when a loop first looked after that began; 0: none has */
    struct aionif_port *idle_port; /* wants to know when outstanding is 0 */
    struct aionif__worker *doomed; /* out of service; here until it is known how they ended */
    struct aionif_statistics statistics;
    struct aionif_series *series;
};

struct aionif__core {
    pthread_mutex_t lock;
    struct aionif_pool *pools;
    struct aionif_port *ports;
    struct aionif__worker *strays;   /* lost by their pool; freed when their thread has gone */
    struct aionif__events unclaimed; /* of closed ports; the next loop to look takes them */
    struct aionif__call *ending;     /* calls that are to be stopped; see ending.h */
    _Atomic int taint;
};
extern struct aionif__core aionif__core;

void aionif__lock(void);
void aionif__unlock(void);
#endif
