"""The functions of binding.c, which have every kind of signature."""

from __future__ import annotations

from pathlib import Path

CDEF = """
    int64_t sum_bytes(const void *, long, int);
    int64_t sum_ints(const int *, long, int);
    double sum_doubles(const double *, long, int);
    long length_of_text(const char *, int);
    long sum_of_wide_text(const wchar_t *, int);
    void fill_bytes(unsigned char *, long, int);
    struct point { int x, y; };
    struct mixed { double real; int whole; };
    struct big { double numbers[5]; int tag; };
    int dot(const struct point *, const struct point *, int);
    struct point mirror(struct point);
    struct mixed twice(struct mixed);
    struct big make_big(int, struct big, int);
    enum colour { RED = 1, GREEN = 2, BLUE = -3 };
    enum colour next_colour(enum colour);
    long double half_long(long double);
    float _Complex conjugate_float(float _Complex);
    double _Complex conjugate(double _Complex);
    bool negate(bool);
    int64_t sum_of(int, ...);
    int apply(int (*)(int, void *), int, void *);
    int doubled(int, void *);
    typedef int (*operation)(int, void *);
    operation find_operation(void);
"""
SOURCE = Path(__file__).with_suffix(".c")
SLOW = 20
"""Milliseconds: long enough for a call to be still running when its caller begins to wait."""
