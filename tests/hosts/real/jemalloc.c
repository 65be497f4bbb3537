/* Ways to fail inside malloc, and the use of the heap after that. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The compiler must not know these functions: it warns of, or leaves out, what misuses them. */
static void *(*volatile take)(size_t) = malloc;
static void (*volatile give)(void *) = free;

void free_what_never_was(void) { give((void *)(uintptr_t)0x123456789000); }

void free_twice(void) {
    char *block = take(64);
    give(block);
    give(block);
}

void overrun(void) {
    char *block = take(64), *behind = take(64);
    memset(block, 'A', 256);
    give(behind);
    give(block);
}

void take_for_ever(size_t size) {
    for (;;) {
        char *block = take(size);
        if (block) {
            block[0] = 1;
            give(block);
        }
    }
}

/* Takes blocks of many sizes and gives them all back: how many were not as they had been left. */
int use_heap(int count) {
    enum { KEPT = 64 };
    struct {
        unsigned char *block;
        size_t size;
    } kept[KEPT] = {{0}};
    int spoilt = 0;
    for (int i = 0; i < count; i++) {
        int at = i % KEPT;
        for (size_t byte = 0; byte < kept[at].size; byte++) {
            spoilt += kept[at].block[byte] != (unsigned char)at;
        }
        give(kept[at].block);
        kept[at].size = (size_t)i * 37 % 5000;
        kept[at].block = take(kept[at].size);
        memset(kept[at].block, at, kept[at].size);
    }
    for (int at = 0; at < KEPT; at++) {
        give(kept[at].block);
    }
    return spoilt;
}
