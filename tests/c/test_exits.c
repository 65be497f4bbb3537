/* exit, _exit and forbidden system calls in a call on a worker end the call. */
#include "faults/exits.h"
#include "pool.h"

#include <sys/socket.h>
#include <sys/syscall.h>

static int handled;
static void on_exit_of_program(void) { handled++; }

static void call_exit(void) { exit(3); }
static void call_underscore_exit(void) { _exit(4); }
static void call_exit_group(void) { syscall(SYS_exit_group, 5); }
static void call_quick_exit(void) { quick_exit(6); }
static void call_exit_in_depth(void) {
    volatile char frame[1000];
    frame[0] = 1;
    call_exit();
    __asm__ volatile("" ::"r"(frame));
}

static const struct row {
    const char *name;
    void (*function)(void);
    int status;
    bool needs_filter;
    bool in_exit; /* and so not stopped where that holds a lock to its end */
} rows[] = {
    {"exit", call_exit, 3, false, true},
    {"exit further down", call_exit_in_depth, 3, false, true},
    {"_exit", call_underscore_exit, 4, true, false},
    {"syscall(SYS_exit_group)", call_exit_group, 5, true, false},
    {"quick_exit", call_quick_exit, AIONIF_NO_STATUS, true, true},
};

static long answer(void) { return 42; }

static void test_row(const struct row *row, struct aionif_pool *pool) {
    check_case(row->name);
    struct aionif_failure failure;
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(pool_run(pool, row->function, &failure), AIONIF_EXIT);
        CHECK_EQUAL(failure.status, row->status);
        CHECK(failure.frame_count > 0 && failure.complete);
        CHECK_EQUAL(handled, 0);
        CHECK_EQUAL(pool_run(pool, answer, &failure), 0);
    }
}

static int make_socket(void) { return socket(AF_UNIX, SOCK_STREAM, 0); }
static int make_pipe(void) {
    int ends[2];
    int failed = pipe(ends);
    if (!failed) {
        close(ends[0]);
        close(ends[1]);
    }
    return failed;
}

/* As many as there may be: the filter has room for them and for exit. */
static void test_denied(void) {
    check_case("forbidden system calls");
    struct aionif_pool_settings settings = pool_settings(1);
    settings.contain_exit = 1;
    settings.denied_count = AIONIF_SYSCALLS;
    for (int i = 0; i < AIONIF_SYSCALLS; i++) {
        settings.denied[i] = 100000 + i;
    }
    settings.denied[AIONIF_SYSCALLS - 1] = SYS_socket;
    struct aionif_pool *pool = pool_open(settings);
    struct aionif_failure failure;
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(pool_run(pool, make_socket, &failure), AIONIF_DENIED);
        CHECK_EQUAL(failure.syscall, SYS_socket);
        CHECK(failure.frame_count > 0 && failure.complete);
        CHECK_EQUAL(pool_run(pool, make_pipe, &failure), 0);
        CHECK_EQUAL(pool_run(pool, call_underscore_exit, &failure), AIONIF_EXIT);
    }
    int socket = make_socket(); /* the filter is the worker's alone */
    CHECK(socket >= 0);
    close(socket);
    CHECK(pool_close(pool));
}

int main(void) {
    check_deadline(60);
    atexit(on_exit_of_program);
    slot_start();
    struct aionif_pool_settings settings = pool_settings(1);
    settings.contain_exit = 1;
    struct aionif_pool *pool = pool_open(settings);
    struct aionif_failure failure;
    pool_run(pool, answer, &failure);
    bool filtered = !pool_noticed(AIONIF_CORE_NO_FILTER);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].in_exit && aionif__exits_hold_a_lock()) {
            check_exclude(rows[i].name, "exit() of this libc holds a lock to its end");
        } else if (rows[i].needs_filter && !filtered) {
            check_exclude(rows[i].name, "there is no seccomp here, or addresses are not random");
        } else {
            test_row(&rows[i], pool);
        }
    }
    if (filtered) {
        test_denied();
    } else {
        check_exclude("forbidden system calls", "there is no seccomp here");
    }
    CHECK_EQUAL(pool_statistics(pool).retired, 0);
    CHECK(pool_close(pool));
    return check_report();
}
