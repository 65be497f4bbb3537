/* The program's side of what an input plays, without a watchdog or threads: the same input does the
 * same every time. What must hold:
 *
 *   - the core reads and writes nothing that it should not: the sanitizers say so;
 *   - each call that was accepted ends, once;
 *   - what a call comes back with is within its bounds (look_at_failure, take_result). */
#include "play.h"

#include "hostile.h"
#include "lanes/dispatch.h"
#include "lanes/events.h"
#include "lanes/pool.h"
#include "processes/process.h"
#include "processes/window.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_CALLS = 24, BLOCKS = 8, RESULT = 32, HEAD = 64, REPLY_ROOM = 4096, NO_BLOCK = -1 };
enum { MOST_TURNS = 100 }; /* of the loop, until calls of dead workers have ended */

static const struct play_eyes *eyes;
static struct aionif_port *port;
static struct aionif_pool *pool;
static struct aionif_plan plans[3]; /* without a block; with one, and a struct; a Python callable */
static struct {
    uint64_t id;
    int block;
    bool over, given_up;
} calls[MOST_CALLS];
static int call_count;
static bool block_used[BLOCKS];

void play_broken(const char *file, int line, const char *what) {
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    abort();
}

static struct aionif_block *block_at(int index) {
    return (struct aionif_block *)(uintptr_t)(aionif_arena(0) + (uint64_t)index * AIONIF_BLOCK);
}

/* ---- making calls ---- */

static int take_block(struct script *script) {
    for (int i = 0; i < BLOCKS; i++) {
        if (!block_used[i]) {
            block_used[i] = true;
            *block_at(i) = (struct aionif_block){.used = HEAD + RESULT, .back = HEAD + RESULT};
            block_at(i)->result = HEAD;
            block_at(i)->back += (uint32_t)script_take(script, 2) % AIONIF_BLOCK;
            return i;
        }
    }
    return NO_BLOCK;
}

static struct aionif__call *make_call(struct aionif_plan *plan, int block) {
    static const uint64_t words[8];
    struct aionif__call *call = aionif__call_take();
    PLAY_ENSURE(call && aionif__events_promise(port, AIONIF__CALL_EVENTS));
    call->plan = plan;
    call->pool = pool;
    call->port = port;
    call->strand = NULL;
    call->series = NULL;
    call->submitted_ns = aionif__now_ns();
    call->stage = AIONIF__WAITING;
    call->block = block == NO_BLOCK ? NULL : block_at(block);
    call->memory = call->block && plan->result_memory ? malloc(plan->result_memory) : NULL;
    PLAY_ENSURE(aionif__call_keep_words(call, words, 8));
    return call;
}

static void submit(struct script *script) {
    unsigned which = (unsigned)script_take(script, 1) % 3;
    if (call_count == MOST_CALLS || pool->closed) {
        return;
    }
    int block = which ? take_block(script) : NO_BLOCK;
    if (which && block == NO_BLOCK) {
        return;
    }
    aionif__lock();
    struct aionif__call *call = make_call(&plans[which], block);
    calls[call_count].id = call->id;
    calls[call_count].block = block;
    calls[call_count].given_up = false;
    calls[call_count++].over = false;
    pool->outstanding++;
    pool->statistics.submitted++;
    port->outstanding++;
    aionif__queue_append(&pool->pending, call);
    aionif__dispatch(pool, NULL);
    aionif__unlock();
}

/* ---- what comes back ---- */

static int index_of(uint64_t id) {
    for (int i = 0; i < call_count; i++) {
        if ((calls[i].id & 0xffffffffffffff) == id) { /* the event's kind takes eight bits of it */
            return i;
        }
    }
    play_broken(__FILE__, __LINE__, "an event of a call that was made");
}

static void note_end(int index) {
    PLAY_ENSURE(!calls[index].over);
    calls[index].over = true;
    if (calls[index].block != NO_BLOCK) {
        block_used[calls[index].block] = false;
    }
}

static void take_result(uint64_t id, int block) {
    aionif__lock();
    struct aionif__call *call = aionif__call_find(id);
    PLAY_ENSURE(call && call->stage == AIONIF__ENDED && !call->failed);
    PLAY_ENSURE(call->run_ns >= 0 && call->run_ns <= aionif__now_ns());
    struct aionif_reply *reply = call->reply;
    call->reply = NULL;
    aionif__call_free(call);
    aionif__unlock();
    PLAY_ENSURE(block == NO_BLOCK || block_at(block)->used <= AIONIF_BLOCK);
    if (reply) {
        struct stat status;
        PLAY_ENSURE(fstat(aionif_reply_descriptor(reply), &status) == 0);
        PLAY_ENSURE(status.st_size == REPLY_ROOM);
        aionif_reply_give_back(reply);
    }
}

