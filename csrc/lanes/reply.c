/* Replies: memory in which a result comes back that is too large for its call's block.
 *
 * The parent makes it, one for each worker, of a size that is sealed where results are limited; the
 * worker gets it with its start. So a worker needs no means to make memory or to send descriptors, and
 * what it can have in this way is bounded, whatever it does.
 *
 * A worker lends it to one call at a time: from the end of the call until its result was read, or
 * nobody wants it any more. Meanwhile the next large result of that worker waits. Then the memory is
 * given back to the system: it holds nothing for whoever comes next. It outlives its worker where a
 * result was not read yet. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "lanes/reply.h"

#include "lanes/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct aionif_reply {
    int descriptor;
    uint64_t size;
    pid_t owner;             /* in the child of a fork it is its parent's still */
    bool lent;               /* to a call; the parent's own word for it */
    _Atomic uint32_t *there; /* the worker's; NULL: it has gone */
};

struct aionif_reply *aionif__reply_open(uint64_t size) {
    struct aionif_reply *reply = calloc(1, sizeof *reply);
    if (!reply) {
        return NULL;
    }
    reply->size = size;
    reply->owner = getpid();
    reply->descriptor = memfd_create("aionif-reply", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int seals = size ? F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL : F_SEAL_SEAL;
    if (reply->descriptor >= 0 && ftruncate(reply->descriptor, (off_t)size) == 0 &&
        fcntl(reply->descriptor, F_ADD_SEALS, seals) == 0) {
        return reply;
    }
    int error = errno;
    if (reply->descriptor >= 0) {
        close(reply->descriptor);
    }
    free(reply);
    errno = error;
    return NULL;
}

int aionif__reply_descriptor(const struct aionif_reply *reply) { return reply->descriptor; }

void aionif__reply_serve(struct aionif_reply *reply, _Atomic uint32_t *lent) {
    reply->there = lent;
}

bool aionif__reply_lend(struct aionif_reply *reply) {
    bool free_before = !reply->lent;
    reply->lent = true;
    return free_before;
}

static void free_when_done(struct aionif_reply *reply) {
    if (!reply->lent && !reply->there) {
        close(reply->descriptor);
        free(reply);
    }
}

static void empty(const struct aionif_reply *reply) {
    if (reply->size) {
        fallocate(reply->descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  (off_t)reply->size);
    } else {
        int cut = ftruncate(reply->descriptor, 0);
        (void)cut;
    }
}

static void give_back_emptied(struct aionif_reply *reply) {
    reply->lent = false;
    if (reply->there) {
        atomic_store(reply->there, 0);
        syscall(SYS_futex, reply->there, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }
    free_when_done(reply);
}

void aionif__reply_give_back(struct aionif_reply *reply) {
    empty(reply);
    give_back_emptied(reply);
}

void aionif__reply_leave(struct aionif_reply *reply) {
    reply->there = NULL;
    free_when_done(reply);
}

int aionif_reply_descriptor(struct aionif_reply *reply) { return reply->descriptor; }

/* It is the caller's until it is given back, so it can be emptied without the lock. */
void aionif_reply_give_back(struct aionif_reply *reply) {
    if (reply->owner != getpid()) {
        return;
    }
    empty(reply);
    aionif__lock();
    give_back_emptied(reply);
    aionif__unlock();
}
