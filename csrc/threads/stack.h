/* Guarded stacks for native calls. */
#ifndef AIONIF_STACK_H
#define AIONIF_STACK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* guard_low < low < top; [guard_low, low) faults on any access, [low, top) is the stack. */
struct aionif__stack {
    uintptr_t guard_low;
    uintptr_t low;
    uintptr_t top;
};

size_t aionif__stack_minimum(void);
bool aionif__stack_map(struct aionif__stack *stack, size_t size, size_t guard);
void aionif__stack_unmap(struct aionif__stack *stack);

/* Stack use is measured by the lowest byte that is not zero: `clear` before, `used` after. */
void aionif__stack_clear(const struct aionif__stack *stack);
size_t aionif__stack_used(const struct aionif__stack *stack);

/* The largest frame that the kernel pushes for a signal, as far as it says. */
size_t aionif__signal_frame(void);

/* The alternate signal stack of the calling thread. */
struct aionif__altstack {
    struct aionif__stack stack;
};
bool aionif__altstack_map(struct aionif__altstack *altstack); /* by any thread, before that */
bool aionif__altstack_enter(struct aionif__altstack *altstack);
/* A call may have switched it off, or put another in its place. */
void aionif__altstack_restore(const struct aionif__altstack *altstack);
void aionif__altstack_leave(struct aionif__altstack *altstack);
#endif
