/* What of a process's lane can be taken as true.
 *
 * A worker process can write anything into its lane, at any moment, also between two looks of ours. So
 * a record that has ended is copied once, and the copy is checked; what the parent decides by it
 * decides by (which call is in which record, how much comes back, whom to wake) is in its own memory.
 * A lie can so harm the call that it is about: its result is what the worker says anyway. A state
 * that the protocol does not know, and a failure that a worker can't have, give the liar away: it is
 * killed, and its calls have lost their worker.
 *
 * Under the core's lock. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "processes/validate.h"

#include "lanes/events.h"
#include "lanes/reply.h"
#include "processes/known_modules.h"
#include "processes/window.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_STACK ((uint64_t)1 << 40) /* bytes; a main thread's may be without a limit */

static struct aionif__record taken;

static bool is_possible(uint32_t word, const struct aionif__call *call) {
    switch (word & ~(uint32_t)AIONIF__WATCHED) {
    case AIONIF__QUEUED:
    case AIONIF__RUNNING:
    case AIONIF__FINISHED:
        return true; /* of a withdrawn record too: it may have been about to be claimed */
    case AIONIF__WITHDRAWN:
    case AIONIF__PASSED:
        return call == NULL;
    default:
        return false;
    }
}

static bool is_fault(int sig) {
    return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL || sig == SIGTRAP ||
           sig == SIGABRT || sig == SIGSYS;
}

static bool is_possible_failure(const struct aionif_failure *failure, int kind) {
    bool signalled = kind == AIONIF_SIGNAL || kind == AIONIF_OVERFLOW || kind == AIONIF_DENIED;
    bool known =
        signalled || kind == AIONIF_PANIC || kind == AIONIF_EXIT || kind == AIONIF_UNLOADED;
    return known && (!signalled || is_fault(failure->signal)) &&
           failure->language >= AIONIF_LANGUAGE_C && failure->language <= AIONIF_LANGUAGE_RUST &&
           failure->frame_count >= 0 && failure->frame_count <= AIONIF_FRAMES;
}

/* A number that no thread, stack or fault can have says nothing; what is of faults alone is left to
 * those. What remains is shown, and nothing else is done with it. */
static void tidy(struct aionif_failure *failure) {
    enum { MOST_THREADS = 1 << 22, MOST_CALLS = 4096 }; /* PID_MAX_LIMIT; system calls */
    if (failure->kind != AIONIF_SIGNAL && failure->kind != AIONIF_OVERFLOW &&
        failure->kind != AIONIF_DENIED) {
        failure->signal = failure->code = failure->has_address = 0;
    }
    if (failure->kind != AIONIF_DENIED || failure->syscall < 0 || failure->syscall > MOST_CALLS) {
        failure->syscall = -1;
    }
    if (failure->thread < 0 || failure->thread > MOST_THREADS) {
        failure->thread = 0;
    }
    failure->stack_size = failure->stack_size <= MOST_STACK ? failure->stack_size : 0;
    failure->stack_used = failure->stack_used <= MOST_STACK ? failure->stack_used : 0;
    failure->type_name[AIONIF_TEXT - 1] = failure->reason[AIONIF_TEXT - 1] = '\0';
}

static void copy(struct aionif__worker *worker, const struct aionif__record *record,
                 int64_t submitted_ns) {
    taken.kind = *(volatile const int32_t *)&record->kind;
    taken.error_number = record->error_number;
    taken.result = record->result;
    taken.started_ns = record->started_ns;
    taken.ended_ns = record->ended_ns;
    taken.stack_used = record->stack_used <= MOST_STACK ? record->stack_used : 0;
    if (taken.kind) {
        taken.failure = record->failure;
        taken.failure.kind = taken.kind;
        taken.failure.process = aionif__process_of(worker)->pid;
        taken.failure.limit = AIONIF_LIMIT_NONE;
        taken.failure.limit_used = 0;
        taken.failure.status &= taken.failure.status == AIONIF_NO_STATUS ? -1 : 0xff;
        taken.failure.taint = 0; /* of that process, which is gone */
        tidy(&taken.failure);
        if (worker->settings.has_address_limit && taken.failure.error_number == ENOMEM) {
            taken.failure.limit = AIONIF_LIMIT_ADDRESS_SPACE;
        }
    }
    int64_t now = aionif__now_ns();
    if (taken.ended_ns > now || taken.started_ns > taken.ended_ns || taken.started_ns < 0) {
        taken.started_ns = taken.ended_ns = now;
    }
    if (taken.started_ns < submitted_ns) {
        taken.started_ns = submitted_ns < taken.ended_ns ? submitted_ns : taken.ended_ns;
    }
}

