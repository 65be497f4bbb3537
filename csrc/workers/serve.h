/* The worker's side: the loop that serves a lane. What runs it, a thread here or a process, differs
 * in how it starts and what it does when it must not go on; the loop is the same code. */
#ifndef AIONIF_SERVE_H
#define AIONIF_SERVE_H
#include "lanes/state.h"

#include <signal.h>

/* What is done around each call, where a record does not say all in words of this process. */
struct aionif__around {
    /* Turns the record's names into addresses of this process. False: the call can't run, the record
     * says why; `ending` is how code that this had to run ended, if it did not return. */
    bool (*prepare)(struct aionif__thread *self, struct aionif__record *record,
                    struct aionif__invocation *invocation, int *ending);
    /* After each call, prepared or not: given how it ended, returns how it is to be told to have. */
    int (*done)(struct aionif__thread *self, int ending);
    /* After a failure: keeps what of it means nothing to who reads the record. */
    void (*describe)(struct aionif__thread *self, const struct aionif__record *record);
};

/* Serve until told to stop, or until this worker has to leave. On the worker's thread. `around` NULL:
 * records are as they are to be taken. */
void aionif__serve(struct aionif__lane *lane, struct aionif__thread *self,
                   const struct aionif__around *around);

/* What whoever serves a lane does first; false: no memory. Then, when it has set itself up, the
 * filter; `lane->tid` says at last that it can take calls. */
bool aionif__worker_enter(struct aionif__thread *self, struct aionif__lane *lane,
                          const struct aionif_pool_settings *settings, sigset_t blocked);
void aionif__worker_filter(struct aionif__lane *lane, const struct aionif_pool_settings *settings);
/* Under the core's lock: tells once for each pool that exit can't be stopped in its workers. */
void aionif__note_unfiltered(struct aionif_pool *pool, const struct aionif__worker *worker);

/* What both tiers do after a call that did not return. */
void aionif__note_taint(struct aionif__thread *self);
void aionif__describe_throw(struct aionif__thread *self,
                            const struct aionif__invocation *invocation, int ending);
#endif
