/* One worker process: start it, fill its lane, kill it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "processes/process.h"

#include "lanes/lack.h"
#include "lanes/reply.h"
#include "processes/window.h"
#include "processes/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
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
static const char *open_all(struct aionif__process *process, uint64_t result_room, int *segment,
                            int *theirs) {
    int ends[2];
    *segment = make_segment(process);
    if (*segment < 0) {
        return "memory of a worker";
    }
    process->reply = aionif__reply_open(result_room);
    if (!process->reply) {
        return "memory of a worker";
    }
    aionif__reply_serve(process->reply, &process->segment->lent);
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
    struct aionif__process *process = aionif__process_of(worker);
    int segment, theirs = -1;
    const char *failed = open_all(process, worker->settings.result_room, &segment, &theirs);
    if (!failed) {
        worker->lane = &process->segment->lane;
        worker->lane->spin_ns = worker->settings.spin_ns;
        process->segment->settings = worker->settings;
        const int descriptors[] = {segment,
                                   process->bell,
                                   theirs,
                                   worker->settings.setup,
                                   aionif__reply_descriptor(process->reply),
                                   worker->settings.out};
        if (!aionif__zygote_order(process, worker->settings.zygote, worker->settings.fresh,
                                  descriptors)) {
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
static bool start(struct aionif__worker *worker) {
    static uint64_t serials;
    struct aionif__process *process = aionif__process_of(worker);
    process->serial = ++serials;
    process->known = aionif__catalog_count();
    process->bell = process->control = process->pidfd = -1;
    const char *failed = order(worker);
    if (!failed) {
        aionif__zygote_listen(process->bell, 0);
        return true;
    }
    aionif__lack(worker->pool, failed, errno == EAGAIN ? 0 : errno);
    return false;
}

struct aionif__worker *aionif__process_make(struct aionif_pool *pool) {
    struct aionif__worker *worker = calloc(1, sizeof *worker);
    struct aionif__process *process = calloc(1, sizeof *process);
    if (!worker || !process) {
        free(worker);
        free(process);
        aionif__lack(pool, "memory", ENOMEM);
        return NULL;
    }
    worker->own = process;
    worker->server = pool->server;
    worker->settings = pool->settings;
    worker->pool = pool;
    if (!start(worker)) {
        aionif__process_free(worker);
        return NULL;
    }
    pool->statistics.started++;
    return worker;
}

/* Closing the bell's descriptor takes it out of the ears, too. */
void aionif__process_free(struct aionif__worker *worker) {
    struct aionif__process *process = aionif__process_of(worker);
    aionif__zygote_leave(process);
    int descriptors[] = {process->bell, process->control, process->pidfd};
    for (int i = 0; i < 3; i++) {
        if (descriptors[i] >= 0) {
            close(descriptors[i]);
        }
    }
    if (process->reply) {
        aionif__reply_leave(process->reply);
    }
    if (process->segment) {
        munmap(process->segment, aionif__segment_size());
    }
    free(process);
    free(worker);
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

void aionif__process_signal(const struct aionif__process *process, int number) {
    send_signal(process, number);
}

void aionif__process_kill(struct aionif__worker *worker) {
    struct aionif__process *process = aionif__process_of(worker);
    if (!process->doomed && worker->pool) {
        worker->pool->statistics.killed++;
    }
    process->doomed = true;
    process->kill_owed = process->pid && !process->dead && !send_signal(process, SIGKILL);
}

/* The record as the worker is to see it: addresses that mean the same there. */
void aionif__process_fill(struct aionif__worker *worker, struct aionif__record *record,
                          struct aionif__call *call) {
    struct aionif__process *process = aionif__process_of(worker);
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
