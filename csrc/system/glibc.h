/* Which glibc this process runs with. */
#ifndef AIONIF_GLIBC_H
#define AIONIF_GLIBC_H
#include <gnu/libc-version.h>
#include <stdlib.h>

/* 36 for glibc 2.36; -1: not a glibc 2, or one that does not say. Not for handlers. */
static inline int aionif__glibc_minor(void) {
    char *end;
    long major = strtol(gnu_get_libc_version(), &end, 10);
    return major == 2 && *end == '.' ? (int)strtol(end + 1, NULL, 10) : -1;
}
#endif
