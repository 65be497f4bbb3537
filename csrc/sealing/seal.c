/* Sealing: a process gives up, for good, what its policy does not allow.
 *
 * Purpose: code that is loaded and warm goes on with no more than it needs. The policy is compiled
 * elsewhere (aionif/filters/profiles.py); this file applies it and says what is in force.
 *
 * The order is forced. Namespaces come first: they need privileges, or give some, and procfs. Paths
 * for Landlock are opened while everything can still be opened, so before the root changes. That, and
 * another user's id, take capabilities. Those go before the resource
 * limits, as one of them allows to raise those again. no_new_privs is what lets a process without
 * privileges install Landlock rules and filters. Landlock comes after the limits, which it can't
 * affect, and before the filter, which forbids its system calls. The filter is last: it forbids all
 * of the above.
 *
 * Guarantee: a part is reported as applied only if it holds for every thread. Capabilities,
 * namespaces and Landlock are per thread in Linux, so with more than one thread they are reported
 * as missing; the filter reaches all threads (TSYNC), and no_new_privs with it.
 *
 * Nothing is undone. Where a part that is required is missing, the process stays half sealed; it is to
 * report that, and end. Descriptors that are open stay open: whoever seals closes the others before.
 *
 * Rejected: SECCOMP_FILTER_FLAG_SPEC_ALLOW, which the thread tier's filter uses. Here the filter is a
 * boundary against hostile code, which may well read side channels. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sealing/seal.h"

#include "sealing/account.h"
#include "sealing/landlock.h"
#include "sealing/namespaces.h"
#include "sealing/template.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

_Static_assert(sizeof(struct sock_filter) == sizeof(uint64_t), "aionif_seal.code holds them");

enum { OF_LANDLOCK = AIONIF_SEAL_FILES | AIONIF_SEAL_TCP | AIONIF_SEAL_SCOPE };

static bool wants(const struct aionif__sealing *sealing, uint32_t part) {
    return sealing->seal->wanted & part;
}

static bool may_go_on(const struct aionif__sealing *sealing) {
    return !(sealing->out->missing & sealing->seal->required);
}

/* ---- the parts ---- */

static char *read_file(const char *path, char *text, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, text, size - 1);
    if (file >= 0) {
        close(file);
    }
    text[got > 0 ? got : 0] = '\0';
    return text;
}

/* The number that follows so many blanks in `text`; 0 if there are fewer. */
static long long number_behind(const char *text, int blanks) {
    for (; text && blanks > 0; blanks--) {
        text = strchr(text, ' ');
        text = text ? text + 1 : NULL;
    }
    return text ? strtoll(text, NULL, 10) : 0;
}

/* The second field of stat, the name, may hold blanks and brackets: what follows begins behind the
 * last of these. Of the fields there the 18th is num_threads. */
static long count_threads(void) {
    char text[1024];
    return (long)number_behind(strrchr(read_file("/proc/self/stat", text, sizeof text), ')'), 18);
}

/* Bytes that are mapped or reserved, by the first field of statm, which counts pages. */
static rlim_t address_space_used(void) {
    char text[256];
    long long pages = number_behind(read_file("/proc/self/statm", text, sizeof text), 0);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void check_threads(struct aionif__sealing *sealing) {
    long threads = count_threads();
    uint32_t single =
        sealing->seal->wanted & (AIONIF_SEAL_USER | AIONIF_SEAL_NET | AIONIF_SEAL_IPC |
                                 AIONIF_SEAL_MOUNT | AIONIF_SEAL_IDENTITY | AIONIF_SEAL_PRIVILEGES |
                                 AIONIF_SEAL_FILES | AIONIF_SEAL_TCP | AIONIF_SEAL_SCOPE);
    if (threads == 0) { /* no procfs. Whoever seals a worker knows that it has one */
        aionif__seal_note(sealing->out, 0, 0, "whether there are other threads can't be told");
    } else if (threads > 1 && single) {
        aionif__seal_missing(sealing, single, 0,
                             "of %ld threads only the one that seals can be confined", threads);
    }
}

/* The current directory stays, if it is in the new root. */
static void take_root(struct aionif__sealing *sealing) {
    char directory[4096];
    int root = wants(sealing, AIONIF_SEAL_MOUNT) ? aionif__template_take_root() : -1;
    if (root < 0) {
        return;
    }
    bool known = getcwd(directory, sizeof directory) != NULL;
    if (fchdir(root) != 0 || chroot(".") != 0) {
        aionif__seal_missing(sealing, AIONIF_SEAL_MOUNT, errno,
                             "the root directory could not be changed");
    } else if (known && chdir(directory) != 0) {
        aionif__seal_note(sealing->out, 0, 0, "the current directory is / now");
    }
    close(root);
}

/* The kernel forgets, with a change of the user, that this process is to end with its parent. */
static void become_nobody(struct aionif__sealing *sealing) {
    enum { NOBODY = 65534 };
    int last_signal = 0;
    pid_t parent = getppid();
    if (!wants(sealing, AIONIF_SEAL_IDENTITY) ||
        aionif__template_tells(sealing, AIONIF_SEAL_IDENTITY)) {
        return;
    }
    prctl(PR_GET_PDEATHSIG, &last_signal);
    if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
        setresuid(NOBODY, NOBODY, NOBODY) != 0) {
        aionif__seal_missing(sealing, AIONIF_SEAL_IDENTITY, errno, "root could not become nobody");
        return;
    }
    prctl(PR_SET_PDEATHSIG, last_signal);
    if (last_signal && getppid() != parent) {
        _exit(1);
    }
    aionif__seal_applied(sealing, AIONIF_SEAL_IDENTITY);
}

