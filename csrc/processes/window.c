/* The window, the parent's blocks in it, and the catalog of functions. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "processes/window.h"

#include "faults/modules.h"
#include "lanes/state.h"
#include "processes/segment.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t window, window_size;
static uint32_t blocks; /* of the arena, and so of each worker's */
static struct aionif__catalog *catalog;
static int catalog_file = -1; /* for the zygotes that are yet to come */

uint64_t aionif__window(void) { return window; }

/* Reserved, not used: PROT_NONE and NORESERVE cost neither memory nor page tables. In the parent the
 * arena becomes memory, in a worker the segment and the buffers are mapped over it. */
uint64_t aionif_window(uint64_t address, uint64_t length) {
    if (!length) {
        return window;
    }
    void *got = mmap(
        (void *)(uintptr_t)address, length, PROT_NONE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (address ? MAP_FIXED_NOREPLACE : 0), -1, 0);
    if (got == MAP_FAILED) {
        return 0;
    }
    if (address && (uintptr_t)got != address) { /* a kernel before 4.17 takes it for a hint */
        munmap(got, length);
        return 0;
    }
    window = (uintptr_t)got;
    window_size = length;
    return window;
}

uint64_t aionif_window_size(void) { return window_size; }

/* Each worker's segment is mapped here as well, and a limit of address space counts all of it. */
size_t aionif__segment_size(void) {
    return offsetof(struct aionif__segment, arena) + (size_t)blocks * AIONIF_BLOCK;
}

uint64_t aionif_arena(uint32_t wanted) {
    char *arena = ((struct aionif__segment *)(uintptr_t)window)->arena[0];
    if (!blocks && wanted && wanted <= AIONIF_BLOCKS &&
        mprotect(arena, (size_t)wanted * AIONIF_BLOCK, PROT_READ | PROT_WRITE) == 0) {
        blocks = wanted;
    }
    return blocks ? (uintptr_t)arena : 0;
}

uint32_t aionif_arena_blocks(void) { return blocks; }

/* What the next call does not write over (padding, room for what comes back) goes to its worker, too. */
void aionif_block_clear(struct aionif_block *block) {
    memset(block, 0, block->used <= AIONIF_BLOCK ? block->used : AIONIF_BLOCK);
}

/* The one that there is, a parent's of before a fork, goes on in `file`. Under the lock: the watchdog
 * reads it. */
static bool move_catalog(int file) {
    if (catalog && pwrite(file, catalog, sizeof *catalog, 0) != (ssize_t)sizeof *catalog) {
        return false;
    }
    void *map = mmap(NULL, sizeof *catalog, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) {
        return false;
    }
    if (catalog) {
        munmap(catalog, sizeof *catalog);
    }
    catalog = map;
    if (!atomic_load(&catalog->count)) { /* 0 says "none", 1 stands for Python callables */
        atomic_store(&catalog->count, AIONIF_PYTHON_ENTRY + 1);
    }
    return true;
}

/* Written by the parent alone: once it is sealed, nobody else can get a writable mapping. */
static bool make_catalog(void) {
    int file = memfd_create("aionif-catalog", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0 || ftruncate(file, sizeof *catalog) != 0 || !move_catalog(file)) {
        if (file >= 0) {
            close(file);
        }
        return false;
    }
    fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
    catalog_file = file;
    return true;
}

int aionif_catalog_open(void) {
    aionif__lock();
    bool there = catalog_file >= 0 || make_catalog();
    int file = there ? fcntl(catalog_file, F_DUPFD_CLOEXEC, 0) : -1;
    aionif__unlock();
    return file;
}

/* In the child of a fork: what its parent adds from now on is nothing to it. */
void aionif__catalog_forked(void) {
    if (catalog_file >= 0) {
        close(catalog_file);
        catalog_file = -1;
    }
}

uint32_t aionif__catalog_count(void) { return catalog ? atomic_load(&catalog->count) : 0; }

uint32_t aionif__catalog_first(uint32_t entry) {
    uint32_t first = AIONIF_PYTHON_ENTRY + 1;
    while (first < entry &&
           strcmp(catalog->entries[first].module.path, catalog->entries[entry].module.path) != 0) {
        first++;
    }
    return first;
}

bool aionif__catalog_has(const struct aionif_module *module) {
    for (uint32_t entry = AIONIF_PYTHON_ENTRY + 1; entry < aionif__catalog_count(); entry++) {
        if (aionif__module_same(&catalog->entries[entry].module, module)) {
            return true;
        }
    }
    return false;
}

/* Where this process has the file is left out: all workers read this, and it is of no use to them. */
uint32_t aionif_catalog_add(const struct aionif_module *module, uint64_t offset) {
    aionif__lock();
    uint32_t count = catalog ? atomic_load(&catalog->count) : AIONIF_ENTRIES;
    if (count < AIONIF_ENTRIES) {
        catalog->entries[count].module = *module;
        catalog->entries[count].module.bias = 0;
        catalog->entries[count].offset = offset;
        atomic_store(&catalog->count, count + 1);
    }
    aionif__unlock();
    return count < AIONIF_ENTRIES ? count : 0;
}
