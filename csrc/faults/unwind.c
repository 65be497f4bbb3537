/* Backtraces, and exceptions that reach the base of a call.
 *
 * The walk is libgcc's _Unwind_Backtrace: it reads .eh_frame, so it needs no frame pointers, and
 * finds it without a lock on glibc 2.35 and later (_dl_find_object). libunwind would interpose C++
 * unwinding for the whole process. Started in a fault handler it passes through the handler's own
 * frames and the kernel's signal frame first; those are skipped.
 *
 * The personality routine belongs to aionif__invoke's frame. It claims whatever arrives there, of any
 * language: in the search phase by finding a handler, in the clean-up phase, or in a forced unwind,
 * by sending control to the landing pad. An exception that is caught earlier never reaches it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/unwind.h"

#include "faults/interpreter.h"
#include "faults/modules.h"

#include <dlfcn.h>
#include <limits.h>
#include <string.h>
#include <unwind.h>

/* Walks longer than this are of a runaway recursion; its base is not worth the time. */
enum { LONGEST_WALK = 160 };

struct walk {
    struct aionif_failure *failure;
    const struct aionif__invocation *invocation;
    uintptr_t pc;
    bool inside;
    int steps, longest;
    bool whole;        /* the walk reached the base */
    uintptr_t reached; /* what lies below has been walked */
    int traits;
    bool in_runtime; /* the frame before this one was */
    struct aionif__return way_out;
};

/* Names its caller's address as the kernel's table does: entry of the invoke thunk to its end. */
static bool is_base(uintptr_t ip) {
    return ip >= (uintptr_t)aionif__invoke && ip <= (uintptr_t)aionif__invoke_end;
}

static int traits_of(uintptr_t ip) {
    switch (aionif__module_owner(ip)) {
    case AIONIF__PYTHON:
        return AIONIF__IN_PYTHON;
    case AIONIF__RUNTIME:
        return AIONIF__IN_RUNTIME | (aionif__is_heap_code(ip) ? AIONIF__IN_HEAP : 0) |
               (aionif__is_exit_code(ip) ? AIONIF__IN_EXIT : 0) |
               (aionif__is_team_code(ip) ? AIONIF__IN_TEAM : 0);
    default:
        return 0;
    }
}

static bool on_stack(const struct walk *walk, uintptr_t address) {
    return address > walk->invocation->guard_low &&
           address <= (uintptr_t)walk->invocation->stack_top;
}

/* The frame at `ip` has called what the walk comes from, so its stack pointer is that one's CFA. */
static void note_way_out(struct walk *walk, uintptr_t ip, bool is_runtime, uintptr_t sp) {
    if (walk->in_runtime && !is_runtime) {
        uintptr_t *slot = aionif__arch_return_slot(sp);
        bool is_one = slot && on_stack(walk, (uintptr_t)slot) && *slot == ip;
        walk->way_out = (struct aionif__return){.slot = is_one ? slot : NULL, .address = ip};
    }
    walk->in_runtime = is_runtime;
}