/* A program may have been started so that all it can read it can execute; no filter would see that. */
static void separate_code_from_data(void) {
    int now = personality(0xffffffff);
    if (now != -1 && now & READ_IMPLIES_EXEC) {
        personality((unsigned long)now & ~READ_IMPLIES_EXEC);
    }
}

static void drop_privileges(struct aionif__sealing *sealing) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    if (!wants(sealing, AIONIF_SEAL_PRIVILEGES | AIONIF_SEAL_FILTER | OF_LANDLOCK)) {
        return; /* limits alone leave a process what it may do */
    } else if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        aionif__seal_missing(sealing, AIONIF_SEAL_PRIVILEGES, errno, "no_new_privs was refused");
    } else if (!wants(sealing, AIONIF_SEAL_PRIVILEGES)) {
        return;
    } else if (syscall(SYS_capset, &header, none) != 0) {
        aionif__seal_missing(sealing, AIONIF_SEAL_PRIVILEGES, errno,
                             "the capabilities could not be dropped");
    } else {
        aionif__seal_applied(sealing, AIONIF_SEAL_PRIVILEGES);
    }
}

/* Not dumpable: no core, and no process of the same user reads this one's memory or attaches to it. */
static void keep_secret(struct aionif__sealing *sealing) {
    struct rlimit none = {0, 0};
    if (!wants(sealing, AIONIF_SEAL_SECRECY)) {
        return;
    }
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && setrlimit(RLIMIT_CORE, &none) == 0) {
        aionif__seal_applied(sealing, AIONIF_SEAL_SECRECY);
    } else {
        aionif__seal_missing(sealing, AIONIF_SEAL_SECRECY, errno, "core dumps are not off");
    }
}

struct limit {
    int resource;
    const char *name;
};

/* In the order of aionif_seal.limits. Address space counts from here on: what is mapped by now is
 * mostly reserved only, such as the window for buffers. */
static const struct limit limits[AIONIF_SEAL_LIMITS] = {
    {RLIMIT_AS, "address_space"},
    {RLIMIT_NOFILE, "open_files"},
    {RLIMIT_FSIZE, "file_size"},
    {RLIMIT_NPROC, "processes"},
};

static void set_limit(struct aionif__sealing *sealing, const struct limit *limit, rlim_t value) {
    struct rlimit now, next = {value, value};
    if (limit->resource == RLIMIT_AS) {
        rlim_t used = sealing->address_space;
        if (!used) {
            aionif__seal_missing(sealing, AIONIF_SEAL_RLIMITS, 0,
                                 "without /proc it is not known how much address_space is in use");
            return;
        }
        next.rlim_max = next.rlim_cur = value + used;
    }
    if (limit->resource == RLIMIT_NPROC && getuid() == 0) {
        aionif__seal_missing(sealing, AIONIF_SEAL_RLIMITS, 0, "processes does not bind root");
    }
    if (getrlimit((__rlimit_resource_t)limit->resource, &now) == 0) {
        next.rlim_max = next.rlim_max < now.rlim_max ? next.rlim_max : now.rlim_max;
        next.rlim_cur = next.rlim_cur < next.rlim_max ? next.rlim_cur : next.rlim_max;
    }
    if (setrlimit((__rlimit_resource_t)limit->resource, &next) != 0) {
        aionif__seal_missing(sealing, AIONIF_SEAL_RLIMITS, errno, "%s was refused", limit->name);
    }
}

static void set_limits(struct aionif__sealing *sealing) {
    for (int i = 0; wants(sealing, AIONIF_SEAL_RLIMITS) && i < AIONIF_SEAL_LIMITS; i++) {
        if (sealing->seal->limits[i] >= 0) {
            set_limit(sealing, &limits[i], (rlim_t)sealing->seal->limits[i]);
        }
    }
    aionif__seal_applied(sealing, sealing->seal->wanted & AIONIF_SEAL_RLIMITS);
}

/* ---- Landlock ---- */

static void unopened(struct aionif_seal_result *out, const char *path) {
    aionif__seal_note(out, AIONIF_SEAL_FILES, errno, "%.200s is not allowed", path);
}

static bool may_write(const struct aionif_seal *seal) {
    for (uint32_t i = 0; i < seal->path_count; i++) {
        if (seal->paths[i].access & AIONIF_SEAL_WRITE) {
            return true;
        }
    }
    return false;
}

