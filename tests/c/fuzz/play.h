/* Plays out what an input says: calls of this program in worker processes that the input has taken
 * over. See hostile.h for these, and play.c for what must hold whatever they do. */
#ifndef FUZZ_PLAY_H
#define FUZZ_PLAY_H
#include "core.h"

#include <stddef.h>

/* A call that has failed, as Python is told of it. */
struct play_failed {
    const struct aionif_failure *failure;
    const struct aionif_module *modules;
    const uint8_t *of_frames;
    const char *text; /* the end of its worker's stderr */
    int32_t module_count, text_length, sealed;
};

/* Whoever wants to look at what comes out. NULL: nobody. */
struct play_eyes {
    void (*failed)(const struct play_failed *failed);
    void (*noticed)(const struct aionif_core_event *event);
    void (*sealed)(int state, const struct aionif_seal_result *result);
};

__attribute__((visibility("default"))) void play(const uint8_t *data, size_t size,
                                                 const struct play_eyes *eyes);

/* Ends the program: a fuzzer keeps the input. */
__attribute__((noreturn)) void play_broken(const char *file, int line, const char *what);
#define PLAY_ENSURE(condition) ((condition) ? (void)0 : play_broken(__FILE__, __LINE__, #condition))
#endif
