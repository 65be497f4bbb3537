/* What the core knows of one OS thread: the slot Python uses, and the state its signal handlers
 * read. Handlers find it through one initial-exec TLS pointer, which costs a load and can't allocate. */
#ifndef AIONIF_THREAD_H
#define AIONIF_THREAD_H
#include "arch/invoke.h"
#include "core.h"
#include "threads/stack.h"

#include <stdatomic.h>
#include <sys/types.h>

/* What the stack of a crashed call says about the damage it may have left. */
enum aionif__traits {
    AIONIF__IN_RUNTIME = 1, /* a frame of libc or its kin: a lock may be held */
    AIONIF__IN_HEAP = 2,    /* libc aborted inside the allocator: the heap is corrupt */
    AIONIF__IN_EXIT = 4,    /* exit handlers have run */
    AIONIF__IN_PYTHON = 8,  /* the interpreter is on the stack */
    AIONIF__UNKNOWN = 16,   /* the stack could not be walked to its base */
    AIONIF__IN_TEAM = 32,   /* a region of OpenMP, which has not ended for this thread */
};

/* By its ticket, the call that is to stop. Written by the submitting side only. */
struct aionif__control {
    _Atomic uint64_t stop_ticket;  /* asked to: aionif_should_stop() */
    _Atomic uint64_t look_ticket;  /* the call that has looked at it last */
    _Atomic uint64_t abort_ticket; /* told to: the next signal may end it */
    _Atomic uint32_t answers;      /* how often the handler of that signal has run */
};

/* A return address on the stack of a call (stop.c). */
struct aionif__return {
    uintptr_t *slot;
    uintptr_t address; /* what it holds, or held */
    uint64_t ticket;   /* the call's */
};

struct aionif__thread {
    struct aionif_call_slot slot; /* first: a slot is its thread */
    /* The call in progress. Only this thread writes it; its handlers recover to it. */
    struct aionif__invocation *volatile armed;
    void **way_back;                 /* set while a handler attempts something (attempt.c) */
    struct aionif__return taken;     /* by a landing; slot NULL: none, or it was put back */
    struct aionif__control *control; /* its lane's, or its own */
    struct aionif__control own_control;
    bool is_worker;             /* of ours; else a thread that calls inline */
    _Atomic uint32_t *progress; /* counts on while it proves itself; NULL: nobody looks */
    bool contains_exit;         /* exit() ends the call in progress */
    bool asks_handlers;         /* as its pool's settings say */
    bool on_own_stack; /* `stack` is the one it was started with: never unmapped, or cleared */
    bool is_process;   /* a worker process: a crash ends it, the interpreter included */
    pid_t tid;
    int64_t turn_ns;      /* when a task whose calls end without a wait last gave way */
    uint64_t signal_mask; /* the kernel's, restored with a recovered context */
    struct aionif__stack stack;
    struct aionif__stack own_stack; /* of a thread that calls inline; zeros: not asked for yet */
    struct aionif__altstack altstack;
    struct aionif__float_control float_control; /* as it is to be after the call in progress */
    struct aionif__result result;               /* what the thunk is to return with */
    struct aionif_failure failure;              /* what the handler recorded last */
    int traits;                                 /* enum aionif__traits of it */
    uintptr_t fault_sp, fault_top; /* the part of the stack its call had used; sp 0: not known */
    bool loader_doubted;           /* a call left dlopen() half way */
    bool heap_doubted;             /* a call found its heap corrupt: libc must not tidy it up */
    volatile int proving;    /* the signal to die of, if a proof (lock_check.c) takes too long */
    volatile int looks_left; /* of the timer of that proof, until it does */
};

extern _Thread_local struct aionif__thread *aionif__self
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* The calling thread's struct; made at first use, freed when the thread ends. NULL: no memory. */
struct aionif__thread *aionif__thread_current(void);
/* For a worker, whose struct belongs to whoever started it. False: no memory. */
bool aionif__thread_enter(struct aionif__thread *self);
void aionif__thread_leave(struct aionif__thread *self);
bool aionif__thread_give_stack(struct aionif__thread *self, size_t size, size_t guard);

/* The stack that the calling thread was started with; what lies below it is taken for its guard. */
struct aionif__stack aionif__thread_own_stack(void);

/* A failure of its call, of which nothing else is known yet. */
void aionif__thread_fails(struct aionif__thread *self, int kind);

/* Whether the loop is due a turn, counted from the last time this said so. */
bool aionif__thread_turn_is_due(struct aionif__thread *self, int64_t now_ns);

/* Whether it could go on if it had a CPU, as far as the kernel says. Not in a handler. */
bool aionif__thread_wants_cpu(pid_t tid);

/* Call `function` on the thread's guarded stack; an enum aionif__ending. */
int aionif__thread_run(struct aionif__thread *self, struct aionif__invocation *invocation);
/* The same for one of our own helpers that touches memory it can't trust; false: it crashed. */
bool aionif__thread_try(struct aionif__thread *self, void (*function)(void *), void *argument);
#endif
