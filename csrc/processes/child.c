/* The worker's side of the process tier: a process forked by the zygote that serves one lane.
 *
 * It has one thread, the main one; the loop is the one that worker threads run. A record names its
 * function by a number, which the catalog turns into a file and an address in it; it is loaded with the
 * first call, or before the worker is sealed (aionif_child_warm). A Python callable is a function too:
 * the one that enters this process's interpreter. It runs on the main thread's own stack, whose
 * size the interpreter knows and relies on; other calls run on the guarded stack as everywhere.
 *
 * After a crash the process ends without another instruction of anyone's code: no exit handler runs,
 * and the interpreter, which the crash may have left in the middle of anything, is never entered. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/fault.h"
#include "faults/modules.h"
#include "processes/segment.h"
#include "system/passing.h"
#include "workers/serve.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const struct aionif__catalog *catalog;
static struct aionif_child child;
static struct aionif__segment *segment;
static void *functions[AIONIF_ENTRIES];
static uint32_t taken; /* grants */
static struct aionif__stack own_stack, main_stack;
static char *reply; /* where large results go; NULL: to a file that grows */

int aionif_catalog_use(int descriptor) {
    void *map = mmap(NULL, sizeof *catalog, PROT_READ, MAP_SHARED, descriptor, 0);
    catalog = map == MAP_FAILED ? NULL : map;
    return catalog ? 0 : errno;
}

/* ---- functions ---- */

static bool same_build(const struct aionif_module *wanted, uint64_t address) {
    struct aionif_module found;
    return aionif_locate(address, &found) && found.build_id_length == wanted->build_id_length &&
           memcmp(found.build_id, wanted->build_id, found.build_id_length) == 0;
}

/* Runs initialisers, so on the guarded stack and armed. */
static void *load(const struct aionif__entry *entry, char *problem) {
    const char *path = entry->module.path;
    void *handle = dlopen(path[0] ? path : NULL, RTLD_NOW | RTLD_LOCAL);
    struct link_map *map = NULL;
    if (!handle) {
        snprintf(problem, AIONIF_TEXT, "%s", dlerror());
        return NULL;
    }
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 ||
        !same_build(&entry->module, map->l_addr + entry->offset)) {
        snprintf(problem, AIONIF_TEXT, "%.180s is another build than the parent has loaded",
                 path[0] ? path : "the program");
        return NULL;
    }
    return (void *)(map->l_addr + entry->offset);
}

struct loading {
    uint32_t entry;
    char *problem;
};

static void *resolve(struct loading *loading) {
    uint32_t entry = loading->entry;
    if (entry <= AIONIF_PYTHON_ENTRY || entry >= atomic_load(&catalog->count)) {
        snprintf(loading->problem, AIONIF_TEXT, "it is not in the catalog");
        return NULL;
    }
    if (!functions[entry]) {
        functions[entry] = load(&catalog->entries[entry], loading->problem);
        aionif_refresh();
    }
    return functions[entry];
}

void aionif_child_warm(void) {
    char problem[AIONIF_TEXT]; /* said again when it is called */
    uint32_t count = catalog ? atomic_load(&catalog->count) : 0;
    for (uint32_t entry = AIONIF_PYTHON_ENTRY + 1; entry < count; entry++) {
        resolve(&(struct loading){entry, problem});
    }
}

/* ---- buffers ---- */

static bool take_grant(void) {
    struct aionif__grant grant;
    int descriptor;
    if (aionif__receive(child.control, &grant, sizeof grant, &descriptor, 0) !=
        (ssize_t)sizeof grant) {
        return false;
    }
    int access = grant.writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *map = mmap((void *)(uintptr_t)grant.address, grant.length, access, MAP_SHARED | MAP_FIXED,
                     descriptor, 0);
    close(descriptor);
    return map != MAP_FAILED;
}

/* ---- large results ---- */

/* Whoever should read the last one may never run again: a loop that was stopped and not closed. */
uint64_t aionif_child_room(uint64_t size, int64_t within_ns) {
    int64_t until = aionif__now_ns() + within_ns;
    uint64_t most = segment->settings.result_room;
    if (most && size > most) {
        return 0;
    }
    while (atomic_load(&segment->lent)) {
        int64_t left = until - aionif__now_ns();
        if (left <= 0) {
            return AIONIF_REPLY_BUSY;
        }
        struct timespec most = {left / 1000000000, left % 1000000000};
        syscall(SYS_futex, &segment->lent, FUTEX_WAIT, 1, &most, NULL, 0);
    }
    return reply ? (uintptr_t)reply : AIONIF_REPLY_FILE;
}

void aionif_child_lend(void) { atomic_store(&segment->lent, 1); }

/* Where it is limited the worker has the memory, and no descriptor: code can't be mapped from it. */
static bool map_reply(void) {
    uint64_t size = segment->settings.result_room;
    if (!size) {
        return true;
    }
    void *map =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, child.reply, 0);
    close(child.reply);
    reply = map;
    return map != MAP_FAILED;
}

/* ---- one call ---- */

static bool refuse(struct aionif__thread *self, struct aionif__record *record, const char *text) {
    memset(&self->failure, 0, offsetof(struct aionif_failure, type_name));
    self->failure.type_name[0] = '\0';
    snprintf(self->failure.reason, AIONIF_TEXT, "%s", text);
    record->kind = self->failure.kind = AIONIF_UNLOADED;
    record->failure = self->failure;
    return false;
}

