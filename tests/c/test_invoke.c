/* A call through the thunk is the call itself: every kind of argument and result, errno, and the
 * registers that belong to the caller. */
#include "crash.h"
#include "slot.h"

#include <complex.h>
#include <errno.h>
#include <fenv.h>
#include <stdarg.h>

/* ---- arguments and results ---- */

typedef int64_t integers_type(int8_t, uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t,
                              uint64_t, bool, int8_t, int16_t, int64_t, ...);
static int64_t integers(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f,
                        int64_t g, uint64_t h, bool i, int8_t j, int16_t k, int64_t l) {
    return a + 3 * b + 5 * c + 7 * d + 11 * e + 13 * (int64_t)f + 17 * g + 19 * (int64_t)h +
           23 * i + 29 * j + 31 * k + 37 * l;
}

static void test_integers(void) {
    check_case("twelve integers of all widths");
    door_inline(integers);
    int64_t got = THROUGH(integers_type)(-1, 200, -300, 60000, -70000, 4000000000u, -(1LL << 40),
                                         1ULL << 50, true, -8, -9, 1LL << 33);
    CHECK_EQUAL(got, integers(-1, 200, -300, 60000, -70000, 4000000000u, -(1LL << 40), 1ULL << 50,
                              true, -8, -9, 1LL << 33));
    CHECK_EQUAL(slot->outcome, AIONIF_RETURNED);
}

typedef double floats_type(float, double, float, double, double, double, double, double, double,
                           float, double, float, ...);
static double floats(float a, double b, float c, double d, double e, double f, double g, double h,
                     double i, float j, double k, float l) {
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * k +
           12 * l;
}

static void test_floats(void) {
    check_case("twelve floats and doubles");
    door_inline(floats);
    double got = THROUGH(floats_type)(.5f, 1.25, -3.5f, 1e10, -4, 5, 6, 7, 8.125, 9.5f, 1e-3, -1.f);
    CHECK(got == floats(.5f, 1.25, -3.5f, 1e10, -4, 5, 6, 7, 8.125, 9.5f, 1e-3, -1.f));
}

static float a_float(void) { return 1.5f; }
static uint8_t a_byte(void) { return 0xfe; }
static __int128 wide(__int128 value, int shift) { return value << shift; }
typedef __int128 wide_type(__int128, int, ...);

static void test_scalar_results(void) {
    check_case("float, byte and 128-bit results");
    door_inline(a_float);
    CHECK(THROUGH(float(void))() == 1.5f);
    door_inline(a_byte);
    CHECK_EQUAL(THROUGH(uint8_t(void))(), 0xfe);
    door_inline(wide);
    __int128 value = ((__int128)0x123456789abcdef << 32) + 99;
    CHECK(THROUGH(wide_type)(value, 20) == value << 20);
}

typedef double mixed_type(int, double, long, float, int, double, long, float, int, double, long,
                          float, int, double, long, float, int, double, long, float, ...);
static double mixed(int a, double b, long c, float d, int e, double f, long g, float h, int i,
                    double j, long k, float l, int m, double n, long o, float p, int q, double r,
                    long s, float t) {
    double sum = a + 2 * b + 3 * (double)c + 4 * d + 5 * e + 6 * f + 7 * (double)g + 8 * h;
    sum += 9 * i + 10 * j + 11 * (double)k + 12 * l + 13 * m + 14 * n + 15 * (double)o + 16 * p;
    return sum + 17 * q + 18 * r + 19 * (double)s + 20 * t;
}

static void test_mixed(void) {
    check_case("twenty mixed arguments");
    door_inline(mixed);
    double got = THROUGH(mixed_type)(1, 2.5, 3, 4.5f, 5, 6.5, 7, 8.5f, 9, 10.5, 11, 12.5f, 13, 14.5,
                                     15, 16.5f, 17, 18.5, 19, 20.5f);
    CHECK(got == mixed(1, 2.5, 3, 4.5f, 5, 6.5, 7, 8.5f, 9, 10.5, 11, 12.5f, 13, 14.5, 15, 16.5f,
                       17, 18.5, 19, 20.5f));
}

typedef struct {
    long number;
    double real;
} pair;
typedef struct {
    double a, b, c, d;
} quad; /* in memory on x86-64, in four vector registers on aarch64 */
typedef struct {
    long words[9];
} large;

static pair swap_pair(pair value, int by) { return (pair){(long)value.real + by, value.number}; }
typedef pair pair_type(pair, int, ...);

static quad turn_quad(quad value) { return (quad){value.b, value.c, value.d, value.a}; }
typedef quad quad_type(quad, ...);

static large reverse_large(int before, large value, double after) {
    large reversed;
    for (int i = 0; i < 9; i++) {
        reversed.words[i] = value.words[8 - i] + before + (long)after;
    }
    return reversed;
}
typedef large large_type(int, large, double, ...);

