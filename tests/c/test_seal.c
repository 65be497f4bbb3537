/* A seal in C alone, as a worker that runs no Python applies it. The policies are hand-made here; what
 * the real ones allow is tested from Python. */
#include "process.h"

#include "core.h"
#include "faults/fault.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static struct aionif_seal seal;
static struct aionif_seal_result result;

static void add(struct sock_filter instruction) {
    memcpy(&seal.code[seal.code_length++], &instruction, sizeof instruction);
}

static void give(uint32_t outcome) { add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, outcome)); }

/* kill() for this process alone; getpgid() never; all else as before. */
static void begin(uint32_t parts) {
    memset(&seal, 0, sizeof seal);
    seal.size = sizeof seal;
    seal.wanted = seal.required = parts;
    for (int i = 0; i < AIONIF_SEAL_LIMITS; i++) {
        seal.limits[i] = -1;
    }
    add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kill, 0, 3));
    add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                     offsetof(struct seccomp_data, args[0])));
    seal.own_pids[seal.own_pid_count++] = seal.code_length;
    add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2));
    give(SECCOMP_RET_ALLOW);
    add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 0, 1));
    give(SECCOMP_RET_TRAP | AIONIF_SEAL_MARK);
    give(SECCOMP_RET_ALLOW);
}

static void case_denied(void) {
    CHECK(aionif__fault_start() == NULL);
    begin(AIONIF_SEAL_FILTER);
    CHECK(aionif_seal(&seal, &result));
    CHECK_EQUAL(result.applied, AIONIF_SEAL_FILTER);
    CHECK_EQUAL(result.missing, 0);
    CHECK_EQUAL(kill(getpid(), 0), 0);
    process_ready();
    getpgid(0); /* outside of any call */
}

static void case_own_pid(void) {
    CHECK(aionif__fault_start() == NULL);
    begin(AIONIF_SEAL_FILTER);
    CHECK(aionif_seal(&seal, &result));
    process_ready();
    kill(getppid(), 0);
}

static void case_limits(void) {
    begin(AIONIF_SEAL_RLIMITS | AIONIF_SEAL_SECRECY | AIONIF_SEAL_FILTER);
    seal.limits[1] = 10;  /* open files */
    seal.limits[2] = 100; /* bytes of a file */
    CHECK(aionif_seal(&seal, &result));
    struct rlimit now;
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &now), 0);
    CHECK_EQUAL(now.rlim_max, 10);
    CHECK_EQUAL(prctl(PR_GET_DUMPABLE), 0);
    process_ready();
    while (dup(STDOUT_FILENO) >= 0) {
    }
    _exit(errno == EMFILE ? 0 : 1);
}

/* A worker without a sandbox may have limits; the programs it starts keep their rights. */
static void case_limits_alone(void) {
    begin(AIONIF_SEAL_RLIMITS);
    seal.limits[1] = 10;
    CHECK(aionif_seal(&seal, &result));
    process_ready();
    CHECK_EQUAL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    CHECK(prctl(PR_GET_SECCOMP) <= 0); /* an emulator may not know it */
    _exit(0);
}

static void case_paths(void) {
    begin(AIONIF_SEAL_FILES | AIONIF_SEAL_FILTER);
    strcpy(seal.text + 3, "/proc");
    seal.paths[seal.path_count++] = (struct aionif_seal_path){AIONIF_SEAL_READ, 3};
    CHECK(aionif_seal(&seal, &result));
    CHECK_EQUAL(result.landlock, aionif_landlock_version());
    process_ready();
    CHECK(open("/proc/self/status", O_RDONLY) >= 0);
    CHECK_EQUAL(open("/etc/passwd", O_RDONLY), -1);
    _exit(errno == EACCES ? 0 : 1);
}

static long look(int file, const void *path, void *buffer) {
    return syscall(SYS_newfstatat, file, path, buffer, AT_EMPTY_PATH) == 0 ? 0 : errno;
}

/* What is trapped for a handler to answer: as fstat(), or not at all. */
static void case_fstat(void) {
    CHECK(aionif__fault_start() == NULL);
    begin(AIONIF_SEAL_FILTER);
    seal.code_length = seal.own_pid_count = 0;
    add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_newfstatat, 0, 1));
    give(SECCOMP_RET_TRAP | AIONIF_SEAL_FSTAT);
    give(SECCOMP_RET_ALLOW);
    CHECK(aionif_seal(&seal, &result));
    process_ready();
    struct stat status;
    int file = open("/proc/self/exe", O_RDONLY);
    CHECK_EQUAL(look(file, "", &status), 0);
    CHECK(S_ISREG(status.st_mode));
    CHECK_EQUAL(look(file, NULL, &status), 0);
    CHECK_EQUAL(look(file, "/etc/passwd", &status), EACCES);
    CHECK_EQUAL(look(file, (void *)16, &status), EFAULT);
    CHECK_EQUAL(look(file, "", NULL), EFAULT);
    CHECK_EQUAL(look(-1, "", &status), EBADF);
    _exit(0);
}

static void refused(const char *what) {
    check_case(what);
    CHECK_EQUAL(aionif_seal(&seal, &result), 0);
    CHECK_EQUAL(result.applied, 0);
    CHECK_EQUAL(result.note_count, 1);
    CHECK_EQUAL(aionif_seal_listen(&seal, -1), EINVAL);
    begin(AIONIF_SEAL_FILTER);
}

/* Nothing of these is applied, so they need no process of their own. */
static void test_unsound(void) {
    begin(AIONIF_SEAL_FILTER);
    seal.size--;
    refused("another size");
    seal.code_length = AIONIF_SEAL_CODE + 1;
    refused("a filter too long");
    seal.own_pids[0] = seal.code_length;
    refused("a place behind the filter");
    seal.own_pid_count = AIONIF_SEAL_OWN_PIDS + 1;
    refused("too many places");
    seal.path_count = 1;
    seal.paths[0].at = AIONIF_SEAL_TEXT;
    refused("a path behind the text");
    seal.path_count = AIONIF_SEAL_PATHS + 1;
    refused("too many paths");
    memset(seal.text, 'x', sizeof seal.text);
    refused("text without an end");
}

#define NO_SECCOMP "the emulator knows no seccomp"
#define NO_LANDLOCK "the emulator knows no Landlock"

static const struct process_case rows[] = {
    {"denied", case_denied, BY_SIGNAL, SIGSYS, 0, NO_SECCOMP, NULL},
    {"another's pid", case_own_pid, BY_SIGNAL, SIGSYS, 0, NO_SECCOMP, NULL},
    {"limits", case_limits, BY_EXIT, 0, 0, NO_SECCOMP, NULL},
    {"limits alone", case_limits_alone, BY_EXIT, 0, 0, NULL, NULL},
    {"fstat", case_fstat, BY_EXIT, 0, 0, NO_SECCOMP, NULL},
    {"paths", case_paths, BY_EXIT, 0, 0, NO_LANDLOCK, NULL},
};

int main(int argument_count, char **arguments) {
    if (argument_count == 1) {
        test_unsound();
    }
    return process_main(argument_count, arguments, rows, sizeof rows / sizeof rows[0]);
}