static bool find_function(struct aionif__thread *self, struct aionif__record *record,
                          struct aionif__invocation *invocation, int *ending) {
    uint32_t entry = (uint32_t)(uintptr_t)record->function;
    char problem[AIONIF_TEXT] = "";
    if (entry < AIONIF_ENTRIES && functions[entry]) {
        invocation->function = functions[entry];
        return true;
    }
    struct loading loading = {entry, problem};
    struct aionif__registers registers = {.integer = {(uintptr_t)&loading}};
    struct aionif__result result = {0};
    struct aionif__invocation loader = *invocation;
    loader.function = (void *)resolve;
    loader.registers = &registers;
    loader.result = &result;
    loader.word_count = 0;
    *ending = aionif__thread_run(self, &loader);
    if (*ending != AIONIF__RETURNED) {
        return false;
    }
    invocation->function = (void *)(uintptr_t)result.integer[0];
    return invocation->function || refuse(self, record, problem);
}

static bool prepare(struct aionif__thread *self, struct aionif__record *record,
                    struct aionif__invocation *invocation, int *ending) {
    while (taken != record->grants) {
        if (!take_grant()) {
            return refuse(self, record, "a buffer could not be mapped in the worker");
        }
        taken++;
    }
    if ((uintptr_t)record->function == AIONIF_PYTHON_ENTRY) {
        invocation->function = (void *)child.python;
        self->stack = main_stack;
        return true;
    }
    if (segment->settings.own_stack) {
        self->stack = main_stack;
    }
    return find_function(self, record, invocation, ending);
}

static void flush(void *unused) {
    (void)unused;
    fflush(stdout);
}

/* A worker is killed in the end, so what its calls print can't wait in libc for that; nobody who has
 * the result of a call misses its text then, either. That of a call that crashed is lost. A stdout that
 * the call has damaged is a crash of that call. */
static int done(struct aionif__thread *self, int ending) {
    self->stack = own_stack;
    bool by_exit = ending == AIONIF__EXITED && self->traits == 0; /* not by _exit */
    bool ended_well = ending == AIONIF__RETURNED || ending == AIONIF__THREW || by_exit;
    if (ended_well && __fpending(stdout) && !aionif__thread_try(self, flush, NULL)) {
        return AIONIF__FAULTED;
    }
    return ending;
}

static uint8_t describe_frame(struct aionif__slot *slot, uint64_t address) {
    static struct aionif_module module;
    if (!aionif_locate(address, &module)) {
        return 0;
    }
    for (uint32_t i = 0; i < slot->module_count; i++) {
        if (slot->modules[i].bias == module.bias) {
            return (uint8_t)(i + 1);
        }
    }
    if (slot->module_count == AIONIF_MODULES) {
        return 0;
    }
    slot->modules[slot->module_count++] = module;
    return (uint8_t)slot->module_count;
}

static void describe(struct aionif__thread *self, const struct aionif__record *record) {
    struct aionif__slot *slot = &segment->slots[record - segment->lane.records];
    slot->module_count = 0;
    for (int i = 0; i < self->failure.frame_count && i < AIONIF_FRAMES; i++) {
        slot->of_frames[i] = describe_frame(slot, self->failure.frames[i]);
    }
}

static const struct aionif__around around = {prepare, done, describe};

/* ---- the process ---- */

/* A seal's filter has trapped this system call; in a handler. Where no call can be ended for it, the
 * parent reads it after the process has died. */
static void note_denial(int number) {
    if (segment && getpid() == aionif__fault_pid()) { /* not a child that a call has started */
        atomic_store(&segment->denied, number + 1);
    }
}

/* The window is reserved since the zygote's start, so nothing can be in the way. */
int aionif_child_enter(const struct aionif_child *given) {
    child = *given;
    __fpurge(stdout); /* what the zygote had not written is the zygote's to write */
    /* With the zygote gone nobody would wait for this process, or pass on what it says. */
    if (child.zygote >= 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != child.zygote) {
            return ESRCH;
        }
    }
    struct stat file;
    if (fstat(child.segment, &file) != 0) {
        return errno;
    }
    void *map = mmap((void *)(uintptr_t)child.window, (size_t)file.st_size, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_NORESERVE | MAP_FIXED, child.segment, 0);
    if (map == MAP_FAILED) {
        return errno;
    }
    close(child.segment);
    segment = map;
    segment->lane.bell.descriptor = child.bell;
    if (!map_reply()) {
        return errno;
    }
    struct aionif__thread *self = aionif__thread_current();
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    if (!self || !aionif__worker_enter(self, &segment->lane, &segment->settings, blocked)) {
        return ENOMEM;
    }
    self->is_process = true;
    aionif__fault_tell_denials(note_denial);
    own_stack = self->stack;
    main_stack = aionif__thread_own_stack();
    return 0;
}

/* The filter for exit() comes first, as a sealed process can add none. */
int aionif_child_seal(const struct aionif_seal *seal, struct aionif_seal_result *out) {
    aionif__worker_filter(&segment->lane, &segment->settings);
    int sealed = seal ? aionif_seal(seal, out) : 1;
    segment->sealed = *out;
    return sealed;
}

int aionif_child_serve(void) {
    struct aionif__thread *self = aionif__self;
    atomic_store(&segment->lane.tid, self->tid);
    aionif__serve(&segment->lane, self, &around);
    if (atomic_load(&segment->lane.health) != AIONIF__SERVING) {
        aionif__exit_group(0);
    }
    return 0;
}
