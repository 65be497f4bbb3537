/* What Python sees of the core; build_ffi.py declares to cffi what stands between the two
 * marks.
 *
 * Two kinds of traffic. Structs that Python fills in and reads through cffi (cheap: no call) carry
 * one request and its answer; functions do the rest. Per call of a NIF there is one cffi call, of
 * aionif_thunk, made by cffi or ctypes itself with the user's arguments; a call that did not end
 * while its submitter watched needs a second one to bring its result back. */
#ifndef AIONIF_CORE_H
#define AIONIF_CORE_H
#include "counts.h"
#include "seals.h"

#include <stdint.h>

/* cdef: begin */
enum aionif_limits {
    AIONIF_FRAMES = 64,
    AIONIF_REGISTERS = 18,
    AIONIF_TEXT = 256,
    AIONIF_SYSCALLS = 32,
    AIONIF_PATH = 4096,
    AIONIF_NAME = 64,
    AIONIF_BUILD_ID = 32,
    AIONIF_MODULES = 12,  /* named in one failure of a process */
    AIONIF_STDERR = 4096, /* bytes kept of what a worker process wrote there last */
    AIONIF_BLOCK = 16384, /* bytes of one call's memory in a process's lane */
    AIONIF_BLOCKS = 8192, /* at the most: fewer where address space is limited */
    AIONIF_GRANTS = 8,    /* buffers that one call may use */
    AIONIF_BUFFERS = 1024,
    AIONIF_ENTRIES = 4096,   /* functions that processes can call */
    AIONIF_PYTHON_ENTRY = 1, /* the one that runs Python callables */
};

enum aionif_outcome {
    AIONIF_RETURNED = 0,  /* the value of the cffi call is the result */
    AIONIF_YIELD = 1,     /* the same, and the loop is due a turn */
    AIONIF_PENDING = 2,   /* slot.call will end with an event */
    AIONIF_FAILED = 3,    /* ended, not by returning: aionif_failure(slot.call) */
    AIONIF_FULL = 4,      /* not taken: the queue is full. AIONIF_EVENT_CAPACITY follows */
    AIONIF_CLOSED = 5,    /* not taken: the pool is closed */
    AIONIF_REFUSED = 6,   /* not taken: too many threads were lost to crashes */
    AIONIF_NO_MEMORY = 7, /* not taken */
    AIONIF_MISUSED = 8,   /* the thunk was called with no request in the slot */
    AIONIF_NO_THREAD = 9, /* not taken: no worker could be started */
};

enum aionif_event_kind {
    AIONIF_EVENT_RETURNED = 0,      /* value: a call whose result waits for replay */
    AIONIF_EVENT_FAILED = 1,        /* value: a call whose failure waits */
    AIONIF_EVENT_QUEUE_TIMEOUT = 2, /* value: a call that was never started; it is released */
    AIONIF_EVENT_RUN_TIMEOUT = 3,   /* value: a call still running; EVENT_RELEASED follows */
    AIONIF_EVENT_RELEASED = 4,      /* value: native code has let go of this call's memory */
    AIONIF_EVENT_CLOSED = 5,        /* value: a call dropped from the queue of a closed pool */
    AIONIF_EVENT_CAPACITY = 6,      /* value: a pool that has room in its queue again */
    AIONIF_EVENT_IDLE = 7,          /* value: a closing pool whose last call has ended */
    AIONIF_EVENT_CORE = 8,          /* value: unused; aionif_take_core_event has something */
    AIONIF_EVENT_LOST = 9,          /* value: a call given up as its pool was stopped */
    AIONIF_EVENT_UNSERVED = 10,     /* value: a call whose pool can't start any worker */
};

enum aionif_failure_kind {
    AIONIF_SIGNAL = 1,
    AIONIF_OVERFLOW = 2,
    AIONIF_PANIC = 3,
    AIONIF_EXIT = 4,
    AIONIF_DENIED = 5,
    AIONIF_ABORTED = 6,
    AIONIF_WORKER_LOST = 7, /* `status` as waitpid has it; `limit` */
    AIONIF_UNLOADED = 8,    /* the worker could not load the function; `reason` */
};

enum aionif_limit {
    AIONIF_LIMIT_NONE = 0,
    AIONIF_LIMIT_ADDRESS_SPACE = 1,
    AIONIF_LIMIT_RESIDENT = 2,
    AIONIF_LIMIT_CPU = 3,
    AIONIF_LIMIT_OPEN_FILES = 4,
    AIONIF_LIMIT_FILE_SIZE = 5,
};

enum aionif_exit_status { AIONIF_NO_STATUS = -2147483647 };

enum aionif_language { AIONIF_LANGUAGE_C = 0, AIONIF_LANGUAGE_CXX = 1, AIONIF_LANGUAGE_RUST = 2 };

