/* libc finds the heap corrupt and aborts with a heap's lock held: the lock is given back, by the thread
 * that holds it and no other, whoever else is about it at the same time. */
#include "crash.h"
#include "pool.h"

#include "faults/arenas.h"

#include <malloc.h>
#include <pthread.h>

enum { SIZE = 8192, WORKERS = 4, ROUNDS = 12, NOT_MAIN_ARENA = 4 };

static aionif__lock_word *locks[AIONIF__ARENAS];
static pthread_barrier_t together;

static void free_twice(void) {
    void *volatile block = malloc(SIZE), *volatile fence = malloc(SIZE);
    free(block);
    free(crash_opaque((uintptr_t)block));
    free(fence);
}

/* A free block does not say which heap it is of, so the main one would be asked. */
static void free_twice_in_own_heap(void) {
    char *volatile block = malloc(SIZE);
    volatile size_t *head = crash_opaque((uintptr_t)block - sizeof(size_t));
    size_t arena = *head & NOT_MAIN_ARENA;
    free(block);
    *head |= arena;
    free(crash_opaque((uintptr_t)block));
    __asm__ volatile("");
}

static void free_twice_together(void) {
    pthread_barrier_wait(&together);
    free_twice_in_own_heap();
}

static _Atomic int told;
static void free_twice_when_told(void) {
    while (!atomic_load(&told)) {
    }
    free_twice_in_own_heap();
}

static void *use_heap(void *unused) {
    void *volatile blocks[100];
    for (int i = 0; i < 10000; i++) {
        blocks[i % 100] = malloc((size_t)(i % 200) * 16);
        if (i % 100 == 99) {
            for (int k = 0; k < 100; k++) {
                free(blocks[k]);
            }
        }
    }
    return unused;
}

/* Not watched: it has to be under way when this returns. */
static uint64_t submit(struct aionif_pool *pool, void (*function)(void)) {
    struct pool_request *request = pool_request_of(pool, function);
    request->target.watch = 0;
    return pool_submit(request, 0, 0, 0, 0);
}

static int held(void) {
    int count = 0, known = aionif__arenas_list(locks);
    for (int i = 0; i < known; i++) {
        count += atomic_load(locks[i]) != 0;
    }
    return count;
}

static bool none_is_held(void) {
    int64_t until = check_now_ns() + 10 * (int64_t)1000000000;
    while (held()) {
        if (check_now_ns() > until) {
            return false;
        }
        usleep(1000);
    }
    return true;
}

static void all_threads_work(struct aionif_pool *pool) {
    struct aionif_failure failure;
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        pthread_create(&threads[i], NULL, use_heap, NULL);
    }
    use_heap(NULL);
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQUAL(pool_run(pool, use_heap, &failure), 0);
    }
}

static void test_alone(struct aionif_pool *pool) {
    check_case("a lock is given back, on a worker and inline");
    struct aionif_failure failure;
    CHECK(aionif__arenas_list(locks) > 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQUAL(i % 2 ? door_run(free_twice, &failure) : pool_run(pool, free_twice, &failure),
                    AIONIF_SIGNAL);
        CHECK_EQUAL(failure.signal, SIGABRT);
        CHECK_EQUAL(failure.taint, AIONIF_TAINT_HEAP);
        CHECK(none_is_held());
    }
    all_threads_work(pool);
}

/* Each has the lock of another heap, and sees those of the others held. */
static void test_together(struct aionif_pool *pool) {
    check_case("several locks that are held at once are all given back");
    for (int round = 0; round < ROUNDS && !check_case_failures; round++) {
        uint64_t calls[WORKERS];
        for (int i = 0; i < WORKERS; i++) {
            calls[i] = submit(pool, free_twice_together);
        }
        for (int i = 0; i < WORKERS; i++) {
            CHECK_EQUAL(pool_wait(calls[i], 20000), AIONIF_EVENT_FAILED);
            aionif_release(calls[i]);
        }
        CHECK(none_is_held());
    }
    all_threads_work(pool);
    CHECK_EQUAL(pool_statistics(pool).retired, 0);
}

/* Until the other lets go it can't be known which of the two locks is whose. */
static void test_not_its_own(struct aionif_pool *pool) {
    check_case("a lock that another thread holds is left alone");
    struct timespec moment = {.tv_nsec = 50000000};
    struct aionif_failure failure;
    for (int i = 0; i < 2; i++) {
        CHECK(none_is_held());
        atomic_store(&told, 0);
        uint64_t call = submit(pool, free_twice_when_told);
        uint32_t unlocked = 0; /* as malloc would; nothing here allocates meanwhile */
        while (!atomic_compare_exchange_weak(locks[0], &unlocked, 1)) {
            unlocked = 0;
        }
        atomic_store(&told, 1);
        nanosleep(&moment, NULL);
        int both = held();
        aionif__arena_unlock(locks[0]);
        CHECK_EQUAL(both, 2);
        CHECK_EQUAL(pool_wait(call, 20000), AIONIF_EVENT_FAILED);
        aionif_release(call);
        CHECK(none_is_held());
        CHECK_EQUAL(pool_run(pool, use_heap, &failure), 0);
    }
    CHECK_EQUAL(pool_statistics(pool).retired, 0);
}

int main(void) {
    check_deadline(120);
    slot_start();
    if (check_sanitized()) {
        check_exclude("the lock of a heap", "ASan's malloc has none of these");
        return check_report();
    }
    mallopt(M_ARENA_MAX, 1000); /* each thread has a heap of its own, however many went before */
    pthread_barrier_init(&together, NULL, WORKERS);
    struct aionif_pool *pool = pool_open(pool_settings(WORKERS));
    test_alone(pool);
    test_together(pool);
    test_not_its_own(pool);
    CHECK(pool_close(pool));
    return check_report();
}
