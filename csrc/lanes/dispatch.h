/* Which worker gets which call. */
#ifndef AIONIF_DISPATCH_H
#define AIONIF_DISPATCH_H
#include "lanes/state.h"

uint32_t aionif__unfinished(const struct aionif__worker *worker); /* calls in its lane */
uint64_t aionif__waiting(const struct aionif_pool *pool); /* calls that no worker has started */
bool aionif__has_room(const struct aionif_pool *pool);
/* A worker that has short calls of its own while others of this port wait; NULL: there is none. */
struct aionif__worker *aionif__to_feed(const struct aionif_port *port);
void aionif__dispatch(struct aionif_pool *pool, struct aionif__call *watched);
void aionif__rebalance(struct aionif_pool *pool, bool may_start);
void aionif__take_back(struct aionif__worker *worker); /* its queued calls go to the pool again */
#endif
