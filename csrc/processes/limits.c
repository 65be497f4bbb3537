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

static int64_t cpu_time(pid_t pid) {
    struct timespec used = {0};
    clockid_t clock;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        return 0;
    }
    return used.tv_sec * (int64_t)1000000000 + used.tv_nsec;
}

static uint64_t resident_bytes(pid_t pid) {
    char path[32];
    unsigned long total = 0, resident = 0, shared = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    if (file) {
        if (fscanf(file, "%lu %lu %lu", &total, &resident, &shared) != 3) {
            resident = shared = 0;
        }
        fclose(file);
    }
    return (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
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
            return AIONIF_LIMIT_CPU;
        }
    }
    if (settings->resident_limit && resident_bytes(process->pid) > settings->resident_limit) {
        return AIONIF_LIMIT_RESIDENT;
    }
    return AIONIF_LIMIT_NONE;
}

/* By the watchdog, while anything is under way. A worker that does not claim what it was given is
 * stopped, or up to something; nothing is lost with it. */
bool aionif__process_exceeds(struct aionif__worker *worker) {
    struct aionif__process *process = aionif__process_of(worker);
    const struct aionif__call *call = worker->calls[worker->lane->collected % AIONIF__SLOTS];
    bool limited = worker->settings.cpu_limit_ns || worker->settings.resident_limit;
    if (!call || !process->pid || process->doomed) {
        return false;
    }
    uint32_t state = atomic_load(&call->record->state) & AIONIF__STATE;
    bool asleep = state == AIONIF__QUEUED && atomic_load(&worker->lane->tid) &&
                  aionif__now_ns() - process->fed_ns > UNCLAIMED_NS;
    if (limited && state == AIONIF__RUNNING) {
        process->limit = exceeded(worker, call);
    }
    return process->limit || asleep;
}
