/* The worker's side: the loop that serves a lane. What runs it, a thread here or a process, differs
 * in how it starts and what it does when it must not go on; the loop is the same code. */
#ifndef AIONIF_WORKER_H
#define AIONIF_WORKER_H
#include "lanes/lane.h"
#include "threads/thread.h"

#include <signal.h>

/* Serve until told to stop, or until this worker has to leave. On the worker's thread. */
void aionif__serve(struct aionif__lane *lane, struct aionif__thread *self);

/* What whoever serves a lane does first; false: no memory. Then, when it has set itself up, the
 * filter; `lane->tid` says at last that it can take calls. */
bool aionif__worker_enter(struct aionif__thread *self, struct aionif__lane *lane,
                          const struct aionif_pool_settings *settings, sigset_t blocked);
void aionif__worker_filter(struct aionif__lane *lane, const struct aionif_pool_settings *settings);

/* What both tiers do after a call that did not return. */
void aionif__note_taint(struct aionif__thread *self);
void aionif__describe_throw(struct aionif__thread *self,
                            const struct aionif__invocation *invocation, int ending);

/* lock_check.c: after a crash that may have left a lock of libc held; outside of handlers.
 * For a worker: false, or never (the watchdog notices), where one was. Inline: dies of the crash. */
bool aionif__check_worker_locks(struct aionif__thread *self);
void aionif__check_inline_locks(struct aionif__thread *self);
void aionif__lock_check_start(void);
/* True: this thread held the lock of stdin, stdout or stderr. */
bool aionif__release_standard_streams(void);

/* exits.c */
void aionif__exits_watch(void); /* before the handlers registered so far, for every worker */
void aionif__exits_watch_again(bool quick); /* in place of the handler that was used */
void aionif__exits_worker(int change); /* 1: a worker's thread has begun; -1: it is about to end */
bool aionif__exits_filter(const struct aionif_pool_settings *settings);
const char *aionif__exits_blind(void); /* why _exit can't be trapped here */
bool aionif__exits_hold_a_lock(void);  /* exit() does, for ever: no call can be ended in it */
#endif
