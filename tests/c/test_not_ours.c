/* What is not a crash of a call must end the process exactly as it would without the core: the same
 * signal or status, the same handlers, once each.
 *
 * Each case is a process of its own: this program, executed again. It prints a marker when all is
 * prepared, so that one which dies earlier does not pass. */
#include "crash.h"
#include "pool.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MARKER "ready\n"

static void ready(void) {
    ssize_t written = write(STDOUT_FILENO, MARKER, sizeof MARKER - 1);
    (void)written;
}

static void say(const char *text) {
    ssize_t written = write(STDOUT_FILENO, text, strlen(text));
    (void)written;
}

static struct aionif_failure failure;

/* So that a case which should have died, but did not, can't pass for one that did. */
enum { SURVIVED = 99 };

/* ---- outside a call ---- */

static void outside(int sig) {
    door_start();
    CHECK_EQUAL(door_run(crash, &failure), AIONIF_SIGNAL); /* handlers that have been used */
    ready();
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
    door_start();
    ready();
    crash();
}
static void outside_abort(void) {
    door_start();
    ready();
    abort();
}
static void outside_overflow(void) {
    door_start();
    ready();
    crash_overflow();
}
static void outside_illegal(void) {
    door_start();
    ready();
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
    door_start();
    ready();
    join_thread(crash_as_thread);
}
static void foreign_thread_overflow(void) {
    door_start();
    ready();
    join_thread(overflow_as_thread);
}
static void start_thread(void) { join_thread(crash_as_thread); }
static void thread_of_call(void) {
    door_start();
    ready();
    door_run(start_thread, &failure);
}
static void thread_of_pooled_call(void) {
    door_start();
    struct aionif_pool *pool = pool_open(pool_settings(1));
    ready();
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
    door_start();
    struct aionif_pool_settings settings = pool_settings(1);
    settings.contain_exit = 1;
    struct aionif_pool *pool = pool_open(settings);
    ready();
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
    door_start();
    ready();
    door_run(be_killed, &failure);
}
static void killed_in_pooled_call(void) {
    door_start();
    struct aionif_pool *pool = pool_open(pool_settings(1));
    ready();
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
    door_start();
    ready();
    door_run(be_killed_by_thread, &failure);
}

/* ---- handlers of others ---- */

static struct sigaction older_action;
static sigjmp_buf place;

static void handle_and_leave(int sig) {
    say("theirs\n");
    _exit(sig == SIGSEGV ? 40 : SURVIVED);
}
static void handle_and_jump(int sig) {
    say("theirs\n");
    siglongjmp(place, sig);
}
static void handle_and_reset(int sig) {
    say("theirs\n");
    signal(sig, SIG_DFL);
}
/* As faulthandler does. */
static void handle_and_raise_again(int sig) {
    say("theirs\n");
    sigaction(sig, &older_action, NULL);
    raise(sig);
}
static void handle_and_chain(int sig, siginfo_t *info, void *context) {
    say("theirs\n");
    if (older_action.sa_flags & SA_SIGINFO) {
        older_action.sa_sigaction(sig, info, context);
    } else {
        signal(sig, SIG_DFL);
        raise(sig);
    }
}
static void install(void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(SIGSEGV, &action, &older_action);
}
static void install_chaining(void) {
    struct sigaction action = {.sa_sigaction = handle_and_chain,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, &older_action);
}

static bool call_is_contained(void) {
    return CHECK_EQUAL(door_run(crash, &failure), AIONIF_SIGNAL) &&
           CHECK_EQUAL(failure.signal, SIGSEGV);
}