static bool is_text(const char *text, size_t room) { return memchr(text, 0, room) != NULL; }

static void look_at_failure(const struct play_failed *found) {
    const struct aionif_failure *failure = found->failure;
    bool faulted = failure->kind == AIONIF_SIGNAL || failure->kind == AIONIF_OVERFLOW ||
                   failure->kind == AIONIF_DENIED;
    PLAY_ENSURE(failure->kind >= AIONIF_SIGNAL && failure->kind <= AIONIF_UNLOADED);
    PLAY_ENSURE(faulted == (failure->signal != 0));
    PLAY_ENSURE(failure->language >= 0 && failure->language <= AIONIF_LANGUAGE_RUST);
    PLAY_ENSURE(failure->frame_count >= 0 && failure->frame_count <= AIONIF_FRAMES);
    PLAY_ENSURE(failure->limit >= 0 && failure->limit <= AIONIF_LIMIT_FILE_SIZE);
    PLAY_ENSURE(failure->taint == 0 && failure->run_ns >= 0);
    PLAY_ENSURE(failure->thread >= 0 && failure->thread <= 1 << 22);
    PLAY_ENSURE(is_text(failure->reason, AIONIF_TEXT) && is_text(failure->type_name, AIONIF_TEXT));
    PLAY_ENSURE(found->module_count >= 0 && found->module_count <= AIONIF_MODULES);
    PLAY_ENSURE(found->text_length >= 0 && found->text_length <= AIONIF_STDERR);
    for (int i = 0; i < found->module_count; i++) {
        const struct aionif_module *module = &found->modules[i];
        PLAY_ENSURE(module->build_id_length <= AIONIF_BUILD_ID);
        PLAY_ENSURE(is_text(module->path, AIONIF_PATH));
        PLAY_ENSURE(!found->sealed || strncmp(module->path, "/nowhere", 8) != 0);
    }
    for (int i = 0; i < AIONIF_FRAMES; i++) {
        PLAY_ENSURE(found->of_frames[i] <= found->module_count);
    }
}

static void take_failure(uint64_t id) {
    static struct aionif_module modules[AIONIF_MODULES];
    static uint8_t of_frames[AIONIF_FRAMES];
    static char text[AIONIF_STDERR];
    struct aionif_failure failure;
    memset(of_frames, 0, sizeof of_frames);
    struct play_failed found = {&failure, modules, of_frames, text, 0, 0, 0};
    found.module_count = aionif_failure_modules(id, modules, of_frames);
    found.text_length = aionif_failure_stderr(id, text, AIONIF_STDERR);
    found.sealed = (int32_t)pool->settings.has_sandbox;
    PLAY_ENSURE(aionif_failure(id, &failure));
    look_at_failure(&found);
    if (eyes && eyes->failed) {
        eyes->failed(&found);
    }
}

static void take_event(uint64_t event) {
    int kind = (int)(event & 0xff);
    if (kind == AIONIF_EVENT_CORE || kind == AIONIF_EVENT_CAPACITY || kind == AIONIF_EVENT_IDLE ||
        kind == AIONIF_EVENT_LOST) { /* of a call that was lost, another one follows */
        return;
    }
    int index = index_of(event >> 8);
    if (calls[index].given_up) { /* after it had ended: its event was under way already */
        calls[index].given_up = false;
        return;
    }
    if (kind == AIONIF_EVENT_RETURNED) {
        take_result(calls[index].id, calls[index].block);
    } else if (kind == AIONIF_EVENT_FAILED) {
        take_failure(calls[index].id);
    }
    note_end(index);
}

static void take_notices(void) {
    struct aionif_core_event notice;
    while (aionif_take_core_event(&notice)) {
        PLAY_ENSURE(is_text(notice.text, AIONIF_TEXT));
        if (eyes && eyes->noticed) {
            eyes->noticed(&notice);
        }
    }
}

static void collect(struct script *script) {
    uint64_t events[8];
    (void)script;
    aionif_processes_look();
    int got = aionif_collect(port, events, 8);
    for (int i = 0; i < got / 2; i++) {
        take_event(events[i]);
    }
    take_notices();
}

/* ---- what else happens meanwhile ---- */

static void cancel(struct script *script) {
    unsigned which = (unsigned)script_take(script, 1);
    if (call_count) {
        int index = (int)(which % (unsigned)call_count);
        if (!calls[index].over && aionif_cancel(calls[index].id)) {
            note_end(index);
            calls[index].given_up = true;
        }
    }
}

