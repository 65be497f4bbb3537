/* Functions that leave something behind on their thread, and functions that look for it. */
#define _GNU_SOURCE
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int answer(void) { return 42; }
int thread_id(void) { return (int)syscall(SYS_gettid); }
static void die(int crashes) {
    if (crashes) {
        *(volatile int *)16 = 1;
    }
}

/* ---- floating point ---- */

/* Zeros in place of denormals: what it is called differs, what it does is the same. */
int denormals_off(int crashes) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#else
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("msr fpcr, %0" : : "r"(control | 1 << 24));
#endif
    die(crashes);
    return 0;
}
int round_up(int crashes) { fesetround(FE_UPWARD); die(crashes); return 0; }
int trap_division(int crashes) { feenableexcept(FE_DIVBYZERO); die(crashes); return 0; }
int raise_flags(int crashes) {
    volatile long double zero = 0;
    volatile long double inexact = 1.0L / 3, infinite = 1 / zero;
    (void)inexact; (void)infinite;
    die(crashes);
    return 0;
}
/* As MMX code that ends without its emms. */
int fill_x87(int crashes) {
#if defined(__x86_64__)
    for (int i = 0; i < 8; i++) {
        __asm__ volatile("fldz");
    }
#endif
    die(crashes);
    return 0;
}

/* A bit for each thing that is not as in a thread that has computed nothing. */
int float_state(void) {
    volatile double tiny = 2.2250738585072014e-308, half = 0.5;
    volatile float third = 1.0f / 3;
    volatile long double one = 1, two = 2;
    int found = 0;
    found |= (tiny * half == 0) << 0;
    found |= (fegetround() != FE_TONEAREST) << 1;
    found |= (fegetexcept() != 0) << 2;
    found |= !(one + two == 3) << 3;
#if defined(__x86_64__)
    uint16_t control, status;
    __asm__ volatile("fnstcw %0\n\tfnstsw %1" : "=m"(control), "=m"(status));
    found |= (control != 0x37f) << 4;
    found |= ((status & 0x80ff) != 0) << 5;
#endif
    (void)third;
    return found;
}

/* ---- cancellation ---- */

int cancel_self(void) { return pthread_cancel(pthread_self()); }
int cancel_at_once(void) {
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_cancel(pthread_self());
    pthread_testcancel();
    return 0;
}
int cancel_asynchronously(void) {
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    return pthread_cancel(pthread_self());
}
static pthread_t kept;
int keep_self(void) {
    kept = pthread_self();
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    return 0;
}
int cancel_kept(void) { return pthread_cancel(kept); }
int allow_cancellation(void) {
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_testcancel();
    return 7;
}
int detach_self(void) { return pthread_detach(pthread_self()); }

/* ---- the end of a thread ---- */

static void sleep_for_ever(void *unused) {
    (void)unused;
    for (;;) {
        pause();
    }
}
static void sleep_a_little(void *unused) {
    (void)unused;
    usleep(400000);
}
static int leave(void (*destructor)(void *)) {
    pthread_key_t key;
    return pthread_key_create(&key, destructor) || pthread_setspecific(key, &kept);
}
int leave_one_that_hangs(void) { return leave(sleep_for_ever); }
int leave_one_that_is_slow(void) { return leave(sleep_a_little); }
int leave_one_that_hangs_and_exit(void) {
    leave(sleep_for_ever);
    pthread_exit(NULL);
}
static void *run_on(void *unused) {
    (void)unused;
    for (volatile unsigned long turns = 0;; turns++) {
    }
    return NULL;
}
int start_thread(void) {
    pthread_t thread;
    return pthread_create(&thread, NULL, run_on, NULL);
}

/* ---- the rest ---- */

int take_name(int crashes) { prctl(PR_SET_NAME, "somebody"); die(crashes); return 0; }
int named_somebody(void) {
    char name[16];
    prctl(PR_GET_NAME, name);
    return strcmp(name, "somebody") == 0;
}
/* The system call itself: libc's would have all threads change. */
int become_nobody(void) {
    syscall(SYS_setresuid, 65534, 65534, -1);
    die(1);
    return 0;
}
int user_id(void) {
    uid_t real, effective, saved;
    syscall(SYS_getresuid, &real, &effective, &saved);
    return (int)effective;
}
static volatile int *lent;
int lend_and_crash(void) {
    volatile int local[1024] = {0};
    lent = &local[512];
    die(1);
    return local[512];
}
int write_to_lent(void) { *lent = 0x5a5a5a5a; return 0; }
/* Frames as large as the lender's: what is written there would be seen. */
int sees_a_stranger(void) {
    volatile int local[4096] = {0};
    *lent = 0x5a5a5a5a;
    int found = 0;
    for (int i = 0; i < 4096; i++) {
        found |= local[i] != 0;
    }
    return found;
}
