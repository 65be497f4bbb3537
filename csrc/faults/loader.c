/* The locks of the dynamic linker, which know their owner.
 *
 * A library's constructor runs in dlopen(), under its lock: if the constructor crashes, the next dlopen()
 * would wait for ever. The locks are recursive mutexes in ld.so's variable _rtld_global: first dlopen's,
 * directly behind it that of the list of objects, which dl_iterate_phdr() holds while it calls back. The
 * latter is found by its owner, from such a callback; the former is believed after a test.
 *
 * They are given back where the owner is the thread that crashed. A worker holds none of them between
 * calls, so all that is held is of the call. Where ld.so had not yet finished loading (it says so, or it
 * has the lock of thread-local storage) or its own code had crashed, nothing is given back: what it
 * knows of the library is half of it.
 *
 * The library whose constructor crashed stays loaded, as if its constructors had run. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/loader.h"

#include "faults/lock_test.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* dlopen's, that of the list, and from glibc 2.34 on that of thread-local storage. */
enum { DLOPEN = 0, LIST = 1, STORAGE = 2, LOCKS = 3 };

static pthread_mutex_t *_Atomic first_lock;
static uintptr_t code, code_end; /* ld.so's */

struct search {
    uintptr_t low, high;
    pid_t tid;
    pthread_mutex_t *found;
    int count;
};

static bool is_held_by(const pthread_mutex_t *mutex, pid_t tid) {
    return mutex->__data.__kind == PTHREAD_MUTEX_RECURSIVE_NP && mutex->__data.__owner == tid &&
           mutex->__data.__lock != 0 && mutex->__data.__count > 0;
}

static int find_held(struct dl_phdr_info *info, size_t size, void *opaque) {
    struct search *search = opaque;
    (void)info;
    (void)size;
    for (uintptr_t at = search->low; at + sizeof(pthread_mutex_t) <= search->high; at += 8) {
        if (is_held_by((pthread_mutex_t *)at, search->tid)) {
            search->found = (pthread_mutex_t *)at;
            search->count++;
        }
    }
    return 1;
}

static int find_code(struct dl_phdr_info *info, size_t size, void *variable) {
    uintptr_t low = UINTPTR_MAX, high = 0;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_LOAD) {
            low = start < low ? start : low;
            high = start + header->p_memsz > high ? start + header->p_memsz : high;
        }
    }
    bool found = (uintptr_t)variable >= low && (uintptr_t)variable < high;
    if (found) {
        code = low;
        code_end = high;
    }
    return found;
}

static bool take(void *mutex) { return pthread_mutex_trylock(mutex) == 0; }

static void give(void *mutex) { pthread_mutex_unlock(mutex); }

static void use_dlopen(void) {
    void *program = dlopen(NULL, RTLD_LAZY);
    if (program) {
        dlclose(program);
    }
}

static bool stops_dlopen(pthread_mutex_t *mutex) {
    struct aionif__lock_test test = {
        .word = (aionif__lock_word *)&mutex->__data.__lock,
        .take = take,
        .give = give,
        .use = use_dlopen,
        .lock = mutex,
    };
    return mutex->__data.__kind == PTHREAD_MUTEX_RECURSIVE_NP && aionif__lock_test(&test);
}

void aionif__loader_start(void) {
    static _Atomic bool started;
    enum { TRIES = 20 };
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    if (atomic_exchange(&started, true)) {
        return;
    }
    void *variable = dlvsym(RTLD_DEFAULT, "_rtld_global", "GLIBC_PRIVATE");
    if (!variable || !dladdr1(variable, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol) {
        return;
    }
    struct search search = {.low = (uintptr_t)variable,
                            .high = (uintptr_t)variable + symbol->st_size,
                            .tid = (pid_t)syscall(SYS_gettid)};
    dl_iterate_phdr(find_code, variable);
    dl_iterate_phdr(find_held, &search);
    pthread_mutex_t *candidate = search.found ? search.found - 1 : NULL;
    bool fits = search.count == 1 && (uintptr_t)candidate >= search.low &&
                (uintptr_t)(candidate + LOCKS) <= search.high;
    for (int i = 0; fits && i < TRIES; i++) { /* another thread may be in dlopen */
        if (stops_dlopen(candidate)) {
            atomic_store(&first_lock, candidate);
            return;
        }
    }
}

/* A crash in ld.so itself says nothing good of its lists. */
static bool is_consistent(const struct aionif_failure *failure) {
    return _r_debug.r_state == RT_CONSISTENT && failure->frame_count > 0 &&
           !(failure->frames[0] >= code && failure->frames[0] < code_end) &&
           !is_held_by(&atomic_load(&first_lock)[STORAGE], failure->thread);
}

bool aionif__loader_is_known(void) { return atomic_load(&first_lock) != NULL; }

bool aionif__loader_holds(const struct aionif__thread *self) {
    pthread_mutex_t *locks = atomic_load(&first_lock);
    bool held = false;
    for (int i = 0; locks && i < LOCKS; i++) {
        held |= is_held_by(&locks[i], self->tid);
    }
    return held;
}

bool aionif__loader_give_back(const struct aionif__thread *self) {
    pthread_mutex_t *locks = atomic_load(&first_lock);
    if (!aionif__loader_holds(self) || !is_consistent(&self->failure)) {
        return false;
    }
    for (int i = LIST; i >= DLOPEN; i--) {
        while (is_held_by(&locks[i], self->tid)) {
            pthread_mutex_unlock(&locks[i]);
        }
    }
    return true;
}