static void test_structs(void) {
    check_case("structs by value, in registers and in memory");
    pair one = {7, 8.5};
    door_inline(swap_pair);
    pair swapped = THROUGH(pair_type)(one, 3);
    CHECK(swapped.number == 11 && swapped.real == 7.0);

    quad four = {1.5, 2.5, 3.5, 4.5};
    door_inline(turn_quad);
    quad turned = THROUGH(quad_type)(four);
    CHECK(turned.a == 2.5 && turned.b == 3.5 && turned.c == 4.5 && turned.d == 1.5);

    large nine = {{1, 2, 3, 4, 5, 6, 7, 8, 9}};
    door_inline(reverse_large);
    large got = THROUGH(large_type)(100, nine, 1000.0), wanted = reverse_large(100, nine, 1000.0);
    CHECK(memcmp(&got, &wanted, sizeof got) == 0);
}

static long double extend(int a, long double b, double c, long double d) {
    return a + b / 3 + c * d;
}
typedef long double extend_type(int, long double, double, long double, ...);
static double complex turn(double complex value, float complex by) { return value * by; }
typedef double complex turn_type(double complex, float complex, ...);

static void test_extended(void) {
    check_case("long double and complex");
    door_inline(extend);
    door_plan.result_x87 = 1;
    CHECK(THROUGH(extend_type)(1, 2.5L, 3.5, 1e-18L) == extend(1, 2.5L, 3.5, 1e-18L));
    /* Eight of them: an x87 register that was left full would make the ninth push a NaN. */
    for (int i = 0; i < 9; i++) {
        door_inline(extend);
        door_plan.result_x87 = 1;
        CHECK(THROUGH(extend_type)(i, 1, 2, 3) == extend(i, 1, 2, 3));
    }
    door_inline(turn);
    CHECK(THROUGH(turn_type)(1 + 2 * I, 3 - 4 * I) == turn(1 + 2 * I, 3 - 4 * I));
}

static double sum_variadic(const char *kinds, ...) {
    va_list arguments;
    va_start(arguments, kinds);
    double sum = 0;
    for (; *kinds; kinds++) {
        sum = sum * 3 + (*kinds == 'd'   ? va_arg(arguments, double)
                         : *kinds == 'L' ? (double)va_arg(arguments, long double)
                                         : (double)va_arg(arguments, long));
    }
    va_end(arguments);
    return sum;
}

static void test_variadic(void) {
    check_case("variadic functions");
    typedef double type(const char *, ...);
    door_inline(sum_variadic);
    door_plan.stack_words = 0;
    slot->stack_words = SLOT_STACK_WORDS; /* known only once the arguments are */
    const char *kinds = "ldlLddllLddddddddlll";
    double got = THROUGH(type)(kinds, 1L, 2.5, 3L, 4.5L, 5.5, 6.5, 7L, 8L, 9.5L, 10.5, 11.5, 12.5,
                               13.5, 14.5, 15.5, 16.5, 17.5, 18L, 19L, 20L);
    CHECK(got == sum_variadic(kinds, 1L, 2.5, 3L, 4.5L, 5.5, 6.5, 7L, 8L, 9.5L, 10.5, 11.5, 12.5,
                              13.5, 14.5, 15.5, 16.5, 17.5, 18L, 19L, 20L));
    CHECK_EQUAL(slot->stack_words, 0);

    typedef int printing(char *, size_t, const char *, ...);
    char text[64];
    door_inline(snprintf);
    int length =
        THROUGH(printing)(text, sizeof text, "%d %s %.2f %ld %c %.1f", 1, "two", 3.0, 4L, '5', 6.0);
    CHECK_EQUAL(length, 18);
    CHECK(strcmp(text, "1 two 3.00 4 5 6.0") == 0);
}

/* ---- what surrounds a call ---- */

static int set_errno(int value) {
    int before = errno;
    errno = value;
    return before;
}
static void crash_with_errno(void) {
    errno = 77;
    crash();
}

static void test_errno(void) {
    check_case("errno goes in and comes out");
    typedef int type(int, ...);
    door_inline(set_errno);
    errno = 41;
    int before = THROUGH(type)(42);
    int after = errno;
    CHECK_EQUAL(before, 41);
    CHECK_EQUAL(after, 42);
    door_inline(crash_with_errno);
    THROUGH(void(void))();
    after = errno;
    CHECK_EQUAL(after, 77);
    CHECK_EQUAL(slot->outcome, AIONIF_FAILED);
}

