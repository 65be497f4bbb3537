/* What a worker process under foreign control could do to its parent: it has the lane, its bell and
 * its socket. Compiled against the core's own headers. */
#define _GNU_SOURCE
#include "processes/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * (int64_t)1000 + now.tv_nsec / 1000000;
}

static struct aionif__segment *find_segment(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096];
    unsigned long start = 0;
    while (fgets(line, sizeof line, maps) &&
           !(strstr(line, "memfd:aionif-lane") && sscanf(line, "%lx", &start) == 1)) {
    }
    fclose(maps);
    return (struct aionif__segment *)start;
}

static struct aionif__record *own_record(struct aionif__segment *segment) {
    for (int i = 0; i < AIONIF__SLOTS; i++) {
        struct aionif__record *record = &segment->lane.records[i];
        if ((record->state & AIONIF__STATE) == AIONIF__RUNNING) {
            return record;
        }
    }
    abort();
}

/* Garbage over all that is shared but the arena, again and again. */
int scribble(unsigned seed, int ms) {
    struct aionif__segment *segment = find_segment();
    uint32_t *from = (uint32_t *)((char *)segment + AIONIF__PAGE);
    size_t words = (offsetof(struct aionif__segment, slots) + 65536 - AIONIF__PAGE) / 4;
    int64_t until = now_ms() + ms;
    do {
        for (size_t i = 0; i < words; i++) {
            seed = seed * 1664525 + 1013904223;
            from[i] = seed >> 16 & 1 ? seed : seed & 7;
        }
    } while (now_ms() < until);
    return 0;
}

/* All records in one state, on and on: replays, early ends, records that were never passed on. */
int claim_all(unsigned state, int ms) {
    struct aionif__segment *segment = find_segment();
    int64_t until = now_ms() + ms;
    do {
        for (int i = 0; i < AIONIF__SLOTS; i++) {
            segment->lane.records[i].state = state;
        }
    } while (now_ms() < until);
    return 0;
}

/* As if the call had not been begun. */
void claim_to_wait(void) {
    struct aionif__record *record = own_record(find_segment());
    for (;;) {
        record->state = AIONIF__QUEUED;
    }
}

/* A failure that no worker can have. */
int fail_as(int kind, int sig, int frames, int language) {
    struct aionif__segment *segment = find_segment();
    struct aionif__record *record = own_record(segment);
    size_t index = (size_t)(record - segment->lane.records);
    memset(&record->failure, 0xff, sizeof record->failure);
    record->failure.signal = sig;
    record->failure.frame_count = frames;
    record->failure.language = language;
    memset(&segment->slots[index], 0xff, sizeof segment->slots[index]);
    record->kind = kind;
    record->ended_ns = INT64_MIN;
    record->started_ns = INT64_MAX;
    record->state = AIONIF__FINISHED;
    uint64_t one = 1;
    write(segment->lane.bell.descriptor, &one, sizeof one);
    for (;;) {
        pause();
    }
}

/* A failure of which everything is made up, and some modules by this path. `at` is the segment: a
 * sealed worker can't look for it. A seed of 0 leaves numbers alone, and so what can be looked up. */
int forge(unsigned long at, unsigned seed, int kind, int sig, const char *path) {
    struct aionif__segment *segment = (struct aionif__segment *)at;
    struct aionif__record *record = own_record(segment);
    struct aionif__slot *slot = &segment->slots[record - segment->lane.records];
    unsigned char *bytes = (unsigned char *)&record->failure;
    for (size_t i = 0; i < sizeof record->failure; i++) {
        seed = seed * 1664525 + 1013904223;
        bytes[i] = seed >> 24;
    }
    memset(slot->of_frames, 1, sizeof slot->of_frames);
    slot->module_count = 1;
    memset(slot->modules[0].build_id, seed, AIONIF_BUILD_ID);
    slot->modules[0].build_id_length = seed % (AIONIF_BUILD_ID + 2);
    slot->modules[0].bias = 0;
    strcpy(slot->modules[0].path, path);
    for (int i = 0; i < AIONIF_FRAMES; i++) {
        record->failure.frames[i] &= 0xffff;
    }
    record->failure.frame_count = AIONIF_FRAMES;
    record->failure.language = 1;
    record->failure.signal = sig;
    record->kind = kind;
    record->ended_ns = record->started_ns = 1;
    record->state = AIONIF__FINISHED;
    uint64_t one = 1;
    write(segment->lane.bell.descriptor, &one, sizeof one);
    for (;;) {
    }
}

