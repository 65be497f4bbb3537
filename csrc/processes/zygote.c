/* Zygotes as the parent sees them: sockets. Orders go out with the descriptors a worker needs; what
 * comes back says that a worker has started, or how it ended. Nobody waits for an answer: a lane can
 * be filled before anyone serves it.
 *
 * A pool names its zygote by a number, since one that is lost is followed by another of the same
 * number. One that is replaced while it lives starts no more workers, and stays until the last of those
 * that it has started has ended. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "processes/zygote.h"

#include "lanes/alarm.h"
#include "lanes/ends.h"
#include "lanes/events.h"
#include "processes/window.h"
#include "system/passing.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct order {
    uint64_t serial;
    int32_t signal; /* to be sent to it; 0: start it */
    int32_t padding;
};

/* All forks of one process have its stack canary and its layout. Whoever guesses at them crashes, and
 * learns something each time: a sandbox goes on with another zygote then. */
enum { MOST_CRASHES = 16 };

struct aionif__zygote *aionif__zygotes;

/* The one that starts workers now; NULL: there has been none. */
static struct aionif__zygote *current(uint32_t number) {
    struct aionif__zygote *zygote = aionif__zygotes;
    while (zygote && (zygote->number != number || zygote->replaced)) {
        zygote = zygote->next;
    }
    return zygote;
}

/* It is dead when the kernel says so (aionif__process_reap): until then it may end its call, and claim
 * one that is being watched. One that was never heard of was most likely never forked. */
static void lose_worker(struct aionif__worker *worker) {
    struct aionif__process *process = aionif__process_of(worker);
    aionif__process_kill(worker);
    if (!process->dead) {
        process->orphaned = process->pidfd >= 0;
        process->dead = !process->orphaned;
        process->wait_status = SIGKILL;
    }
}

static void lose_if_of(struct aionif__worker *worker, const struct aionif__zygote *zygote) {
    if (worker && aionif__process_of(worker)->zygote == zygote) {
        lose_worker(worker);
    }
}

static void lose_workers_of(const struct aionif__zygote *zygote) {
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        for (uint32_t i = 0; aionif__tier_of(pool) && i < pool->worker_count; i++) {
            lose_if_of(pool->workers[i], zygote);
        }
        for (struct aionif__worker *worker = pool->doomed; aionif__tier_of(pool) && worker;
             worker = worker->next) {
            lose_if_of(worker, zygote);
        }
        if (aionif__tier_of(pool)) {
            lose_if_of(aionif__tier_of(pool)->spare, zygote);
        }
    }
}

/* Its workers die with it. */
void aionif__zygote_lose(struct aionif__zygote *zygote) {
    if (zygote->socket < 0) {
        return;
    }
    close(zygote->socket);
    zygote->socket = -1;
    zygote->stillborn = !zygote->ready;
    lose_workers_of(zygote);
    if (!zygote->replaced) {
        aionif__core_event(AIONIF_CORE_ZYGOTE_LOST, zygote->stillborn, (int)zygote->number, NULL,
                           "", "");
    }
}

bool aionif__zygote_lost(uint32_t number) {
    const struct aionif__zygote *zygote = current(number);
    return !zygote || zygote->socket < 0 || zygote->spent;
}

bool aionif__zygote_stillborn(uint32_t number) {
    const struct aionif__zygote *zygote = current(number);
    return zygote && zygote->stillborn;
}

int aionif_zygote_lost(uint32_t number) {
    aionif__lock();
    const struct aionif__zygote *zygote = current(number);
    int lost = !aionif__zygote_lost(number)       ? 0
               : aionif__zygote_stillborn(number) ? 2
               : zygote && zygote->socket >= 0    ? 3
                                                  : 1;
    aionif__unlock();
    return lost;
}

static bool has_ended(const struct aionif__zygote *zygote) {
    struct pollfd handle = {.fd = zygote->handle, .events = POLLIN};
    return zygote->handle < 0 || poll(&handle, 1, 0) > 0;
}

static void close_if_open(int *descriptor) {
    if (*descriptor >= 0) {
        close(*descriptor);
        *descriptor = -1;
    }
}

/* Its socket tells it that it is to end. Once it has, Python is to wait for it. The watchdog sees to
 * that: there may be no loop any more. */
