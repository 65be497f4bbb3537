/* Workers that are processes: start, fill, kill, replace.
 *
 * A worker process differs from a worker thread in how it starts and ends, never in how it serves.
 * Ending is simple: SIGKILL, at any instruction. What is queued in its lane is taken back first, so
 * the running call alone is lost. It then waits among the pool's doomed until the zygote has said how
 * it ended; a failed call ends only then, with the worker's last words on stderr. Its place in the
 * pool is free at once, and a spare stands ready for it.
 *
 * A worker whose call crashed is never used again, whatever the crash was: its memory may hold any
 * damage. A C++ exception that was caught at the base of the call is no crash in this sense. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "processes/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Its size is sealed: a worker that cut it short would have the parent die of SIGBUS. */
static int make_segment(struct aionif__process *process) {
    int file = memfd_create("aionif-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0 || ftruncate(file, (off_t)aionif__segment_size()) != 0) {
        goto failed;
    }
    fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    void *map = mmap(NULL, aionif__segment_size(), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_NORESERVE, file, 0);
    if (map == MAP_FAILED) {
        goto failed;
    }
    process->segment = map;
    void *page = mmap(map, AIONIF__PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (page != MAP_FAILED) {
        return file;
    }
failed:
    if (file >= 0) {
        close(file);
    }
    return -1;
}

/* What it shares with its parent; NULL, or what failed, with errno. */
static const char *open_all(struct aionif__process *process, int *segment, int *theirs) {
    int ends[2];
    *segment = make_segment(process);
    if (*segment < 0) {
        return "memory of a worker";
    }
    process->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (process->bell < 0) {
        return "eventfd";
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return "socketpair";
    }
    process->control = ends[0];
    *theirs = ends[1];
    return NULL;
}

static const char *order(struct aionif__worker *worker) {
    struct aionif__process *process = worker->process;
    int segment, theirs = -1;
    const char *failed = open_all(process, &segment, &theirs);
    if (!failed) {
        worker->lane = &process->segment->lane;
        worker->lane->spin_ns = worker->settings.spin_ns;
        process->segment->settings = worker->settings;
        if (!aionif__zygote_order(process, segment, theirs, worker->settings.setup)) {
            failed = AIONIF__ZYGOTE;
        }
    }
    int error = errno;
    if (segment >= 0) {
        close(segment);
    }
    if (theirs >= 0) {
        close(theirs);
    }
    errno = error;
    return failed;
}

/* Where orders pile up at the zygote nothing is lacking: the watchdog asks again. */
bool aionif__process_start(struct aionif__worker *worker) {
    static uint64_t serials;
    worker->process = calloc(1, sizeof *worker->process);
    if (!worker->process) {
        aionif__lack(worker->pool, "memory", ENOMEM);
        return false;
    }
    worker->process->serial = ++serials;
    worker->process->known = aionif__catalog_count();
    worker->process->bell = worker->process->control = worker->process->pidfd = -1;
    const char *failed = order(worker);
    if (!failed) {
        aionif__zygote_listen(worker->process->bell, 0);
        return true;
    }
    aionif__lack(worker->pool, failed, errno == EAGAIN ? 0 : errno);
    aionif__process_free(worker);
    return false;
}

/* Closing the bell's descriptor takes it out of the ears, too. */
void aionif__process_free(struct aionif__worker *worker) {
    struct aionif__process *process = worker->process;
    int descriptors[] = {process->bell, process->control, process->pidfd};
    for (int i = 0; i < 3; i++) {
        if (descriptors[i] >= 0) {
            close(descriptors[i]);
        }
    }
    if (process->segment) {
        munmap(process->segment, aionif__segment_size());
    }
    free(process);
    worker->process = NULL;
    worker->lane = NULL;
}

/* By its handle where there is one: that needs nobody to be awake. It may be missing (an old kernel,
 * a container's filter, no descriptor free as it came), and the id alone may be another's by now. */
static bool send_signal(const struct aionif__process *process, int number) {
    if (process->pidfd >= 0 &&
        (syscall(SYS_pidfd_send_signal, process->pidfd, number, NULL, 0) == 0 || errno == ESRCH)) {
        return true;
    }
    return aionif__zygote_signal(process, number);
}

void aionif__process_kill(struct aionif__worker *worker) {
    struct aionif__process *process = worker->process;
    if (!process->doomed && worker->pool) {
        worker->pool->statistics.killed++;
    }
    process->doomed = true;
    process->kill_owed = process->pid && !process->dead && !send_signal(process, SIGKILL);
}

/* A worker of the pool, by its id. */
void aionif_pool_signal(struct aionif_pool *pool, int process, int number) {
    aionif__lock();
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        if (pool->workers[i]->process->pid == process && !pool->workers[i]->process->dead) {
            send_signal(pool->workers[i]->process, number);
        }
    }
    aionif__unlock();
}

