/* Each way to crash, inline and on a worker, twice in a row: the call ends with the signal, address
 * and backtrace that belong to it, and the next one runs. */
#include "crash.h"
#include "pool.h"

#include <alloca.h>
#include <assert.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>

/* Not static, so that dladdr() names them. */
#define TRIGGER __attribute__((noinline)) void
#define NOT_A_TAIL_CALL __asm__ volatile("")

#if defined(__x86_64__)
#define ILLEGAL "ud2"
#define BREAKPOINT "int3"
#define BREAKPOINT_CODE SI_KERNEL
/* A general protection fault: the processor does not say where. */
#define NON_CANONICAL 0x8000000000000000
#define NON_CANONICAL_CODE SI_KERNEL
#define NON_CANONICAL_REPORTED 0
#define LOSE_FRAME_POINTER "movq $64, %%rbp\n movl $0, 16"
#elif defined(__aarch64__)
#define ILLEGAL "udf #0"
#define BREAKPOINT "brk #0"
#define BREAKPOINT_CODE TRAP_BRKPT
#define NON_CANONICAL 0x00f0000000000000
#define NON_CANONICAL_CODE 0
#define NON_CANONICAL_REPORTED 1 /* any: emulators don't tell */
#define LOSE_FRAME_POINTER "mov x29, #64\n mov x0, #16\n str wzr, [x0]"
#endif

enum { WILD = 0x2bad0000b000 };

/* ---- triggers ---- */

TRIGGER segv_read(void) { (void)*(volatile int *)crash_opaque(0x10); }
TRIGGER segv_write(void) { *(volatile int *)crash_opaque(0x20) = 1; }
TRIGGER null_call(void) {
    ((void (*)(void))crash_opaque(0))();
    NOT_A_TAIL_CALL;
}
TRIGGER wild_jump(void) {
    ((void (*)(void))crash_opaque(WILD))();
    NOT_A_TAIL_CALL;
}
TRIGGER non_canonical(void) { (void)*(volatile int *)crash_opaque(NON_CANONICAL); }

static const int constant = 1;
TRIGGER read_only(void) { *(volatile int *)crash_opaque((uintptr_t)&constant) = 2; }

static int data = 1;
TRIGGER no_code(void) {
    ((void (*)(void))crash_opaque((uintptr_t)&data))();
    NOT_A_TAIL_CALL;
}

static char *past_end_of_file; /* one page of file under two of mapping */
static void map_file(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int file = memfd_create("short", MFD_CLOEXEC);
    bool grown = ftruncate(file, (off_t)page) == 0;
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    past_end_of_file = grown && pages != MAP_FAILED ? pages + page : NULL;
    close(file);
}
TRIGGER bus(void) { (void)*(volatile char *)past_end_of_file; }

TRIGGER divide(void) {
    volatile int one = 1, zero = 0;
    volatile int quotient = one / zero;
    (void)quotient;
}
TRIGGER illegal(void) { __asm__ volatile(ILLEGAL); }
TRIGGER breakpoint(void) { __asm__ volatile(BREAKPOINT); }

TRIGGER call_abort(void) { abort(); }
TRIGGER fail_assertion(void) { assert(data == 2); }
TRIGGER raise_fpe(void) {
    raise(SIGFPE);
    NOT_A_TAIL_CALL;
}
TRIGGER raise_segv(void) {
    raise(SIGSEGV);
    NOT_A_TAIL_CALL;
}
TRIGGER raise_sys(void) {
    raise(SIGSYS);
    NOT_A_TAIL_CALL;
}
TRIGGER double_free(void) {
    char *block = malloc(24);
    free(crash_opaque((uintptr_t)block));
    free(crash_opaque((uintptr_t)block));
    NOT_A_TAIL_CALL;
}

TRIGGER huge_frame(void) {
    volatile char frame[4 << 20];
    frame[0] = 1;
    __asm__ volatile("" ::"r"(frame) : "memory");
}
TRIGGER huge_alloca(void) {
    volatile char *frame = alloca((size_t)(uintptr_t)crash_opaque(3 << 20));
    frame[0] = 1;
}

static int compare_and_crash(const void *one, const void *other) {
    crash();
    return one == other;
}
TRIGGER crash_in_libc(void) {
    int numbers[3] = {3, 2, 1};
    qsort(numbers, 3, sizeof *numbers, compare_and_crash);
    NOT_A_TAIL_CALL;
}

/* The CFA of a function with alloca is its frame pointer's: the unwinder follows it and faults. */
TRIGGER lose_frame_pointer(void) {
    volatile char *frame = alloca((size_t)(uintptr_t)crash_opaque(64));
    frame[0] = 1;
    __asm__ volatile(LOSE_FRAME_POINTER ::: "memory");
}

static __attribute__((noinline)) void smash_upwards(void) {
    volatile char *byte = __builtin_frame_address(0);
    for (int i = 0; i < 512; i++) {
        byte[i] = 'A';
    }
    crash();
}
TRIGGER smash(void) {
    volatile char room[1024];
    __asm__ volatile("" ::"r"(room));
    smash_upwards();
    NOT_A_TAIL_CALL;
}