enum aionif_ending_policy { AIONIF_ABORT = 0, AIONIF_ABANDON = 1, AIONIF_WAIT = 2 };

enum aionif_core_event_kind {
    AIONIF_CORE_RETIRED = 1,
    AIONIF_CORE_ABANDONED = 2,
    AIONIF_CORE_TAINTED = 3,
    AIONIF_CORE_DISPLACED = 4,
    AIONIF_CORE_RETURNED_LATE = 5,
    AIONIF_CORE_NO_FILTER = 6,
    AIONIF_CORE_NO_WORKER = 7, /* detail: errno; text: what failed */
    AIONIF_CORE_ZYGOTE_LOST = 8,
    AIONIF_CORE_MISBEHAVED = 9, /* a worker process wrote what it may not; thread: its pid */
    AIONIF_CORE_ZYGOTE_WANTED = 10,
    AIONIF_CORE_UNSEALED = 11,     /* detail: the parts of a seal that are missing; text: why */
    AIONIF_CORE_SLOW = 12,         /* detail: how long a call ran, in ms */
    AIONIF_CORE_UNENDED = 13,      /* the thread of a worker that was stopped does not end */
    AIONIF_CORE_ZYGOTE_ENDED = 14, /* one that was replaced: it can be waited for */
};

enum aionif_taint {
    AIONIF_TAINT_HEAP = 1, /* libc's own checks found the heap corrupt */
    AIONIF_TAINT_LOCK = 2, /* a crashed call left a lock held */
    AIONIF_TAINT_EXIT = 4, /* exit() was stopped after other exit handlers had run */
};

/* One native function. Lives as long as any call of it. */
struct aionif_plan {
    void *function;
    uint32_t stack_words;   /* 8-byte words of stack arguments to keep */
    uint32_t result_memory; /* bytes of a struct returned through a hidden pointer, else 0 */
    uint32_t result_x87;    /* the result is a long double in st(0) */
    uint32_t usual_ns;      /* moving average of run times, kept by the core */
    uint32_t entry;         /* what worker processes know it by; 0: it can't run in one */
};

/* Heads a call's memory for the process tier; lies in the parent alone, at the address where the
 * worker has the call's copy of the rest. */
struct aionif_block {
    uint32_t used;   /* bytes from the start of the block that go to the worker, or came from it */
    uint32_t back;   /* bytes that come back; ~0: as many as the result says */
    uint32_t result; /* where a struct that is returned through a hidden pointer goes; 0: none */
    uint32_t grant_count;
    uint32_t grants[AIONIF_GRANTS]; /* buffer << 1 | writable */
};

struct aionif_pool;
struct aionif_port;
struct aionif_strand;

/* Where and how calls of one plan go. pool NULL: in the caller's thread (inline tier). */
struct aionif_target {
    struct aionif_plan *plan;
    struct aionif_pool *pool;
    struct aionif_strand *strand; /* calls of a strand run one at a time; may be NULL */
    struct aionif_series *series; /* where they are counted; may be NULL */
    int64_t slow_ns;              /* a call that ran longer is reported; 0: none is */
    int64_t run_timeout_ns;       /* of a call without a timeout, from its start; 0: none */
    uint8_t on_timeout;           /* enum aionif_ending_policy */
    uint8_t on_cancel;
    uint8_t measure_stack;
    uint8_t watch; /* whether a task waits that may be served without a turn of its loop */
    uint8_t asks_handlers, own_stack; /* of inline calls; those of others are their pool's */
};

/* One per OS thread that makes calls. Python writes the request, the thunk writes the answer. */
struct aionif_call_slot {
    struct aionif_target *target; /* request: the next call through the thunk is for this */
    uint64_t replay;              /* request, with no target: bring back this call's result */
    struct aionif_port *port;     /* where the end of a pending call is announced */
    int64_t timeout_ns;           /* of the next call; 0: none. Reset by the thunk */
    uint32_t stack_words;         /* of the next call, when variadic. Reset by the thunk */
    struct aionif_block *block;   /* of the next call. Reset by the thunk */
    struct aionif_reply *reply;   /* answer: where a large result of a worker process is, or NULL */
    int32_t outcome;              /* answer: enum aionif_outcome */
    uint64_t call;                /* answer */
    int64_t queue_ns;             /* of the call whose result or failure came last; inline: 0 */
    int64_t run_ns;               /* likewise */
};

