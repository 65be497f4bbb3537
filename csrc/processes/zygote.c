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
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum news_kind { STARTED = 1, ENDED = 2, NOT_STARTED = 3, READY = 4, LOST = 5 };

struct order {
    uint64_t serial;
    int32_t signal; /* to be sent to it; 0: start it */
    int32_t padding;
};

struct news {
    uint64_t serial;
    int32_t kind;
    int32_t pid; /* of one that was not started: errno; of what was lost of stderr: bytes */
    int32_t wait_status;
    uint32_t text_length;
    char text[AIONIF_STDERR];
};

/* All forks of one process have its stack canary and its layout. Whoever guesses at them crashes, and
 * learns something each time: a sandbox goes on with another zygote then. */
enum { MOST_CRASHES = 16 };

struct aionif__zygote {
    struct aionif__zygote *next;
    uint32_t number;
    uint32_t workers; /* that refer to it */
    int socket;       /* -1: it is lost */
    bool ready;       /* it has said so; orders may be sent before */
    bool stillborn;   /* it was lost before it was ready */
    bool replaced;
    bool spent;       /* it is to start no more workers */
    uint32_t crashes; /* of calls of its workers */
    int64_t due_ns;   /* by when it is to be ready */
};

static struct aionif__zygote *zygotes;
static uint64_t stderr_lost;
static int ears = -1; /* an epoll of the zygotes' sockets and the workers' bells */

/* The one that starts workers now; NULL: there has been none. */
static struct aionif__zygote *current(uint32_t number) {
    struct aionif__zygote *zygote = zygotes;
    while (zygote && (zygote->number != number || zygote->replaced)) {
        zygote = zygote->next;
    }
    return zygote;
}

int aionif_processes_descriptor(void) {
    aionif__lock();
    if (ears < 0) {
        ears = epoll_create1(EPOLL_CLOEXEC);
    }
    aionif__unlock();
    return ears;
}

/* Edge-triggered: each ring is one event, and nothing has to be read. So no worker can take another's
 * ring away, or make its own stay. */
void aionif__zygote_listen(int descriptor, uint64_t end_of) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = end_of};
    if (ears < 0) {
        ears = epoll_create1(EPOLL_CLOEXEC);
    }
    epoll_ctl(ears, EPOLL_CTL_ADD, descriptor, &event);
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
static void lose(struct aionif__zygote *zygote) {
    if (zygote->socket < 0) {
        return;
    }
    close(zygote->socket);
    zygote->socket = -1;
    zygote->stillborn = !zygote->ready;
    lose_workers_of(zygote);
    if (!zygote->replaced) {
        aionif__core_event(AIONIF_CORE_ZYGOTE_LOST, zygote->stillborn, (int)zygote->number, NULL,
                           "");
    }
}

