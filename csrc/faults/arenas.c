/* Where glibc's malloc keeps the locks of its heaps.
 *
 * A heap is an "arena": its lock, what is needed to allocate from it, and a link to the next one; the
 * links form a ring. The first arena is a variable of libc's that has no name to the outside. A block
 * that is freed, is too large for the caches and has no free neighbour becomes the first in the list
 * of its arena's unsorted blocks, so its link back is an address in the arena.
 *
 *     arena  +-> lock  flags  fast bins  top  last remainder  bins ...  map  next ...
 *            |                           ^
 *     block  size  next free  the one before: a block as it would be if `top` were its first word
 *
 * The layout is that of glibc 2.27 to 2.43. Nothing of it is promised, so it is believed only after a
 * test: the list leads back to the block, bins are empty as glibc leaves empty ones, the ring is
 * closed, the main arena is in libc's own memory; and the word that is taken for its lock, when it is
 * set by us, makes a thread wait that calls mallopt(), which is let go when the word is reset. Where
 * any of this fails nothing is known, and none of it is ever used.
 *
 * Only of libc's own malloc: where another library's is in front, libc's heaps do not matter. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/arenas.h"

#include "system/glibc.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <linux/futex.h>
#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OLDEST = 27, NEWEST = 43, BINS = 127, EMPTY_BINS = 16 };
enum { LAST_WITH_FAST_BINS = 42, FAST_BINS = 10 };
enum { SPARE_OF_EACH_CPU = 4 }; /* half of what glibc makes; after that new threads share heaps */

struct arena {
    aionif__lock_word lock;
    int flags;
    /* has_fast_blocks and the fast bins, in releases that have them; then struct books. */
};

struct books {
    void *top, *last_remainder;
    void *bins[2 * BINS];
    unsigned map[4];
    struct arena *_Atomic next;
};

static size_t head; /* of an arena, up to its books */

static struct books *books(struct arena *arena) { return (void *)((char *)arena + head); }

static struct arena *_Atomic main_arena; /* known */

/* ---- finding it ---- */

enum { SEGMENTS = 4 };

/* Libc's: a function of it, what it may write to, and what nobody writes to. */
struct memory {
    uintptr_t code, low, high;
    struct segment {
        uintptr_t low, high;
    } constant[SEGMENTS];
};

static struct memory known;
static int spare_below;

static int find_libc(struct dl_phdr_info *info, size_t size, void *opaque) {
    struct memory *libc = opaque, here = {.code = libc->code};
    bool found = false;
    int constant = 0;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t low = info->dlpi_addr + header->p_vaddr, high = low + header->p_memsz;
        if (header->p_type != PT_LOAD) {
            continue;
        }
        found |= here.code >= low && here.code < high;
        if (header->p_flags & PF_W) {
            here.low = low;
            here.high = high;
        } else if (constant < SEGMENTS) {
            here.constant[constant++] = (struct segment){low, high};
        }
    }
    if (found) {
        *libc = here;
    }
    return found;
}

/* False: malloc is not libc's. */
static bool find_memory(struct memory *libc) {
    struct memory other = {.code = (uintptr_t)dlsym(RTLD_DEFAULT, "malloc")};
    libc->code = (uintptr_t)dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
    return dl_iterate_phdr(find_libc, libc) && dl_iterate_phdr(find_libc, &other) && libc->low &&
           other.low == libc->low;
}

static bool is_main(const struct memory *libc, uintptr_t arena) {
    return arena >= libc->low && arena + head + sizeof(struct books) <= libc->high;
}

/* Any other lies at the start of a heap, behind 32 or 48 bytes. */
static bool may_be_arena(const struct memory *libc, uintptr_t arena) {
    uintptr_t offset = arena % ((uintptr_t)64 << 20);
    return arena % sizeof(void *) == 0 && (is_main(libc, arena) || offset == 32 || offset == 48);
}

/* A block's links follow two words; a bin's are where they would be in a block. */
static bool has_bins(const struct books *books, const void *first) {
    int empty = 0;
    for (int i = 1; i < BINS; i++) {
        const void *self = (const char *)&books->bins[2 * i] - 2 * sizeof(size_t);
        empty += books->bins[2 * i] == self && books->bins[2 * i + 1] == self;
    }
    return books->bins[0] == first && empty >= EMPTY_BINS;
}

static struct arena *main_of(const struct memory *libc, struct arena *arena) {
    struct arena *found = NULL, *at = arena;
    for (int i = 0; i < AIONIF__ARENAS; i++) {
        if (!may_be_arena(libc, (uintptr_t)at)) {
            return NULL;
        }
        found = is_main(libc, (uintptr_t)at) ? at : found;
        at = atomic_load(&books(at)->next);
        if (at == arena) {
            return found;
        }
    }
    return NULL;
}