/* The watchdog looks. The script says whether what was last given to workers was long ago. */
static void tend(struct script *script) {
    bool later = script_take(script, 1) % 2;
    aionif__lock();
    for (uint32_t i = 0; later && i < pool->worker_count; i++) {
        aionif__process_of(pool->workers[i])->fed_ns -= (int64_t)3000000000;
    }
    pool->server->tend(pool, aionif__now_ns());
    aionif__unlock();
}

static void ask(struct script *script) {
    struct aionif_statistics statistics;
    struct aionif_seal_result sealed;
    char problem[AIONIF_TEXT];
    int32_t ids[4];
    (void)script;
    aionif_pool_statistics(pool, &statistics);
    PLAY_ENSURE(statistics.running + statistics.idle <= statistics.workers);
    PLAY_ENSURE(aionif_pool_processes(pool, ids, 4) <= 4);
    aionif_pool_problem(pool, problem, sizeof problem);
    int state = aionif_pool_sealed(pool, &sealed);
    PLAY_ENSURE(sealed.note_count <= AIONIF_SEAL_NOTES);
    for (uint32_t i = 0; i < sealed.note_count; i++) {
        PLAY_ENSURE(is_text(sealed.notes[i].text, AIONIF_TEXT));
    }
    if (eyes && eyes->sealed) {
        eyes->sealed(state, &sealed);
    }
}

/* As an executor does that has waited long enough. */
static void end_calls(struct script *script) {
    (void)script;
    aionif_pool_close(pool, port);
    aionif_pool_end_calls(pool);
}

static void renew(struct script *script) {
    (void)script;
    aionif_pool_renew(pool, AIONIF_PYTHON_ENTRY + 1);
}

static void write_some(struct script *script) {
    unsigned times = (unsigned)script_take(script, 1) % 4 + 1;
    while (times-- && hostile_write(script)) {
    }
}

/* ---- the whole ---- */

static void start_once(void) {
    if (!port) {
        port = aionif_port_open();
        PLAY_ENSURE(port);
        hostile_start();
    }
}

static void open_pool(struct script *script) {
    unsigned chosen = (unsigned)script_take(script, 1);
    struct aionif_pool_settings settings = {
        .max_workers = chosen & 1 ? 1 : 2,
        .max_queue = 100,
        .spin_ns = 1000,
        .is_process = 1,
        .setup = aionif_port_descriptor(port), /* any: nobody reads it */
        .out = aionif_port_descriptor(port),
        .max_calls = chosen & 2 ? 2 : 0,
        .cpu_limit_ns = chosen & 4 ? 1000000 : 0,
        .result_room = REPLY_ROOM,
        .has_address_limit = chosen >> 3 & 1,
        .has_file_limit = chosen >> 4 & 1,
        .has_sandbox = chosen >> 5 & 1,
        .name = "fuzz",
    };
    uint32_t usual_ns = chosen & 64 ? 100 : 0; /* short ones wait in lanes */
    plans[0] = (struct aionif_plan){.entry = AIONIF_PYTHON_ENTRY + 1, .usual_ns = usual_ns};
    plans[1] = plans[2] = plans[0];
    plans[1].result_memory = RESULT;
    plans[2].entry = AIONIF_PYTHON_ENTRY;
    pool = aionif__pool_make(&settings, &aionif__process_server);
    PLAY_ENSURE(pool);
    aionif__lock();
    aionif__pool_enter(pool);
    aionif__unlock();
}

static void close_pool(void) {
    aionif_pool_close(pool, port);
    hostile_end_all();
    for (int turn = 0; port->outstanding || port->events.length; turn++) {
        PLAY_ENSURE(turn < MOST_TURNS);
        collect(NULL);
    }
    for (int i = 0; i < call_count; i++) {
        PLAY_ENSURE(calls[i].over);
    }
    ask(NULL);
    aionif__lock();
    aionif__pool_stop(pool);
    aionif__unlock();
    PLAY_ENSURE(pool->outstanding == 0 && !pool->doomed && !aionif__core.strays);
    aionif__pool_free(pool);
    collect(NULL);
    hostile_clear();
    call_count = 0;
}

void play(const uint8_t *data, size_t size, const struct play_eyes *who) {
    static void (*const steps[])(struct script *) = {
        submit, collect, write_some, write_some, hostile_say, cancel, tend, ask, end_calls, renew};
    struct script script = {data, data + size};
    eyes = who;
    start_once();
    open_pool(&script);
    while (script.at < script.end) {
        steps[script_take(&script, 1) % (sizeof steps / sizeof *steps)](&script);
    }
    close_pool();
}
