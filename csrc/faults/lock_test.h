/* Whether a word of libc's is the lock that it is taken for. */
#ifndef AIONIF_LOCK_TEST_H
#define AIONIF_LOCK_TEST_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A futex of libc's: 0 free, 1 held, 2 held and waited for. */
typedef _Atomic uint32_t aionif__lock_word;

struct aionif__lock_test {
    aionif__lock_word *word;
    bool (*take)(void *lock); /* false: it is held */
    void (*give)(void *lock);
    void (*use)(void); /* what has to take the lock first, in another thread */
    void *lock;
};

/* True: `use` waited at the word while it was taken here, and went on when it was given back. Holds the
 * lock for a moment. Any thread, outside of handlers. */
bool aionif__lock_test(const struct aionif__lock_test *test);
#endif
