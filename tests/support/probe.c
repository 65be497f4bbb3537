/* Native functions that tests call and watch; compiled by the fixture `probe` of conftest.py.
 *
 * A test sees what runs at the same time through the gate: calls wait at it until the test opens
 * it, and the test can count those that wait. Nothing here crashes by itself except crash_together.
 *
 * What they share lies in a file beside the library, so that it is the same in worker processes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { LOG_SIZE = 1 << 20 };

static struct {
    atomic_int opened, at_gate, logged, inside, arrived;
    int entries[LOG_SIZE];
} *shared;

__attribute__((constructor)) static void share(void) {
    Dl_info self;
    char path[4096];
    dladdr((void *)share, &self);
    snprintf(path, sizeof path, "%s.shared", self.dli_fname);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, sizeof *shared) != 0)
        abort();
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
}

void sleep_ms(int ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

long add(long left, long right) { return left + right; }

double half(double value) { return value / 2; }

const char *text(void) { return "text"; }

void nothing(void) {}

int set_errno(int code, int ms) {
    sleep_ms(ms);
    errno = code;
    return -1;
}

int get_errno(int ms) {
    int before = errno;
    sleep_ms(ms);
    return before;
}

int thread_id(void) { return gettid(); }

int calls_on_this_thread(void) {
    static _Thread_local int count;
    return ++count;
}

/* Reads the bytes before and after the wait; -1 if they are not the same. */
long sum_twice(const unsigned char *bytes, long length, int ms) {
    long before = 0, after = 0;
    for (long i = 0; i < length; i++)
        before += bytes[i];
    sleep_ms(ms);
    for (long i = 0; i < length; i++)
        after += bytes[i];
    return before == after ? after : -1;
}

/* ---- the gate ---- */

void close_gate(void) { atomic_store(&shared->opened, 0); }

void open_gate(void) { atomic_store(&shared->opened, 1); }

int count_at_gate(void) { return atomic_load(&shared->at_gate); }

/* Those that waited in a process which was killed are still counted. */
void forget_gate(void) { atomic_store(&shared->at_gate, 0); }

int wait_at_gate(int value) {
    atomic_fetch_add(&shared->at_gate, 1);
    while (!atomic_load(&shared->opened))
        sleep_ms(1);
    atomic_fetch_sub(&shared->at_gate, 1);
    return value;
}

/* ---- the log: values in the order in which calls noted them ---- */

int note(int value) {
    int place = atomic_fetch_add(&shared->logged, 1);
    if (place < LOG_SIZE)
        shared->entries[place] = value;
    return place;
}

int noted(int place) { return shared->entries[place]; }

int count_noted(void) { return atomic_load(&shared->logged); }

void forget_notes(void) {
    memset(shared->entries, 0, sizeof shared->entries);
    atomic_store(&shared->logged, 0);
}

/* ---- calls that meet ---- */

/* How many others were in here at the same time. */
int enter(int ms) {
    int others = atomic_fetch_add(&shared->inside, 1);
    sleep_ms(ms);
    int seen = atomic_fetch_sub(&shared->inside, 1) - 1;
    return others > seen ? others : seen;
}

/* Returns to no one before `count` threads are here; then they all fault at the same time. */
void crash_together(int count) {
    int turn = atomic_fetch_add(&shared->arrived, 1) / count;
    while (atomic_load(&shared->arrived) < (turn + 1) * count)
        ;
    *(volatile int *)(size_t)8 = 1;
}
