/* What a worker process shares with its parent, and where it lies.
 *
 *   window                     one range of addresses, reserved alike in the parent and the zygote
 *   |-- segment ---------------------------------|-- buffers ------------------ ... --|
 *   | lane | settings | slots | arena of blocks  |
 *
 * In each worker the segment at the window is a memfd of its own. The parent maps that memfd
 * wherever it likes, and has at the window private memory in the arena's place: there a call's block
 * is filled, with the addresses its worker will see, before anyone knows which worker that is. On
 * dispatch the block is copied into that worker's arena, at the same offset; so no pointer is ever
 * rewritten, and a worker sees the blocks of its own calls alone.
 *
 * The parent has the lane's first page as private memory too: its own books are not shared. */
#ifndef AIONIF_SEGMENT_H
#define AIONIF_SEGMENT_H
#include "lanes/lane.h"

enum { AIONIF__SLOT_WORDS = 496 };

struct aionif__slot {
    uint64_t words[AIONIF__SLOT_WORDS]; /* stack words of the call in the record at this index */
    /* After a failure: the files its frames lie in. */
    uint32_t module_count;
    uint8_t of_frames[AIONIF_FRAMES]; /* 0: none; else index + 1 */
    struct aionif_module modules[AIONIF_MODULES];
} __attribute__((aligned(AIONIF__PAGE)));

struct aionif__segment {
    struct aionif__lane lane;
    struct aionif_pool_settings settings __attribute__((aligned(AIONIF__PAGE)));
    struct aionif_seal_result sealed; /* told before `lane.tid` */
    _Atomic int32_t denied;           /* number of the system call it died of, and one; 0: none */
    struct aionif__slot slots[AIONIF__SLOTS];
    char arena[AIONIF_BLOCKS][AIONIF_BLOCK]; /* mapped as far as aionif__segment_size says */
};

struct aionif__catalog {
    _Atomic uint32_t count;
    struct aionif__entry {
        struct aionif_module module; /* without its `bias` */
        uint64_t offset;             /* link-time address of the function */
    } entries[AIONIF_ENTRIES];
};

/* A message on a worker's own socket, with the buffer's memory as a descriptor. */
struct aionif__grant {
    uint64_t address, length;
    uint32_t writable, padding;
};
#endif
