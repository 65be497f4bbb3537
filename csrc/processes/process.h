/* Workers that are processes: the submitting side. All under the core's lock but where it says so. */
#ifndef AIONIF_PROCESS_H
#define AIONIF_PROCESS_H
#include "lanes/state.h"
#include "processes/segment.h"

/* A worker's `own`. */
struct aionif__process {
    uint64_t serial;               /* what the zygote knows it by */
    struct aionif__zygote *zygote; /* that started it; NULL: it was not ordered */
    struct aionif__segment *segment;
    int bell, control; /* an eventfd; the parent's end of the worker's socket */
    struct aionif_reply *reply;
    int pidfd;      /* -1 until it has started, or where there are none */
    pid_t pid;      /* 0 until it has started */
    bool kill_owed; /* the zygote could not be told yet */
    int lack_error; /* errno: why the zygote could not fork it */
    bool doomed;    /* it has been killed, or will be as soon as it has started */
    bool dead;
    bool counted;  /* as a start that failed */
    bool orphaned; /* its zygote is gone: only its pidfd tells when it is dead */
    bool misbehaved;
    bool leaving;
    int wait_status;
    int limit;             /* enum aionif_limit: what it was killed for */
    uint64_t limit_used;   /* as in aionif_failure */
    uint32_t known;        /* length of the catalog when it was ordered: it loads that much */
    bool stale;            /* sealed without a library that is wanted by now */
    uint32_t served, owed; /* calls ever put in its lane; grants that it has to take first */
    bool serves;           /* it has come to take calls */
    uint64_t timed_call;   /* whose use of the CPU is measured, from `cpu_base_ns`; 0: of none */
    int64_t cpu_base_ns;
    int64_t fed_ns;           /* when a call was last put into its lane */
    char text[AIONIF_STDERR]; /* the end of its stderr */
    uint32_t text_length;
    uint64_t granted[AIONIF_BUFFERS]; /* of each buffer: generation << 1 | writable */
};

/* A pool's `own`. */
struct aionif__tier {
    struct aionif__worker *spare;     /* stands ready to replace one */
    int64_t spare_due_ns;             /* when the next one is to be started */
    uint32_t failed_starts;           /* in a row, weighed by what they say of the setup */
    int64_t failing_since_ns;         /* when the first of them was; 0: there was none */
    char problem[AIONIF_TEXT];        /* what the last of them said */
    int seal_state;                   /* enum aionif_seal_state */
    struct aionif_seal_result sealed; /* what its workers say of their seal */
};

#define AIONIF__ZYGOTE "the zygote" /* as what a pool lacks */

extern const struct aionif__server aionif__process_server;

static inline struct aionif__process *aionif__process_of(const struct aionif__worker *worker) {
    return worker->own;
}

/* NULL: its workers are something else. */
static inline struct aionif__tier *aionif__tier_of(const struct aionif_pool *pool) {
    return pool->server == &aionif__process_server ? pool->own : NULL;
}

/* process.c */
struct aionif__worker *aionif__process_make(struct aionif_pool *pool); /* not in pool->workers */
void aionif__process_free(struct aionif__worker *worker);
void aionif__process_signal(const struct aionif__process *process, int number);
void aionif__process_kill(struct aionif__worker *worker);
void aionif__process_fill(struct aionif__worker *worker, struct aionif__record *record,
                          struct aionif__call *call);

/* process_server.c */
bool aionif__process_leaves(const struct aionif__worker *worker);
/* Out of service: queued calls go back first, so that only the running one is lost. */
void aionif__process_retire(struct aionif__worker *worker);
void aionif__process_drop_spare(struct aionif_pool *pool);
/* All that there are give way to new ones; what runs ends its call first. */
void aionif__process_outdate(struct aionif_pool *pool);

/* limits.c, by the watchdog: true: it is over a limit, or does not claim what it was given. */
bool aionif__process_exceeds(struct aionif__worker *worker);
int64_t aionif__process_look_again(const struct aionif_pool *pool, int64_t now); /* if it rests */
#endif
