/* A crashed or stopped call may have lent out memory on its stack: to threads of OpenMP, which run on
 * when the one that started them is taken away, or to the kernel (io_uring, AIO). They write there until
 * they are done. So its stack rests, mapped and used by nobody, until so many others have come after it. */
#include "threads/quarantine.h"

#include <pthread.h>

enum { RESTING = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct aionif__stack resting[RESTING];
static unsigned next; /* the oldest, once all places are taken */

static bool same_shape(const struct aionif__stack *one, const struct aionif__stack *other) {
    return one->top - one->low == other->top - other->low &&
           one->low - one->guard_low == other->low - other->guard_low;
}

void aionif__stack_exchange(struct aionif__stack *stack) {
    pthread_mutex_lock(&lock);
    struct aionif__stack *place = &resting[next];
    struct aionif__stack fresh = *place;
    bool has = fresh.low != 0;
    if (has && !same_shape(&fresh, stack)) {
        aionif__stack_unmap(&fresh);
        *place = fresh;
        has = false;
    }
    if (has || aionif__stack_map(&fresh, stack->top - stack->low, stack->low - stack->guard_low)) {
        *place = *stack;
        *stack = fresh;
        next = (next + 1) % RESTING;
    }
    pthread_mutex_unlock(&lock);
}

void aionif__quarantine_forked(void) { pthread_mutex_init(&lock, NULL); }
