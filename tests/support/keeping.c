/* What native code under foreign control could do to a buffer that its worker was passed. Compiled
 * against the core's own headers. */
#define _GNU_SOURCE
#include "processes/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { READ_WRITE = PROT_READ | PROT_WRITE };

static volatile unsigned char *kept;
static long kept_size;

void fill(unsigned char *bytes, long size, int value) { memset(bytes, value, size); }

long sum_of(const unsigned char *bytes, long size) {
    long sum = 0;
    for (long i = 0; i < size; i++) {
        sum += bytes[i];
    }
    return sum;
}

void overwrite(const unsigned char *bytes, int value) { *(unsigned char *)bytes = value; }

void copy(unsigned char *to, const unsigned char *from, long size) { memcpy(to, from, size); }

/* A second mapping of the memory, which nobody else knows of. */
int keep(unsigned char *bytes, long size) {
    kept = mremap(bytes, 0, size, MREMAP_MAYMOVE);
    kept_size = size;
    return kept != MAP_FAILED;
}

/* At any later time, in a call that is passed nothing. */
int write_to_kept(int value) {
    memset((void *)kept, value, kept_size);
    return kept[kept_size - 1];
}

int read_kept(void) { return kept[0]; }

/* Until the first byte says so. */
void wait_for(unsigned char *bytes, int value) {
    while (*(volatile unsigned char *)bytes != value) {
        usleep(1000);
    }
    bytes[1] = value;
}

/* The ways by which a mapping could be written to, as bits; 0 is right. */
int unlock(const unsigned char *bytes, long size) {
    void *again = mremap((void *)bytes, 0, size, MREMAP_MAYMOVE);
    return (mprotect((void *)bytes, size, READ_WRITE) == 0) |
           (mprotect(again, size, READ_WRITE) == 0) << 1 |
           (madvise((void *)bytes, size, MADV_REMOVE) == 0) << 2;
}

/* The same of a descriptor. */
static int break_open(int file, long size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    int found = (mmap(NULL, size, READ_WRITE, MAP_SHARED, file, 0) != MAP_FAILED) |
                (pwrite(file, "x", 1, 0) == 1) << 1 | (fchmod(file, 0777) == 0) << 3;
    int again = open(path, O_RDWR);
    return found | (again >= 0 && mmap(NULL, size, READ_WRITE, MAP_SHARED, again, 0) != MAP_FAILED)
                       << 2;
}

static int next_descriptor(void) {
    for (;;) {
        for (int file = 3; file < 64; file++) {
            char text[sizeof(struct aionif__grant)], room[CMSG_SPACE(sizeof(int))];
            struct iovec data = {text, sizeof text};
            struct msghdr message = {.msg_iov = &data,
                                     .msg_iovlen = 1,
                                     .msg_control = room,
                                     .msg_controllen = sizeof room};
            if (recvmsg(file, &message, MSG_DONTWAIT) > 0 && CMSG_FIRSTHDR(&message)) {
                return *(int *)CMSG_DATA(CMSG_FIRSTHDR(&message));
            }
        }
    }
}

static struct aionif__record *next_record(struct aionif__segment *segment, uint32_t state) {
    for (int i = 0;; i = (i + 1) % AIONIF__SLOTS) {
        if ((segment->lane.records[i].state & AIONIF__STATE) == state) {
            return &segment->lane.records[i];
        }
    }
}

static void finish(struct aionif__segment *segment, struct aionif__record *record, int result) {
    uint64_t one = 1;
    record->kind = 0;
    record->result.integer[0] = result;
    record->state = AIONIF__FINISHED;
    write(segment->lane.bell.descriptor, &one, sizeof one);
}

/* Its call ends, and it goes on in the worker's place: it takes the descriptor of the next call's buffer,
 * and answers that call with what it could do. `window` need not be looked for, which takes procfs. */
void take_over(unsigned long window, long size) {
    struct aionif__segment *segment = (struct aionif__segment *)window;
    finish(segment, next_record(segment, AIONIF__RUNNING), 0);
    int file = next_descriptor();
    finish(segment, next_record(segment, AIONIF__QUEUED), break_open(file, size));
    struct timespec moment = {.tv_nsec = 50000000};
    nanosleep(&moment, NULL);
    _exit(0);
}