struct aionif_failure {
    int32_t kind;
    int32_t signal;
    int32_t code;
    int32_t status;  /* of exit; AIONIF_NO_STATUS: not known */
    int32_t syscall; /* denied */
    int32_t language;
    int32_t taint;
    int32_t frame_count;
    int32_t complete; /* the backtrace reached the base of the call */
    int32_t has_address;
    int32_t has_registers;
    int32_t displaced; /* another handler ran first: address and code are lost */
    int32_t thread;
    int32_t timed_out;
    int32_t limit;        /* enum aionif_limit: what was exceeded, `limit_used` if that is known */
    int32_t process;      /* id of the worker process */
    int32_t error_number; /* errno when the signal came */
    uint64_t address;
    uint64_t registers[AIONIF_REGISTERS];
    uint64_t frames[AIONIF_FRAMES]; /* frames[0] is the pc, the rest are return addresses */
    uint64_t exact;                 /* bit i: frames[i] is a pc, not a return address */
    uint64_t stack_used;
    uint64_t stack_size;
    uint64_t limit_used; /* bytes, or nanoseconds of CPU time; 0: not known */
    int64_t queue_ns;    /* from submission to start */
    int64_t run_ns;
    char type_name[AIONIF_TEXT]; /* of a C++ exception */
    char reason[AIONIF_TEXT];    /* panic text, or what libc said before it aborted */
};

/* The file that code at an address was loaded from. */
struct aionif_module {
    char path[AIONIF_PATH]; /* empty: the program itself */
    uint64_t bias;          /* run-time address minus link-time address */
    uint8_t build_id[AIONIF_BUILD_ID];
    uint32_t build_id_length;
};

struct aionif_core_event {
    int32_t kind;
    int32_t detail;
    int32_t thread;
    uint64_t function;
    char executor[AIONIF_NAME]; /* its name; empty: of none */
    char text[AIONIF_TEXT];
};

struct aionif_pool_settings {
    uint32_t max_workers;
    uint32_t max_queue;
    uint32_t max_lost; /* retired and abandoned threads, past which calls are refused */
    uint32_t spin_ns;  /* longest time an idle worker stays awake */
    uint32_t watch_ns; /* longest usual run time of a call that its submitter watches */
    uint32_t wake_ns;  /* time it adds for a worker that has to be woken; 0: no watching then */
    uint64_t stack_size;
    uint64_t guard_size;
    uint32_t abort_attempts; /* one a millisecond, then the thread is abandoned */
    uint32_t contain_exit;
    uint32_t asks_handlers; /* those of libraries, before a fault is taken for the call's */
    uint32_t own_stack;     /* calls run on the stack that their thread was started with */
    uint32_t denied_count;
    int32_t denied[AIONIF_SYSCALLS]; /* system call numbers */
    char name[AIONIF_NAME];          /* of its executor, cut where it is longer */
    /* Of the process tier. */
    uint32_t is_process;
    uint32_t zygote;       /* number of the one that starts its workers */
    uint32_t fresh;        /* each worker has a zygote of its own */
    int32_t setup, out;    /* descriptors: what workers are to do before they serve, their stdout */
    uint32_t max_calls;    /* of one worker, which is then replaced; 0: no limit */
    uint32_t one_call;     /* as `max_calls` of 1, but that a session keeps its worker */
    uint64_t cpu_limit_ns; /* of one call; 0: none. Looked at every 10 ms */
    uint64_t resident_limit; /* bytes; 0: none. Likewise */
    uint64_t result_room;    /* bytes of a result that is too large for a block; 0: no limit */
    uint32_t has_address_limit;
    uint32_t has_file_limit;
    uint32_t has_sandbox;
};

/* ---- the core as a whole ---- */

const char *aionif_start(const char *cxx_helper); /* NULL, or why this process can't have it */
void aionif_forked(void);                         /* in a child: forget the parent's threads */
uint64_t aionif_thunk_address(void);
struct aionif_call_slot *aionif_call_slot_open(void); /* the calling thread's; NULL: no memory */
int aionif_taint(void);
uint64_t aionif_stack_minimum(void);
void aionif_refresh(void); /* libraries were loaded: look at the address space anew */
int aionif_is_code(uint64_t address);
int aionif_locate(uint64_t address, struct aionif_module *out); /* 0: no module has it */

struct aionif_pool *aionif_pool_open(const struct aionif_pool_settings *settings);
int aionif_pool_close(struct aionif_pool *pool, struct aionif_port *notify);
void aionif_pool_end_calls(struct aionif_pool *pool);
int aionif_pool_stop(struct aionif_pool *pool); /* how many threads do not end */
void aionif_pool_statistics(struct aionif_pool *pool, struct aionif_statistics *out);

struct aionif_strand *aionif_strand_open(int is_session);
int aionif_strand_broken(struct aionif_strand *strand);
void aionif_strand_close(struct aionif_strand *strand);

struct aionif_port *aionif_port_open(void);
int aionif_port_descriptor(struct aionif_port *port);
void aionif_port_close(struct aionif_port *port);
void aionif_pool_reject(struct aionif_pool *pool);
int aionif_collect(struct aionif_port *port, uint64_t *events, int room);
int aionif_take_core_event(struct aionif_core_event *out);

