/* Buffers: memory that calls in processes use without a copy.
 *
 * A buffer is a memfd, mapped in the parent at an address of the window. A worker gets it with the
 * first call that uses it: the descriptor goes over the worker's own socket, and the worker maps it at
 * the same address before it begins the call. For reading only, the descriptor itself is opened so:
 * no mapping of it can be made writable. That takes procfs. Without it, a buffer that no worker may
 * write to is sealed: there is our own mapping, and never another writable one, nor a write(), nor a
 * hole: its memory then lives as long as a worker has it mapped.
 *
 * When the last user lets go, the memory is given back at once, by a hole in the memfd; a mapping
 * that a worker still has then shows zeros, and is replaced when the addresses are used again. Where
 * there was a fork that memory is another process's, too: there letting go is to unmap it.
 *
 * A mapping can't be taken from a worker. So a buffer that is taken back moves: to a new memfd with
 * the same contents, at the same address here, which workers are given like any other. What is done
 * meanwhile in the old one is lost. A call that somebody waits for is not to be robbed of its results,
 * and to wait for its end here would stop the loop that it ends in: it is refused. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "processes/buffer.h"

#include "system/passing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    uint64_t address, length, generation;
    uint64_t lent;          /* the generation that some worker has had last */
    int writable, readable; /* descriptors */
    pid_t owner;
    bool open;
    bool readonly;  /* to workers */
    bool inherited; /* a child of a fork has it mapped, too */
} buffers[AIONIF_BUFFERS];
static uint64_t generations;

struct file {
    int writable, readable;
    void *map;
};

/* A descriptor of the same file for reading alone; -1, with errno: none is to be had. */
static int reopen(int file, bool seal) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int readable = open(path, O_RDONLY | O_CLOEXEC);
    if (readable < 0 && errno == ENOENT &&
        (!seal || fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0)) {
        readable = fcntl(file, F_DUPFD_CLOEXEC, 0);
    }
    return readable;
}

/* What there is of a file, without its holes. Its workers may write to it and make holes meanwhile: each
 * turn goes on by a page at least. */
static int copy_from(uint32_t buffer, int to) {
    off_t length = (off_t)buffers[buffer].length;
    off_t at = lseek(buffers[buffer].writable, 0, SEEK_DATA);
    while (at >= 0 && at < length) {
        off_t end = lseek(buffers[buffer].writable, at, SEEK_HOLE);
        end = end <= at ? at + AIONIF__PAGE : end < length ? end : length;
        const char *from = (const char *)(uintptr_t)buffers[buffer].address + at;
        ssize_t written = pwrite(to, from, (size_t)(end - at), at);
        if (written <= 0) {
            return written < 0 ? errno : EIO;
        }
        at = lseek(buffers[buffer].writable, at + written, SEEK_DATA);
    }
    return at < 0 && errno != ENXIO ? errno : 0; /* ENXIO: there is no more */
}

/* A new file, mapped at `address`, or anywhere; `source`: with the contents of a buffer, or -1.
 *
 * By its descriptor for reading a worker could open it anew, for writing, through procfs: Landlock has no
 * say over such files. Hence the mode, which a sealed worker has neither the capability to ignore nor
 * the system call to change. */
static int make(struct file *made, uint64_t address, uint64_t length, bool seal, int source) {
    made->writable = memfd_create("aionif-buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (made->writable < 0) {
        return errno;
    }
    made->readable = -1;
    made->map = MAP_FAILED;
    int error = ftruncate(made->writable, (off_t)length) != 0 ? errno
                : source >= 0 ? copy_from((uint32_t)source, made->writable)
                              : 0;
    if (!error) {
        made->map = mmap((void *)(uintptr_t)address, length, PROT_READ | PROT_WRITE,
                         MAP_SHARED | (address ? MAP_FIXED : 0), made->writable, 0);
        made->readable = made->map == MAP_FAILED ? -1 : reopen(made->writable, seal);
        error = made->readable < 0 ? errno : 0;
    }
    if (error) {
        if (made->map != MAP_FAILED && !address) {
            munmap(made->map, length);
        }
        close(made->writable);
        return error;
    }
    fchmod(made->writable, 0);
    fcntl(made->writable, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    return 0;
}

int aionif_buffer_open(uint32_t buffer, uint64_t address, uint64_t length, int writable) {
    struct file file;
    int error = make(&file, address, length, !writable, -1);
    if (error) {
        return error;
    }
    aionif__lock();
    buffers[buffer].address = address;
    buffers[buffer].length = length;
    buffers[buffer].generation = ++generations;
    buffers[buffer].writable = file.writable;
    buffers[buffer].readable = file.readable;
    buffers[buffer].owner = getpid();
    buffers[buffer].readonly = !writable;
    buffers[buffer].inherited = false;
    buffers[buffer].open = true;
    aionif__unlock();
    return 0;
}

/* Whoever has it mapped then sees zeros. */
static void empty(int file, uint64_t length) {
    fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)length);
}

static bool is_ours(uint32_t buffer) {
    return buffers[buffer].owner == getpid() && !buffers[buffer].inherited;
}

