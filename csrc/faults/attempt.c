/* A fault in an attempt comes to the same handler, on the same alternate stack, below the frames of the
 * attempt. So the way back is a jump: either handler blocks all signals but faults, and no mask is to be
 * put back. Not longjmp: where it is fortified it takes an alternate stack for a mistake. */
#include "faults/attempt.h"

#include <stddef.h>

bool aionif__attempt(struct aionif__thread *self, void (*function)(void *), void *argument) {
    void *way_back[5];
    if (__builtin_setjmp(way_back) != 0) {
        aionif__self->way_back = NULL;
        return false;
    }
    self->way_back = way_back;
    function(argument);
    self->way_back = NULL;
    return true;
}

void aionif__attempt_failed(struct aionif__thread *self) {
    if (self->way_back) {
        __builtin_longjmp(self->way_back, 1);
    }
}