/* The compiler would make nonsense of what is read from a block that was freed. */
static void **launder(void *block) {
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}

static struct arena *arena_of(const struct memory *libc, void **freed) {
    uintptr_t arena = (uintptr_t)freed[1] - head;
    struct arena *candidate = (struct arena *)arena;
    bool found = may_be_arena(libc, arena) && has_bins(books(candidate), freed - 2);
    return found ? candidate : NULL;
}

static struct arena *find(const struct memory *libc) {
    enum { BLOCKS = 8, SIZE = 5000 };
    char *blocks[BLOCKS];
    struct arena *arena = NULL;
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(SIZE);
    }
    size_t step = blocks[0] ? malloc_usable_size(blocks[0]) + sizeof(size_t) : 0;
    for (int i = 1; i < BLOCKS - 1 && !arena; i++) {
        if (blocks[i - 1] && blocks[i] == blocks[i - 1] + step &&
            blocks[i + 1] == blocks[i] + step) {
            void **freed = launder(blocks[i]);
            free(blocks[i]);
            blocks[i] = NULL;
            arena = arena_of(libc, freed);
        }
    }
    for (int i = 0; i < BLOCKS; i++) {
        free(blocks[i]);
    }
    return arena ? main_of(libc, arena) : NULL;
}

/* ---- testing it ---- */

static bool take(void *lock) {
    uint32_t unlocked = 0;
    return atomic_compare_exchange_strong((aionif__lock_word *)lock, &unlocked, 1);
}

static void give(void *lock) { aionif__arena_unlock(lock); }

/* There is no such option, but whatever the option, the main heap's lock is taken first. */
static void use_main_heap(void) { mallopt(INT_MIN, 0); }

static bool stops_mallopt(struct arena *arena) {
    struct aionif__lock_test test = {.word = &arena->lock,
                                     .take = take,
                                     .give = give,
                                     .use = use_main_heap,
                                     .lock = &arena->lock};
    return aionif__lock_test(&test);
}

/* Another thread may allocate in the middle of it, so it has a few tries. */
static void start(void) {
    enum { TRIES = 20 };
    struct memory libc = {0};
    int minor = aionif__glibc_minor();
    if (minor < OLDEST || minor > NEWEST || !find_memory(&libc)) {
        return;
    }
    head = sizeof(struct arena);
    if (minor <= LAST_WITH_FAST_BINS) {
        head += sizeof(void *) + FAST_BINS * sizeof(void *); /* the flag before them is padded */
    }
    for (int i = 0; i < TRIES; i++) {
        struct arena *found = find(&libc);
        if (found && stops_mallopt(found)) {
            known = libc;
            spare_below = SPARE_OF_EACH_CPU * (int)sysconf(_SC_NPROCESSORS_ONLN);
            atomic_store(&main_arena, found);
            return;
        }
    }
}

/* A pthread_once_t would stay taken where this crashes. */
void aionif__arenas_start(void) {
    static _Atomic bool started;
    if (!atomic_exchange(&started, true)) {
        start();
    }
}

/* With one thread malloc takes no lock, and the test would make a second one. */
void aionif__arenas_refresh(void) {
    const char *alone = dlsym(RTLD_DEFAULT, "__libc_single_threaded");
    if (!alone || !*alone) {
        aionif__arenas_start();
    }
}

/* ---- using it ---- */

bool aionif__arenas_are_known(void) { return atomic_load(&main_arena) != NULL; }

bool aionif__arenas_of_libc(const void *address, size_t length) {
    uintptr_t at = (uintptr_t)address;
    bool found = false;
    for (int i = 0; i < SEGMENTS && aionif__arenas_are_known(); i++) {
        const struct segment *segment = &known.constant[i];
        found |= at >= segment->low && at < segment->high && length <= segment->high - at;
    }
    return found;
}

/* An arena is never removed, and a new one is whole before it is linked: no lock is needed. */
static int list(int room, aionif__lock_word **out) {
    struct arena *first = atomic_load(&main_arena), *at = first;
    int count = 0;
    do {
        if (!at || count == room) {
            return 0;
        }
        if (out) {
            out[count] = &at->lock;
        }
        count++;
        at = atomic_load(&books(at)->next);
    } while (at != first);
    return count;
}

int aionif__arenas_list(aionif__lock_word *out[AIONIF__ARENAS]) {
    return list(AIONIF__ARENAS, out);
}

bool aionif__arenas_to_spare(void) { return list(spare_below, NULL) > 0; }

void aionif__arena_unlock(aionif__lock_word *lock) {
    if (atomic_exchange(lock, 0) > 1) {
        syscall(SYS_futex, lock, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}
