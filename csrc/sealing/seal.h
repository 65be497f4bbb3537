/* What the files that seal a process share: the account that they keep. */
#ifndef AIONIF_SEAL_H
#define AIONIF_SEAL_H
#include "core.h"

#include <stdbool.h>

struct aionif__sealing {
    const struct aionif_seal *seal;
    struct aionif_seal_result *out;
};

/* In force. */
void aionif__seal_applied(struct aionif__sealing *sealing, uint32_t part);
/* Not, or not wholly, in force; `error` is an errno or 0. A sentence without its full stop. */
void aionif__seal_missing(struct aionif__sealing *sealing, uint32_t part, int error,
                          const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Worth saying, but nothing is missing. */
void aionif__seal_note(struct aionif_seal_result *out, uint32_t part, int error, const char *format,
                       ...) __attribute__((format(printf, 4, 5)));

/* The struct may come from another process: nothing in it is an index before this says so. */
bool aionif__seal_is_sound(const struct aionif_seal *seal);
/* The filter of a sound seal, with the flags of seccomp(): what that returns. */
long aionif__seal_install(const struct aionif_seal *seal, unsigned long flags);

/* The namespaces that are wanted: each is applied or missing. */
void aionif__seal_namespaces(struct aionif__sealing *sealing);
#endif
