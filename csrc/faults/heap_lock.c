/* The lock of a heap, after libc found the heap corrupt and aborted with the lock held.
 *
 * The lock does not tell its owner. That it is this thread's is a conclusion:
 *
 *   - By what libc said before it aborted, it aborted under the lock of one heap: each of its messages
 *     belongs to one place in malloc, and the source says which are printed under the lock
 *     (heap_said.c). For others the lock was not taken yet, or it depends.
 *   - malloc never holds the locks of two heaps.
 *   - A lock that is seen free from here on is not this thread's, which gives back nothing.
 *   - Where all heaps' locks but one were seen free, that one is this thread's.
 *
 * Several threads may be here at once, each with one lock. They are counted: where as many locks were
 * never seen free as there are such threads, those are the locks. Who comes here makes all look anew.
 * A thread that does not get that far keeps what it has, and is counted on.
 *
 * With one thread alone malloc takes no lock; then all are free, and nothing is concluded.
 *
 * libc checks before it changes anything, or after it has taken a block off its lists: the block is
 * lost, the lists are as consistent as the damage left them. A fault in malloc (it followed a
 * damaged pointer) says neither where it happened nor what holds, so it is no ground to give back
 * anything. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/heap_lock.h"

#include "faults/arenas.h"
#include "faults/heap_said.h"

#include <pthread.h>
#include <time.h>

/* Holders that are not stuck let go within microseconds, or when they get a CPU again. */
enum { LOOKS = 4000, LOOK_NS = 50000 };

static pthread_mutex_t claims_lock = PTHREAD_MUTEX_INITIALIZER;
static aionif__lock_word *held[AIONIF__ARENAS]; /* never seen free since the last thread came */
static int held_count;
static int claimants; /* threads that hold a lock, each */
static unsigned settled;

static void drop_the_free(void) {
    int kept = 0;
    for (int i = 0; i < held_count; i++) {
        if (atomic_load(held[i])) {
            held[kept++] = held[i];
        }
    }
    held_count = kept;
}

/* Under claims_lock. True: none of the threads that were here holds a lock any more. Were fewer held than
 * there are threads, one would hold none, against the rule; then nothing is concluded. */
static bool settle(void) {
    drop_the_free();
    if (held_count && held_count != claimants) {
        return false;
    }
    for (int i = 0; i < held_count; i++) {
        aionif__arena_unlock(held[i]);
    }
    claimants = 0;
    settled++;
    return true;
}

static bool look(unsigned since) {
    pthread_mutex_lock(&claims_lock);
    bool done = settled != since || settle();
    pthread_mutex_unlock(&claims_lock);
    return done;
}

bool aionif__heap_give_back(struct aionif__thread *self) {
    if (!aionif__heap_was_locked(self)) {
        return false;
    }
    pthread_mutex_lock(&claims_lock);
    unsigned since = settled;
    held_count = aionif__arenas_list(held);
    bool known = held_count > 0, done = false;
    claimants += known;
    pthread_mutex_unlock(&claims_lock);
    struct timespec moment = {.tv_nsec = LOOK_NS};
    for (int i = 0; known && i < LOOKS && !(done = look(since)); i++) {
        nanosleep(&moment, NULL);
        if (self->progress) { /* whoever looks sees that this thread is not stuck */
            atomic_fetch_add(self->progress, 1);
        }
    }
    return done;
}
