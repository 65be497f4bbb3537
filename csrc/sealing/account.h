/* The account of a sealing, which the files that seal a process keep together. */
#ifndef AIONIF_ACCOUNT_H
#define AIONIF_ACCOUNT_H
#include "core.h"

#include <stdbool.h>

struct aionif__sealing {
    const struct aionif_seal *seal;
    struct aionif_seal_result *out;
    uint64_t address_space; /* bytes that are in use as it begins; 0: not known */
};

/* In force. */
void aionif__seal_applied(struct aionif__sealing *sealing, uint32_t part);
/* Not, or not wholly, in force; `error` is an errno or 0. A sentence without its full stop. */
void aionif__seal_missing(struct aionif__sealing *sealing, uint32_t part, int error,
                          const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Worth saying, but nothing is missing. */
void aionif__seal_note(struct aionif_seal_result *out, uint32_t part, int error, const char *format,
                       ...) __attribute__((format(printf, 4, 5)));
#endif
