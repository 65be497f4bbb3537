/* What a worker process uses of the machine, seen from outside: the parent asks the kernel, as a limit
 * that the worker set for itself it could also lift. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "processes/process.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define UNCLAIMED_NS ((int64_t)2000000000)
#define IDLE_CPU_NS ((int64_t)1000000000)  /* that may be used between two calls */
#define IDLE_LOOK_NS ((int64_t)1000000000) /* how often that is looked at */

static int64_t cpu_time(pid_t pid) {
    struct timespec used = {0};
    clockid_t clock;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        return 0;
    }
    return used.tv_sec * (int64_t)1000000000 + used.tv_nsec;
}

/* Its own and what it shares with us, its lane and what it was given; not the files that it maps. */
static uint64_t resident_bytes(pid_t pid) {
    char path[32], line[128];
    uint64_t total = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        unsigned long long kib;
        if (sscanf(line, "RssAnon: %llu kB", &kib) == 1 ||
            sscanf(line, "RssShmem: %llu kB", &kib) == 1) {
            total += kib * 1024;
        }
    }
    if (file) {
        fclose(file);
    }
    return total;
}

static int exceeded(struct aionif__worker *worker, const struct aionif__call *call) {
    struct aionif__process *process = aionif__process_of(worker);
    const struct aionif_pool_settings *settings = &worker->settings;
    if (settings->cpu_limit_ns) {
        int64_t used = cpu_time(process->pid);
        if (process->timed_call != call->id) {
            process->timed_call = call->id;
            process->cpu_base_ns = used;
        } else if (used - process->cpu_base_ns > (int64_t)settings->cpu_limit_ns) {
            process->limit_used = (uint64_t)(used - process->cpu_base_ns);
            return AIONIF_LIMIT_CPU;
        }
    }
    uint64_t resident = settings->resident_limit ? resident_bytes(process->pid) : 0;
    if (resident > settings->resident_limit) {
        process->limit_used = resident;
        return AIONIF_LIMIT_RESIDENT;
    }
    return AIONIF_LIMIT_NONE;
}

/* Between calls it is to rest. Threads of libraries may spin on for a while; code that a call has left
 * behind may not go on with it. */
static int exceeded_idle(struct aionif__worker *worker) {
    enum { OF_NO_CALL = 0 };
    struct aionif__process *process = aionif__process_of(worker);
    if (!worker->settings.cpu_limit_ns && !worker->settings.has_sandbox) {
        return AIONIF_LIMIT_NONE;
    }
    int64_t used = cpu_time(process->pid);
    if (process->timed_call != OF_NO_CALL) {
        process->timed_call = OF_NO_CALL;
        process->cpu_base_ns = used;
    }
    return used - process->cpu_base_ns > IDLE_CPU_NS ? AIONIF_LIMIT_CPU : AIONIF_LIMIT_NONE;
}

/* What it used to get ready counts for nothing. */
static bool serves(const struct aionif__worker *worker) {
    struct aionif__process *process = aionif__process_of(worker);
    if (!process->serves && atomic_load(&worker->lane->tid)) {
        process->serves = true;
        process->cpu_base_ns = cpu_time(process->pid);
    }
    return process->serves;
}

/* Stopped by someone, or up to something: the call is tried once more, elsewhere. */
static bool leaves_unclaimed(const struct aionif__process *process, struct aionif__call *call) {
    enum { TRIES = 2 };
    bool queued = (atomic_load(&call->record->state) & AIONIF__STATE) == AIONIF__QUEUED;
    bool asleep = queued && aionif__now_ns() - process->fed_ns > UNCLAIMED_NS;
    if (asleep && ++call->unclaimed == TRIES) {
        call->begun = true;
    }
    return asleep;
}

/* What call it has is known from the parent's own books: it may say that it has not begun any. */
bool aionif__process_exceeds(struct aionif__worker *worker) {
    struct aionif__process *process = aionif__process_of(worker);
    struct aionif__call *call = worker->calls[worker->lane->collected % AIONIF__SLOTS];
    bool limited = worker->settings.cpu_limit_ns || worker->settings.resident_limit;
    if (!process->pid || process->doomed || !serves(worker)) {
        return false;
    }
    if (!call) {
        process->limit = exceeded_idle(worker);
        return process->limit;
    }
    if (limited) {
        process->limit = exceeded(worker, call);
        call->begun |= process->limit != AIONIF_LIMIT_NONE;
    }
    return process->limit || leaves_unclaimed(process, call);
}

int64_t aionif__process_look_again(const struct aionif_pool *pool, int64_t now) {
    bool watched = pool->settings.cpu_limit_ns || pool->settings.has_sandbox;
    return watched && pool->worker_count ? now + IDLE_LOOK_NS : INT64_MAX;
}