bool aionif__process_serves(const struct aionif__worker *worker) {
    const struct aionif__process *process = worker->process;
    uint32_t most = worker->settings.max_calls;
    bool stale = process->stale && !worker->reserved; /* a session keeps what it has */
    return !stale && !process->doomed && !process->dead && !process->misbehaved &&
           (!most || process->served < most);
}

bool aionif__process_leaves(const struct aionif__worker *worker) {
    const struct aionif__process *process = worker->process;
    bool full = worker->settings.max_calls && process->served >= worker->settings.max_calls;
    bool stale = process->stale && !worker->reserved;
    return ((full || stale) && aionif__lane_idle(worker->lane)) || process->doomed ||
           process->dead || process->misbehaved;
}

static enum aionif_restart reason_to_retire(const struct aionif__worker *worker) {
    const struct aionif__process *process = worker->process;
    uint32_t most = worker->settings.max_calls;
    bool well = !process->dead && atomic_load(&worker->lane->health) == AIONIF__SERVING;
    return process->limit                            ? AIONIF_RESTART_LIMIT
           : process->misbehaved                     ? AIONIF_RESTART_MISBEHAVED
           : process->leaving                        ? AIONIF_RESTART_STOPPED
           : well && most && process->served >= most ? AIONIF_RESTART_SPENT
           : well                                    ? AIONIF_RESTART_STOPPED
                                                     : AIONIF_RESTART_CRASHED;
}

/* Queued calls go back before the kill: a worker that ends its call this very moment must not find
 * another one to begin with. */
void aionif__process_retire(struct aionif__worker *worker) {
    struct aionif_pool *pool = worker->pool;
    bool failed = worker->process->dead && !atomic_load(&worker->lane->tid);
    if (!pool->closed) {
        pool->statistics.restarts[reason_to_retire(worker)]++;
    }
    worker->process->served = worker->settings.max_calls ? worker->settings.max_calls : 0;
    aionif__worker_take_out(worker);
    worker->pool = pool;
    worker->next = pool->doomed;
    pool->doomed = worker;
    aionif__process_kill(worker);
    if (failed) {
        aionif__process_failed_start(pool, worker->process);
    }
}

void aionif__process_end(struct aionif__call *call) {
    struct aionif__worker *worker = call->worker;
    struct aionif_pool *pool = worker->pool;
    if (pool && !worker->process->doomed) {
        worker->process->leaving = true;
        aionif__process_retire(worker);
        aionif__dispatch(pool, NULL);
    }
}

/* Is it worth trying again? A worker that never came to serve says something about its setup, not
 * about any call: after some of them in a row, whoever waits is told. */
void aionif__process_failed_start(struct aionif_pool *pool, const struct aionif__process *process) {
    enum { MOST = 48, BY_ITSELF = 16, KILLED = 1 };
    bool killed = WIFSIGNALED(process->wait_status) && WTERMSIG(process->wait_status) == SIGKILL;
    bool stillborn = aionif__zygote_stillborn();
    pool->failed_starts += stillborn ? MOST : killed ? KILLED : BY_ITSELF;
    aionif__take_sealed(pool, process);
    if (pool->failed_starts < MOST || aionif__is_served(pool)) {
        return;
    }
    aionif__lack(pool, stillborn ? AIONIF__ZYGOTE : "fork",
                 stillborn ? ENOTCONN : process->lack_error);
    pool->failed_starts = MOST - KILLED; /* the next one is told at once */
    pool->spare_due_ns = INT64_MAX;      /* only a call is worth another attempt */
    uint32_t length = process->text_length < sizeof pool->problem - 1 ? process->text_length
                                                                      : sizeof pool->problem - 1;
    memcpy(pool->problem, process->text + process->text_length - length, length);
    pool->problem[length] = '\0';
    aionif__drop_unserved(pool);
}

void aionif__process_drop_spare(struct aionif_pool *pool) {
    aionif__process_kill(pool->spare);
    pool->spare->next = pool->doomed;
    pool->doomed = pool->spare;
    pool->spare = NULL;
}

/* A sealed process opens no library, so whoever was ordered before this one was named may lack it.
 * One that is at work ends its call first. */
void aionif_pool_renew(struct aionif_pool *pool, uint32_t entry) {
    aionif__lock();
    uint32_t first = aionif__catalog_first(entry);
    for (uint32_t i = 0; i < pool->worker_count; i++) {
        struct aionif__worker *worker = pool->workers[i];
        worker->process->stale |= worker->process->known <= first;
        if (worker->process->stale && aionif__process_leaves(worker)) {
            aionif__process_retire(worker);
            i--;
        }
    }
    if (pool->spare && pool->spare->process->known <= first) {
        aionif__process_drop_spare(pool);
    }
    aionif__dispatch(pool, NULL);
    aionif__unlock();
}

