/* What is not a crash of a call must end the process exactly as it would without the core, with the
 * same signal or status. */
#include "crash.h"
#include "pool.h"
#include "process.h"

#include <pthread.h>

static struct aionif_failure failure;

/* ---- outside a call ---- */

static void outside(int sig) {
    slot_start();
    CHECK_EQUAL(door_run(crash, &failure), AIONIF_SIGNAL); /* handlers that have been used */
    process_ready();
    raise(sig);
}
static void outside_segv(void) { outside(SIGSEGV); }
static void outside_bus(void) { outside(SIGBUS); }
static void outside_fpe(void) { outside(SIGFPE); }
static void outside_ill(void) { outside(SIGILL); }
static void outside_trap(void) { outside(SIGTRAP); }
static void outside_abrt(void) { outside(SIGABRT); }
static void outside_sys(void) { outside(SIGSYS); }

static void outside_fault(void) {
    slot_start();
    process_ready();
    crash();
}
static void outside_abort(void) {
    slot_start();
    process_ready();
    abort();
}
static void outside_overflow(void) {
    slot_start();
    process_ready();
    crash_overflow();
}
static void outside_illegal(void) {
    slot_start();
    process_ready();
    __builtin_trap();
}

/* ---- other threads ---- */

static void *crash_as_thread(void *unused) {
    crash();
    return unused;
}
static void *overflow_as_thread(void *unused) {
    crash_overflow();
    return unused;
}
static void join_thread(void *(*function)(void *)) {
    pthread_t thread;
    pthread_create(&thread, NULL, function, NULL);
    pthread_join(thread, NULL);
}
static void foreign_thread(void) {
    slot_start();
    process_ready();
    join_thread(crash_as_thread);
}
static void foreign_thread_overflow(void) {
    slot_start();
    process_ready();
    join_thread(overflow_as_thread);
}
static void start_thread(void) { join_thread(crash_as_thread); }
static void thread_of_call(void) {
    slot_start();
    process_ready();
    door_run(start_thread, &failure);
}
static void thread_of_pooled_call(void) {
    slot_start();
    struct aionif_pool *pool = pool_open(pool_settings(1));
    process_ready();
    pool_run(pool, start_thread, &failure);
}

/* Only a call can be ended; a thread that it started ends the process, as it always did. */
static void *exit_as_thread(void *unused) {
    exit(11);
    return unused;
}
static void *underscore_exit_as_thread(void *unused) {
    _exit(12);
    return unused;
}
static void start_exit(void) { join_thread(exit_as_thread); }
static void start_underscore_exit(void) { join_thread(underscore_exit_as_thread); }
static void exit_in_pooled_call(void (*function)(void)) {
    slot_start();
    struct aionif_pool_settings settings = pool_settings(1);
    settings.contain_exit = 1;
    struct aionif_pool *pool = pool_open(settings);
    process_ready();
    pool_run(pool, function, &failure);
}
static void exit_of_thread(void) { exit_in_pooled_call(start_exit); }
static void underscore_exit_of_thread(void) { exit_in_pooled_call(start_underscore_exit); }

/* ---- signals that someone sends ---- */

static void be_killed(void) {
    pid_t child = fork();
    if (child == 0) {
        kill(getppid(), SIGSEGV);
        _exit(0);
    }
    for (;;) {
        pause();
    }
}
static void killed_in_call(void) {
    slot_start();
    process_ready();
    door_run(be_killed, &failure);
}
static void killed_in_pooled_call(void) {
    slot_start();
    struct aionif_pool *pool = pool_open(pool_settings(1));
    process_ready();
    pool_run(pool, be_killed, &failure);
}

static pthread_t main_thread;
static void *kill_main(void *unused) {
    pthread_kill(main_thread, SIGSEGV);
    return unused;
}
static void be_killed_by_thread(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, kill_main, NULL);
    for (volatile int turns = 0;; turns++) {
    }
}
static void killed_by_thread_in_call(void) {
    main_thread = pthread_self();
    slot_start();
    process_ready();
    door_run(be_killed_by_thread, &failure);
}

/* ---- forks ---- */

static int fork_and_crash(void) {
    pid_t child = fork();
    if (child == 0) {
        crash();
    }
    return process_status(child);
}
static int fork_and_exit(void) {
    pid_t child = fork();
    if (child == 0) {
        exit(5);
    }
    return process_status(child);
}
static int fork_and_underscore_exit(void) {
    pid_t child = fork();
    if (child == 0) {
        _exit(6);
    }
    return process_status(child);
}
static int run_system(void) { return system("exit 7"); }
static int vfork_and_execute(void) {
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/false", "false", (char *)NULL);
        _exit(127);
    }
    return process_status(child);
}

/* The result of a call of `function`, on a worker from which exit can't get out. */
static int result_on(struct aionif_pool *pool, int (*function)(void)) {
    struct pool_request *request = pool_request_of(pool, function);
    request->target.watch = 0;
    uint64_t call = pool_submit(request, 0, 0, 0, 0);
    return pool_wait(call, 20000) == AIONIF_EVENT_RETURNED ? (int)pool_result(call) : -1;
}

static void forks_in_call(void) {
    slot_start();
    struct aionif_pool_settings settings = pool_settings(1);
    settings.contain_exit = 1;
    struct aionif_pool *pool = pool_open(settings);
    int status = result_on(pool, fork_and_crash);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    status = result_on(pool, fork_and_exit);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
    status = result_on(pool, fork_and_underscore_exit);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 6);
    status = result_on(pool, run_system);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    door_inline(fork_and_crash);
    status = THROUGH(int(void))();
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    CHECK(pool_close(pool));
    process_ready();
    exit(42);
}

