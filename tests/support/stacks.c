#define _GNU_SOURCE
#include <alloca.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { SIZE = 256 * 1024 };

static ucontext_t here, fiber;

static void read_null(void) { *(volatile int *)16 = 1; }
static void divide(void) { raise(SIGFPE); }
static void give_up(void) { abort(); }
static int deep(int n) {
    volatile char frame[4096];
    frame[0] = (char)n;
    return deep(n + 1) + frame[0];
}
static void recurse(void) { deep(0); }
static void nothing(void) {}

static void (*const bodies[])(void) = {read_null, divide, give_up, recurse, nothing};

static char *stack_of(int kind) {
    static char fixed[SIZE];
    if (kind == 0) {
        return fixed;
    }
    if (kind == 1) {
        return malloc(SIZE);
    }
    char *base = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(base + SIZE, SIZE, PROT_READ | PROT_WRITE);
    return base + SIZE; /* what is below it faults */
}

int on_a_fiber(int kind, int body) {
    getcontext(&fiber);
    fiber.uc_stack.ss_sp = stack_of(kind);
    fiber.uc_stack.ss_size = SIZE;
    fiber.uc_link = &here;
    makecontext(&fiber, bodies[body], 0);
    swapcontext(&here, &fiber);
    return 7;
}

/* A frame of so many bytes, touched at its low end, in the middle, or at its high end first. */
__attribute__((noinline)) int frame_of(uint64_t size, int where) {
    volatile char *frame = alloca(size);
    frame[where == 0 ? 0 : where == 1 ? size / 2 : size - 1] = 1;
    return frame[0];
}

__attribute__((noinline)) int frames_of(uint64_t size) {
    volatile char *frame = alloca(size);
    frame[0] = 1;
    return frames_of(size) + frame[0];
}

int add(int a, int b) { return a + b; }

int stack_off(void) {
    stack_t none = {.ss_flags = SS_DISABLE};
    return sigaltstack(&none, NULL);
}

int stack_of_its_own(void) {
    stack_t own = {.ss_sp = malloc(SIZE), .ss_size = SIZE};
    return sigaltstack(&own, NULL);
}

static void crash_again(int signal) {
    (void)signal;
    read_null();
}

/* A library's handler, on a stack of its own, that crashes. */
int crash_in_a_handler(void) {
    struct sigaction action = {.sa_handler = crash_again, .sa_flags = SA_ONSTACK};
    stack_of_its_own();
    sigaction(SIGUSR1, &action, NULL);
    return raise(SIGUSR1);
}

static int ensure(void) {
    int (*take)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
    return take();
}

int crash_with_the_lock(void) {
    ensure();
    read_null();
    return 0;
}

int abort_with_the_lock(void) {
    ensure();
    abort();
}

int hold_the_lock(int ms) {
    void (*give)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "PyGILState_Release");
    int state = ensure();
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    do {
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - end.tv_sec) * 1000 + (now.tv_nsec - end.tv_nsec) / 1000000 < ms);
    give(state);
    return 7;
}