int aionif_pool_sealed(struct aionif_pool *pool, struct aionif_seal_result *out) {
    aionif__lock();
    *out = pool->sealed;
    int state = pool->seal_state;
    aionif__unlock();
    return state;
}

int aionif_pool_problem(struct aionif_pool *pool, char *out, int room) {
    aionif__lock();
    snprintf(out, (size_t)room, "%s", pool->problem);
    aionif__unlock();
    return pool->problem[0] != '\0';
}

int aionif_pool_processes(struct aionif_pool *pool, int32_t *out, int room) {
    int count = 0;
    aionif__lock();
    aionif__zygote_pump();
    for (uint32_t i = 0; pool->settings.is_process && i < pool->worker_count && count < room; i++) {
        if (pool->workers[i]->process->pid) {
            out[count++] = pool->workers[i]->process->pid;
        }
    }
    aionif__unlock();
    return count;
}

/* The record as the worker is to see it: addresses that mean the same there. */
void aionif__process_fill(struct aionif__worker *worker, struct aionif__record *record,
                          struct aionif__call *call) {
    struct aionif__process *process = worker->process;
    struct aionif__segment *segment = process->segment;
    struct aionif__segment *there = (struct aionif__segment *)(uintptr_t)aionif__window();
    size_t index = (size_t)(record - worker->lane->records);
    record->function = (void *)(uintptr_t)call->plan->entry;
    record->bell = &there->lane.bell;
    record->words = there->slots[index].words;
    memcpy(segment->slots[index].words, call->words, call->word_count * sizeof *call->words);
    record->grants = process->owed;
    process->served++;
    process->fed_ns = aionif__now_ns();
    struct aionif_block *block = call->block;
    if (block) {
        size_t offset = (size_t)((char *)block - there->arena[0]);
        size_t used = block->used <= AIONIF_BLOCK ? block->used : AIONIF_BLOCK;
        if (used > sizeof *block) {
            memcpy(segment->arena[0] + offset + sizeof *block, block + 1, used - sizeof *block);
        }
        if (call->memory) {
            *aionif__arch_result_pointer(&record->registers) = (uintptr_t)block + block->result;
        }
    }
    if (!call->port->draining) {
        atomic_store(&worker->lane->bell.armed, 1);
    }
}

/* A loop is about to sleep: every worker that has something to do is to ring. */
void aionif__process_arm_all(void) {
    for (struct aionif_pool *pool = aionif__core.pools; pool; pool = pool->next) {
        for (uint32_t i = 0; pool->settings.is_process && i < pool->worker_count; i++) {
            struct aionif__lane *lane = pool->workers[i]->lane;
            if (lane->submitted != lane->collected) {
                atomic_store(&lane->bell.armed, 1);
            }
        }
    }
}

/* What its submitter was watching when this worker was retired could not be taken back then: whoever
 * watches owns the record until it gives up. */
static bool is_over(struct aionif__worker *worker) {
    struct aionif__process *process = worker->process;
    struct pollfd end = {.fd = process->pidfd, .events = POLLIN};
    if (process->orphaned && !process->dead && poll(&end, 1, 0) == 1) {
        process->dead = true;
    }
    aionif__collect(worker);
    aionif__take_back(worker);
    return process->dead && worker->lane->collected == worker->lane->submitted && !worker->watchers;
}

void aionif__process_reap(struct aionif_pool *pool) {
    for (struct aionif__worker **link = &pool->doomed; *link;) {
        struct aionif__worker *worker = *link;
        if (is_over(worker)) {
            *link = worker->next;
            aionif__process_free(worker);
            free(worker);
        } else {
            link = &worker->next;
        }
    }
}

/* For a pool that is being freed. Under the lock, which others may have in between. */
void aionif__process_stop(struct aionif_pool *pool) {
    enum { PATIENCE_MS = 2000, STEP_MS = 10 };
    while (pool->worker_count) {
        aionif__process_retire(pool->workers[0]);
    }
    if (pool->spare) {
        aionif__process_drop_spare(pool);
    }
    for (int waited = 0; pool->doomed && waited < PATIENCE_MS; waited += STEP_MS) {
        aionif__zygote_pump();
        aionif__process_reap(pool);
        aionif__dispatch(pool, NULL); /* it is closed: what was taken back is dropped */
        if (pool->doomed) {
            aionif__zygote_wait(STEP_MS);
        }
    }
    while (pool->pending.first) { /* came back from one of them, too late for another */
        aionif__drop(pool->pending.first, AIONIF_EVENT_CLOSED);
    }
    while (pool->doomed) { /* it does not die: it hangs in the kernel */
        struct aionif__worker *worker = pool->doomed;
        pool->doomed = worker->next;
        worker->pool = NULL;
        aionif__worker_stray(worker);
    }
}
