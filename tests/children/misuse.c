/* Ways to misuse the heap, each with blocks of a size of the caller's choice, and its use after them. */
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The compiler must not know these functions: it warns of, or leaves out, what misuses them. */
static void *(*volatile take)(size_t) = malloc;
static void (*volatile give)(void *) = free;
static void *(*volatile fill)(void *, int, size_t) = memset;

enum { HEAD = 2 * sizeof(size_t) };

void free_twice(size_t size) {
    char *block = take(size);
    give(block);
    give(block);
}

void free_twice_among_others(size_t size) {
    char *before = take(size), *block = take(size), *behind = take(size);
    give(block);
    give(block);
    give(before);
    give(behind);
}

/* Over the head of the block behind it: what lies between is at most what precedes a block. */
void overrun(size_t size) {
    char *block, *behind;
    size_t usable, between;
    do {
        char *one = take(size), *other = take(size);
        block = one < other ? one : other; /* blocks with a mapping of their own go downwards */
        behind = one < other ? other : one;
        usable = malloc_usable_size(block);
        between = (size_t)(behind - block) - usable;
    } while (between > HEAD);
    fill(block, 'A', usable + HEAD);
    give(behind);
    give(block);
}

void free_the_middle(size_t size) {
    char *block = take(size);
    fill(block, 0, size);
    give(block + HEAD / 2);
}

/* What lies behind the last block is the rest of the heap. */
void overwrite_the_top(size_t size) {
    char *block = take(size);
    fill(block, 'A', malloc_usable_size(block) + HEAD);
    for (int i = 0; i < 100; i++)
        take(size);
}

/* Takes `count` blocks of many sizes and gives them all back. How many were not as they had been left. */
size_t use_heap(size_t count) {
    enum { KEPT = 64 };
    struct { unsigned char *block; size_t size; } kept[KEPT] = {{0}};
    uint64_t random = 88172645463325252u;
    size_t spoilt = 0;
    for (size_t i = 0; i < count + KEPT; i++) {
        size_t at = i % KEPT;
        for (size_t byte = 0; byte < kept[at].size; byte += 8)
            spoilt += kept[at].block[byte] != (unsigned char)at;
        give(kept[at].block);
        kept[at].block = NULL;
        kept[at].size = 0;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if (i < count) {
            size_t size = 1 + random % (i % 16 == 0 ? 20000 : 1200);
            kept[at].block = take(size);
            if (kept[at].block) {
                kept[at].size = size;
                fill(kept[at].block, (int)at, size);
            } else {
                spoilt++;
            }
        }
    }
    return spoilt;
}
