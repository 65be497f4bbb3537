/* A crashed or stopped call may have lent out memory on its stack: to threads of OpenMP, which run on
 * when the one that started them is taken away, or to the kernel (io_uring, AIO). They write there until
 * they are done. So its stack rests, mapped and used by nobody, until so many others have come after it. */
#include "threads/quarantine.h"

#include <pthread.h>

enum { RESTING = 8 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct aionif__stack resting[RESTING];
static unsigned next; /* the oldest */

static bool same_shape(const struct aionif__stack *one, const struct aionif__stack *other) {
    return one->top - one->low == other->top - other->low &&
           one->low - one->guard_low == other->low - other->guard_low;
}

static bool make(struct aionif__stack *place, const struct aionif__stack *like) {
    if (place->low && same_shape(place, like)) {
        return true;
    }
    aionif__stack_unmap(place);
    return aionif__stack_map(place, like->top - like->low, like->low - like->guard_low);
}

/* All places are filled at once: a process that has seen one crash holds no more after others. */
void aionif__stack_exchange(struct aionif__stack *stack) {
    pthread_mutex_lock(&lock);
    bool made = true;
    for (unsigned i = 0; made && i < RESTING && !resting[i].low; i++) {
        made = make(&resting[i], stack);
    }
    if (make(&resting[next], stack)) {
        struct aionif__stack fresh = resting[next];
        resting[next] = *stack;
        *stack = fresh;
        next = (next + 1) % RESTING;
    }
    pthread_mutex_unlock(&lock);
}

void aionif__quarantine_forked(void) { pthread_mutex_init(&lock, NULL); }