/* ---- the table ---- */

enum { INCOMPLETE = 0, COMPLETE = 1, UNKNOWN_BASE = 2 };

static const struct row {
    const char *name;
    void (*trigger)(void);
    int kind, signal;
    int code; /* 0: any */
    int has_address;
    uint64_t address; /* 1: any */
    int base;         /* does the backtrace reach it, through the trigger's own frame? */
} rows[] = {
    {"read", segv_read, AIONIF_SIGNAL, SIGSEGV, SEGV_MAPERR, 1, 0x10, COMPLETE},
    {"write", segv_write, AIONIF_SIGNAL, SIGSEGV, SEGV_MAPERR, 1, 0x20, COMPLETE},
    {"call of null", null_call, AIONIF_SIGNAL, SIGSEGV, SEGV_MAPERR, 1, 0, COMPLETE},
    {"wild jump", wild_jump, AIONIF_SIGNAL, SIGSEGV, SEGV_MAPERR, 1, WILD, COMPLETE},
    {"jump into data", no_code, AIONIF_SIGNAL, SIGSEGV, SEGV_ACCERR, 1, 1, COMPLETE},
    {"non-canonical address", non_canonical, AIONIF_SIGNAL, SIGSEGV, NON_CANONICAL_CODE, 1,
     NON_CANONICAL_REPORTED, COMPLETE},
    {"write to constant", read_only, AIONIF_SIGNAL, SIGSEGV, SEGV_ACCERR, 1, 1, COMPLETE},
    {"past the end of a file", bus, AIONIF_SIGNAL, SIGBUS, BUS_ADRERR, 1, 1, COMPLETE},
#if defined(__x86_64__)
    {"division by zero", divide, AIONIF_SIGNAL, SIGFPE, FPE_INTDIV, 1, 1, COMPLETE},
#endif
    {"illegal instruction", illegal, AIONIF_SIGNAL, SIGILL, 0, 1, 1, COMPLETE},
    {"breakpoint", breakpoint, AIONIF_SIGNAL, SIGTRAP, BREAKPOINT_CODE, 1, 1, COMPLETE},
    {"abort", call_abort, AIONIF_SIGNAL, SIGABRT, SI_TKILL, 0, 1, COMPLETE},
    {"assert", fail_assertion, AIONIF_SIGNAL, SIGABRT, SI_TKILL, 0, 1, COMPLETE},
    {"raise(SIGFPE)", raise_fpe, AIONIF_SIGNAL, SIGFPE, SI_TKILL, 0, 1, COMPLETE},
    {"raise(SIGSEGV)", raise_segv, AIONIF_SIGNAL, SIGSEGV, SI_TKILL, 0, 1, COMPLETE},
    {"raise(SIGSYS)", raise_sys, AIONIF_SIGNAL, SIGSYS, SI_TKILL, 0, 1, COMPLETE},
    {"recursion", crash_overflow, AIONIF_OVERFLOW, SIGSEGV, SEGV_ACCERR, 1, 1, INCOMPLETE},
    {"huge frame", huge_frame, AIONIF_OVERFLOW, SIGSEGV, SEGV_ACCERR, 1, 1, COMPLETE},
    {"huge alloca", huge_alloca, AIONIF_OVERFLOW, SIGSEGV, SEGV_ACCERR, 1, 1, COMPLETE},
    {"in a callback of libc", crash_in_libc, AIONIF_SIGNAL, SIGSEGV, SEGV_MAPERR, 1, 0x10,
     COMPLETE},
    {"frame pointer lost", lose_frame_pointer, AIONIF_SIGNAL, SIGSEGV, SEGV_MAPERR, 1, 16,
     INCOMPLETE},
    {"stack smashed", smash, AIONIF_SIGNAL, SIGSEGV, SEGV_MAPERR, 1, 0x10, INCOMPLETE},
};

static bool passes_through(const struct aionif_failure *failure, void (*function)(void)) {
    for (int i = 0; i < failure->frame_count; i++) {
        uintptr_t pc = failure->frames[i] - (failure->exact >> i & 1 ? 0 : 1);
        Dl_info info;
        if (dladdr((void *)pc, &info) && info.dli_saddr == (void *)function) {
            return true;
        }
    }
    return false;
}

