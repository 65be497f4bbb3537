/* Landlock's interface up to version 6, with names of our own: the headers of a machine that builds
 * a wheel are often older than the kernel that runs it. From linux/landlock.h. */
#ifndef AIONIF_LANDLOCK_H
#define AIONIF_LANDLOCK_H
#include "core.h"

#include <stdbool.h>
#include <sys/syscall.h>

#ifndef SYS_landlock_create_ruleset /* the same numbers on every machine */
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

enum { LANDLOCK__VERSION = 1 << 0, LANDLOCK__PATH_BENEATH = 1 };

enum landlock__files {
    LANDLOCK__EXECUTE = 1 << 0,
    LANDLOCK__WRITE_FILE = 1 << 1,
    LANDLOCK__READ_FILE = 1 << 2,
    LANDLOCK__READ_DIR = 1 << 3,
    LANDLOCK__REMOVE_DIR = 1 << 4,
    LANDLOCK__REMOVE_FILE = 1 << 5,
    LANDLOCK__MAKE_DIR = 1 << 7,
    LANDLOCK__MAKE_FILE = 1 << 8,
    LANDLOCK__MAKE_LINK = 1 << 12,
    LANDLOCK__VERSION_1 = (1 << 13) - 1, /* all that the first version knew */
    LANDLOCK__REFER = 1 << 13,           /* version 2: link and rename between directories */
    LANDLOCK__TRUNCATE = 1 << 14,        /* 3 */
    LANDLOCK__IOCTL_DEVICE = 1 << 15,    /* 5 */
};

enum { LANDLOCK__BIND = 1 << 0, LANDLOCK__CONNECT = 1 << 1 };             /* TCP; version 4 */
enum { LANDLOCK__ABSTRACT_SOCKETS = 1 << 0, LANDLOCK__SIGNALS = 1 << 1 }; /* version 6 */

struct landlock__ruleset {
    uint64_t files;
    uint64_t network; /* from version 4 on */
    uint64_t scoped;  /* from version 6 on */
};

struct landlock__path {
    uint64_t access;
    int32_t descriptor;
} __attribute__((packed));

/* A ruleset for the files, TCP and scope parts of a seal, as far as this version goes: a descriptor,
 * or -1 with errno. Paths that can't be opened are handed to `unopened`, and not allowed. */
int aionif__landlock_prepare(const struct aionif_seal *seal, int version,
                             void (*unopened)(struct aionif_seal_result *, const char *path),
                             struct aionif_seal_result *out);
#endif