static _Unwind_Reason_Code step(struct _Unwind_Context *context, void *argument) {
    struct walk *walk = argument;
    int exact = 0;
    uintptr_t ip = _Unwind_GetIPInfo(context, &exact);
    if (!walk->inside) {
        if (walk->pc ? ip != walk->pc : !on_stack(walk, _Unwind_GetCFA(context))) {
            return ++walk->steps < walk->longest ? _URC_NO_REASON : _URC_END_OF_STACK;
        }
        walk->inside = true;
    }
    int traits = is_base(ip) ? 0 : traits_of(exact ? ip : ip - 1);
    note_way_out(walk, ip, traits & AIONIF__IN_RUNTIME, _Unwind_GetCFA(context));
    if (is_base(ip)) {
        walk->whole = true;
        return _URC_END_OF_STACK;
    }
    walk->traits |= traits;
    walk->reached = _Unwind_GetCFA(context);
    struct aionif_failure *failure = walk->failure;
    if (failure && failure->frame_count < walk->invocation->backtrace_limit) {
        failure->exact |= (uint64_t)(exact != 0) << failure->frame_count;
        failure->frames[failure->frame_count++] = ip;
    }
    return ++walk->steps < walk->longest ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* Where the walk ended early, the words above are asked whether Python may be there: a false alarm
 * gives a crash back to whoever handled it before, a missed frame would orphan the GIL. */
static bool may_hold_python(const struct aionif__invocation *invocation, uintptr_t sp) {
    enum { LAST = sizeof(uintptr_t) - 1 };
    uintptr_t low = sp < invocation->stack_low ? invocation->stack_low : sp;
    return aionif__interpreter_is_known() &&
           aionif__names_interpreter((low + LAST) & ~(uintptr_t)LAST,
                                     (uintptr_t)invocation->stack_top & ~(uintptr_t)LAST);
}

/* The words may be left over from an earlier call that entered Python. A stack that is sound, only
 * deep, can be walked to its base after all; it takes some milliseconds. */
static bool holds_python(const struct walk *first, uintptr_t sp) {
    uintptr_t from = on_stack(first, first->reached) ? first->reached : sp;
    if (!may_hold_python(first->invocation, from)) {
        return false;
    }
    struct walk walk = {.invocation = first->invocation, .pc = first->pc, .longest = INT_MAX};
    _Unwind_Backtrace(step, &walk);
    if (walk.whole) {
        return walk.traits & AIONIF__IN_PYTHON;
    }
    return (walk.traits & AIONIF__IN_PYTHON) || !on_stack(&walk, walk.reached) ||
           may_hold_python(walk.invocation, walk.reached);
}

int aionif__backtrace(struct aionif__thread *self, const struct aionif__invocation *invocation,
                      uintptr_t pc, uintptr_t sp) {
    struct walk walk = {
        .failure = &self->failure, .invocation = invocation, .pc = pc, .longest = LONGEST_WALK};
    self->failure.frame_count = 0;
    self->failure.exact = 0;
    _Unwind_Backtrace(step, &walk);
    self->failure.complete = walk.whole;
    if (!walk.whole) {
        walk.traits |= AIONIF__UNKNOWN | (holds_python(&walk, sp) ? AIONIF__IN_PYTHON : 0);
    }
    return walk.traits;
}

int aionif__find_way_out(struct aionif__thread *self, const struct aionif__invocation *invocation,
                         uintptr_t pc, struct aionif__return *out) {
    struct walk walk = {
        .failure = &self->failure, .invocation = invocation, .pc = pc, .longest = INT_MAX};
    _Unwind_Backtrace(step, &walk);
    self->failure.complete = walk.whole;
    *out = walk.way_out;
    return walk.whole ? walk.traits : walk.traits | AIONIF__UNKNOWN;
}

static bool is_runtime(uint64_t return_address) {
    return aionif__module_owner(return_address - 1) == AIONIF__RUNTIME;
}

/* The innermost frames are our own, then those of the runtime by which something is thrown. */
static void drop_machinery(struct aionif_failure *failure) {
    int skip = 0;
    while (skip < failure->frame_count && !is_runtime(failure->frames[skip])) {
        skip++;
    }
    while (skip < failure->frame_count && is_runtime(failure->frames[skip])) {
        skip++;
    }
    failure->frame_count -= skip;
    failure->exact >>= skip;
    memmove(failure->frames, failure->frames + skip,
            (size_t)failure->frame_count * sizeof failure->frames[0]);
}

/* The search phase leaves the thrower's frames in place; the landing pad would find them gone. */
static void record_throw(int ending) {
    struct aionif__thread *self = aionif__self;
    struct aionif__invocation *invocation = self ? self->armed : NULL;
    if (!invocation) {
        return;
    }
    aionif__thread_fails(self, AIONIF_PANIC);
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    aionif__backtrace(self, invocation, 0, here);
    drop_machinery(&self->failure);
    self->traits = ending == AIONIF__THREW ? 0 : AIONIF__UNKNOWN;
}

/* Named by the assembly alone. */
typedef _Unwind_Reason_Code personality(int, _Unwind_Action, _Unwind_Exception_Class,
                                        struct _Unwind_Exception *, struct _Unwind_Context *);
__attribute__((visibility("hidden"))) personality aionif__personality, aionif__stop_personality;

/* The registers of aionif__invoke_landing: 0 and 1 are rax and rdx, or x0 and x1. */
_Unwind_Reason_Code aionif__personality(int version, _Unwind_Action actions,
                                        _Unwind_Exception_Class class,
                                        struct _Unwind_Exception *exception,
                                        struct _Unwind_Context *context) {
    (void)version;
    (void)class;
    if (actions & _UA_SEARCH_PHASE) {
        record_throw(AIONIF__THREW);
        return _URC_HANDLER_FOUND;
    }
    bool forced = (actions & _UA_FORCE_UNWIND) != 0;
    if (forced) {
        record_throw(AIONIF__UNWOUND);
    }
    _Unwind_SetGR(context, __builtin_eh_return_data_regno(0), (_Unwind_Word)(uintptr_t)exception);
    _Unwind_SetGR(context, __builtin_eh_return_data_regno(1),
                  forced ? AIONIF__UNWOUND : AIONIF__THREW);
    _Unwind_SetIP(context, (_Unwind_Ptr)aionif__invoke_landing);
    return _URC_INSTALL_CONTEXT;
}

/* Of the frame that the landing stands for (stop.c): whatever is thrown through it, the call is over. */
_Unwind_Reason_Code aionif__stop_personality(int version, _Unwind_Action actions,
                                             _Unwind_Exception_Class class,
                                             struct _Unwind_Exception *exception,
                                             struct _Unwind_Context *context) {
    (void)version;
    (void)class;
    (void)exception;
    if (actions & _UA_SEARCH_PHASE) {
        return _URC_HANDLER_FOUND;
    }
    _Unwind_SetIP(context, (_Unwind_Ptr)aionif__stop_landing);
    return _URC_INSTALL_CONTEXT;
}

typedef void describe_cxx(void *exception, char *type_name, char *reason, unsigned size);
static char cxx_helper[4096];

struct description {
    struct _Unwind_Exception *exception;
    struct aionif_failure *failure;
    describe_cxx *cxx;
};

/* Rust's payload follows the unwinder's header: a canary, then Box<dyn Any + Send> as (data,
 * vtable), the vtable starting with (drop, size, alignment). A literal's payload is &str: (pointer,
 * length), nothing to drop. A formatted one is String: capacity, pointer and length in an order the
 * compiler may choose; the pointer is the one that is not a small number, and length <= capacity.
 * None of it is promised by Rust, so this runs as a guarded call and may crash. */
static void describe_rust(struct description *description) {
    const uintptr_t *payload = (const uintptr_t *)(description->exception + 1);
    const uintptr_t *data = (const uintptr_t *)payload[1];
    const uintptr_t *vtable = (const uintptr_t *)payload[2];
    const char *text = NULL;
    uintptr_t length = 0;
    if (vtable[1] == 2 * sizeof(uintptr_t) && vtable[0] == 0) {
        text = (const char *)data[0];
        length = data[1];
    } else if (vtable[1] == 3 * sizeof(uintptr_t) && vtable[0] != 0) {
        const uintptr_t small = (uintptr_t)1 << 24;
        int pointer = data[0] > small ? 0 : data[1] > small ? 1 : 2;
        uintptr_t a = data[pointer == 0 ? 1 : 0], b = data[pointer == 2 ? 1 : 2];
        text = (const char *)data[pointer];
        length = a < b ? a : b;
    }
    if (text && length < AIONIF_TEXT) {
        memcpy(description->failure->reason, text, length);
        description->failure->reason[length] = '\0';
    } else if (text && length < (uintptr_t)1 << 24) {
        memcpy(description->failure->reason, text, AIONIF_TEXT - 4);
        memcpy(description->failure->reason + AIONIF_TEXT - 4, "...", 4);
    }
}

static void describe(void *argument) {
    struct description *description = argument;
    if (description->failure->language == AIONIF_LANGUAGE_RUST) {
        describe_rust(description);
    } else if (description->cxx) {
        description->cxx(description->exception, description->failure->type_name,
                         description->failure->reason, AIONIF_TEXT);
    }
}

static int language_of(const struct _Unwind_Exception *exception) {
    static const char big[8] = "MOZ\0RUST", little[8] = "TSUR\0ZOM";
    if (memcmp(&exception->exception_class, big, 8) == 0 ||
        memcmp(&exception->exception_class, little, 8) == 0) {
        return AIONIF_LANGUAGE_RUST;
    }
    uint64_t gnu_cxx = 0x474e5543432b2b00; /* "GNUCC++\0"; the last byte is 1 when rethrown */
    if ((exception->exception_class & ~(uint64_t)0xff) == gnu_cxx) {
        return AIONIF_LANGUAGE_CXX;
    }
    return AIONIF_LANGUAGE_C;
}

/* libstdc++ is only loaded when something has thrown, and so has it already. */
static describe_cxx *load_cxx_helper(void) {
    void *library = cxx_helper[0] ? dlopen(cxx_helper, RTLD_NOW | RTLD_LOCAL) : NULL;
    return library ? (describe_cxx *)dlsym(library, "aionif_describe_cxx") : NULL;
}

void aionif__describe_panic(struct aionif__thread *self, void *thrown) {
    struct description description = {.exception = thrown, .failure = &self->failure};
    struct aionif_failure kept = self->failure;
    self->failure.language = kept.language = language_of(thrown);
    if (kept.language == AIONIF_LANGUAGE_CXX) {
        description.cxx = load_cxx_helper();
    }
    description.failure = &kept; /* a crash of the helper overwrites self->failure */
    if (kept.language != AIONIF_LANGUAGE_C && !aionif__thread_try(self, describe, &description) &&
        !kept.reason[0]) {
        strcpy(kept.reason, "the reason could not be read");
    }
    self->failure = kept;
}

/* The first walk binds and initialises what later ones, in handlers, must find ready. */
static _Unwind_Reason_Code visit_nothing(struct _Unwind_Context *context, void *unused) {
    (void)context;
    (void)unused;
    return _URC_NO_REASON;
}

void aionif__unwind_start(const char *path) {
    if (path && strlen(path) < sizeof cxx_helper) {
        strcpy(cxx_helper, path);
    }
    _Unwind_Backtrace(visit_nothing, NULL);
}