static void before_leaving(void) {
    install(handle_and_leave, 0);
    door_start();
    call_is_contained();
    ready();
    crash();
}
static void before_jumping(void) {
    install(handle_and_jump, 0);
    door_start();
    ready();
    volatile int jumps = 0;
    if (sigsetjmp(place, 1)) {
        jumps++;
    }
    if (jumps < 3) {
        crash();
    }
    call_is_contained();
    exit(41);
}
static void before_resetting(void) {
    install(handle_and_reset, 0);
    door_start();
    call_is_contained();
    ready();
    crash();
}
static void before_oneshot(void) {
    install(handle_and_jump, (int)SA_RESETHAND);
    door_start();
    ready();
    sigsetjmp(place, 1);
    crash();
}
static void before_ignoring(void) {
    install(SIG_IGN, 0);
    door_start();
    ready();
    raise(SIGSEGV);
    say("went on\n");
    crash();
}
static void after_chaining(void) {
    door_start();
    install_chaining();
    call_is_contained();
    ready();
    crash();
}
static void after_raising(void) {
    door_start();
    install(handle_and_raise_again, SA_ONSTACK | SA_NODEFER);
    call_is_contained();
    CHECK_EQUAL(failure.displaced, 1);
    CHECK_EQUAL(failure.has_address, 0);
    ready();
    crash();
}
static void after_raising_outside(void) {
    door_start();
    install(handle_and_raise_again, SA_ONSTACK | SA_NODEFER);
    ready();
    crash();
}

static void sleep_a_while(void) { usleep(60000); }

/* The watchdog puts the core in front again while calls are under way. */
static void displaced(void (*install_theirs)(void)) {
    door_start();
    struct aionif_pool *pool = pool_open(pool_settings(1));
    install_theirs();
    CHECK_EQUAL(pool_run(pool, sleep_a_while, &failure), 0);
    CHECK(pool_noticed(AIONIF_NOTICE_DISPLACED));
    CHECK_EQUAL(pool_run(pool, crash, &failure), AIONIF_SIGNAL);
    CHECK_EQUAL(failure.displaced, 0);
    CHECK(!pool_noticed(AIONIF_NOTICE_DISPLACED));
    ready();
    crash();
}
static void install_leaving(void) { install(handle_and_leave, 0); }
static void install_raising(void) { install(handle_and_raise_again, SA_ONSTACK | SA_NODEFER); }
static void displaced_by_leaving(void) { displaced(install_leaving); }
static void displaced_by_raising(void) { displaced(install_raising); }
static void displaced_by_chaining(void) { displaced(install_chaining); }

/* ---- forks ---- */

static int status_of(pid_t child) {
    int status = -1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}
static int fork_and_crash(void) {
    pid_t child = fork();
    if (child == 0) {
        crash();
    }
    return status_of(child);
}
static int fork_and_exit(void) {
    pid_t child = fork();
    if (child == 0) {
        exit(5);
    }
    return status_of(child);
}
static int fork_and_underscore_exit(void) {
    pid_t child = fork();
    if (child == 0) {
        _exit(6);
    }
    return status_of(child);
}
static int run_system(void) { return system("exit 7"); }
static int vfork_and_execute(void) {
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/false", "false", (char *)NULL);
        _exit(127);
    }
    return status_of(child);
}

/* The result of a call of `function`, on a worker from which exit can't get out. */
static int result_on(struct aionif_pool *pool, int (*function)(void)) {
    struct pool_request *request = pool_request_of(pool, function);
    request->target.watch = 0;
    uint64_t call = pool_submit(request, 0, 0, 0, 0);
    return pool_wait(call, 20000) == AIONIF_EVENT_RETURNED ? (int)pool_result(call) : -1;
}

static void forks_in_call(void) {
    door_start();
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
    ready();
    exit(42);
}

static void vfork_in_call(void) {
    door_start();
    struct aionif_pool_settings settings = pool_settings(1);
    settings.contain_exit = 1;
    struct aionif_pool *pool = pool_open(settings);
    int status = result_on(pool, vfork_and_execute);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK(pool_close(pool));
    ready();
    exit(42);
}

static int answer(void) { return 4242; }

/* As Python's os.fork with its hook: the child starts anew. */
static void fork_in_parent(void) {
    door_start();
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
        call_is_contained();
        CHECK(pool_close(another));
        _exit(check_case_failures ? 1 : 43);
    }
    int status = status_of(child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 43);
    CHECK_EQUAL(pool_run(pool, crash, &failure), AIONIF_SIGNAL);
    CHECK_EQUAL(result_on(pool, answer), 4242);
    CHECK(pool_close(pool));
    ready();
    exit(44);
}

