/* Pools, below what Python calls: whoever opens one says who serves it. */
#ifndef AIONIF_POOL_H
#define AIONIF_POOL_H
#include "lanes/state.h"

/* Not under the lock; NULL: no memory. */
struct aionif_pool *aionif__pool_make(const struct aionif_pool_settings *settings,
                                      const struct aionif__server *server);
void aionif__pool_enter(struct aionif_pool *pool); /* among the others, with a first worker */
void aionif__pool_stop(struct aionif_pool *pool);  /* its workers end; it is out of the others */
void aionif__pool_free(struct aionif_pool *pool);  /* not under the lock */
#endif
