/* Cases that end the process, each in one of its own: this program, executed again with the name of
 * the case. The case prints a marker when all is prepared, so that one which dies earlier does not
 * pass, and the exact wait status is checked. */
#ifndef PROCESS_H
#define PROCESS_H
#include "check.h"

#include <sys/resource.h>
#include <sys/wait.h>

/* How a case ends that should have died, but did not: it can't pass for one that exits by itself. */
enum { PROCESS_SURVIVED = 99 };
enum process_end { BY_SIGNAL = 0, BY_EXIT = 1 };

struct process_case {
    const char *name;
    void (*run)(void);
    enum process_end end;
    int wanted;                               /* signal or exit status */
    int said;                                 /* how often it says PROCESS_WORD */
    const char *not_emulated, *not_sanitized; /* why it can't be; NULL: it can */
};

#define PROCESS_MARKER "ready\n"
#define PROCESS_WORD "theirs\n"

static inline void process_say(const char *text) {
    ssize_t written = write(STDOUT_FILENO, text, strlen(text));
    (void)written;
}

static inline void process_ready(void) { process_say(PROCESS_MARKER); }

static inline int process_status(pid_t child) {
    int status = -1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

static inline int process_run(const struct process_case *row) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    check_deadline(20);
    check_case(row->name);
    row->run();
    return PROCESS_SURVIVED;
}

/* The emulator can't execute this program again. Its parent has not touched the core, so that a
 * fork is as good as new. */
static inline pid_t process_start(const struct process_case *row, int output) {
    pid_t child = fork();
    if (child == 0) {
        dup2(output, STDOUT_FILENO);
        dup2(output, STDERR_FILENO);
        if (!check_emulated()) {
            execl("/proc/self/exe", program_invocation_name, row->name, (char *)NULL);
        }
        _exit(process_run(row));
    }
    return child;
}

static inline void process_read(int input, char *text, size_t room) {
    size_t length = 0;
    ssize_t got;
    while (length < room - 1 && (got = read(input, text + length, room - 1 - length)) > 0) {
        length += (size_t)got;
    }
    text[length] = '\0';
}

static inline int process_count(const char *text, const char *part) {
    int count = 0;
    while ((text = strstr(text, part))) {
        count++;
        text += strlen(part);
    }
    return count;
}

static inline void process_check(const struct process_case *row) {
    static char output[65536];
    int ends[2];
    check_case(row->name);
    if (pipe(ends) != 0) {
        check_fail(__FILE__, __LINE__, "a pipe", NULL, 0, 0);
        return;
    }
    pid_t child = process_start(row, ends[1]);
    close(ends[1]);
    process_read(ends[0], output, sizeof output);
    close(ends[0]);
    int status = process_status(child);
    bool exits = row->end == BY_EXIT;
    bool good = CHECK_EQUAL(exits ? WIFEXITED(status) : WIFSIGNALED(status), true) &&
                CHECK_EQUAL(exits ? WEXITSTATUS(status) : WTERMSIG(status), row->wanted);
    good &= CHECK_EQUAL(process_count(output, PROCESS_MARKER), 1);
    good &= CHECK_EQUAL(process_count(output, PROCESS_WORD), row->said);
    good &= CHECK_EQUAL(process_count(output, ".c:"), 0); /* no check failed in the child */
    good &= CHECK(exits || !WCOREDUMP(status));
    if (!good) {
        printf("%s: status %x, output:\n%s\n", row->name, status, output);
    }
}

/* main: all cases, or the one that is named. */
static inline int process_main(int argument_count, char **arguments,
                               const struct process_case *rows, size_t count) {
    for (size_t i = 0; argument_count > 1 && i < count; i++) {
        if (strcmp(rows[i].name, arguments[1]) == 0) {
            return process_run(&rows[i]);
        }
    }
    check_deadline(200);
    for (size_t i = 0; i < count; i++) {
        if (check_emulated() && rows[i].not_emulated) {
            check_exclude(rows[i].name, rows[i].not_emulated);
        } else if (check_sanitized() && rows[i].not_sanitized) {
            check_exclude(rows[i].name, rows[i].not_sanitized);
        } else {
            process_check(&rows[i]);
        }
    }
    return check_report();
}
#endif