bool aionif__zygote_drop_spent(void) {
    bool one_ends = false;
    for (struct aionif__zygote **link = &aionif__zygotes; *link;) {
        struct aionif__zygote *zygote = *link;
        bool is_done_with = zygote->replaced && !zygote->workers;
        if (is_done_with && zygote->socket >= 0) {
            close_if_open(&zygote->socket);
            aionif__alarm_ring();
        }
        if (is_done_with && has_ended(zygote)) {
            aionif__core_event(AIONIF_CORE_ZYGOTE_ENDED, 0, (int)zygote->number, NULL, "", "");
            *link = zygote->next;
            close_if_open(&zygote->handle);
            free(zygote);
        } else {
            one_ends |= is_done_with;
            link = &zygote->next;
        }
    }
    return one_ends;
}

static void replace(uint32_t number) {
    struct aionif__zygote *old = current(number);
    bool crashed = old && old->crashes >= MOST_CRASHES;
    if (old) {
        old->replaced = true;
    }
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        if (crashed && aionif__tier_of(pool) && pool->settings.zygote == number) {
            aionif__process_outdate(pool); /* they have what may be known by now */
        }
    }
    aionif__zygote_drop_spent();
}

/* Calls that wait for a worker meanwhile get theirs now. 0: no memory. */
int aionif_zygote_use(uint32_t number, int socket, int handle, int64_t within_ns) {
    struct aionif__zygote *zygote = calloc(1, sizeof *zygote);
    if (!zygote) {
        close(socket);
        close_if_open(&handle);
        return 0;
    }
    aionif__lock();
    replace(number);
    *zygote = (struct aionif__zygote){.next = aionif__zygotes,
                                      .number = number,
                                      .socket = socket,
                                      .handle = handle,
                                      .due_ns = aionif__now_ns() + within_ns};
    aionif__zygotes = zygote;
    aionif__zygote_listen(socket, 0);
    if (handle >= 0) {
        aionif__zygote_listen(handle, 0);
    }
    aionif__alarm_hear(aionif__zygote_ask);
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        if (aionif__tier_of(pool) && pool->settings.zygote == number) {
            aionif__collect_pool(pool);
        }
    }
    aionif__unlock();
    return 1;
}

/* It starts no more workers; another one is to be ready for those to come. */
static void give_up(struct aionif__zygote *zygote) {
    zygote->spent = true;
    aionif__core_event(AIONIF_CORE_ZYGOTE_WANTED, 0, (int)zygote->number, NULL, "", "");
}

bool aionif__zygote_order(struct aionif__process *process, uint32_t number, bool fresh,
                          const int *descriptors) {
    struct order order = {.serial = process->serial};
    struct aionif__zygote *zygote = current(number);
    if (aionif__zygote_lost(number)) {
        errno = ENOTCONN;
        return false;
    }
    bool sent = aionif__pass(zygote->socket, &order, sizeof order, descriptors, AIONIF__OF_A_WORKER,
                             MSG_DONTWAIT) == (ssize_t)sizeof order;
    if (!sent && (errno == EPIPE || errno == ECONNRESET)) {
        errno = EAGAIN; /* it is gone: its last news are to be read before that is dealt with */
    }
    if (sent) {
        process->zygote = zygote;
        zygote->workers++;
        if (fresh) {
            give_up(zygote);
        }
    }
    return sent;
}

void aionif__zygote_crashed(struct aionif__process *process) {
    struct aionif__zygote *zygote = process->zygote;
    if (zygote && ++zygote->crashes == MOST_CRASHES && !zygote->replaced) {
        give_up(zygote);
    }
}

void aionif__zygote_leave(struct aionif__process *process) {
    if (process->zygote) {
        process->zygote->workers--;
        process->zygote = NULL;
        aionif__zygote_drop_spent();
    }
}

/* Without a zygote there is nothing to do: its workers end with it. */
bool aionif__zygote_signal(const struct aionif__process *process, int number) {
    struct order order = {.serial = process->serial, .signal = number};
    const struct aionif__zygote *zygote = process->zygote;
    return !zygote || zygote->socket < 0 ||
           send(zygote->socket, &order, sizeof order, MSG_DONTWAIT | MSG_NOSIGNAL) > 0 ||
           errno != EAGAIN;
}

void aionif__zygote_wait(uint32_t number, int milliseconds) {
    const struct aionif__zygote *zygote = current(number);
    struct pollfd news = {.fd = zygote ? zygote->socket : -1, .events = POLLIN};
    aionif__unlock();
    poll(&news, 1, milliseconds);
    aionif__lock();
}

/* In the child of a fork: the zygotes are its parent's. */
void aionif__zygote_forked(void) {
    for (struct aionif__zygote *zygote = aionif__zygotes; zygote; zygote = zygote->next) {
        close_if_open(&zygote->socket);
        close_if_open(&zygote->handle);
    }
    aionif__zygotes = NULL;
    aionif__news_forked();
    aionif__catalog_forked();
}
