/* Calls: where their memory comes from, the queues they wait in, and the heap of their deadlines.
 *
 * Calls live in chunks that are never moved or given back, so that an id can be turned into a call
 * without a search: index = low half - 1. The high half counts how often the place was used, and an
 * id from an earlier use finds nothing. */
#include "lanes/call.h"

#include "lanes/reply.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256, MAX_CHUNKS = 16384 };

static struct aionif__call *chunks[MAX_CHUNKS];
static uint32_t chunk_count;
static struct aionif__call *unused; /* linked by `next` */

static bool grow(void) {
    struct aionif__call *chunk =
        chunk_count < MAX_CHUNKS ? calloc(CHUNK, sizeof(struct aionif__call)) : NULL;
    if (!chunk) {
        return false;
    }
    for (uint32_t i = CHUNK; i-- > 0;) {
        chunk[i].id = (uint64_t)chunk_count * CHUNK + i + 1;
        chunk[i].next = unused;
        unused = &chunk[i];
    }
    chunks[chunk_count++] = chunk;
    return true;
}

/* Twenty-four bits of generation: Python gets ids with eight bits of event kind below them. */
static uint64_t next_generation(uint64_t id) {
    return (id & 0xffffffff) | (((id >> 32) + 1) & 0xffffff) << 32;
}

struct aionif__call *aionif__call_take(void) {
    if (!unused && !grow()) {
        return NULL;
    }
    struct aionif__call *call = unused;
    unused = call->next;
    uint64_t id = next_generation(call->id);
    memset(call, 0, offsetof(struct aionif__call, registers));
    call->id = id;
    call->words = NULL;
    call->word_count = 0;
    call->memory = NULL;
    call->failure = NULL;
    call->remains = NULL;
    call->reply = NULL;
    return call;
}

void aionif__call_free(struct aionif__call *call) {
    if (call->words != call->inline_words) {
        free(call->words);
    }
    free(call->memory);
    free(call->failure);
    free(call->remains);
    if (call->reply) {
        aionif__reply_give_back(call->reply);
        call->reply = NULL;
    }
    call->words = NULL;
    call->memory = call->failure = NULL;
    call->remains = NULL;
    call->stage = AIONIF__UNUSED;
    call->next = unused;
    unused = call;
}

struct aionif__call *aionif__call_find(uint64_t id) {
    uint64_t index = (id & 0xffffffff) - 1;
    if (index / CHUNK >= chunk_count) {
        return NULL;
    }
    struct aionif__call *call = &chunks[index / CHUNK][index % CHUNK];
    return call->id == id && call->stage != AIONIF__UNUSED ? call : NULL;
}

struct aionif__call *aionif__call_at(uint32_t index) {
    return index / CHUNK < chunk_count ? &chunks[index / CHUNK][index % CHUNK] : NULL;
}

bool aionif__call_keep_words(struct aionif__call *call, const uint64_t *words, uint32_t count) {
    call->words =
        count <= AIONIF__INLINE_WORDS ? call->inline_words : malloc(count * sizeof *call->words);
    if (!call->words) {
        return false;
    }
    call->word_count = count;
    memcpy(call->words, words, count * sizeof *words);
    return true;
}

void aionif__queue_append(struct aionif__queue *queue, struct aionif__call *call) {
    call->queue = queue;
    call->previous = queue->last;
    call->next = NULL;
    *(queue->last ? &queue->last->next : &queue->first) = call;
    queue->last = call;
    queue->length++;
}

void aionif__queue_prepend(struct aionif__queue *queue, struct aionif__call *call) {
    call->queue = queue;
    call->previous = NULL;
    call->next = queue->first;
    *(queue->first ? &queue->first->previous : &queue->last) = call;
    queue->first = call;
    queue->length++;
}

void aionif__queue_remove(struct aionif__call *call) {
    struct aionif__queue *queue = call->queue;
    *(call->previous ? &call->previous->next : &queue->first) = call->next;
    *(call->next ? &call->next->previous : &queue->last) = call->previous;
    call->queue = NULL;
    call->previous = call->next = NULL;
    queue->length--;
}

/* A binary heap whose members know their place, so that a call that ends leaves it at once: a
 * service with long timeouts and many calls would otherwise keep every deadline it ever set. */
static struct aionif__call **heap; /* from 1; heap[i] is not later than heap[2i] and heap[2i + 1] */
static uint32_t heap_length, heap_room;

static void place(struct aionif__call *call, uint32_t index) {
    heap[index] = call;
    call->deadline_index = index;
}

static void settle(struct aionif__call *call, uint32_t index) {
    while (index > 1 && heap[index / 2]->deadline_ns > call->deadline_ns) {
        place(heap[index / 2], index);
        index /= 2;
    }
    for (uint32_t child; (child = 2 * index) <= heap_length; index = child) {
        if (child < heap_length && heap[child + 1]->deadline_ns < heap[child]->deadline_ns) {
            child++;
        }
        if (heap[child]->deadline_ns >= call->deadline_ns) {
            break;
        }
        place(heap[child], index);
    }
    place(call, index);
}

bool aionif__deadline_add(struct aionif__call *call) {
    if (heap_length + 1 >= heap_room) {
        uint32_t room = heap_room ? 2 * heap_room : 256;
        struct aionif__call **larger = realloc(heap, room * sizeof *heap);
        if (!larger) {
            return false;
        }
        heap = larger;
        heap_room = room;
    }
    heap_length++;
    settle(call, heap_length);
    return true;
}

void aionif__deadline_remove(struct aionif__call *call) {
    uint32_t index = call->deadline_index;
    if (!index) {
        return;
    }
    call->deadline_index = 0;
    struct aionif__call *last = heap[heap_length--];
    if (last != call) {
        settle(last, index);
    }
}

struct aionif__call *aionif__deadline_first(void) { return heap_length ? heap[1] : NULL; }

void aionif__calls_forked(void) {
    memset(chunks, 0, sizeof *chunks * chunk_count);
    chunk_count = 0;
    unused = NULL;
    heap_length = 0;
}
