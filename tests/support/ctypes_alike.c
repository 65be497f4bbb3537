/* Functions that ctypes can call in many ways. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <wchar.h>

typedef struct {
    int x;
    double y;
} point;

typedef union {
    int i;
    float f;
    char text[8];
} any;

int sum(const int *numbers, int count) {
    int total = 0;
    for (int i = 0; i < count; i++) {
        total += numbers[i];
    }
    return total;
}

void scale(double *numbers, int count, double by) {
    for (int i = 0; i < count; i++) {
        numbers[i] *= by;
    }
}

double area(point value) { return value.x * value.y; }
double area_at(const point *value) { return value->x * value->y; }
point make_point(int x, double y) { return (point){x, y}; }
int as_int(const any *value) { return value->i; }
int first_byte(const void *memory) { return *(const unsigned char *)memory; }
int apply(void *function, int value) { return ((int (*)(int))function)(value); }
int length_of_wide(const wchar_t *text) { return (int)wcslen(text); }
int fill(char *buffer, int size) { return snprintf(buffer, (size_t)size, "filled"); }
int64_t doubled(int64_t value) { return value * 2; }
int add(int one, int other) { return one + other; }
void *same(void *pointer) { return pointer; }
int at_two_arrows(int **pointer) { return **pointer; }
bool is_negative(int8_t value) { return value < 0; }

void minimum_and_maximum(const int *numbers, int count, int *minimum, int *maximum) {
    *minimum = *maximum = numbers[0];
    for (int i = 1; i < count; i++) {
        *minimum = numbers[i] < *minimum ? numbers[i] : *minimum;
        *maximum = numbers[i] > *maximum ? numbers[i] : *maximum;
    }
}

int sum_of(int count, ...) {
    va_list rest;
    int total = 0;
    va_start(rest, count);
    while (count-- > 0) {
        total += va_arg(rest, int);
    }
    va_end(rest);
    return total;
}

char *in_capitals(const char *text) {
    static char capitals[100];
    int i = 0;
    for (; text[i] && i < 99; i++) {
        capitals[i] = (char)(text[i] >= 'a' && text[i] <= 'z' ? text[i] - 32 : text[i]);
    }
    capitals[i] = '\0';
    return capitals;
}