static void exit_outside(void) {
    door_start();
    CHECK_EQUAL(door_run(crash, &failure), AIONIF_SIGNAL);
    ready();
    exit(9);
}

/* ---- a lock that an inline crash leaves held would stop the program for good ---- */

/* free() of a large block aborts with the arena's lock held, where there is more than one thread. */
static void crash_with_malloc_locked(void) {
    char *volatile block = malloc(8192);
    char *volatile fence = malloc(8192);
    free(crash_opaque((uintptr_t)block));
    free(crash_opaque((uintptr_t)block));
    free(fence);
}
static void *sleep_on(void *unused) {
    pause();
    return unused;
}
static void inline_malloc_locked(void) {
    door_start();
    pthread_t thread;
    pthread_create(&thread, NULL, sleep_on, NULL);
    ready();
    door_run(crash_with_malloc_locked, &failure);
}

/* ---- the table ---- */

enum { BY_SIGNAL = 0, BY_EXIT = 1, NOT_EMULATED = 2, NOT_SANITIZED = 4 };

static const struct row {
    const char *name;
    void (*run)(void);
    int flags;
    int wanted;          /* signal or exit status */
    int theirs;          /* how often their handler runs */
    const char *why_not; /* with NOT_...: the reason */
} rows[] = {
    {"segv", outside_segv, 0, SIGSEGV, 0, NULL},
    {"bus", outside_bus, 0, SIGBUS, 0, NULL},
    {"fpe", outside_fpe, 0, SIGFPE, 0, NULL},
    {"ill", outside_ill, 0, SIGILL, 0, NULL},
    {"trap", outside_trap, 0, SIGTRAP, 0, NULL},
    {"abrt", outside_abrt, 0, SIGABRT, 0, NULL},
    {"sys", outside_sys, 0, SIGSYS, 0, NULL},
    {"fault", outside_fault, 0, SIGSEGV, 0, NULL},
    {"abort", outside_abort, 0, SIGABRT, 0, NULL},
    {"overflow", outside_overflow, 0, SIGSEGV, 0, NULL},
#if defined(__x86_64__)
    {"illegal", outside_illegal, 0, SIGILL, 0, NULL},
#else
    {"illegal", outside_illegal, 0, SIGTRAP, 0, NULL},
#endif
    {"foreign-thread", foreign_thread, 0, SIGSEGV, 0, NULL},
    {"foreign-thread-overflow", foreign_thread_overflow, 0, SIGSEGV, 0, NULL},
    {"thread-of-call", thread_of_call, 0, SIGSEGV, 0, NULL},
    {"thread-of-pooled-call", thread_of_pooled_call, 0, SIGSEGV, 0, NULL},
    {"exit-of-thread-of-call", exit_of_thread, BY_EXIT, 11, 0, NULL},
    {"_exit-of-thread-of-call", underscore_exit_of_thread, BY_EXIT, 12, 0, NULL},
    {"killed-in-call", killed_in_call, 0, SIGSEGV, 0, NULL},
    {"killed-in-pooled-call", killed_in_pooled_call, 0, SIGSEGV, 0, NULL},
    {"killed-by-thread-in-call", killed_by_thread_in_call, 0, SIGSEGV, 0, NULL},
    {"before-leaving", before_leaving, BY_EXIT, 40, 1, NULL},
    {"before-jumping", before_jumping, BY_EXIT, 41, 3, NULL},
    {"before-resetting", before_resetting, 0, SIGSEGV, 1, NULL},
    {"before-oneshot", before_oneshot, 0, SIGSEGV, 1, NULL},
    {"before-ignoring", before_ignoring, 0, SIGSEGV, 0, NULL},
    {"after-chaining", after_chaining, 0, SIGSEGV, 2, NULL},
    {"after-raising", after_raising, 0, SIGSEGV, 1, NULL},
    {"after-raising-outside", after_raising_outside, 0, SIGSEGV, 1, NULL},
    {"displaced-by-leaving", displaced_by_leaving, BY_EXIT, 40, 1, NULL},
    {"displaced-by-raising", displaced_by_raising, 0, SIGSEGV, 1, NULL},
    {"displaced-by-chaining", displaced_by_chaining, 0, SIGSEGV, 1, NULL},
    {"forks-in-call", forks_in_call, BY_EXIT | NOT_EMULATED, 42, 0,
     "the emulator can't execute /bin/sh"},
    {"vfork-in-call", vfork_in_call, BY_EXIT | NOT_EMULATED | NOT_SANITIZED, 42, 0,
     "the emulator can't execute /bin/false; ASan's vfork takes the call's stack for the thread's"},
    {"fork-in-parent", fork_in_parent, BY_EXIT, 44, 0, NULL},
    {"exit", exit_outside, BY_EXIT, 9, 0, NULL},
    {"inline-malloc-locked", inline_malloc_locked, NOT_SANITIZED, SIGABRT, 0,
     "ASan's malloc makes its own report"},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static int run_case(const char *name) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    for (int i = 0; i < ROWS; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            check_case(name);
            rows[i].run();
        }
    }
    return SURVIVED;
}

