/* What a zygote makes ready, once, for all workers of a sandbox: namespaces, and a root directory in
 * which nothing is but what the sandbox may read. A fork inherits both and costs nothing more.
 *
 * Ids of processes are another matter: a namespace of them is for children, and ends with its first
 * one. That is a process that does nothing. It ends when the pipe does that its maker holds, and the
 * kernel then ends all others in there: children that a call has left, too.
 *
 * The root is a small file system that lies over the old root, which all goes on to use: only a
 * process that takes the new one, as it seals itself, loses the old one. Nothing of this touches a
 * directory that anybody else has. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sealing/template.h"

#include "sealing/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* linux/mount.h, which older systems have without these; the numbers are those of all machines. */
enum {
    OPEN_TREE_NR = 428,
    MOVE_MOUNT_NR = 429,
    FSOPEN_NR = 430,
    FSCONFIG_NR = 431,
    FSMOUNT_NR = 432,
    MOUNT_SETATTR_NR = 442,
    SET_STRING = 1,
    CREATE = 6,
    FSCLOEXEC = 1,
    CLONE_TREE = 1,
    TREE_CLOEXEC = O_CLOEXEC,
    RECURSIVE = 0x8000,
    FROM_EMPTY_PATH = 4,
    READ_ONLY = 1,
    NO_SETUID = 2,
};

struct attributes {
    uint64_t set, clear, propagation, user_namespace;
};

static struct aionif_seal_result made;
static uint32_t tried; /* parts */
static int root = -1;

/* ---- in the zygote ---- */

/* Tried by a child: where it is half allowed this process must not be left half in it. */
static bool users_are_to_be_had(void) {
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        _exit(!aionif__namespaces_of_user());
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return child > 0 && status == 0;
}

/* A user namespace takes them, and what a worker does before it is sealed may need them. */
static bool has_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    syscall(SYS_capget, &header, sets);
    return sets[0].effective || sets[1].effective;
}

void aionif_template_enter(uint32_t wanted) {
    struct aionif_seal seal = {.wanted = wanted};
    struct aionif__sealing sealing = {.seal = &seal, .out = &made};
    if (wanted & AIONIF_SEAL_USER && geteuid() != 0 && has_capabilities()) {
        aionif__seal_missing(&sealing, AIONIF_SEAL_USER, 0,
                             "a user namespace would take the program's capabilities");
        seal.wanted &= ~AIONIF_SEAL_USER;
    } else if (wanted & AIONIF_SEAL_USER && !users_are_to_be_had()) {
        aionif__seal_missing(&sealing, AIONIF_SEAL_USER, EPERM,
                             "user namespaces are not to be had here");
        seal.wanted &= ~AIONIF_SEAL_USER;
    }
    aionif__seal_namespaces(&sealing);
    tried |= wanted;
}

void aionif_template_missing(uint32_t part, int error, const char *text) {
    struct aionif__sealing sealing = {.out = &made};
    aionif__seal_missing(&sealing, part, error, "%s", text);
    tried |= part;
}

void aionif_template_applied(uint32_t part) {
    struct aionif__sealing sealing = {.out = &made};
    aionif__seal_applied(&sealing, part);
    tried |= part;
}

int aionif_template_has(uint32_t part) { return (made.applied & part) == part; }

/* ---- process ids ---- */

static _Noreturn void stand_for_all(int pipe_end) {
    char byte;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGCHLD, &ignore, NULL); /* orphans come here, and are waited for by nobody */
    prctl(PR_SET_NAME, "aionif-init");
    dup2(pipe_end, 0);
    if (syscall(SYS_close_range, 1, ~0u, 0) != 0) {
        for (int i = 1; i < 65536; i++) {
            close(i);
        }
    }
    while (read(0, &byte, 1) < 0 && errno == EINTR) {
    }
    _exit(0);
}

int aionif_template_processes(int pipe_end) {
    struct aionif__sealing sealing = {.out = &made};
    if (unshare(CLONE_NEWPID) != 0) {
        return -1;
    }
    pid_t first = fork();
    if (first == 0) {
        stand_for_all(pipe_end);
    }
    if (first > 0) {
        aionif__seal_applied(&sealing, AIONIF_SEAL_PID);
        tried |= AIONIF_SEAL_PID;
    }
    return first;
}

int aionif_template_adopt(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

/* ---- the root ---- */

static bool restrict_mount(int descriptor, uint64_t flags, unsigned how) {
    struct attributes attributes = {.set = flags};
    return syscall(MOUNT_SETATTR_NR, descriptor, "", AT_EMPTY_PATH | how, &attributes,
                   sizeof attributes) == 0;
}

static int make_file_system(void) {
    static const char *const settings[][2] = {
        {"mode", "0755"}, {"size", "1m"}, {"nr_inodes", "10000"}};
    int context = (int)syscall(FSOPEN_NR, "tmpfs", FSCLOEXEC);
    for (size_t i = 0; context >= 0 && i < sizeof settings / sizeof settings[0]; i++) {
        syscall(FSCONFIG_NR, context, SET_STRING, settings[i][0], settings[i][1], 0);
    }
    if (context < 0 || syscall(FSCONFIG_NR, context, CREATE, NULL, NULL, 0) != 0) {
        return -1;
    }
    int made_root = (int)syscall(FSMOUNT_NR, context, FSCLOEXEC, NO_SETUID);
    close(context);
    return made_root;
}

int aionif_template_root(void) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return -1;
    }
    root = make_file_system();
    if (root >= 0 && syscall(MOVE_MOUNT_NR, root, "", AT_FDCWD, "/", FROM_EMPTY_PATH) != 0) {
        int error_number = errno;
        close(root);
        errno = error_number;
        root = -1;
    }
    return root;
}

int aionif_template_bind(const char *source, const char *place, int writable) {
    int tree = (int)syscall(OPEN_TREE_NR, AT_FDCWD, source, CLONE_TREE | RECURSIVE | TREE_CLOEXEC);
    if (tree < 0) {
        return errno;
    }
    bool bound = restrict_mount(tree, NO_SETUID | (writable ? 0 : READ_ONLY), RECURSIVE) &&
                 syscall(MOVE_MOUNT_NR, tree, "", root, place, FROM_EMPTY_PATH) == 0;
    int error_number = bound ? 0 : errno;
    close(tree);
    return error_number;
}

int aionif_template_close_root(void) { return restrict_mount(root, READ_ONLY, 0) ? 0 : errno; }

int aionif_template_descriptor(void) { return root; }

/* ---- in a worker ---- */

bool aionif__template_tells(struct aionif__sealing *sealing, uint32_t part) {
    if (!(tried & part)) {
        return false;
    }
    for (uint32_t i = 0; made.missing & part && i < made.note_count; i++) {
        if (made.notes[i].part == part) {
            aionif__seal_missing(sealing, part, made.notes[i].error, "%s", made.notes[i].text);
        }
    }
    aionif__seal_applied(sealing, made.applied & part);
    return true;
}

int aionif__template_take_root(void) {
    int taken = root;
    root = -1;
    return taken;
}
