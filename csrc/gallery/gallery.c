/*
 * The crash gallery, C part: one function for each way in which C code takes a process down.
 *
 * Called directly, each specimen ends an unprotected process with exactly the signal or exit status
 * that aionif/testing/gallery.py lists for it; tests/testing/test_gallery.py holds the two against each other.
 * What every specimen keeps to:
 *
 *  - It crashes by the machine or by libc, never by pretending: raise() is used only where the
 *    raised signal is the point.
 *  - It may run any number of times in one process, on several threads at once, and costs nothing
 *    that stays: what it has to allocate it allocates once, as a crash never reaches its clean-up.
 *    The two that leave a lock held are the exceptions.
 *  - The compiler cannot see that it will crash. An address goes through OPAQUE(); a compiler that
 *    knew it would turn the access into a trap, or drop it and all that follows as unreachable.
 *  - No crash is a tail call (-fno-optimize-sibling-calls): the specimen is in its own backtrace.
 *
 * The gallery links with libc alone. Its symbols begin with gallery_, as they are shown to people.
 */
#define _GNU_SOURCE
#undef NDEBUG /* assert() has to stay in an optimised build */

#include <alloca.h>
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "aionif.h"

#if defined(__x86_64__)
#define ILLEGAL_INSTRUCTION "ud2"
#define BREAKPOINT_INSTRUCTION "int3"
#elif defined(__aarch64__)
#define ILLEGAL_INSTRUCTION "udf #0" /* __builtin_trap() is brk here, which is SIGTRAP */
#define BREAKPOINT_INSTRUCTION "brk #0"
#else
#error "the gallery knows x86-64 and aarch64"
#endif

#if defined(__GNUC__) && !defined(__clang__)
#define UNPROBED __attribute__((optimize("no-stack-clash-protection")))
#else
#define UNPROBED /* clang does not probe unless told to */
#endif

#define SPECIMEN __attribute__((noinline, visibility("default")))

/* A macro, so that the faulting instruction is on the line of the specimen in debug information. */
#define OPAQUE(address)                                                                            \
    ({                                                                                             \
        uintptr_t hidden = (uintptr_t)(address);                                                   \
        __asm__ volatile("" : "+r"(hidden));                                                       \
        (void *)hidden;                                                                            \
    })

/* ---- bad memory ---- */

SPECIMEN int gallery_segv_read(void) { return *(volatile int *)OPAQUE(0x10); }

SPECIMEN void gallery_segv_write(void) { *(volatile int *)OPAQUE(0x20) = 1; }

SPECIMEN void gallery_null_call(void) { ((void (*)(void))OPAQUE(0))(); }

/* Far from null, below where Linux puts programs and mappings, and below where the window of worker
 * processes may be (aionif/memory/window.py), which is mapped without access. */
SPECIMEN void gallery_wild_jump(void) { ((void (*)(void))OPAQUE(0x0bad0000b000))(); }

/* x86-64 reports this one as a general protection fault: si_code SI_KERNEL and si_addr 0. */
SPECIMEN int gallery_non_canonical(void) { return *(volatile int *)OPAQUE(0x8000000000000000); }

SPECIMEN void gallery_read_only_write(void) {
    static const int constant = 1;
    *(volatile int *)OPAQUE(&constant) = 2;
}

static char *past_end_of_file;

/* One page of file under two pages of mapping. The mapping is made once and stays. */
static void map_truncated_file(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int fd = memfd_create("aionif-gallery", MFD_CLOEXEC);
    if (fd < 0)
        return;
    if (ftruncate(fd, (off_t)page) == 0) {
        char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (pages != MAP_FAILED)
            past_end_of_file = pages + page;
    }
    close(fd);
}

SPECIMEN int gallery_bus(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, map_truncated_file);
    return *(volatile char *)past_end_of_file;
}

/* ---- bad instructions ---- */

