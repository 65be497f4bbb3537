/* Whether this thread has the interpreter's lock, without asking the interpreter for anything.
 *
 * Two of its functions are read from: each loads a pointer and takes no lock. From 3.12 on the current
 * thread state is the thread's own, and is there only while the thread has the lock. Before that there
 * is one for the whole process, that of whoever has the lock, so it has to be this thread's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/interpreter.h"

#include <dlfcn.h>
#include <stddef.h>

typedef void *state_of(void);

static state_of *current, *of_this_thread;
static bool is_of_thread; /* `current` is */

void aionif__interpreter_find(void) {
    enum { PYTHON_3_12 = 0x030c0000 };
    const unsigned long *version = dlsym(RTLD_DEFAULT, "Py_Version");
    *(void **)&current = dlsym(RTLD_DEFAULT, "PyThreadState_GetUnchecked"); /* 3.13 */
    if (!current) {
        *(void **)&current = dlsym(RTLD_DEFAULT, "_PyThreadState_UncheckedGet");
    }
    *(void **)&of_this_thread = dlsym(RTLD_DEFAULT, "PyGILState_GetThisThreadState");
    is_of_thread = version && *version >= PYTHON_3_12;
}

bool aionif__interpreter_is_held(void) {
    void *state = current ? current() : NULL;
    return state && (is_of_thread || (of_this_thread && of_this_thread() == state));
}

bool aionif__interpreter_is_known(void) { return !of_this_thread || of_this_thread(); }
