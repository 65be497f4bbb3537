/* Namespaces of one's own: no network, no System V objects of others, no mounts that others see.
 *
 * A process without privileges gets them through a user namespace, which kernels, containers and LSMs
 * often refuse. Each is therefore tried by itself, the user namespace first, and nothing else in the
 * seal relies on them. Inside, the user's and group's ids are mapped to themselves, so that files keep
 * their owners' names. The capabilities that a user namespace gives are dropped right after (seal.c).
 *
 * A network namespace takes milliseconds to make. A zygote enters them for all of
 * its workers, which inherit them: sealing a worker costs nothing more (template.c). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sealing/namespaces.h"

#include "sealing/template.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool put(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) {
        return false;
    }
    ssize_t size = (ssize_t)strlen(text);
    bool done = write(file, text, (size_t)size) == size;
    int error_number = errno;
    close(file);
    errno = error_number;
    return done;
}

/* setgroups must be given up first, or the kernel takes no group map from the unprivileged. */
static bool map_to_itself(uid_t user, gid_t group) {
    char users[32], groups[32];
    snprintf(users, sizeof users, "%u %u 1", user, user);
    snprintf(groups, sizeof groups, "%u %u 1", group, group);
    return put("/proc/self/setgroups", "deny") && put("/proc/self/uid_map", users) &&
           put("/proc/self/gid_map", groups);
}

bool aionif__namespaces_of_user(void) {
    uid_t user = geteuid();
    gid_t group = getegid();
    return unshare(CLONE_NEWUSER) == 0 && map_to_itself(user, group) && unshare(CLONE_NEWIPC) == 0;
}

static void enter(struct aionif__sealing *sealing, uint32_t part, int flag, const char *name) {
    if (!(sealing->seal->wanted & part) || aionif__template_tells(sealing, part)) {
        return;
    }
    uid_t user = geteuid();
    gid_t group = getegid();
    if (unshare(flag) != 0) {
        aionif__seal_missing(sealing, part, errno, "no %s namespace could be entered", name);
        return;
    }
    if (flag == CLONE_NEWUSER && !map_to_itself(user, group)) {
        aionif__seal_note(sealing->out, part, errno, "the user's id could not be mapped to itself");
    }
    aionif__seal_applied(sealing, part);
}

void aionif__seal_namespaces(struct aionif__sealing *sealing) {
    enter(sealing, AIONIF_SEAL_USER, CLONE_NEWUSER, "user");
    enter(sealing, AIONIF_SEAL_NET, CLONE_NEWNET, "network");
    enter(sealing, AIONIF_SEAL_IPC, CLONE_NEWIPC, "IPC");
    enter(sealing, AIONIF_SEAL_MOUNT, CLONE_NEWNS, "mount");
    const uint32_t of_zygotes[] = {AIONIF_SEAL_PID, AIONIF_SEAL_CGROUP, AIONIF_SEAL_CHILDREN};
    for (size_t i = 0; i < sizeof of_zygotes / sizeof *of_zygotes; i++) {
        if (sealing->seal->wanted & of_zygotes[i]) {
            aionif__template_tells(sealing, of_zygotes[i]);
        }
    }
}
