/* The rules by which Landlock confines a sealed process: everything it can govern is denied, but for
 * the paths that the policy lists.
 *
 * A version of the interface knows some rights, and refuses those that it does not know. Rights are
 * therefore cut down to what the running kernel has. seal.c says what is missing then. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sealing/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    READ = LANDLOCK__READ_FILE | LANDLOCK__READ_DIR,
    WRITE = READ | LANDLOCK__WRITE_FILE | LANDLOCK__REMOVE_DIR | LANDLOCK__REMOVE_FILE |
        LANDLOCK__MAKE_DIR | LANDLOCK__MAKE_FILE | LANDLOCK__MAKE_LINK | LANDLOCK__REFER |
        LANDLOCK__TRUNCATE,
    EXECUTE = READ | LANDLOCK__EXECUTE,
    OF_A_FILE = LANDLOCK__EXECUTE | LANDLOCK__WRITE_FILE | LANDLOCK__READ_FILE | LANDLOCK__TRUNCATE,
};

int aionif_landlock_version(void) {
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK__VERSION);
    return version > 0 ? (int)version : 0;
}

static uint64_t known(int version) {
    return LANDLOCK__VERSION_1 | (version >= 2 ? LANDLOCK__REFER : 0) |
           (version >= 3 ? LANDLOCK__TRUNCATE : 0) | (version >= 5 ? LANDLOCK__IOCTL_DEVICE : 0);
}

/* The struct has grown, and an older kernel takes no more of it than it knows. */
static size_t ruleset_size(int version) {
    return version >= 6   ? sizeof(struct landlock__ruleset)
           : version >= 4 ? offsetof(struct landlock__ruleset, scoped)
                          : offsetof(struct landlock__ruleset, network);
}

static int create(const struct aionif_seal *seal, int version) {
    bool files = seal->wanted & AIONIF_SEAL_FILES;
    bool tcp = seal->wanted & AIONIF_SEAL_TCP && version >= 4;
    bool scope = seal->wanted & AIONIF_SEAL_SCOPE && version >= 6;
    struct landlock__ruleset ruleset = {
        .files = files ? known(version) : 0,
        .network = tcp ? LANDLOCK__BIND | LANDLOCK__CONNECT : 0,
        .scoped = scope ? LANDLOCK__ABSTRACT_SOCKETS | LANDLOCK__SIGNALS : 0,
    };
    return (int)syscall(SYS_landlock_create_ruleset, &ruleset, ruleset_size(version), 0);
}

static bool allow(int ruleset, int version, const char *path, uint32_t access) {
    int descriptor = open(path, O_PATH | O_CLOEXEC);
    if (descriptor < 0) {
        return false;
    }
    struct stat status = {0};
    fstat(descriptor, &status); /* can't fail; and if it did, the rule of a file is the narrower */
    struct landlock__path rule = {
        .access = (access & AIONIF_SEAL_READ ? READ : 0) |
                  (access & AIONIF_SEAL_WRITE ? WRITE : 0) |
                  (access & AIONIF_SEAL_EXECUTE ? EXECUTE : 0),
        .descriptor = descriptor,
    };
    rule.access &= known(version) & (S_ISDIR(status.st_mode) ? UINT64_MAX : OF_A_FILE);
    long done = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK__PATH_BENEATH, &rule, 0);
    int error_number = errno;
    close(descriptor);
    errno = error_number;
    return done == 0;
}

int aionif__landlock_prepare(const struct aionif_seal *seal, int version,
                             void (*unopened)(struct aionif_seal_result *, const char *path),
                             struct aionif_seal_result *out) {
    int ruleset = create(seal, version);
    for (uint32_t i = 0; ruleset >= 0 && i < seal->path_count; i++) {
        const char *path = seal->text + seal->paths[i].at;
        if (!allow(ruleset, version, path, seal->paths[i].access)) {
            unopened(out, path);
        }
    }
    return ruleset;
}