/* Ring all the time, and take the own rings away again. `at` is the segment, as for forge(). */
int flood_at(unsigned long at, int ms) {
    struct aionif__segment *segment = (struct aionif__segment *)at;
    int64_t until = now_ms() + ms;
    uint64_t one = 1;
    while (now_ms() < until) {
        write(segment->lane.bell.descriptor, &one, sizeof one);
        read(segment->lane.bell.descriptor, &one, sizeof one);
        one = 1;
    }
    return 0;
}

int flood(int ms) { return flood_at((unsigned long)find_segment(), ms); }

/* Write to every descriptor there is, the socket to the parent among them. */
int spam(int times) {
    char junk[4096];
    memset(junk, 0xa5, sizeof junk);
    for (int i = 0; i < times; i++) {
        for (int file = 3; file < 64; file++) {
            send(file, junk, sizeof junk, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
    }
    return 0;
}

/* Cut the lane short under the parent. 0: it could; else why not. */
int shrink(void) {
    char path[128];
    struct aionif__segment *segment = find_segment();
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096] = "", range[64] = "";
    while (fgets(line, sizeof line, maps) && !strstr(line, "memfd:aionif-lane")) {
    }
    fclose(maps);
    sscanf(line, "%63s", range);
    snprintf(path, sizeof path, "/proc/self/map_files/%s", range);
    int file = open(path, O_RDWR);
    if (file < 0 || !segment) {
        return errno;
    }
    int result = ftruncate(file, 4096) == 0 ? 0 : errno;
    close(file);
    return result;
}

/* Its call ends, and it goes on: it serves the lane in the worker's place, and answers the next call of
 * a Python callable with `data`. The window need not be looked for, which takes procfs. */
int forge_reply(uint64_t window, const char *data, size_t length, uint64_t flags) {
    static char forged[8192];
    enum { HEAD = (sizeof(struct aionif_block) + 63) & ~63 };
    struct aionif__segment *segment = (struct aionif__segment *)window;
    struct aionif__record *record = own_record(segment);
    uint64_t one = 1;
    memcpy(forged, data, length);
    record->kind = 0;
    record->result.integer[0] = 0;
    record->state = AIONIF__FINISHED;
    write(segment->lane.bell.descriptor, &one, sizeof one);
    for (int i = 0;; i = (i + 1) % AIONIF__SLOTS) {
        record = &segment->lane.records[i];
        if ((record->state & AIONIF__STATE) == AIONIF__QUEUED) {
            memcpy((char *)record->registers.integer[2] + HEAD, forged, length);
            record->kind = 0;
            record->result.integer[0] = (HEAD + length) | flags;
            record->state = AIONIF__FINISHED;
            write(segment->lane.bell.descriptor, &one, sizeof one);
            struct timespec moment = {.tv_nsec = 50000000};
            nanosleep(&moment, NULL);
            _exit(0);
        }
    }
}

int leave_early(int status) { _exit(status); }

/* Gone, with its call in a state of its choice. */
void leave_as(unsigned state) {
    own_record(find_segment())->state = state;
    raise(SIGKILL);
}

/* The list of functions that all workers read. 0: it can be made writable; else why not. */
int open_catalog(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4096];
    unsigned long start = 0;
    while (fgets(line, sizeof line, maps) &&
           !(strstr(line, "memfd:aionif-catalog") && sscanf(line, "%lx", &start) == 1)) {
    }
    fclose(maps);
    return start && mprotect((void *)start, 4096, PROT_READ | PROT_WRITE) != 0 ? errno : 0;
}

/* The parent's descriptors, other workers' or the zygote's, that a worker can see: 0 is right. */
int count_foreign(void) {
    int count = 0;
    char path[64], target[256];
    for (int file = 3; file < 1024; file++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length > 0) {
            target[length] = '\0';
            count +=
                strstr(target, "pidfd") || strstr(target, "aionif-lane") || strstr(target, "pipe:");
        }
    }
    return count;
}
