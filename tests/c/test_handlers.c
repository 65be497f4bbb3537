/* Handlers that others have installed, before the core or after it: each is called for a fault that
 * is not a call's, once, as if the core were not there; and calls are contained all the same. */
#include "crash.h"
#include "pool.h"
#include "process.h"

#include <setjmp.h>

static struct aionif_failure failure;

static struct sigaction older_action;
static sigjmp_buf place;

static void handle_and_leave(int sig) {
    process_say(PROCESS_WORD);
    _exit(sig == SIGSEGV ? 40 : PROCESS_SURVIVED);
}
static void handle_and_jump(int sig) {
    process_say(PROCESS_WORD);
    siglongjmp(place, sig);
}
static void handle_and_reset(int sig) {
    process_say(PROCESS_WORD);
    signal(sig, SIG_DFL);
}
/* As faulthandler does. */
static void handle_and_raise_again(int sig) {
    process_say(PROCESS_WORD);
    sigaction(sig, &older_action, NULL);
    raise(sig);
}
static void handle_and_chain(int sig, siginfo_t *info, void *context) {
    process_say(PROCESS_WORD);
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
    slot_start();
    call_is_contained();
    process_ready();
    crash();
}
static void before_jumping(void) {
    install(handle_and_jump, 0);
    slot_start();
    process_ready();
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
    slot_start();
    call_is_contained();
    process_ready();
    crash();
}
static void before_oneshot(void) {
    install(handle_and_jump, (int)SA_RESETHAND);
    slot_start();
    process_ready();
    sigsetjmp(place, 1);
    crash();
}
static void before_ignoring(void) {
    install(SIG_IGN, 0);
    slot_start();
    process_ready();
    raise(SIGSEGV);
    process_say("went on\n");
    crash();
}
static void after_chaining(void) {
    slot_start();
    install_chaining();
    call_is_contained();
    process_ready();
    crash();
}
static void after_raising(void) {
    slot_start();
    install(handle_and_raise_again, SA_ONSTACK | SA_NODEFER);
    call_is_contained();
    CHECK_EQUAL(failure.displaced, 1);
    CHECK_EQUAL(failure.has_address, 0);
    process_ready();
    crash();
}
static void after_raising_outside(void) {
    slot_start();
    install(handle_and_raise_again, SA_ONSTACK | SA_NODEFER);
    process_ready();
    crash();
}

static void sleep_a_while(void) { usleep(60000); }

/* The watchdog puts the core in front again while calls are under way. */
static void displaced(void (*install_theirs)(void)) {
    slot_start();
    struct aionif_pool *pool = pool_open(pool_settings(1));
    install_theirs();
    CHECK_EQUAL(pool_run(pool, sleep_a_while, &failure), 0);
    CHECK(pool_noticed(AIONIF_CORE_DISPLACED));
    CHECK_EQUAL(pool_run(pool, crash, &failure), AIONIF_SIGNAL);
    CHECK_EQUAL(failure.displaced, 0);
    CHECK(!pool_noticed(AIONIF_CORE_DISPLACED));
    process_ready();
    crash();
}
static void install_leaving(void) { install(handle_and_leave, 0); }
static void install_raising(void) { install(handle_and_raise_again, SA_ONSTACK | SA_NODEFER); }
static void displaced_by_leaving(void) { displaced(install_leaving); }
static void displaced_by_raising(void) { displaced(install_raising); }
static void displaced_by_chaining(void) { displaced(install_chaining); }

/* ---- the table ---- */

static const struct process_case rows[] = {
    {"before-leaving", before_leaving, BY_EXIT, 40, 1, NULL, NULL},
    {"before-jumping", before_jumping, BY_EXIT, 41, 3, NULL, NULL},
    {"before-resetting", before_resetting, BY_SIGNAL, SIGSEGV, 1, NULL, NULL},
    {"before-oneshot", before_oneshot, BY_SIGNAL, SIGSEGV, 1, NULL, NULL},
    {"before-ignoring", before_ignoring, BY_SIGNAL, SIGSEGV, 0, NULL, NULL},
    {"after-chaining", after_chaining, BY_SIGNAL, SIGSEGV, 2, NULL, NULL},
    {"after-raising", after_raising, BY_SIGNAL, SIGSEGV, 1, NULL, NULL},
    {"after-raising-outside", after_raising_outside, BY_SIGNAL, SIGSEGV, 1, NULL, NULL},
    {"displaced-by-leaving", displaced_by_leaving, BY_EXIT, 40, 1, NULL, NULL},
    {"displaced-by-raising", displaced_by_raising, BY_SIGNAL, SIGSEGV, 1, NULL, NULL},
    {"displaced-by-chaining", displaced_by_chaining, BY_SIGNAL, SIGSEGV, 1, NULL, NULL},
};

int main(int count, char **arguments) {
    return process_main(count, arguments, rows, sizeof rows / sizeof rows[0]);
}
