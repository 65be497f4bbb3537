/* What zygotes tell of workers: that one has started, or how it ended. And who is woken by it: each loop
 * watches one descriptor, which stands for the sockets of all zygotes and the bells of all workers. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "processes/zygote.h"

#include "lanes/alarm.h"
#include "system/passing.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STATUS = 0xffff, OUT_OF_MEMORY = 1 << 16 }; /* of a worker's end; see child_zygote.py */
enum news_kind { STARTED = 1, ENDED = 2, NOT_STARTED = 3, READY = 4, LOST = 5 };

struct news {
    uint64_t serial;
    int32_t kind;
    int32_t pid; /* of one that was not started: errno; of what was lost of stderr: bytes */
    int32_t wait_status;
    uint32_t text_length;
    char text[AIONIF_STDERR];
};

static uint64_t stderr_lost;
static int ears = -1; /* an epoll of all of these */

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

uint64_t aionif_stderr_lost(void) {
    aionif__lock();
    uint64_t lost = stderr_lost;
    aionif__unlock();
    return lost;
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
    process->wait_status = news->wait_status & STATUS;
    if (news->wait_status & OUT_OF_MEMORY) {
        process->limit = AIONIF_LIMIT_RESIDENT;
    }
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
            aionif__zygote_lose(zygote);
        }
        return errno == EINTR;
    }
    if (got < (ssize_t)offsetof(struct news, text)) { /* nothing: the other end is closed */
        aionif__zygote_lose(zygote);
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
static bool pump(void) {
    for (struct aionif__zygote *zygote = aionif__zygotes; zygote; zygote = zygote->next) {
        while (zygote->socket >= 0 && receive(zygote)) {
        }
        if (zygote->socket >= 0 && !zygote->ready && aionif__now_ns() > zygote->due_ns) {
            aionif__zygote_lose(zygote);
        }
    }
    pay_kills();
    return aionif__zygote_drop_spent();
}

void aionif__zygote_pump(void) { pump(); }

int64_t aionif__zygote_ask(void) { return pump() ? aionif__now_ns() + AIONIF__TICK : INT64_MAX; }

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

void aionif__news_forked(void) {
    if (ears >= 0) {
        close(ears);
        ears = -1;
    }
}
