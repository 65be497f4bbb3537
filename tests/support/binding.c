/* Functions of every kind of signature; compiled by the fixture of tests/binding/conftest.py. */
#define _GNU_SOURCE
#include <complex.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <wchar.h>

static void pause_ms(int ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

/* ---- memory: a wait before it is read shows that it lives as long as the call ---- */

int64_t sum_bytes(const void *memory, long length, int ms) {
    const unsigned char *bytes = memory;
    pause_ms(ms);
    int64_t sum = 0;
    for (long i = 0; i < length; i++)
        sum += bytes[i];
    return sum;
}

int64_t sum_ints(const int *numbers, long count, int ms) {
    pause_ms(ms);
    int64_t sum = 0;
    for (long i = 0; i < count; i++)
        sum += numbers[i];
    return sum;
}

double sum_doubles(const double *numbers, long count, int ms) {
    pause_ms(ms);
    double sum = 0;
    for (long i = 0; i < count; i++)
        sum += numbers[i];
    return sum;
}

long length_of_text(const char *text, int ms) {
    pause_ms(ms);
    long length = 0;
    while (text[length])
        length++;
    return length;
}

long sum_of_wide_text(const wchar_t *text, int ms) {
    pause_ms(ms);
    long sum = 0;
    while (*text)
        sum += *text++;
    return sum;
}

void fill_bytes(unsigned char *bytes, long length, int value) {
    for (long i = 0; i < length; i++)
        bytes[i] = (unsigned char)value;
}

/* ---- structs ---- */

struct point {
    int x, y;
};

struct mixed {
    double real;
    int whole;
};

struct big {
    double numbers[5];
    int tag;
};

int dot(const struct point *left, const struct point *right, int ms) {
    pause_ms(ms);
    return left->x * right->x + left->y * right->y;
}

struct point mirror(struct point point) { return (struct point){.x = point.y, .y = point.x}; }

struct mixed twice(struct mixed value) {
    return (struct mixed){.real = value.real * 2, .whole = value.whole * 2};
}

struct big make_big(int tag, struct big given, int ms) {
    pause_ms(ms);
    for (int i = 0; i < 5; i++)
        given.numbers[i] += i;
    given.tag = tag;
    return given;
}

/* ---- scalars ---- */

enum colour { RED = 1, GREEN = 2, BLUE = -3 };

enum colour next_colour(enum colour colour) { return colour == RED ? GREEN : BLUE; }

long double half_long(long double value) { return value / 2; }

float complex conjugate_float(float complex value) { return conjf(value); }

double complex conjugate(double complex value) { return conj(value); }

_Bool negate(_Bool value) { return !value; }

/* ---- variadics and function pointers ---- */

int64_t sum_of(int count, ...) {
    va_list arguments;
    va_start(arguments, count);
    int64_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += va_arg(arguments, int);
    va_end(arguments);
    return sum;
}

int apply(int (*function)(int, void *), int value, void *context) {
    return function(value, context) + 1;
}

int doubled(int value, void *context) {
    (void)context;
    return value * 2;
}

typedef int (*operation)(int, void *);

operation find_operation(void) { return doubled; }
