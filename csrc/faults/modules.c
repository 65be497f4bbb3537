/* Whose code an address belongs to.
 *
 * Handlers ask, so the answer is a table of address ranges that only ever grows: an entry is written
 * before the count that makes it visible, and never changed. A library that is unloaded leaves its
 * range behind; at worst a later library's code is then taken for the runtime's, which makes
 * recovery more careful, never less. Refreshed when a function is bound, under the core's lock. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/modules.h"

#include "core.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAX_RANGES = 96 };

struct range {
    uintptr_t low, high;
    enum aionif__owner owner;
};
struct table {
    struct range ranges[MAX_RANGES];
    _Atomic int count;
};

/* struct dl_find_object of glibc, whose headers have it from 2.35 on; what follows is not read. */
struct found_object {
    unsigned long long flags;
    void *start, *end;
    unsigned long long rest[16];
};

static struct table modules, heap_code, exit_code, team_code;
static int (*find_object)(void *address, struct found_object *out); /* takes no lock */
static _Atomic uintptr_t interpreter_low, interpreter_high; /* the code of libpython, or python */
static const char *const *abort_message;

static void add(struct table *table, uintptr_t low, uintptr_t high, enum aionif__owner owner) {
    int count = atomic_load_explicit(&table->count, memory_order_relaxed);
    for (int i = 0; i < count; i++) {
        if (table->ranges[i].low == low && table->ranges[i].high == high) {
            return;
        }
    }
    if (count < MAX_RANGES) {
        table->ranges[count] = (struct range){low, high, owner};
        atomic_store_explicit(&table->count, count + 1, memory_order_release);
    }
}

static const struct range *find(const struct table *table, uintptr_t address) {
    int count = atomic_load_explicit(&table->count, memory_order_acquire);
    for (int i = 0; i < count; i++) {
        if (address >= table->ranges[i].low && address < table->ranges[i].high) {
            return &table->ranges[i];
        }
    }
    return NULL;
}

static bool named(const char *path, const char *const *prefixes) {
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    for (; *prefixes; prefixes++) {
        if (strncmp(base, *prefixes, strlen(*prefixes)) == 0) {
            return true;
        }
    }
    return false;
}

static bool contains(const struct dl_phdr_info *info, const void *address) {
    uintptr_t wanted = (uintptr_t)address;
    for (int i = 0; wanted && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t low = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_LOAD && wanted >= low && wanted < low + header->p_memsz) {
            return true;
        }
    }
    return false;
}

static int visit(struct dl_phdr_info *info, size_t size, void *unused) {
    static const char *const runtime[] = {
        "libc.so",  "libc-2",      "ld-linux",    "libpthread",  "libstdc++", "libc++",
        "libgcc_s", "libjemalloc", "libtcmalloc", "libmimalloc", "libasan",   "libubsan",
        "libgomp",  "libomp",      "libiomp5",    "libtbb",      "libgc.so",  NULL};
    /* Not LLVM's OpenMP: it takes the end of a thread in a region for a mistake of its own, and aborts. */
    static const char *const teams[] = {"libgomp", NULL};
    static const char *const python[] = {"libpython", "_cffi_backend", "_ctypes", NULL};
    (void)size;
    (void)unused;
    enum aionif__owner owner = AIONIF__USER;
    const void *interpreter = dlsym(RTLD_DEFAULT, "Py_IsInitialized");
    if (named(info->dlpi_name, python) || contains(info, interpreter)) {
        owner = AIONIF__PYTHON;
    } else if (named(info->dlpi_name, runtime) || contains(info, dlsym(RTLD_DEFAULT, "malloc"))) {
        owner = AIONIF__RUNTIME;
    }
    for (int i = 0; owner != AIONIF__USER && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type == PT_LOAD && (header->p_flags & PF_X)) {
            uintptr_t low = info->dlpi_addr + header->p_vaddr;
            add(&modules, low, low + header->p_memsz, owner);
            if (named(info->dlpi_name, teams)) {
                add(&team_code, low, low + header->p_memsz, owner);
            }
            if ((uintptr_t)interpreter - low < header->p_memsz) {
                interpreter_low = low;
                interpreter_high = low + header->p_memsz;
            }
        }
    }
    return 0;
}

static void add_function(struct table *table, const char *name) {
    void *address = dlsym(RTLD_DEFAULT, name);
    Dl_info info;
    const ElfW(Sym) *symbol = NULL;
    if (address && dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) && symbol) {
        add(table, (uintptr_t)address, (uintptr_t)address + symbol->st_size, AIONIF__RUNTIME);
    }
}

void aionif__modules_refresh(void) {
    static const char *const heap[] = {
        "malloc",        "free",     "calloc", "realloc",        "reallocarray",
        "aligned_alloc", "memalign", "cfree",  "posix_memalign", NULL};
    *(void **)&find_object = dlsym(RTLD_DEFAULT, "_dl_find_object");
    dl_iterate_phdr(visit, NULL);
    for (const char *const *name = heap; *name; name++) {
        add_function(&heap_code, *name);
    }
    add_function(&exit_code, "exit");
    add_function(&exit_code, "quick_exit");
    if (!abort_message) {
        abort_message = dlvsym(RTLD_DEFAULT, "__abort_msg", "GLIBC_PRIVATE");
    }
}

