#include "hostile.h"

#include "processes/segment.h"
#include "processes/window.h"
#include "processes/zygote.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_WORKERS = 16, NO_PROCESS = 1 << 22 }; /* the first id that no process can have */
enum news_kind { STARTED = 1, ENDED = 2, NOT_STARTED = 3, READY = 4 };

/* As in processes/zygote.c and news.c. */
struct order {
    uint64_t serial;
    int32_t signal, padding;
};
struct news {
    uint64_t serial;
    int32_t kind, pid, wait_status;
    uint32_t text_length;
    char text[AIONIF_STDERR];
};

static struct hostile {
    uint64_t serial;
    struct aionif__segment *segment;
    bool ended;
} workers[MOST_WORKERS];
static int worker_count;
static int zygote;                      /* its end of the socket */
static struct aionif_module modules[3]; /* loaded here, in the catalog, and nowhere */

uint64_t script_take(struct script *script, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes && script->at < script->end; i++) {
        value |= (uint64_t)*script->at++ << 8 * i;
    }
    return value;
}

/* As many as the script says, and there are, and there is room for. */
static size_t copy_bytes(struct script *script, char *to, size_t room) {
    size_t length = script_take(script, 1), most = (size_t)(script->end - script->at);
    length = length < most ? length : most;
    length = length < room ? length : room;
    memcpy(to, script->at, length);
    script->at += length;
    return length;
}