uint64_t aionif_stderr_lost(void) {
    aionif__lock();
    uint64_t lost = stderr_lost;
    aionif__unlock();
    return lost;
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

/* Its socket tells it that it is to end. */
static void drop_spent(void) {
    for (struct aionif__zygote **link = &zygotes; *link;) {
        struct aionif__zygote *zygote = *link;
        if (zygote->replaced && !zygote->workers) {
            *link = zygote->next;
            if (zygote->socket >= 0) {
                close(zygote->socket);
            }
            free(zygote);
        } else {
            link = &zygote->next;
        }
    }
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
    drop_spent();
}

/* Calls that wait for a worker meanwhile get theirs now. 0: no memory. */
int aionif_zygote_use(uint32_t number, int socket, int64_t within_ns) {
    struct aionif__zygote *zygote = calloc(1, sizeof *zygote);
    if (!zygote) {
        close(socket);
        return 0;
    }
    aionif__lock();
    replace(number);
    *zygote = (struct aionif__zygote){.next = zygotes,
                                      .number = number,
                                      .socket = socket,
                                      .due_ns = aionif__now_ns() + within_ns};
    zygotes = zygote;
    aionif__zygote_listen(socket, 0);
    aionif__alarm_hear(aionif__zygote_pump);
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
    aionif__core_event(AIONIF_CORE_ZYGOTE_WANTED, 0, (int)zygote->number, NULL, "");
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
        drop_spent();
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

static struct aionif__worker *find_in(struct aionif__worker *list, uint64_t serial) {
    for (; list; list = list->next) {
        bool is_process = list->server == &aionif__process_server;
        if (is_process && aionif__process_of(list)->serial == serial) {
            return list;
        }
    }
    return NULL;
}

static struct aionif__worker *find(uint64_t serial) {
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        for (uint32_t i = 0; aionif__tier_of(pool) && i < pool->worker_count; i++) {
            if (aionif__process_of(pool->workers[i])->serial == serial) {
                return pool->workers[i];
            }
        }
        struct aionif__worker *worker = find_in(pool->doomed, serial);
        if (!worker && aionif__tier_of(pool)) {
            worker = find_in(aionif__tier_of(pool)->spare, serial);
        }
        if (worker) {
            return worker;
        }
    }
    return find_in(aionif__core.strays, serial);
}

/* Its handle may be missing: then its end is known from the zygote alone, a little later. */
static void note_start(struct aionif__worker *worker, pid_t pid, int descriptor) {
    struct aionif__process *process = aionif__process_of(worker);
    process->pid = pid;
    process->pidfd = descriptor;
    if (descriptor >= 0) {
        aionif__zygote_listen(descriptor, process->serial);
    }
    if (process->doomed) { /* decided while it had no process to kill */
        aionif__process_kill(worker);
    }
}

static void take_news(struct aionif__zygote *zygote, struct news *news, size_t length,
                      int descriptor) {
    struct aionif__worker *worker = find(news->serial);
    struct aionif__process *process = worker ? aionif__process_of(worker) : NULL;
    zygote->ready |= news->kind == READY;
    if (news->kind == LOST) {
        stderr_lost += (uint64_t)news->pid; /* not logged: a log may go to that very stderr */
    }
    if (!process) {
        if (descriptor >= 0) {
            close(descriptor);
        }
        return;
    }
    if (news->kind == STARTED) {
        note_start(worker, news->pid, descriptor);
        return;
    }
    process->dead = true;
    process->lack_error = news->kind == NOT_STARTED ? news->pid : 0;
    process->wait_status = news->wait_status;
    size_t most = length - offsetof(struct news, text);
    process->text_length = news->text_length < most ? news->text_length : (uint32_t)most;
    memcpy(process->text, news->text, process->text_length);
}

/* 0: there is no more now. */
static int receive(struct aionif__zygote *zygote) {
    struct news news;
    int descriptor;
    ssize_t got = aionif__receive(zygote->socket, &news, sizeof news, &descriptor, MSG_DONTWAIT);
    if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            lose(zygote);
        }
        return errno == EINTR;
    }
    if (got < (ssize_t)offsetof(struct news, text)) { /* nothing: the other end is closed */
        lose(zygote);
        return 0;
    }
    take_news(zygote, &news, (size_t)got, descriptor);
    return 1;
}

static void pay_kills(void) {
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        for (struct aionif__worker *worker = pool->doomed; worker; worker = worker->next) {
            if (aionif__process_of(worker)->kill_owed) {
                aionif__process_kill(worker);
            }
        }
    }
}

/* One that hangs as it starts would have calls wait for ever. */
void aionif__zygote_pump(void) {
    for (struct aionif__zygote *zygote = zygotes; zygote; zygote = zygote->next) {
        while (zygote->socket >= 0 && receive(zygote)) {
        }
        if (zygote->socket >= 0 && !zygote->ready && aionif__now_ns() > zygote->due_ns) {
            lose(zygote);
        }
    }
    pay_kills();
}

/* Something has happened, to any worker: whoever collects next sees what. */
void aionif_processes_look(void) {
    enum { AT_ONCE = 32 };
    struct epoll_event events[AT_ONCE];
    aionif__lock();
    int count;
    do {
        count = epoll_wait(ears, events, AT_ONCE, 0);
        for (int i = 0; i < count; i++) {
            struct aionif__worker *worker = events[i].data.u64 ? find(events[i].data.u64) : NULL;
            if (worker) { /* its place is free already; how it ended is yet to be told */
                aionif__process_of(worker)->doomed = true;
            }
        }
    } while (count == AT_ONCE);
    aionif__zygote_pump();
    aionif__unlock();
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
    for (struct aionif__zygote *zygote = zygotes; zygote; zygote = zygote->next) {
        if (zygote->socket >= 0) {
            close(zygote->socket);
        }
    }
    zygotes = NULL;
    if (ears >= 0) {
        close(ears);
        ears = -1;
    }
    aionif__catalog_forked();
}
