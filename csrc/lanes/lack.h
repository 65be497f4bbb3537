/* What keeps a pool from having workers. */
#ifndef AIONIF_LACK_H
#define AIONIF_LACK_H
#include "lanes/state.h"

void aionif__lack(struct aionif_pool *pool, const char *what, int error); /* notes it */
void aionif__lack_begins(struct aionif_pool *pool);                       /* a call waits */
void aionif__lack_seen(struct aionif_pool *pool); /* by a loop, which has done what it can */
void aionif__lack_over(struct aionif_pool *pool);
void aionif__lack_tell(struct aionif_pool *pool, int64_t now); /* by the watchdog */
void aionif__drop_unserved(struct aionif_pool *pool); /* all that no worker will come for */
#endif