/* Leaves nothing of its caller in any register, and then crashes. */
static void ruin_registers(void) {
#if defined(__x86_64__)
    __asm__ volatile("movq $-1, %%rbx\n movq %%rbx, %%r12\n movq %%rbx, %%r13\n movq %%rbx, %%r14\n"
                     "movq %%rbx, %%r15\n movq %%rbx, %%rbp\n std\n"
                     "fldpi\n fldpi\n fldpi\n fldpi\n fldpi\n fldpi\n fldpi\n fldpi\n"
                     "movl %%ebx, 16\n" ::
                         : "rbx", "r12", "r13", "r14", "r15", "memory");
#elif defined(__aarch64__)
    __asm__ volatile("mov x19, #-1\n mov x20, x19\n mov x21, x19\n mov x22, x19\n mov x23, x19\n"
                     "mov x24, x19\n mov x25, x19\n mov x26, x19\n mov x27, x19\n mov x28, x19\n"
                     "dup v8.2d, x19\n dup v9.2d, x19\n dup v10.2d, x19\n dup v11.2d, x19\n"
                     "dup v12.2d, x19\n dup v13.2d, x19\n dup v14.2d, x19\n dup v15.2d, x19\n"
                     "mov x29, x19\n mov x0, #16\n str w19, [x0]\n" ::
                         : "x0", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27",
                           "x28", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "memory");
#endif
}

/* More values than there are registers live across the call, in integer and vector registers. */
__attribute__((noinline)) static double live_across(void (*call)(void), long n, double x) {
    long a = n * 3, b = n * 5, c = n * 7, d = n * 11, e = n * 13, f = n * 17, g = n * 19,
         h = n * 23;
    long i = n ^ 29, j = n ^ 31, k = n ^ 37;
    double p = x * 3, q = x * 5, r = x * 7, s = x * 11, t = x * 13, u = x * 17, v = x * 19,
           w = x * 23;
    call();
    long integers = a - b * 2 + c * 3 - d * 4 + e * 5 - f * 6 + g * 7 - h * 8 + i * 9 - j + k;
    return (double)integers + p - q * 2 + r * 3 - s * 4 + t * 5 - u * 6 + v * 7 - w * 8;
}

static void nothing(void) {}

static void test_registers(void) {
    check_case("the caller's registers survive a crash");
    double wanted = live_across(nothing, 12345, 0.25);
    for (int i = 0; i < 2; i++) {
        door_inline(ruin_registers);
        double got = live_across(THROUGH(void(void)), 12345, 0.25);
        CHECK(got == wanted);
        CHECK_EQUAL(slot->outcome, AIONIF_FAILED);
        /* The direction flag and the x87 registers are as the ABI wants them, or these go wrong. */
        char from[64], to[64];
        memset(from, i + 1, sizeof from);
        memmove(to, from, sizeof to);
        CHECK(memcmp(from, to, sizeof to) == 0);
        volatile long double third = 1;
        third /= 3;
        CHECK(third > 0.33L && third < 0.34L);
    }
}

static void round_up_and_crash(void) {
    fesetround(FE_UPWARD);
    crash();
}

static void test_rounding(void) {
    check_case("a crash does not leave its rounding mode behind");
    door_inline(round_up_and_crash);
    THROUGH(void(void))();
    CHECK_EQUAL(fegetround(), FE_TONEAREST);
    CHECK_EQUAL(slot->outcome, AIONIF_FAILED);
}

/* ---- calls within calls ---- */

static int inner_outcomes[2];

/* As a callback would: a call, in a call, that does not end well. */
static long outer(long value) {
    volatile long kept[64];
    for (int i = 0; i < 64; i++) {
        kept[i] = value + i;
    }
    struct aionif_failure failure;
    inner_outcomes[0] = door_run(crash, &failure);
    inner_outcomes[1] = door_run(crash_overflow, &failure);
    long sum = 0;
    for (int i = 0; i < 64; i++) {
        sum += kept[i];
    }
    return sum;
}

static void test_nested(void) {
    check_case("a crash in a nested call leaves the outer one alone");
    typedef long type(long, ...);
    for (int i = 0; i < 2; i++) {
        door_inline(outer);
        CHECK_EQUAL(THROUGH(type)(1000), 64 * 1000 + 63 * 32);
        CHECK_EQUAL(slot->outcome, AIONIF_RETURNED);
        CHECK_EQUAL(inner_outcomes[0], AIONIF_SIGNAL);
        CHECK_EQUAL(inner_outcomes[1], AIONIF_OVERFLOW);
    }
}

static void test_misuse(void) {
    check_case("a call without a request");
    slot->target = NULL;
    CHECK_EQUAL(THROUGH(long(void))(), 0);
    CHECK_EQUAL(slot->outcome, AIONIF_MISUSED);
    slot->replay = 0x123400000001;
    CHECK_EQUAL(THROUGH(long(void))(), 0);
    CHECK_EQUAL(slot->outcome, AIONIF_MISUSED);
    CHECK_EQUAL(slot->replay, 0);
}

int main(void) {
    check_deadline(60);
    slot_start();
    test_integers();
    test_floats();
    test_scalar_results();
    test_mixed();
    test_structs();
    test_extended();
    test_variadic();
    test_errno();
    test_registers();
    test_rounding();
    test_nested();
    test_misuse();
    return check_report();
}
