/* Replies: memory in which a result comes back that is too large for its call's block. */
#ifndef AIONIF_REPLY_H
#define AIONIF_REPLY_H
#include <stdbool.h>
#include <stdint.h>

struct aionif_reply;

/* All under the core's lock. NULL, with errno: there is no memory, or no descriptor.
 *
 * size: bytes, for good: the memory can't be made larger, or smaller, by anybody. 0: it grows. */
struct aionif_reply *aionif__reply_open(uint64_t size);
int aionif__reply_descriptor(const struct aionif_reply *reply);
/* The worker waits while `*lent` is not 0. It is in memory that the worker can write to. */
void aionif__reply_serve(struct aionif_reply *reply, _Atomic uint32_t *lent);
/* A call has ended whose result is in it. False: the last one's was not read yet. */
bool aionif__reply_lend(struct aionif_reply *reply);
void aionif__reply_give_back(
    struct aionif_reply *reply);                      /* the result was read, or is not wanted */
void aionif__reply_leave(struct aionif_reply *reply); /* its worker has gone */
#endif
