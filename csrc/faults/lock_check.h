/* After a crash that may have left a lock of libc held; outside of handlers. */
#ifndef AIONIF_LOCK_CHECK_H
#define AIONIF_LOCK_CHECK_H
#include "threads/thread.h"

enum aionif__verdict {
    AIONIF__UNHARMED,
    AIONIF__THREAD_DOUBTED, /* no lock is held, but another thread had better go on */
    AIONIF__LOCK_HELD,
};

/* For a worker. Never (`self->progress` stands still), where it is stuck at a lock. */
enum aionif__verdict aionif__check_worker_locks(struct aionif__thread *self);
/* Inline: dies of the crash. */
void aionif__check_inline_locks(struct aionif__thread *self);
/* A thread was set aside with such a lock: fork(), which may need it, ends the process from here on. */
void aionif__lock_check_failed(void);
void aionif__lock_check_start(void);
/* True: this thread held the lock of stdin, stdout or stderr. */
bool aionif__release_standard_streams(void);
#endif
