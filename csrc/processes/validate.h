/* What of a process's lane can be taken as true. */
#ifndef AIONIF_VALIDATE_H
#define AIONIF_VALIDATE_H
#include "processes/process.h"

/* As `read`, `take` and `describe` of lanes/server.h. */
struct aionif__record *aionif__validate(struct aionif__worker *worker, uint32_t position,
                                        uint32_t *state);
void aionif__take_block(struct aionif__worker *worker, struct aionif__call *call,
                        const struct aionif__record *record);
void aionif__take_remains(struct aionif__worker *worker, struct aionif__call *call);
/* What a worker says of its seal; only once it serves, or has died. */
void aionif__take_sealed(struct aionif_pool *pool, const struct aionif__process *process);
#endif