SPECIMEN int gallery_fpe(void) {
    volatile int one = 1, zero = 0; /* of a constant 1 / x the compiler makes a comparison */
    volatile int quotient = one / zero;
    raise(SIGFPE); /* reached only on a CPU whose division does not trap, such as aarch64 */
    return quotient;
}

SPECIMEN void gallery_ill(void) { __asm__ volatile(ILLEGAL_INSTRUCTION); }

SPECIMEN void gallery_trap(void) { __asm__ volatile(BREAKPOINT_INSTRUCTION); }

/* ---- signals that the program or libc raises itself ---- */

SPECIMEN void gallery_sys(void) { raise(SIGSYS); }

SPECIMEN void gallery_raise_segv(void) { raise(SIGSEGV); }

SPECIMEN void gallery_abort(void) { abort(); }

SPECIMEN void gallery_assert(void) {
    volatile int two = 2;
    assert(two + two == 5);
}

/*
 * Writes over the canary and, where that lies above it as on x86-64, the return address: no
 * backtrace gets past this frame. The caller's own frame is left alone.
 */
SPECIMEN void gallery_stack_smash(void) {
    char buffer[16];
    char *byte = OPAQUE(buffer), *past_canary = byte + 32;
    char *past_return_address = (char *)__builtin_frame_address(0) + 2 * sizeof(void *);
    while (byte < past_canary || byte < past_return_address)
        *(volatile char *)byte++ = 'A';
}

/* libc notices by the mark it leaves in a freed block; the heap itself is still in order. */
SPECIMEN void gallery_double_free(void) {
    char *block = malloc(24);
    free(OPAQUE(block));
    free(OPAQUE(block));
}

static char *overrun_block, *overrun_neighbour;

/* Two blocks side by side in the heap; the blocks passed over on the way are never given back. */
static void find_neighbours(void) {
    char *block = malloc(24);
    for (int i = 0; block && i < 10000; i++) {
        char *next = malloc(24);
        if (next == block + malloc_usable_size(block) + sizeof(size_t)) {
            overrun_block = block;
            overrun_neighbour = next;
            return;
        }
        block = next;
    }
}

/*
 * One word written past the end of a block becomes the size of the next one. The word is chosen so
 * that free() refuses before it takes the arena's lock: an impossible size, flagged as main arena.
 * The pair is damaged for good and therefore used again by every call.
 */
SPECIMEN void gallery_heap_overrun(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_neighbours);
    size_t *end = OPAQUE(overrun_block + malloc_usable_size(overrun_block));
    *end = (size_t)-16 | 1;
    free(overrun_neighbour);
}

/* ---- stack overflow ---- */

static unsigned descend(unsigned depth, const volatile unsigned *above) {
    volatile unsigned frame[32];
    frame[0] = depth;
    if (depth == UINT_MAX)
        return 0;
    return descend(depth + 1, frame) + above[0];
}

SPECIMEN unsigned gallery_overflow_recursion(void) {
    volatile unsigned top = 0;
    return descend(1, &top);
}

/* Probed page by page, as some compilers do by default, it would fault at the near end instead. */
SPECIMEN UNPROBED int gallery_overflow_frame(void) {
    char frame[4 << 20];
    return *(volatile char *)OPAQUE(frame) = 1;
}

SPECIMEN void gallery_overflow_alloca(void) {
    for (;;)
        *(volatile char *)alloca(1024) = 1;
}

/* ---- crashes below a frame of libc ---- */

SPECIMEN size_t gallery_libc_strlen(void) { return strlen(OPAQUE(0x30)); }

static int compare_and_crash(const void *left, const void *right) {
    (void)left, (void)right;
    return *(volatile int *)OPAQUE(0x40);
}

SPECIMEN void gallery_qsort_comparator(void) {
    int numbers[8] = {5, 3, 8, 1, 7, 2, 6, 4};
    qsort(numbers, 8, sizeof numbers[0], compare_and_crash);
}

SPECIMEN void gallery_stdio_locked(void) {
    flockfile(stderr);
    *(volatile int *)OPAQUE(0x50) = 1;
}

