/* How calls end. Where a strand goes on in another pool, that pool is told. */
#ifndef AIONIF_ENDS_H
#define AIONIF_ENDS_H
#include "lanes/state.h"

void aionif__collect(struct aionif__worker *worker);
void aionif__collect_pool(struct aionif_pool *pool);
/* A worker says that it leaves before it publishes its last call. Until that is published it is the
 * pool's: a call that ends outside of it would stay in its count of outstanding ones for ever. */
bool aionif__is_publishing(struct aionif__worker *worker);
void aionif__drop(struct aionif__call *call, int event); /* it was never started */
void aionif__tell_starved(struct aionif_pool *pool);
void aionif__outstanding_less(struct aionif_pool *pool);
#endif
