/* A pool that is closed leaves no thread, descriptor or mapping behind; an idle one uses no CPU. */
#include "crash.h"
#include "pool.h"

#include <dirent.h>
#include <malloc.h>
#include <pthread.h>

static long answer(void) { return 42; }

static void sleep_ms(long milliseconds) { usleep((useconds_t)milliseconds * 1000); }

static int count_entries(const char *path) {
    DIR *directory = opendir(path);
    int count = 0;
    while (directory && readdir(directory)) {
        count++;
    }
    if (directory) {
        closedir(directory);
    }
    return count;
}
static int count_lines(const char *path) {
    FILE *file = fopen(path, "re");
    int count = 0;
    for (int c; file && (c = getc(file)) != EOF;) {
        count += c == '\n';
    }
    if (file) {
        fclose(file);
    }
    return count;
}
static void call_pthread_exit(void) { pthread_exit(NULL); }

static void use_a_pool(void) {
    struct aionif_pool *pool = pool_open(pool_settings(3));
    struct aionif_failure failure;
    for (int i = 0; i < 4; i++) {
        CHECK_EQUAL(pool_run(pool, answer, &failure), 0);
        CHECK_EQUAL(pool_run(pool, crash, &failure), AIONIF_SIGNAL);
        CHECK_EQUAL(pool_run(pool, crash_overflow, &failure), AIONIF_OVERFLOW);
        CHECK_EQUAL(pool_run(pool, call_pthread_exit, &failure), AIONIF_PANIC);
    }
    CHECK(pool_close(pool));
}

static int tasks_at_start; /* this thread, perhaps the emulator's own */

/* A thread that was leaving as its pool was stopped is joined by whoever collects next. */
static int settled_tasks(int wanted) {
    int64_t until = check_now_ns() + 2 * (int64_t)1000000000;
    while (count_entries("/proc/self/task") > wanted && check_now_ns() < until) {
        pool_collect();
        sleep_ms(1);
    }
    pool_collect(); /* the last of them may have ended since: now it is joined */
    return count_entries("/proc/self/task");
}

static void test_leaks(void) {
    check_case("threads, descriptors and mappings are given back");
    mallopt(M_ARENA_MAX, 1); /* no more heaps for new threads: they would count as mappings */
    use_a_pool();
    CHECK_EQUAL(settled_tasks(tasks_at_start), tasks_at_start);
    use_a_pool();
    CHECK_EQUAL(settled_tasks(tasks_at_start), tasks_at_start);
    int files = count_entries("/proc/self/fd");
    int maps = count_lines("/proc/self/maps");
    for (int i = 0; i < 10; i++) {
        use_a_pool();
    }
    CHECK_EQUAL(settled_tasks(tasks_at_start), tasks_at_start);
    CHECK_EQUAL(count_entries("/proc/self/fd"), files);
    if (check_emulated() || check_sanitized()) {
        check_exclude("mappings are given back", "the emulator and ASan map for themselves");
    } else {
        CHECK(count_lines("/proc/self/maps") <= maps + 2);
    }
}

static void test_idle(void) {
    check_case("an idle pool uses no CPU");
    struct aionif_pool *pool = pool_open(pool_settings(3));
    struct aionif_failure failure;
    CHECK_EQUAL(pool_run(pool, answer, &failure), 0);
    sleep_ms(50);
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    sleep_ms(300);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    int64_t used = (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
    CHECK(used < (check_emulated() ? 20000000 : 3000000));
    CHECK(pool_close(pool));
}

int main(void) {
    check_deadline(120);
    tasks_at_start = count_entries("/proc/self/task");
    slot_start();
    test_idle();
    test_leaks();
    return check_report();
}