/*
 * For a block too large for the thread cache, free() takes the heap's lock before it looks for the
 * block in front, which is said to be free and a terabyte long. glibc takes no lock at all while there
 * is one thread.
 */
SPECIMEN void gallery_malloc_locked(void) {
    enum { in_use_before = 1 };
    char *block = malloc(8192);
    volatile size_t *head = OPAQUE(block - 2 * sizeof(size_t));
    head[0] = (size_t)1 << 40;
    head[1] &= ~(size_t)in_use_before;
    free(OPAQUE(block));
}

/* ---- leaving without returning ---- */

SPECIMEN void gallery_exit(void) { exit(3); }

SPECIMEN void gallery_underscore_exit(void) { _exit(4); }

SPECIMEN void gallery_quick_exit(void) { quick_exit(5); }

SPECIMEN void gallery_pthread_exit(void) { pthread_exit(NULL); }

/* ---- never coming back ---- */

SPECIMEN void gallery_spin(void) {
    for (volatile unsigned long turns = 0;; turns++)
        ;
}

SPECIMEN unsigned long gallery_spin_cooperative(void) {
    volatile unsigned long turns = 0;
    while (!aionif_should_stop())
        turns++;
    return turns;
}

/* Alternates between the thread cache and the locked arena; stopped short, it loses one block. */
SPECIMEN void gallery_spin_malloc(void) {
    for (unsigned turn = 0;; turn++) {
        char *block = malloc(turn % 2 ? 24 : 1500);
        if (block)
            *(volatile char *)block = 1;
        free(block);
    }
}

SPECIMEN void gallery_sleep_forever(void) {
    for (;;)
        nanosleep(&(struct timespec){.tv_sec = 3600}, NULL);
}

/* ---- other threads and processes ---- */

static void *crash_as_thread(void *unused) {
    (void)unused;
    *(volatile int *)OPAQUE(0x60) = 1;
    return NULL;
}

SPECIMEN int gallery_crash_in_thread(void) {
    pthread_t thread;
    int error = pthread_create(&thread, NULL, crash_as_thread, NULL);
    return error ? error : pthread_join(thread, NULL);
}

/* The exit status of a child, the negative number of the signal that ended it, or -1000. */
static int reap(pid_t child) {
    int status;
    while (child > 0 && waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            child = -1;
    if (child < 0)
        return -1000;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

SPECIMEN int gallery_fork_child(int status) {
    pid_t child = fork();
    if (child == 0)
        _exit(status);
    return reap(child);
}

SPECIMEN int gallery_fork_child_exit(int status) {
    pid_t child = fork();
    if (child == 0)
        exit(status);
    return reap(child);
}

/* The child must die of its fault, not "recover" into a second copy of the parent. */
SPECIMEN int gallery_fork_child_crash(void) {
    pid_t child = fork();
    if (child == 0)
        *(volatile int *)OPAQUE(0x70) = 1;
    return reap(child);
}

SPECIMEN int gallery_spawn_true(void) {
    extern char **environ;
    pid_t child;
    char *arguments[] = {"true", NULL};
    if (posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) != 0)
        return -1000;
    return reap(child);
}

SPECIMEN int gallery_run_system(const char *command) { return system(command); }

/* ---- nothing wrong ---- */

SPECIMEN void gallery_nop(void) {}

SPECIMEN int gallery_add(int left, int right) { return (int)((unsigned)left + (unsigned)right); }

SPECIMEN int gallery_errno_setter(int code) {
    errno = code;
    return -1;
}

/* Uses `bytes` of stack and a little more, touching each page from the near end to the far one. */
SPECIMEN size_t gallery_deep(size_t bytes) {
    enum { step = 1024 };
    volatile char *frame = alloca(bytes + 1);
    for (size_t left = bytes; left > step; left -= step)
        frame[left] = 1;
    frame[0] = 1;
    return bytes;
}
