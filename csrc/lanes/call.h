/* A call as the submitting side keeps it, from submission until native code has let go of it. */
#ifndef AIONIF_CALL_H
#define AIONIF_CALL_H
#include "lanes/lane.h"
#include "threads/thread.h"

enum { AIONIF__INLINE_WORDS = 6 };

enum aionif__stage {
    AIONIF__UNUSED = 0,
    AIONIF__WAITING, /* in a queue: its pool's or its strand's */
    AIONIF__LANED,   /* in a lane: queued there or running */
    AIONIF__INLINE,  /* running in its caller's thread; here only for its deadline */
    AIONIF__ENDED,   /* result or failure waits to be fetched */
};

struct aionif__queue {
    struct aionif__call *first, *last;
    uint32_t length;
};

struct aionif__call {
    uint64_t id; /* generation << 32 | index + 1 */
    uint8_t stage;
    uint8_t on_timeout, on_cancel;
    bool orphan; /* nobody waits any more: released as soon as it ends */
    bool timed_out;
    bool watched; /* its submitter looks at the record: no event */
    bool failed;
    bool parked;       /* its worker slept when it was submitted */
    bool begun;        /* whatever its record says: it is not given to another worker */
    uint8_t unclaimed; /* workers it was taken back from that did not begin it in time */
    uint16_t deaths;   /* of workers that had it, and say that they did not; weighed */
    bool measure_stack;
    bool settled;                           /* counted in its series */
    bool ending;                            /* in the watchdog's list of calls to be stopped */
    uint8_t ending_mode;                    /* enum aionif_ending_policy */
    uint32_t attempts, answers, unanswered; /* to stop it; see ending.h */
    int64_t next_attempt_ns;
    struct aionif_plan *plan;
    struct aionif_pool *pool;
    struct aionif_port *port;
    struct aionif_strand *strand;
    struct aionif_series *series;  /* NULL: not counted by function */
    struct aionif__worker *worker; /* of a call in a lane */
    struct aionif__record *record;
    struct aionif__thread *thread; /* of an inline call */
    struct aionif_block *block;    /* its memory, where it is not the worker's too */
    struct aionif_reply *reply;    /* where its result is, if that is a large one */
    struct aionif__queue *queue;
    struct aionif__call *previous, *next;               /* in the queue */
    struct aionif__call *previous_ending, *next_ending; /* in the watchdog's list */
    int64_t submitted_ns;
    int64_t deadline_ns;     /* 0: none */
    uint32_t deadline_index; /* in the heap of deadlines */
    int32_t error_number;
    union {
        struct aionif__registers registers; /* until it is in a lane */
        struct aionif__result result;       /* once it has ended */
    };
    int64_t slow_ns;          /* of its target; not of an inline call */
    int64_t run_timeout_ns;   /* likewise */
    int64_t queue_ns, run_ns; /* once it has ended */
    uint64_t inline_words[AIONIF__INLINE_WORDS];
    uint64_t *words;
    uint32_t word_count;
    void *memory; /* of a struct that is returned through a hidden pointer */
    struct aionif_failure *failure;
    struct aionif__remains *remains; /* of a worker that can't be asked any more */
};

struct aionif__remains {
    uint32_t module_count, text_length;
    bool sealed; /* by a sandbox: what it names may be made up */
    uint8_t of_frames[AIONIF_FRAMES];
    char text[AIONIF_STDERR]; /* the end of its stderr */
    struct aionif_module modules[AIONIF_MODULES];
};

/* All under the core's lock. */
struct aionif__call *aionif__call_take(void); /* NULL: no memory */
void aionif__call_free(struct aionif__call *call);
struct aionif__call *aionif__call_find(uint64_t id);
struct aionif__call *aionif__call_at(uint32_t index); /* of any stage; NULL: past the last */
bool aionif__call_keep_words(struct aionif__call *call, const uint64_t *words, uint32_t count);

void aionif__calls_forked(void);

void aionif__queue_append(struct aionif__queue *queue, struct aionif__call *call);
void aionif__queue_prepend(struct aionif__queue *queue, struct aionif__call *call);
void aionif__queue_remove(struct aionif__call *call);

bool aionif__deadline_add(struct aionif__call *call); /* false: no memory */
void aionif__deadline_remove(struct aionif__call *call);
struct aionif__call *aionif__deadline_first(void);
#endif