static void tell(struct news *news) {
    while (send(zygote, news, sizeof *news, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        aionif_processes_look(); /* it is full */
    }
}

static void be_sure(bool condition, const char *what) {
    if (!condition) {
        perror(what);
        exit(EXIT_FAILURE);
    }
}

void hostile_start(void) {
    int ends[2];
    be_sure(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    be_sure(aionif_window(0, sizeof(struct aionif__segment)) && aionif_arena(8), "window");
    be_sure(aionif_catalog_open() >= 0, "catalog");
    zygote = ends[0];
    aionif_zygote_use(0, ends[1], -1, INT64_MAX / 2);
    struct news news = {.kind = READY};
    tell(&news);
    be_sure(aionif_locate((uintptr_t)stdout, &modules[0]), "libc");
    strcpy(modules[1].path, "/catalog.so");
    strcpy(modules[2].path, "/nowhere.so");
    modules[1].build_id_length = modules[2].build_id_length = 4;
    be_sure(aionif_catalog_add(&modules[1], 16), "an entry");
}

void hostile_clear(void) {
    hostile_obey();
    for (int i = 0; i < worker_count; i++) {
        munmap(workers[i].segment, aionif__segment_size());
    }
    worker_count = 0;
}

static void receive_worker(uint64_t serial, const int *descriptors) {
    void *map = MAP_FAILED;
    if (worker_count < MOST_WORKERS) {
        map = mmap(NULL, aionif__segment_size(), PROT_READ | PROT_WRITE, MAP_SHARED, descriptors[0],
                   0);
    }
    for (int i = 0; i < AIONIF__OF_A_WORKER; i++) {
        close(descriptors[i]);
    }
    if (map == MAP_FAILED) {
        struct news news = {.serial = serial, .kind = NOT_STARTED};
        tell(&news);
        return;
    }
    workers[worker_count++] = (struct hostile){serial, map, false};
}

void hostile_obey(void) {
    struct order order;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(AIONIF__OF_A_WORKER * sizeof(int))];
    } ancillary;
    struct iovec text = {&order, sizeof order};
    for (;;) {
        struct msghdr message = {.msg_iov = &text,
                                 .msg_iovlen = 1,
                                 .msg_control = &ancillary,
                                 .msg_controllen = sizeof ancillary};
        if (recvmsg(zygote, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0) {
            return;
        }
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (!order.signal && header) {
            int descriptors[AIONIF__OF_A_WORKER];
            memcpy(descriptors, CMSG_DATA(header), sizeof descriptors);
            receive_worker(order.serial, descriptors);
        }
    }
}

/* ---- what a worker writes ---- */

static struct {
    char *start;
    size_t size;
} region;

static void choose_region(struct hostile *worker, unsigned kind, unsigned index) {
    struct aionif__segment *segment = worker->segment;
    struct aionif__slot *slot = &segment->slots[index % AIONIF__SLOTS];
    char *lane = (char *)segment + AIONIF__PAGE;
    switch (kind % 7) {
    case 0:
        region.start = lane, region.size = (size_t)((char *)segment->lane.records - lane);
        break;
    case 1:
        region.start = (char *)&segment->lane.records[index % AIONIF__SLOTS];
        region.size = sizeof(struct aionif__record);
        break;
    case 2:
        region.start = (char *)&slot->module_count;
        region.size = (size_t)((char *)slot->modules - region.start);
        break;
    case 3:
        region.start = (char *)&slot->modules[index / AIONIF__SLOTS];
        region.size = sizeof(struct aionif_module);
        break;
    case 4:
        region.start = (char *)&segment->sealed;
        region.size = (size_t)((char *)segment->slots - region.start);
        break;
    case 5:
        region.start = segment->arena[index % aionif_arena_blocks()], region.size = AIONIF_BLOCK;
        break;
    default:
        region.start = (char *)&segment->settings, region.size = sizeof segment->settings;
    }
}

static void poke(struct hostile *worker, struct script *script) {
    unsigned kind = (unsigned)script_take(script, 1), index = (unsigned)script_take(script, 1);
    choose_region(worker, kind, index);
    size_t at = script_take(script, 2) % region.size;
    copy_bytes(script, region.start + at, region.size - at);
}

/* A failure in the records' own form, and its record over. */
static void fail(struct hostile *worker, struct script *script) {
    unsigned index = (unsigned)script_take(script, 1) % AIONIF__SLOTS;
    struct aionif__record *record = &worker->segment->lane.records[index];
    memset(&record->failure, (int)script_take(script, 1), sizeof record->failure);
    record->kind = (int8_t)script_take(script, 1);
    record->failure.signal = (int8_t)script_take(script, 1);
    record->failure.language = (int8_t)script_take(script, 1);
    record->failure.frame_count = (int8_t)script_take(script, 1);
    atomic_store(&record->state, AIONIF__FINISHED);
}

static void return_value(struct hostile *worker, struct script *script) {
    unsigned index = (unsigned)script_take(script, 1) % AIONIF__SLOTS;
    struct aionif__record *record = &worker->segment->lane.records[index];
    record->kind = 0;
    record->result.integer[0] = script_take(script, 4) | script_take(script, 1) << 56;
    atomic_store(&record->state, AIONIF__FINISHED);
}

static void name_module(struct hostile *worker, struct script *script) {
    unsigned index = (unsigned)script_take(script, 1);
    struct aionif__slot *slot = &worker->segment->slots[index % AIONIF__SLOTS];
    unsigned which = (unsigned)script_take(script, 1), at = which / 3 % AIONIF_MODULES;
    struct aionif_module *module = &slot->modules[at];
    *module = modules[which % 3];
    size_t byte = script_take(script, 2);
    ((uint8_t *)module)[byte % sizeof *module] ^= (uint8_t)script_take(script, 1);
    slot->of_frames[script_take(script, 1) % AIONIF_FRAMES] = (uint8_t)(at + 1);
    slot->module_count = slot->module_count > at ? slot->module_count : at + 1;
}

static void set_state(struct hostile *worker, struct script *script) {
    unsigned index = (unsigned)script_take(script, 1) % AIONIF__SLOTS;
    uint32_t state = (uint32_t)script_take(script, 1);
    atomic_store(&worker->segment->lane.records[index].state, state == 0xff ? ~0u : state);
}

static struct hostile *choose(struct script *script) {
    hostile_obey();
    unsigned which = (unsigned)script_take(script, 1);
    return worker_count ? &workers[which % (unsigned)worker_count] : NULL;
}

bool hostile_write(struct script *script) {
    static void (*const ways[])(struct hostile *, struct script *) = {poke, fail, return_value,
                                                                      name_module, set_state};
    struct hostile *worker = choose(script);
    unsigned way = (unsigned)script_take(script, 1);
    if (!worker || worker->ended) {
        return false;
    }
    ways[way % (sizeof ways / sizeof *ways)](worker, script);
    return true;
}

/* ---- what is told of it ---- */

void hostile_say(struct script *script) {
    struct hostile *worker = choose(script);
    struct news news = {.kind = STARTED, .pid = NO_PROCESS};
    if (!worker) {
        return;
    }
    news.serial = worker->serial;
    if (script_take(script, 1) % 2) {
        news.kind = ENDED;
        news.wait_status = (int32_t)script_take(script, 2);
        news.text_length = (uint32_t)copy_bytes(script, news.text, 0xff);
        worker->ended = true;
    }
    tell(&news);
}

void hostile_end_all(void) {
    hostile_obey();
    for (int i = 0; i < worker_count; i++) {
        struct news news = {.serial = workers[i].serial, .kind = ENDED, .wait_status = SIGKILL};
        if (!workers[i].ended) {
            tell(&news);
            workers[i].ended = true;
        }
    }
}