/* What this kernel's version can't do. */
static void check_version(struct aionif__sealing *sealing, int version) {
    if (wants(sealing, AIONIF_SEAL_FILES) && version < 3 && may_write(sealing->seal)) {
        aionif__seal_missing(sealing, AIONIF_SEAL_FILES, 0,
                             "Landlock %d does not keep files from being truncated", version);
    }
    if (wants(sealing, AIONIF_SEAL_TCP) && version < 4) {
        aionif__seal_missing(sealing, AIONIF_SEAL_TCP, 0, "Landlock %d does not know TCP", version);
    }
    if (wants(sealing, AIONIF_SEAL_SCOPE) && version < 6) {
        aionif__seal_missing(sealing, AIONIF_SEAL_SCOPE, 0,
                             "Landlock %d does not know signals and sockets", version);
    }
}

/* Opens the paths; a descriptor, or -1. */
static int prepare_landlock(struct aionif__sealing *sealing) {
    uint32_t wanted = sealing->seal->wanted & OF_LANDLOCK;
    if (!wanted) {
        return -1;
    }
    int version = aionif_landlock_version();
    sealing->out->landlock = version;
    if (version == 0) {
        aionif__seal_missing(sealing, wanted, errno, "this kernel has no Landlock for us");
        return -1;
    }
    check_version(sealing, version);
    int ruleset = aionif__landlock_prepare(sealing->seal, version, unopened, sealing->out);
    if (ruleset < 0) {
        aionif__seal_missing(sealing, wanted, errno, "Landlock refused the rules");
    }
    return ruleset;
}

static void apply_landlock(struct aionif__sealing *sealing, int ruleset) {
    uint32_t wanted = sealing->seal->wanted & OF_LANDLOCK;
    if (ruleset < 0) {
        return;
    }
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) == 0) {
        aionif__seal_applied(sealing, wanted);
    } else {
        aionif__seal_missing(sealing, wanted, errno, "Landlock refused to restrict the process");
    }
    close(ruleset);
}

/* ---- the filter ---- */

long aionif__seal_install(const struct aionif_seal *seal, unsigned long flags) {
    struct sock_filter code[AIONIF_SEAL_CODE];
    memcpy(code, seal->code, seal->code_length * sizeof code[0]);
    for (uint32_t i = 0; i < seal->own_pid_count; i++) {
        code[seal->own_pids[i]].k = (uint32_t)getpid();
    }
    struct sock_fprog filter = {.len = (unsigned short)seal->code_length, .filter = code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
}

static void filter_calls(struct aionif__sealing *sealing) {
    if (!wants(sealing, AIONIF_SEAL_FILTER)) {
        return;
    }
    long done = aionif__seal_install(sealing->seal, SECCOMP_FILTER_FLAG_TSYNC);
    if (done == 0) {
        aionif__seal_applied(sealing, AIONIF_SEAL_FILTER);
    } else if (done > 0) {
        aionif__seal_missing(sealing, AIONIF_SEAL_FILTER, 0,
                             "thread %ld has a filter that this one does not have", done);
    } else {
        aionif__seal_missing(sealing, AIONIF_SEAL_FILTER, errno, "the filter was refused");
    }
}

/* ---- all of it ---- */

/* The struct may come from another process: nothing in it is used as an index before this. */
bool aionif__seal_is_sound(const struct aionif_seal *seal) {
    bool sound = seal->size == sizeof *seal && seal->code_length <= AIONIF_SEAL_CODE &&
                 seal->own_pid_count <= AIONIF_SEAL_OWN_PIDS &&
                 seal->path_count <= AIONIF_SEAL_PATHS && seal->text[AIONIF_SEAL_TEXT - 1] == '\0';
    for (uint32_t i = 0; sound && i < seal->own_pid_count; i++) {
        sound = seal->own_pids[i] < seal->code_length;
    }
    for (uint32_t i = 0; sound && i < seal->path_count; i++) {
        sound = seal->paths[i].at < AIONIF_SEAL_TEXT;
    }
    return sound;
}

int aionif_seal(const struct aionif_seal *seal, struct aionif_seal_result *out) {
    struct aionif__sealing sealing = {.seal = seal, .out = out};
    memset(out, 0, sizeof *out);
    if (!aionif__seal_is_sound(seal)) {
        out->missing = ~0u;
        aionif__seal_note(out, 0, EINVAL, "the seal was made by another version of aionif");
        return 0;
    }
    check_threads(&sealing);
    sealing.address_space = address_space_used();
    if (may_go_on(&sealing)) {
        aionif__seal_namespaces(&sealing);
    }
    int ruleset = may_go_on(&sealing) ? prepare_landlock(&sealing) : -1;
    if (may_go_on(&sealing)) {
        take_root(&sealing);
        become_nobody(&sealing);
        separate_code_from_data();
        drop_privileges(&sealing);
        keep_secret(&sealing);
        set_limits(&sealing);
    }
    if (may_go_on(&sealing)) {
        apply_landlock(&sealing, ruleset);
    }
    if (may_go_on(&sealing)) {
        filter_calls(&sealing);
    }
    return may_go_on(&sealing);
}
