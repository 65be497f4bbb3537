/* Exceptions that reach the base of a call end the call. They are raised here as a C++ or Rust
 * runtime does it, by the unwinder both share; the languages themselves are tested from Python. */
#include "pool.h"

#include <pthread.h>
#include <unwind.h>

static int cleanups;
static void count_cleanup(int *unused) {
    (void)unused;
    cleanups++;
}

struct thrown {
    struct _Unwind_Exception header;
    /* Rust's payload: what unwind.c calls a canary, data and vtable. */
    const void *canary, *data, *vtable;
};
static struct thrown thrown;

static __attribute__((noinline)) void throw(void) {
    _Unwind_RaiseException(&thrown.header);
    abort(); /* it returns only if nobody catches it */
}
static void throw_through_cleanup(void) {
    __attribute__((cleanup(count_cleanup))) int cleaned = 0;
    throw();
}

static void prepare(const char class[8], const void *data, const void *vtable) {
    thrown = (struct thrown){.data = data, .vtable = vtable};
    memcpy(&thrown.header.exception_class, class, 8);
}
static const char foreign_class[8] = "TESTTEST", cxx_class[8] = "\0++CCUNG",
                  rust_class[8] = "MOZ\0RUST", rust_class_swapped[8] = "TSUR\0ZOM";

static void check_panic(int kind, const struct aionif_failure *failure, int language) {
    CHECK_EQUAL(kind, AIONIF_PANIC);
    CHECK_EQUAL(failure->language, language);
    CHECK_EQUAL(failure->signal, 0);
    CHECK_EQUAL(failure->has_address, 0);
}

static long answer(void) { return 42; }

static void test_thrown(struct aionif_pool *pool) {
    check_case("a foreign exception and a C++ one");
    struct aionif_failure failure;
    cleanups = 0;
    for (int i = 0; i < 4; i++) {
        prepare(i % 2 ? cxx_class : foreign_class, NULL, NULL);
        int language = i % 2 ? AIONIF_LANGUAGE_CXX : AIONIF_LANGUAGE_C;
        check_panic(door_run(throw_through_cleanup, &failure), &failure, language);
        check_panic(pool_run(pool, throw_through_cleanup, &failure), &failure, language);
        CHECK_EQUAL(failure.reason[0], 0);
        CHECK_EQUAL(cleanups, 2 * i + 2);
    }
    CHECK_EQUAL(door_run(answer, &failure), 0);
    CHECK_EQUAL(pool_run(pool, answer, &failure), 0);
    CHECK_EQUAL(pool_statistics(pool).started, 1);
}

/* ---- Rust ---- */

struct vtable {
    const void *drop;
    uintptr_t size, alignment;
};
static const struct vtable str_vtable = {NULL, 16, 8}, string_vtable = {&str_vtable, 24, 8};
static const struct vtable other_vtable = {NULL, 4, 4};

static void test_rust_text(void) {
    check_case("the text of a Rust panic");
    struct aionif_failure failure;
    static const char text[] = "index out of bounds: the len is 3 but the index is 7 (and more)";
    const uintptr_t literal[2] = {(uintptr_t)text, 52};
    const uintptr_t strings[3][3] = {
        {64, (uintptr_t)text, 52}, {(uintptr_t)text, 64, 52}, {64, 52, (uintptr_t)text}};
    for (int i = 0; i < 4; i++) {
        prepare(i % 2 ? rust_class : rust_class_swapped, i ? strings[i - 1] : literal,
                i ? &string_vtable : &str_vtable);
        check_panic(door_run(throw_through_cleanup, &failure), &failure, AIONIF_LANGUAGE_RUST);
        CHECK(strlen(failure.reason) == 52 && strncmp(failure.reason, text, 52) == 0);
    }
    static char long_text[5000];
    memset(long_text, 'x', sizeof long_text);
    const uintptr_t long_literal[2] = {(uintptr_t)long_text, sizeof long_text};
    prepare(rust_class, long_literal, &str_vtable);
    check_panic(door_run(throw_through_cleanup, &failure), &failure, AIONIF_LANGUAGE_RUST);
    CHECK_EQUAL(strlen(failure.reason), AIONIF_TEXT - 1);
    CHECK(strcmp(failure.reason + AIONIF_TEXT - 4, "...") == 0);
}

/* Nothing of the layout is promised: reading it must never cost more than the text. */
static void test_rust_garbage(void) {
    check_case("a Rust panic that is not what it seems");
    struct aionif_failure failure;
    const uintptr_t wild[3] = {0x1234567, 0x2bad0000b000, 0x10};
    const void *const payloads[][2] = {{NULL, NULL},
                                       {wild, (void *)0x10},
                                       {(void *)0x10, &str_vtable},
                                       {wild, &string_vtable},
                                       {wild, &other_vtable}};
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        prepare(rust_class, payloads[i][0], payloads[i][1]);
        check_panic(door_run(throw_through_cleanup, &failure), &failure, AIONIF_LANGUAGE_RUST);
    }
    CHECK_EQUAL(door_run(answer, &failure), 0);
}

/* Rust counts panics per thread, and this one is never seen to end. */
static void test_rust_thread(struct aionif_pool *pool) {
    check_case("a thread that a Rust panic went through is replaced");
    struct aionif_failure failure;
    const uintptr_t literal[2] = {(uintptr_t)"text", 4};
    uint64_t before = pool_statistics(pool).started;
    for (uint64_t i = 1; i <= 2; i++) {
        prepare(rust_class, literal, &str_vtable);
        check_panic(pool_run(pool, throw_through_cleanup, &failure), &failure,
                    AIONIF_LANGUAGE_RUST);
        CHECK(strcmp(failure.reason, "text") == 0);
        CHECK_EQUAL(pool_run(pool, answer, &failure), 0);
        CHECK_EQUAL(pool_statistics(pool).started, before + i);
    }
    CHECK_EQUAL(pool_statistics(pool).workers, 1);
}

/* ---- forced unwinding ---- */

static void exit_thread(void) {
    __attribute__((cleanup(count_cleanup))) int cleaned = 0;
    pthread_exit(NULL);
}
static void cancel_thread(void) {
    __attribute__((cleanup(count_cleanup))) int cleaned = 0;
    pthread_cancel(pthread_self());
    pthread_testcancel();
    abort();
}

static void test_forced(struct aionif_pool *pool) {
    check_case("pthread_exit and thread cancellation");
    struct aionif_failure failure;
    cleanups = 0;
    for (int i = 0; i < 4; i++) {
        int kind =
            i % 2 ? pool_run(pool, cancel_thread, &failure) : pool_run(pool, exit_thread, &failure);
        check_panic(kind, &failure, AIONIF_LANGUAGE_C);
        CHECK(strstr(failure.reason, "pthread_exit") != NULL);
        CHECK_EQUAL(cleanups, i + 1);
        CHECK_EQUAL(pool_run(pool, answer, &failure), 0);
    }
    CHECK_EQUAL(pool_statistics(pool).workers, 1);
    CHECK_EQUAL(pool_statistics(pool).retired, 0);
    CHECK_EQUAL(pool_statistics(pool).abandoned, 0);
}

int main(void) {
    check_deadline(60);
    slot_start();
    struct aionif_pool *pool = pool_open(pool_settings(1));
    test_thrown(pool);
    test_rust_text();
    test_rust_garbage();
    test_rust_thread(pool);
    test_forced(pool);
    CHECK(pool_close(pool));
    return check_report();
}
