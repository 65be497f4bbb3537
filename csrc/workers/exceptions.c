#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "workers/exceptions.h"

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>

static const char *const runtimes[AIONIF__CXX_RUNTIMES] = {"libstdc++.so.6", "libc++abi.so.1"};

static _Thread_local struct aionif__exceptions *of_this_thread[AIONIF__CXX_RUNTIMES];

static _Thread_local unsigned long long loads_seen; /* when they were last looked for */

static int count_loads(struct dl_phdr_info *info, size_t size, void *out) {
    (void)size;
    *(unsigned long long *)out = info->dlpi_adds;
    return 1;
}

/* For a library that is not loaded the linker looks through all its directories, each time. */
static bool was_anything_loaded(void) {
    unsigned long long loads = 0;
    dl_iterate_phdr(count_loads, &loads);
    bool changed = loads != loads_seen;
    loads_seen = loads;
    return changed;
}

static struct aionif__exceptions *find(const char *runtime) {
    void *library = dlopen(runtime, RTLD_LAZY | RTLD_NOLOAD);
    if (!library) {
        return NULL;
    }
    struct aionif__exceptions *(*globals)(void) =
        (struct aionif__exceptions * (*)(void)) dlsym(library, "__cxa_get_globals");
    struct aionif__exceptions *found = globals ? globals() : NULL;
    dlclose(library); /* takes back only what this dlopen counted */
    return found;
}

void aionif__exceptions_note(struct aionif__exceptions before[AIONIF__CXX_RUNTIMES]) {
    for (int i = 0; i < AIONIF__CXX_RUNTIMES; i++) {
        before[i] = of_this_thread[i] ? *of_this_thread[i] : (struct aionif__exceptions){NULL, 0};
    }
}

void aionif__exceptions_restore(const struct aionif__exceptions before[AIONIF__CXX_RUNTIMES]) {
    bool worth_looking = was_anything_loaded();
    for (int i = 0; i < AIONIF__CXX_RUNTIMES; i++) {
        if (!of_this_thread[i] && worth_looking) {
            of_this_thread[i] = find(runtimes[i]);
        }
        if (of_this_thread[i]) {
            *of_this_thread[i] = before ? before[i] : (struct aionif__exceptions){NULL, 0};
        }
    }
}
