/* Workers that are processes: the submitting side. All under the core's lock but where it says so. */
#ifndef AIONIF_PROCESS_H
#define AIONIF_PROCESS_H
#include "lanes/state.h"
#include "processes/segment.h"

struct aionif__process {
    uint64_t serial; /* what the zygote knows it by */
    struct aionif__segment *segment;
    int bell, control; /* an eventfd; the parent's end of the worker's socket */
    int pidfd;         /* -1 until it has started, or where there are none */
    pid_t pid;         /* 0 until it has started */
    bool kill_owed;    /* the zygote could not be told yet */
    int lack_error;    /* errno: why the zygote could not fork it */
    bool doomed;       /* it has been killed, or will be as soon as it has started */
    bool dead;
    bool orphaned; /* its zygote is gone: only its pidfd tells when it is dead */
    bool misbehaved;
    bool leaving;
    int wait_status;
    int limit;             /* enum aionif_limit: what it was killed for */
    uint32_t known;        /* length of the catalog when it was ordered: it loads that much */
    bool stale;            /* sealed without a library that is wanted by now */
    uint32_t served, owed; /* calls ever put in its lane; grants that it has to take first */
    uint64_t timed_call;   /* whose use of the CPU is measured, from `cpu_base_ns` */
    int64_t cpu_base_ns;
    int64_t fed_ns;           /* when a call was last put into its lane */
    char text[AIONIF_STDERR]; /* the end of its stderr */
    uint32_t text_length;
    uint64_t granted[AIONIF_BUFFERS]; /* of each buffer: generation << 1 | writable */
};

#define AIONIF__ZYGOTE "the zygote" /* as what a pool lacks */

/* process.c */
bool aionif__process_start(struct aionif__worker *worker);
void aionif__process_free(struct aionif__worker *worker);
void aionif__process_kill(struct aionif__worker *worker);
/* Out of service: queued calls go back first, so that only the running one is lost. */
void aionif__process_retire(struct aionif__worker *worker);
void aionif__process_end(struct aionif__call *call);
void aionif__process_fill(struct aionif__worker *worker, struct aionif__record *record,
                          struct aionif__call *call);
void aionif__process_reap(struct aionif_pool *pool);
void aionif__process_drop_spare(struct aionif_pool *pool);
void aionif__process_stop(struct aionif_pool *pool);
bool aionif__process_serves(const struct aionif__worker *worker);
bool aionif__process_leaves(const struct aionif__worker *worker);
void aionif__process_arm_all(void);
void aionif__process_failed_start(struct aionif_pool *pool, const struct aionif__process *process);

/* limits.c: true: it was over a limit, and is out of service. */
bool aionif__process_sample(struct aionif__worker *worker);

/* validate.c: the record as far as it can be taken as true, in memory of ours; NULL: not over yet. */
struct aionif__record *aionif__validate(struct aionif__worker *worker, uint32_t position,
                                        uint32_t *state);
void aionif__take_block(struct aionif__worker *worker, struct aionif__call *call,
                        const struct aionif__record *record);
/* What a worker says of its seal; only once it serves, or has died. */
void aionif__take_sealed(struct aionif_pool *pool, const struct aionif__process *process);
void aionif__take_remains(struct aionif__worker *worker, struct aionif__call *call);

/* zygote.c */
void aionif__zygote_wait(int milliseconds); /* without the lock, for news */
/* false, with errno: not sent. */
bool aionif__zygote_order(const struct aionif__process *process, int segment, int control,
                          int setup);
void aionif__zygote_pump(void);
/* end_of: the serial of the process that ends when this is readable; 0: it is something else. */
void aionif__zygote_listen(int descriptor, uint64_t end_of);
/* Only the zygote, its real parent, knows that an id is still its; false: not sent. */
bool aionif__zygote_signal(const struct aionif__process *process, int number);
bool aionif__zygote_lost(void);
bool aionif__zygote_stillborn(void); /* the last one was lost before it was ready */
void aionif__zygote_forked(void);

/* buffer.c: false: the worker's socket is full, for now. */
bool aionif__buffers_grant(struct aionif__process *process, const struct aionif_block *block);

/* window.c */
uint64_t aionif__window(void);
size_t aionif__segment_size(void);
uint32_t aionif__catalog_count(void);
uint32_t aionif__catalog_first(uint32_t entry); /* the first entry of the same file */
#endif