static void misbehaves(struct aionif__worker *worker) {
    if (!aionif__process_of(worker)->misbehaved) {
        aionif__process_of(worker)->misbehaved = true;
        aionif__core_event(AIONIF_CORE_MISBEHAVED, 0, aionif__process_of(worker)->pid, NULL,
                           worker->settings.name, "");
        aionif__process_kill(worker);
    }
}

static int limit_of(const struct aionif__worker *worker) {
    int status = aionif__process_of(worker)->wait_status;
    if (aionif__process_of(worker)->limit || !WIFSIGNALED(status)) {
        return aionif__process_of(worker)->limit;
    }
    if (WTERMSIG(status) == SIGXFSZ && worker->settings.has_file_limit) {
        return AIONIF_LIMIT_FILE_SIZE;
    }
    return WTERMSIG(status) == SIGXCPU ? AIONIF_LIMIT_CPU : AIONIF_LIMIT_NONE;
}

/* By a filter: of what its handler has noted, if that could run. */
static void note_denial(const struct aionif__worker *worker) {
    enum { MOST = 4096 };
    int status = aionif__process_of(worker)->wait_status;
    if (!worker->settings.has_sandbox || !WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS) {
        return;
    }
    int32_t denied = atomic_load(&aionif__process_of(worker)->segment->denied);
    taken.kind = AIONIF_DENIED;
    taken.failure.signal = SIGSYS;
    taken.failure.code = 1; /* SYS_SECCOMP */
    taken.failure.syscall = denied > 0 && denied <= MOST ? denied - 1 : -1;
}

/* It died under this call: by _exit(), by a limit, by someone's signal. */
static struct aionif__record *lost(struct aionif__worker *worker) {
    const struct aionif__process *process = aionif__process_of(worker);
    bool exited = WIFEXITED(process->wait_status) && !process->misbehaved && !process->doomed;
    memset(&taken, 0, sizeof taken);
    taken.kind = exited ? AIONIF_EXIT : AIONIF_WORKER_LOST;
    taken.failure.status = exited ? WEXITSTATUS(process->wait_status) : process->wait_status;
    taken.failure.limit = limit_of(worker);
    taken.failure.limit_used = process->limit_used;
    taken.failure.process = process->pid;
    taken.started_ns = taken.ended_ns = aionif__now_ns();
    note_denial(worker);
    return &taken;
}

/* A worker that has failed is not asked twice; its last words come with its death. */
static struct aionif__record *failed(struct aionif__worker *worker) {
    bool goes_on =
        taken.kind == AIONIF_UNLOADED ||
        (taken.kind == AIONIF_PANIC && atomic_load(&worker->lane->health) == AIONIF__SERVING);
    if (goes_on || aionif__process_of(worker)->dead) {
        return &taken;
    }
    aionif__process_kill(worker);
    return NULL;
}

/* What is queued is taken back from a worker that is dead, not lost: now, or once its submitter no longer
 * watches. That works on a state with nothing beside it, and the worker may have left something. */
static bool is_to_be_taken_back(uint32_t word, const struct aionif__call *call) {
    bool bare = word == AIONIF__QUEUED;
    return call && !call->begun &&
           (bare || (call->watched && word == (AIONIF__QUEUED | AIONIF__WATCHED)));
}

struct aionif__record *aionif__validate(struct aionif__worker *worker, uint32_t position,
                                        uint32_t *state) {
    struct aionif__process *process = aionif__process_of(worker);
    struct aionif__record *record = aionif__lane_at(worker->lane, position);
    const struct aionif__call *call = worker->calls[position % AIONIF__SLOTS];
    uint32_t word = atomic_load(&record->state);
    *state = word & AIONIF__STATE;
    if (!is_possible(word, call)) {
        misbehaves(worker);
    } else if (*state == AIONIF__FINISHED && call && !process->misbehaved) {
        copy(worker, record, call->submitted_ns);
        if (taken.kind == 0) {
            return &taken;
        }
        if (is_possible_failure(&taken.failure, taken.kind)) {
            return failed(worker);
        }
        misbehaves(worker);
    } else if (!call && (*state == AIONIF__PASSED || *state == AIONIF__FINISHED)) {
        return record;
    }
    if (!process->dead || is_to_be_taken_back(word, call)) {
        return NULL;
    }
    *state = call ? AIONIF__FINISHED : AIONIF__PASSED;
    return call ? lost(worker) : record;
}

/* A result too large for its block. A worker waits for the last one to be read before it writes the next:
 * one that does not is not asked again. */
static struct aionif_reply *borrow_reply(struct aionif__worker *worker) {
    struct aionif_reply *reply = aionif__process_of(worker)->reply;
    if (aionif__reply_lend(reply)) {
        return reply;
    }
    misbehaves(worker);
    return NULL;
}

