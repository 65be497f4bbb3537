/* The least that a test of the core needs: cases that are counted, checks that say what they saw,
 * and a deadline, as the failure of a core like this one is often that nothing happens any more. */
#ifndef CHECK_H
#define CHECK_H
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static const char *check_case_name;
static _Atomic int check_case_failures;
static int check_passed, check_failed, check_excluded;

#define CHECK(condition)                                                                           \
    ((condition) ? true : check_fail(__FILE__, __LINE__, #condition, NULL, 0, 0))
#define CHECK_EQUAL(got, wanted)                                                                   \
    check_equal(__FILE__, __LINE__, #got, #wanted, (int64_t)(got), (int64_t)(wanted))

static inline bool check_fail(const char *file, int line, const char *what, const char *wanted,
                              int64_t got, int64_t expected) {
    check_case_failures++;
    if (wanted) {
        printf("%s:%d: %s: %s is %" PRId64 ", not %s (%" PRId64 ")\n", file, line, check_case_name,
               what, got, wanted, expected);
    } else {
        printf("%s:%d: %s: not so: %s\n", file, line, check_case_name, what);
    }
    return false;
}

static inline bool check_equal(const char *file, int line, const char *what, const char *wanted,
                               int64_t got, int64_t expected) {
    return got == expected || check_fail(file, line, what, wanted, got, expected);
}

static inline void check_end_case(void) {
    if (check_case_name) {
        *(check_case_failures ? &check_failed : &check_passed) += 1;
    }
    check_case_failures = 0;
    check_case_name = NULL;
}

static inline void check_case(const char *name) {
    check_end_case();
    check_case_name = name;
    if (getenv("CHECK_VERBOSE")) {
        printf("%s\n", name);
    }
}

/* A case that can't run here is named with its reason, never left out in silence. */
static inline void check_exclude(const char *name, const char *reason) {
    check_end_case();
    printf("excluded: %s: %s\n", name, reason);
    check_excluded++;
}

/* The default action, so that it also ends a program whose handlers and exits are under test. */
static inline void check_on_alarm(int sig) {
    static const char text[] = ": the deadline has passed in case: ";
    const char *name = check_case_name ? check_case_name : "(none)";
    ssize_t written =
        write(STDERR_FILENO, program_invocation_short_name, strlen(program_invocation_short_name));
    written += write(STDERR_FILENO, text, sizeof text - 1);
    written += write(STDERR_FILENO, name, strlen(name));
    written += write(STDERR_FILENO, "\n", 1);
    (void)written;
    signal(sig, SIG_DFL);
    kill(getpid(), sig);
}

static inline void check_deadline(unsigned seconds) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGALRM, check_on_alarm);
    alarm(seconds);
}

static inline int check_report(void) {
    check_end_case();
    printf("%s: %d passed, %d failed, %d excluded\n", program_invocation_short_name, check_passed,
           check_failed, check_excluded);
    return check_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* qemu-user, which is slow and lacks seccomp and execve of a foreign program: the kernel knows the
 * process by the emulator's name. */
static inline bool check_emulated(void) {
    static int known = -1;
    if (known < 0) {
        char name[17] = "";
        prctl(PR_GET_NAME, name);
        known = strncmp(name, "qemu-", 5) == 0;
    }
    return known;
}

/* ASan is linked into the program when the core is instrumented; the tests never are. */
extern void __asan_init(void) __attribute__((weak));
static inline bool check_sanitized(void) { return __asan_init != NULL; }

static inline int64_t check_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
}

/* xorshift: the same numbers in each run, so that a failure comes again. */
static inline uint64_t check_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}
#endif