static void check_failure(const struct row *row, int kind, const struct aionif_failure *failure) {
    CHECK_EQUAL(kind, row->kind);
    CHECK_EQUAL(failure->signal, row->signal);
    if (row->code) {
        CHECK_EQUAL(failure->code, row->code);
    }
    CHECK_EQUAL(failure->has_address, row->has_address);
    if (row->address != 1) {
        CHECK_EQUAL(failure->address, row->address);
    }
    CHECK(failure->frame_count > 0 && failure->frame_count <= AIONIF_FRAMES);
    CHECK_EQUAL(failure->complete, row->base == COMPLETE);
    if (row->base == COMPLETE) {
        CHECK(passes_through(failure, row->trigger));
    }
    CHECK(failure->exact & 1);
    CHECK_EQUAL(failure->has_registers, 1);
    CHECK_EQUAL(failure->displaced, 0);
    CHECK_EQUAL(failure->status, 0);
    CHECK(failure->reason[0] == '\0' || row->signal == SIGABRT);
    CHECK(failure->stack_size >= 256 * 1024);
    if (row->kind == AIONIF_OVERFLOW) {
        CHECK_EQUAL(failure->stack_used, failure->stack_size);
    }
}

static long answer(void) { return 42; }

static void test_row(const struct row *row, struct aionif_pool *pool) {
    struct aionif_failure failure;
    char name[80];
    snprintf(name, sizeof name, "%s, inline", row->name);
    check_case(name);
    for (int i = 0; i < 2; i++) {
        check_failure(row, door_run(row->trigger, &failure), &failure);
        CHECK_EQUAL(failure.thread, getpid());
    }
    CHECK_EQUAL(door_run(answer, &failure), 0);
    snprintf(name, sizeof name, "%s, on a worker", row->name);
    check_case(name);
    for (int i = 0; i < 2; i++) {
        check_failure(row, pool_run(pool, row->trigger, &failure), &failure);
        CHECK(failure.thread != getpid());
    }
    CHECK_EQUAL(pool_run(pool, answer, &failure), 0);
    check_end_case();
}

static int compare_and_crash_locked(const void *one, const void *other) {
    flockfile(stdout);
    return compare_and_crash(one, other);
}
TRIGGER crash_with_stdout_locked(void) {
    int numbers[3] = {3, 2, 1};
    qsort(numbers, 3, sizeof *numbers, compare_and_crash_locked); /* libc on the stack: proves */
    NOT_A_TAIL_CALL;
}

/* Recursive for its owner: another thread has to try. */
static void *try_stdout(void *unused) {
    bool free = ftrylockfile(stdout) == 0;
    if (free) {
        funlockfile(stdout);
    }
    return free ? try_stdout : unused;
}

static void test_stdout_locked(struct aionif_pool *pool) {
    check_case("stdout locked");
    struct aionif_failure failure;
    for (int i = 0; i < 4; i++) {
        CHECK_EQUAL(i % 2 ? pool_run(pool, crash_with_stdout_locked, &failure)
                          : door_run(crash_with_stdout_locked, &failure),
                    AIONIF_SIGNAL);
        CHECK_EQUAL(pool_run(pool, answer, &failure), 0); /* after the worker's proof */
        pthread_t thread;
        void *is_free = NULL;
        pthread_create(&thread, NULL, try_stdout, NULL);
        pthread_join(thread, &is_free);
        CHECK(is_free);
    }
    CHECK(aionif_taint() & AIONIF_TAINT_LOCK);
    CHECK_EQUAL(pool_statistics(pool).retired, 0);
}

/* Last, as it taints the process for good. */
static void test_double_free(struct aionif_pool *pool) {
    if (check_sanitized()) {
        check_exclude("double free", "ASan's malloc makes its own report of it");
        return;
    }
    check_case("double free");
    struct aionif_failure failure;
    CHECK_EQUAL(aionif_taint() & AIONIF_TAINT_HEAP, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(i ? pool_run(pool, double_free, &failure) : door_run(double_free, &failure),
                    AIONIF_SIGNAL);
        CHECK_EQUAL(failure.signal, SIGABRT);
        CHECK_EQUAL(failure.taint, AIONIF_TAINT_HEAP);
        CHECK(strstr(failure.reason, "double free") != NULL);
        CHECK(passes_through(&failure, double_free));
    }
    CHECK(aionif_taint() & AIONIF_TAINT_HEAP);
}

static void test_many(struct aionif_pool *pool) {
    check_case("many in a row");
    struct aionif_failure failure;
    int wrong = 0, count = check_emulated() ? 500 : 10000;
    for (int i = 0; i < count; i++) {
        wrong += door_run(segv_write, &failure) != AIONIF_SIGNAL;
        wrong += pool_run(pool, segv_read, &failure) != AIONIF_SIGNAL;
    }
    CHECK_EQUAL(wrong, 0);
    struct aionif_statistics statistics = pool_statistics(pool);
    CHECK_EQUAL(statistics.retired, 0);
    CHECK_EQUAL(statistics.abandoned, 0);
}

int main(void) {
    check_deadline(120);
    slot_start();
    map_file();
    struct aionif_pool *pool = pool_open(pool_settings(1));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row(&rows[i], pool);
    }
#if !defined(__x86_64__)
    check_exclude("division by zero", "it does not trap on this processor");
#endif
    test_many(pool);
    test_stdout_locked(pool);
    test_double_free(pool);
    CHECK(pool_close(pool));
    return check_report();
}