/* The emulator can't execute this program again; its parent has not touched the core, so that a fork
 * is as good as new. */
static pid_t start_case(const struct row *row, int output) {
    pid_t child = fork();
    if (child == 0) {
        dup2(output, STDOUT_FILENO);
        dup2(output, STDERR_FILENO);
        if (!check_emulated()) {
            execl("/proc/self/exe", program_invocation_name, row->name, (char *)NULL);
        }
        check_deadline(20);
        _exit(run_case(row->name));
    }
    return child;
}

static void read_all(int input, char *text, size_t room) {
    size_t length = 0;
    ssize_t got;
    while (length < room - 1 && (got = read(input, text + length, room - 1 - length)) > 0) {
        length += (size_t)got;
    }
    text[length] = '\0';
}

static int count_of(const char *text, const char *part) {
    int count = 0;
    while ((text = strstr(text, part))) {
        count++;
        text += strlen(part);
    }
    return count;
}

static void check_row(const struct row *row) {
    static char output[65536];
    int ends[2];
    check_case(row->name);
    if (pipe(ends) != 0) {
        check_fail(__FILE__, __LINE__, "a pipe", NULL, 0, 0);
        return;
    }
    pid_t child = start_case(row, ends[1]);
    close(ends[1]);
    read_all(ends[0], output, sizeof output);
    close(ends[0]);
    int status = status_of(child);
    bool by_exit = row->flags & BY_EXIT;
    bool good = CHECK_EQUAL(by_exit ? WIFEXITED(status) : WIFSIGNALED(status), true) &&
                CHECK_EQUAL(by_exit ? WEXITSTATUS(status) : WTERMSIG(status), row->wanted);
    good &= CHECK_EQUAL(count_of(output, MARKER), 1);
    good &= CHECK_EQUAL(count_of(output, "theirs\n"), row->theirs);
    good &= CHECK_EQUAL(count_of(output, ".c:"), 0); /* no check failed in the child */
    good &= CHECK(by_exit || !WCOREDUMP(status));
    if (!good) {
        printf("%s: status %x, output:\n%s\n", row->name, status, output);
    }
}

int main(int count, char **arguments) {
    if (count > 1) {
        check_deadline(20);
        return run_case(arguments[1]);
    }
    check_deadline(200);
    for (int i = 0; i < ROWS; i++) {
        if ((rows[i].flags & NOT_EMULATED && check_emulated()) ||
            (rows[i].flags & NOT_SANITIZED && check_sanitized())) {
            check_exclude(rows[i].name, rows[i].why_not);
        } else {
            check_row(&rows[i]);
        }
    }
    return check_report();
}