void aionif_buffer_close(uint32_t buffer) {
    aionif__lock();
    buffers[buffer].open = false;
    uint64_t address = buffers[buffer].address, length = buffers[buffer].length;
    int writable = buffers[buffer].writable, readable = buffers[buffer].readable;
    bool ours = is_ours(buffer);
    aionif__unlock();
    if (ours) {
        empty(writable, length);
    }
    mmap((void *)(uintptr_t)address, length, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    close(writable);
    close(readable);
}

int aionif_buffer_descriptor(uint32_t buffer) { return buffers[buffer].writable; }

void aionif_buffers_forked(void) {
    aionif__lock();
    for (uint32_t i = 0; i < AIONIF_BUFFERS; i++) {
        buffers[i].inherited |= buffers[i].open;
    }
    aionif__unlock();
}

/* ---- taking one back ---- */

static bool is_passed(const struct aionif_block *block, uint32_t buffer) {
    for (uint32_t i = 0; block && i < block->grant_count && i < AIONIF_GRANTS; i++) {
        if (block->grants[i] >> 1 == buffer) {
            return true;
        }
    }
    return false;
}

/* By a call that somebody waits for; under the lock. */
static bool is_in_use(uint32_t buffer) {
    const struct aionif__call *call;
    for (uint32_t i = 0; (call = aionif__call_at(i)); i++) {
        bool under_way = call->stage == AIONIF__WAITING || call->stage == AIONIF__LANED;
        if (under_way && !call->orphan && is_passed(call->block, buffer)) {
            return true;
        }
    }
    return false;
}

/* In the child of a fork its parent's workers may have it, too. */
static int look(uint32_t buffer, bool *lent) {
    aionif__lock();
    *lent = buffers[buffer].lent == buffers[buffer].generation || buffers[buffer].owner != getpid();
    int error = *lent && is_in_use(buffer) ? EBUSY : 0;
    aionif__unlock();
    return error;
}

/* Under the descriptors' old numbers: whoever is about to write by one must not meet a stranger's file.
 * Workers have to be given it anew. */
static void put(uint32_t buffer, const struct file *file) {
    dup3(file->writable, buffers[buffer].writable, O_CLOEXEC);
    dup3(file->readable, buffers[buffer].readable, O_CLOEXEC);
    buffers[buffer].generation = ++generations;
    buffers[buffer].owner = getpid();
    buffers[buffer].inherited = false;
}

static void put_back(uint32_t buffer, const struct file *file) {
    aionif__lock();
    put(buffer, file);
    buffers[buffer].lent = buffers[buffer].generation;
    buffers[buffer].inherited = true; /* it may be, and is then not to be emptied */
    aionif__unlock();
}

/* `had` becomes what it was before: to be put back where the addresses can't be moved, which fails, if it
 * does, before anything is touched. `ours`: nobody but workers shares that. */
static int exchange(uint32_t buffer, const struct file *file, struct file *had, bool *ours) {
    had->writable = fcntl(buffers[buffer].writable, F_DUPFD_CLOEXEC, 0);
    had->readable = fcntl(buffers[buffer].readable, F_DUPFD_CLOEXEC, 0);
    if (had->writable < 0 || had->readable < 0) {
        return errno;
    }
    aionif__lock();
    int error = is_in_use(buffer) ? EBUSY : 0;
    *ours = is_ours(buffer);
    if (!error) {
        put(buffer, file);
    }
    aionif__unlock();
    if (!error && mremap(file->map, buffers[buffer].length, buffers[buffer].length,
                         MREMAP_MAYMOVE | MREMAP_FIXED,
                         (void *)(uintptr_t)buffers[buffer].address) == MAP_FAILED) {
        error = errno;
        put_back(buffer, had);
    }
    return error;
}

static void shut(const struct file *file) {
    if (file->writable >= 0) {
        close(file->writable);
    }
    if (file->readable >= 0) {
        close(file->readable);
    }
}

int aionif_buffer_revoke(uint32_t buffer) {
    bool lent, ours = false;
    struct file fresh, had = {-1, -1, NULL};
    uint64_t length = buffers[buffer].length;
    int error = look(buffer, &lent);
    if (error || !lent) {
        return error;
    }
    error = make(&fresh, 0, length, buffers[buffer].readonly, (int)buffer);
    if (error) {
        return error;
    }
    error = exchange(buffer, &fresh, &had, &ours);
    if (error) {
        munmap(fresh.map, length);
    } else if (ours) {
        empty(had.writable, length);
    }
    shut(&fresh);
    shut(&had);
    return error;
}

/* ---- giving them to workers ---- */

static bool send_grant(const struct aionif__process *process, uint32_t buffer, bool writable) {
    struct aionif__grant grant = {buffers[buffer].address, buffers[buffer].length, writable, 0};
    buffers[buffer].lent = buffers[buffer].generation;
    int descriptor = writable ? buffers[buffer].writable : buffers[buffer].readable;
    ssize_t sent =
        aionif__pass(process->control, &grant, sizeof grant, &descriptor, 1, MSG_DONTWAIT);
    return sent == (ssize_t)sizeof grant || errno == EPIPE || errno == ECONNRESET;
}

/* A worker that may write goes on to: it could have kept the means, and to map it anew at each change
 * from one function to another would cost more than most calls do. */
bool aionif__buffers_grant(struct aionif__worker *worker, const struct aionif_block *block) {
    struct aionif__process *process = aionif__process_of(worker);
    for (uint32_t i = 0; i < block->grant_count && i < AIONIF_GRANTS; i++) {
        uint32_t buffer = block->grants[i] >> 1;
        bool writable = block->grants[i] & 1;
        uint64_t wanted = buffers[buffer].generation << 1 | writable;
        uint64_t has = process->granted[buffer];
        bool enough = has >> 1 == wanted >> 1 && has >= wanted;
        if (enough || !buffers[buffer].open) {
            continue;
        }
        if (!send_grant(process, buffer, writable)) {
            return false;
        }
        process->granted[buffer] = wanted;
        process->owed++;
    }
    return true;
}