enum aionif__owner aionif__module_owner(uintptr_t pc) {
    const struct range *range = find(&modules, pc);
    return range ? range->owner : AIONIF__USER;
}

uintptr_t aionif__module_start(uintptr_t pc) {
    struct found_object found;
    return find_object && find_object((void *)pc, &found) == 0 ? (uintptr_t)found.start : 0;
}

/* The stack of a runaway recursion has a hundred thousand words: no branch for each of them. */
static bool any_within(const uintptr_t words[8], uintptr_t low, uintptr_t size) {
    return (words[0] - low < size) | (words[1] - low < size) | (words[2] - low < size) |
           (words[3] - low < size) | (words[4] - low < size) | (words[5] - low < size) |
           (words[6] - low < size) | (words[7] - low < size);
}

bool aionif__names_interpreter(uintptr_t low, uintptr_t high) {
    uintptr_t first = interpreter_low, size = interpreter_high - first;
    const uintptr_t *at = (const uintptr_t *)low, *end = (const uintptr_t *)high;
    for (; end - at >= 8; at += 8) {
        if (any_within(at, first, size)) {
            return true;
        }
    }
    for (; at < end; at++) {
        if (*at - first < size) {
            return true;
        }
    }
    return false;
}

bool aionif__is_heap_code(uintptr_t pc) { return find(&heap_code, pc) != NULL; }

bool aionif__is_team_code(uintptr_t pc) { return find(&team_code, pc) != NULL; }

bool aionif__is_exit_code(uintptr_t pc) { return find(&exit_code, pc) != NULL; }

/* glibc keeps the text for debuggers as struct { unsigned size; char text[]; }, a mapping of its own
 * that the next message replaces: the same address twice in a row is the same message. Another thread
 * may be replacing it now, so the kernel is asked to read it. */
void aionif__abort_message(char *out, size_t size) {
    static const char *_Atomic last;
    const char *message = abort_message ? *abort_message : NULL;
    out[0] = '\0';
    if (!message || atomic_exchange(&last, message) == message) {
        return;
    }
    struct iovec to = {out, size - 1};
    struct iovec from = {(void *)(message + sizeof(unsigned)), size - 1};
    ssize_t got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
    if (got < 0 && errno != EFAULT) { /* not allowed to ask: then it is read, and a fault ends it */
        got = (ssize_t)strnlen(from.iov_base, size - 1);
        memcpy(out, from.iov_base, (size_t)got);
    }
    out[got > 0 ? got : 0] = '\0';
}

bool aionif__modules_is_code(uintptr_t address) {
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps) {
        return true; /* no way to know: let the call show it */
    }
    unsigned long low, high;
    char access[5];
    bool found = false;
    while (!found && fscanf(maps, "%lx-%lx %4s%*[^\n]", &low, &high, access) == 3) {
        found = address >= low && address < high && access[2] == 'x';
    }
    fclose(maps);
    return found;
}

bool aionif__module_same(const struct aionif_module *one, const struct aionif_module *other) {
    return one->build_id_length == other->build_id_length &&
           one->build_id_length <= AIONIF_BUILD_ID &&
           memcmp(one->build_id, other->build_id, one->build_id_length) == 0 &&
           strncmp(one->path, other->path, AIONIF_PATH) == 0;
}

struct search {
    uintptr_t address;
    struct aionif_module *out;
};

/* The note that the linker leaves in a module's memory: three words, "GNU", the id. */
static void read_build_id(const struct dl_phdr_info *info, struct aionif_module *out) {
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_NOTE) {
            continue;
        }
        const char *at = (const char *)(info->dlpi_addr + header->p_vaddr);
        const char *end = at + header->p_memsz;
        while (at + sizeof(ElfW(Nhdr)) <= end) {
            const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)at;
            const char *name = at + sizeof *note;
            const char *content = name + ((note->n_namesz + 3) & ~3u);
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
                memcmp(name, "GNU", 4) == 0 && note->n_descsz <= AIONIF_BUILD_ID) {
                memcpy(out->build_id, content, note->n_descsz);
                out->build_id_length = note->n_descsz;
                return;
            }
            at = content + ((note->n_descsz + 3) & ~3u);
        }
    }
}

static int match(struct dl_phdr_info *info, size_t size, void *opaque) {
    struct aionif_module here = {0};
    (void)size;
    if (strncmp(info->dlpi_name, ((const struct aionif_module *)opaque)->path, AIONIF_PATH) != 0) {
        return 0;
    }
    strncpy(here.path, info->dlpi_name, AIONIF_PATH - 1);
    read_build_id(info, &here);
    return aionif__module_same(&here, opaque);
}

bool aionif__modules_have(const struct aionif_module *module) {
    return dl_iterate_phdr(match, (void *)module) != 0;
}

static int locate(struct dl_phdr_info *info, size_t size, void *opaque) {
    struct search *search = opaque;
    (void)size;
    if (!contains(info, (const void *)search->address)) {
        return 0;
    }
    strncpy(search->out->path, info->dlpi_name, AIONIF_PATH - 1);
    search->out->bias = info->dlpi_addr;
    read_build_id(info, search->out);
    return 1;
}

int aionif_locate(uint64_t address, struct aionif_module *out) {
    struct search search = {address, out};
    memset(out, 0, sizeof *out);
    return dl_iterate_phdr(locate, &search);
}