static void vfork_in_call(void) {
    slot_start();
    struct aionif_pool_settings settings = pool_settings(1);
    settings.contain_exit = 1;
    struct aionif_pool *pool = pool_open(settings);
    int status = result_on(pool, vfork_and_execute);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK(pool_close(pool));
    process_ready();
    exit(42);
}

static int answer(void) { return 4242; }

/* As Python's os.fork with its hook: the child starts anew. */
static void fork_in_parent(void) {
    slot_start();
    struct aionif_pool *pool = pool_open(pool_settings(2));
    CHECK_EQUAL(result_on(pool, answer), 4242);
    pid_t child = fork();
    if (child == 0) {
        aionif_forked();
        pool_port = NULL;
        pool_event_count = 0;
        struct aionif_pool *another = pool_open(pool_settings(2));
        CHECK_EQUAL(pool_run(another, crash, &failure), AIONIF_SIGNAL);
        CHECK_EQUAL(result_on(another, answer), 4242);
        CHECK_EQUAL(door_run(crash, &failure), AIONIF_SIGNAL);
        CHECK(pool_close(another));
        _exit(check_case_failures ? 1 : 43);
    }
    int status = process_status(child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 43);
    CHECK_EQUAL(pool_run(pool, crash, &failure), AIONIF_SIGNAL);
    CHECK_EQUAL(result_on(pool, answer), 4242);
    CHECK(pool_close(pool));
    process_ready();
    exit(44);
}

static void exit_outside(void) {
    slot_start();
    CHECK_EQUAL(door_run(crash, &failure), AIONIF_SIGNAL);
    process_ready();
    exit(9);
}

/* ---- a lock that an inline crash leaves held would stop the program for good ---- */

static void *sleep_on(void *unused) {
    pause();
    return unused;
}
static void inline_malloc_locked(void) {
    slot_start();
    pthread_t thread;
    pthread_create(&thread, NULL, sleep_on, NULL);
    process_ready();
    door_run(crash_with_malloc_locked, &failure);
}

/* ---- the table ---- */

static const struct process_case rows[] = {
    {"segv", outside_segv, BY_SIGNAL, SIGSEGV, 0, NULL, NULL},
    {"bus", outside_bus, BY_SIGNAL, SIGBUS, 0, NULL, NULL},
    {"fpe", outside_fpe, BY_SIGNAL, SIGFPE, 0, NULL, NULL},
    {"ill", outside_ill, BY_SIGNAL, SIGILL, 0, NULL, NULL},
    {"trap", outside_trap, BY_SIGNAL, SIGTRAP, 0, NULL, NULL},
    {"abrt", outside_abrt, BY_SIGNAL, SIGABRT, 0, NULL, NULL},
    {"sys", outside_sys, BY_SIGNAL, SIGSYS, 0, NULL, NULL},
    {"fault", outside_fault, BY_SIGNAL, SIGSEGV, 0, NULL, NULL},
    {"abort", outside_abort, BY_SIGNAL, SIGABRT, 0, NULL, NULL},
    {"overflow", outside_overflow, BY_SIGNAL, SIGSEGV, 0, NULL, NULL},
#if defined(__x86_64__)
    {"illegal", outside_illegal, BY_SIGNAL, SIGILL, 0, NULL, NULL},
#else
    {"illegal", outside_illegal, BY_SIGNAL, SIGTRAP, 0, NULL, NULL},
#endif
    {"foreign-thread", foreign_thread, BY_SIGNAL, SIGSEGV, 0, NULL, NULL},
    {"foreign-thread-overflow", foreign_thread_overflow, BY_SIGNAL, SIGSEGV, 0, NULL, NULL},
    {"thread-of-call", thread_of_call, BY_SIGNAL, SIGSEGV, 0, NULL, NULL},
    {"thread-of-pooled-call", thread_of_pooled_call, BY_SIGNAL, SIGSEGV, 0, NULL, NULL},
    {"exit-of-thread-of-call", exit_of_thread, BY_EXIT, 11, 0, NULL, NULL},
    {"_exit-of-thread-of-call", underscore_exit_of_thread, BY_EXIT, 12, 0, NULL, NULL},
    {"killed-in-call", killed_in_call, BY_SIGNAL, SIGSEGV, 0, NULL, NULL},
    {"killed-in-pooled-call", killed_in_pooled_call, BY_SIGNAL, SIGSEGV, 0, NULL, NULL},
    {"killed-by-thread-in-call", killed_by_thread_in_call, BY_SIGNAL, SIGSEGV, 0, NULL, NULL},
    {"forks-in-call", forks_in_call, BY_EXIT, 42, 0, "the emulator can't execute /bin/sh", NULL},
    {"vfork-in-call", vfork_in_call, BY_EXIT, 42, 0, "the emulator can't execute /bin/false",
     "ASan's vfork takes the call's stack for the thread's"},
    {"fork-in-parent", fork_in_parent, BY_EXIT, 44, 0, NULL, NULL},
    {"exit", exit_outside, BY_EXIT, 9, 0, NULL, NULL},
    {"inline-malloc-locked", inline_malloc_locked, BY_SIGNAL, SIGSEGV, 0, NULL,
     "ASan's malloc makes its own report"},
};

int main(int count, char **arguments) {
    return process_main(count, arguments, rows, sizeof rows / sizeof rows[0]);
}
