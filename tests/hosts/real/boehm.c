/* Lists that the collector must keep while only a call's stack, or its registers, point to them. */
#define GC_THREADS
#include <gc.h>
#include <stddef.h>

struct node {
    struct node *next;
    size_t number, sum;
};

void initialise(void) {
    GC_INIT();
    GC_allow_register_threads();
}

/* The nodes that are not as they were left: of `rounds` lists that were made one after the other. */
__attribute__((noinline)) static int lists(int rounds) {
    enum { NODES = 20000 };
    int wrong = 0;
    for (int round = 0; round < rounds; round++) {
        struct node *first = NULL;
        for (size_t i = 0; i < NODES; i++) {
            struct node *node = GC_MALLOC(sizeof *node);
            *node = (struct node){first, i, i * 3};
            first = node;
        }
        GC_gcollect();
        for (size_t i = 0; i < NODES;
             i++) { /* what was freed is used anew, and then seen to be wrong */
            struct node *node = GC_MALLOC(sizeof *node);
            *node = (struct node){NULL, 7, 7};
        }
        size_t expected = NODES;
        for (struct node *node = first; node && expected > 0; node = node->next) {
            expected--;
            wrong += node->number != expected || node->sum != expected * 3;
        }
        wrong += (int)expected;
    }
    return wrong;
}

int on_thread_as_it_is(int rounds) { return lists(rounds); }

int initialise_and_list(int rounds) {
    initialise();
    return lists(rounds);
}

/* Registered with the stack that libc says the thread has. */
int on_registered_thread(int rounds) {
    struct GC_stack_base base;
    if (GC_get_stack_base(&base) != GC_SUCCESS) {
        return -1;
    }
    int registered = GC_register_my_thread(&base);
    int wrong = lists(rounds);
    if (registered == GC_SUCCESS) {
        GC_unregister_my_thread();
    }
    return wrong;
}

/* Registered, where it is not, with the base of the call's stack in place of the thread's; a thread that
 * is registered has its base changed, under the collector's lock. */
struct told {
    struct GC_stack_base base, before;
    void *thread;
    int registered;
};

static void *change_base(void *opaque) {
    struct told *told = opaque;
    GC_set_stackbottom(told->thread, &told->base);
    return NULL;
}

static void *restore_base(void *opaque) {
    struct told *told = opaque;
    GC_set_stackbottom(told->thread, &told->before);
    return NULL;
}

static void tell(struct told *told, void *base) {
    GC_get_stack_base(&told->base);
    told->base.mem_base = base;
    told->registered = GC_register_my_thread(&told->base) == GC_SUCCESS;
    if (!told->registered) {
        told->thread = GC_get_my_stackbottom(&told->before);
        GC_call_with_alloc_lock(change_base, told);
    }
}

int on_stack_that_it_was_told(int rounds) {
    struct told told;
    tell(&told, __builtin_frame_address(0));
    int wrong = lists(rounds);
    if (told.registered) {
        GC_unregister_my_thread();
    } else {
        GC_call_with_alloc_lock(restore_base, &told);
    }
    return wrong;
}

int crash(void) { return *(volatile int *)8; }

static void register_thread(void) {
    struct GC_stack_base base;
    GC_get_stack_base(&base);
    GC_register_my_thread(&base);
}

int crash_registered(void) {
    register_thread();
    return crash();
}

int crash_told(void) {
    struct told told;
    tell(&told, __builtin_frame_address(0));
    return crash();
}

void allocate_registered(void) {
    register_thread();
    for (;;) {
        GC_MALLOC(64);
    }
}

void allocate_told(void) {
    struct told told;
    tell(&told, __builtin_frame_address(0));
    for (;;) {
        GC_MALLOC(64);
    }
}
