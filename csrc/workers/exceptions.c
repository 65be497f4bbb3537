#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "workers/exceptions.h"

#include <dlfcn.h>
#include <stddef.h>

static const char *const runtimes[AIONIF__CXX_RUNTIMES] = {"libstdc++.so.6", "libc++abi.so.1"};

static _Thread_local struct aionif__exceptions *of_this_thread[AIONIF__CXX_RUNTIMES];

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
    for (int i = 0; i < AIONIF__CXX_RUNTIMES; i++) {
        if (!of_this_thread[i]) {
            of_this_thread[i] = find(runtimes[i]);
        }
        if (of_this_thread[i]) {
            *of_this_thread[i] = before ? before[i] : (struct aionif__exceptions){NULL, 0};
        }
    }
}
