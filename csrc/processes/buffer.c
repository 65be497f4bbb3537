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
 * that a worker still has then shows zeros, and is replaced when the addresses are used again. In the
 * child of a fork that memory is its parent's still: there letting go is to unmap it. */
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
    int writable, readable; /* descriptors */
    pid_t owner;
    bool open;
} buffers[AIONIF_BUFFERS];
static uint64_t generations;

/* A descriptor of the same file for reading alone; -1, with errno: none is to be had. Whoever gets it
 * could open the file anew, for writing, by the same path: Landlock has no say over such files. Hence
 * the mode, which a sealed worker has neither the capability to ignore nor the system call to change. */
static int reopen(int file, bool seal) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int readable = open(path, O_RDONLY | O_CLOEXEC);
    fchmod(file, 0);
    if (readable < 0 && errno == ENOENT &&
        (!seal || fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0)) {
        readable = fcntl(file, F_DUPFD_CLOEXEC, 0);
    }
    return readable;
}

int aionif_buffer_open(uint32_t buffer, uint64_t address, uint64_t length, int writable) {
    int file = memfd_create("aionif-buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0) {
        return errno;
    }
    int error = ENOMEM;
    if (ftruncate(file, (off_t)length) != 0 ||
        mmap((void *)(uintptr_t)address, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
             file, 0) == MAP_FAILED) {
        error = errno;
        goto failed;
    }
    int readable = reopen(file, !writable);
    if (readable < 0) {
        error = errno;
        goto failed;
    }
    fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    aionif__lock();
    buffers[buffer].address = address;
    buffers[buffer].length = length;
    buffers[buffer].generation = ++generations;
    buffers[buffer].writable = file;
    buffers[buffer].readable = readable;
    buffers[buffer].owner = getpid();
    buffers[buffer].open = true;
    aionif__unlock();
    return 0;
failed:
    close(file);
    return error;
}

void aionif_buffer_close(uint32_t buffer) {
    aionif__lock();
    buffers[buffer].open = false;
    uint64_t address = buffers[buffer].address, length = buffers[buffer].length;
    int writable = buffers[buffer].writable, readable = buffers[buffer].readable;
    bool owned = buffers[buffer].owner == getpid();
    aionif__unlock();
    if (owned) {
        fallocate(writable, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)length);
    }
    mmap((void *)(uintptr_t)address, length, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    close(writable);
    close(readable);
}

int aionif_buffer_descriptor(uint32_t buffer) { return buffers[buffer].writable; }

static bool send_grant(const struct aionif__process *process, uint32_t buffer, bool writable) {
    struct aionif__grant grant = {buffers[buffer].address, buffers[buffer].length, writable, 0};
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