/* The process tier. Functions that return int: 0, or an errno. */
uint64_t aionif_window(uint64_t address,
                       uint64_t length); /* where; 0: not free. 0, 0: the one in use */
uint64_t aionif_window_size(void);
/* Where its blocks begin; 0: no memory. The first to ask for some decides how many there are. */
uint64_t aionif_arena(uint32_t blocks);
uint32_t aionif_arena_blocks(void);
/* Zygotes have numbers, by which pools name theirs. `use` takes the descriptors over, of which handle
 * is a pidfd, or -1; a zygote of this number that there is starts no more workers. It is given up where
 * it is not ready by then; see aionif__now_ns. 0: no memory. `lost`: 0: there is one; 2: it was lost before it was ready;
 * 3: it starts no more workers; 1: else. */
int aionif_zygote_use(uint32_t number, int socket, int handle, int64_t within_ns);
int aionif_zygote_lost(uint32_t number);
uint64_t aionif_stderr_lost(void); /* bytes that workers wrote and that were dropped */
int aionif_catalog_open(void);     /* a descriptor for a zygote, the caller's; -1: no memory */
void aionif_block_clear(struct aionif_block *block); /* nothing of its call is left in it */
uint32_t aionif_catalog_add(const struct aionif_module *module, uint64_t offset); /* 0: full */
int aionif_processes_descriptor(void); /* descriptor that is readable when something has happened */
void aionif_processes_look(void);
int aionif_pool_processes(struct aionif_pool *pool, int32_t *out, int room); /* ids; how many */
int aionif_pool_problem(struct aionif_pool *pool, char *out, int room);
/* What could not be had for its workers, and the errno; 0: nothing is lacking. */
int aionif_pool_lack(struct aionif_pool *pool, char *what, int room);
uint32_t aionif_pool_zygote(const struct aionif_pool *pool); /* its number */
/* Of a large result: memory that is the caller's until it gives it back, once. The worker can still
 * write to it. */
int aionif_reply_descriptor(struct aionif_reply *reply);
void aionif_reply_give_back(struct aionif_reply *reply);
void aionif_pool_signal(struct aionif_pool *pool, int process, int number);
/* What came of sealing its workers: enum aionif_seal_state. */
int aionif_pool_sealed(struct aionif_pool *pool, struct aionif_seal_result *out);
/* A new setup: workers that were started with another one give way. */
void aionif_pool_set_up(struct aionif_pool *pool, int setup);
/* Sealed workers that can't have loaded this function's library give way to new ones. */
void aionif_pool_renew(struct aionif_pool *pool, uint32_t entry);
int aionif_buffer_open(uint32_t buffer, uint64_t address, uint64_t length, int writable);
void aionif_buffer_close(uint32_t buffer);
int aionif_buffer_descriptor(uint32_t buffer);
/* No worker has it any more. EBUSY: a call that was passed it is under way. One thread at a time. */
int aionif_buffer_revoke(uint32_t buffer);
void aionif_buffers_forked(void); /* in the parent */
/* Of a call that has failed in a process, before aionif_failure. */
int aionif_failure_modules(uint64_t call, struct aionif_module *out, uint8_t *of_frames);
int aionif_failure_stderr(uint64_t call, char *out, int room);

/* In the zygote and in its children. */
struct aionif_child {
    uint64_t window;
    int32_t segment, bell, control, reply; /* descriptors; `reply` stays open if it may grow */
    int32_t zygote; /* its process id; -1: with it the worker ends in another way */
    int64_t (*python)(uint64_t request, uint64_t length, uint64_t reply);
};
int aionif_catalog_use(int descriptor);
int aionif_child_enter(const struct aionif_child *child); /* maps the lane */
void aionif_child_warm(void);                             /* loads what the catalog names so far */
/* The last thing before it serves: the filter for exit(), then the seal, if there is one. 1: sealed. */
int aionif_child_seal(const struct aionif_seal *seal, struct aionif_seal_result *out);
/* A large result. `room` waits until the last one was read, and returns where this one goes: an
 * address; AIONIF_REPLY_FILE: the file it was given; AIONIF_REPLY_BUSY: nobody read the last one in
 * time; 0: it is larger than results may be. `lend` says
 * that it is written. */
enum aionif_reply_places { AIONIF_REPLY_FILE = 1, AIONIF_REPLY_BUSY = 2 };
uint64_t aionif_child_room(uint64_t size, int64_t within_ns);
void aionif_child_lend(void);
int aionif_child_serve(void); /* until told to stop; never returns after a crash */

int aionif_cancel(uint64_t call);
void aionif_release(uint64_t call);
int aionif_failure(uint64_t call, struct aionif_failure *out);
/* cdef: end */

void aionif_thunk(void);
int aionif_core_should_stop(void);
#endif