void aionif__take_block(struct aionif__worker *worker, struct aionif__call *call,
                        const struct aionif__record *record) {
    struct aionif_block *block = call->block;
    if (!block || record->kind != 0) {
        return;
    }
    struct aionif__segment *there = (struct aionif__segment *)(uintptr_t)aionif__window();
    const char *source =
        aionif__process_of(worker)->segment->arena[0] + ((char *)block - there->arena[0]);
    uint64_t back = block->back;
    if (call->plan->entry == AIONIF_PYTHON_ENTRY) {
        back = record->result.integer[0];
        if (back & ((uint64_t)1 << 62)) {
            call->reply = borrow_reply(worker);
            back = sizeof *block;
        }
        back &= 0xffffffff;
    }
    back = back <= AIONIF_BLOCK ? back : AIONIF_BLOCK;
    block->used = back > block->used ? (uint32_t)back : block->used;
    if (back > sizeof *block) {
        memcpy(block + 1, source + sizeof *block, back - sizeof *block);
    }
    if (call->memory) {
        memcpy(call->memory, source + block->result, call->plan->result_memory);
    }
}

void aionif__take_sealed(struct aionif_pool *pool, const struct aionif__process *process) {
    struct aionif__tier *tier = aionif__tier_of(pool);
    struct aionif_seal_result *sealed = &tier->sealed;
    const struct aionif__segment *segment = process->segment;
    int now = atomic_load(&segment->lane.tid) ? AIONIF_SEALED : AIONIF_SEAL_REFUSED;
    if (tier->seal_state >= now || !(segment->sealed.applied | segment->sealed.missing)) {
        return;
    }
    tier->seal_state = now;
    *sealed = segment->sealed;
    sealed->note_count =
        sealed->note_count < AIONIF_SEAL_NOTES ? sealed->note_count : AIONIF_SEAL_NOTES;
    for (uint32_t i = 0; i < sealed->note_count; i++) {
        sealed->notes[i].text[AIONIF_TEXT - 1] = '\0';
    }
    if (sealed->missing && now == AIONIF_SEALED) {
        const char *why = sealed->note_count ? sealed->notes[0].text : "";
        aionif__core_event(AIONIF_CORE_UNSEALED, (int)sealed->missing, 0, NULL, pool->settings.name,
                           why);
    }
}

/* What is to be known of a failed call besides its record. */
void aionif__take_remains(struct aionif__worker *worker, struct aionif__call *call) {
    const struct aionif__process *process = aionif__process_of(worker);
    const struct aionif__slot *slot =
        &process->segment->slots[call->record - worker->lane->records];
    struct aionif__remains *remains = calloc(1, sizeof *remains);
    call->remains = remains;
    if (!remains) {
        return;
    }
    remains->sealed = worker->settings.has_sandbox;
    remains->text_length = process->text_length;
    memcpy(remains->text, process->text, process->text_length);
    uint32_t count = *(volatile const uint32_t *)&slot->module_count;
    remains->module_count = count <= AIONIF_MODULES ? count : 0;
    for (uint32_t i = 0; i < remains->module_count; i++) {
        struct aionif_module *module = &remains->modules[i];
        *module = slot->modules[i];
        module->path[AIONIF_PATH - 1] = '\0';
        if (module->build_id_length > AIONIF_BUILD_ID) {
            module->build_id_length = 0;
        }
    }
    for (int i = 0; i < AIONIF_FRAMES; i++) {
        uint8_t of = slot->of_frames[i];
        remains->of_frames[i] = of <= remains->module_count ? of : 0;
    }
}

int aionif_failure_modules(uint64_t id, struct aionif_module *out, uint8_t *of_frames) {
    aionif__lock();
    struct aionif__call *call = aionif__call_find(id);
    const struct aionif__remains *remains =
        call && call->stage == AIONIF__ENDED ? call->remains : NULL;
    int count = remains ? (int)remains->module_count : -1;
    bool sealed = remains && remains->sealed;
    if (remains) {
        memcpy(out, remains->modules, remains->module_count * sizeof *out);
        memcpy(of_frames, remains->of_frames, AIONIF_FRAMES);
    }
    aionif__unlock();
    if (sealed) {
        aionif__forget_unknown(out, (uint32_t)count, of_frames);
    }
    return count;
}

int aionif_failure_stderr(uint64_t id, char *out, int room) {
    aionif__lock();
    struct aionif__call *call = aionif__call_find(id);
    const struct aionif__remains *remains =
        call && call->stage == AIONIF__ENDED ? call->remains : NULL;
    int length = remains ? (int)remains->text_length : 0;
    length = length <= room ? length : room;
    if (length) {
        memcpy(out, remains->text, (size_t)length);
    }
    aionif__unlock();
    return length;
}
