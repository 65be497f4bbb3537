/* Worker processes that an input plays: what they write into their lanes, and what the zygote would
 * say of them. The parent's side is the core itself, which takes them for real: it orders a worker
 * over the zygote's socket, and this is the other end. No process is forked. */
#ifndef FUZZ_HOSTILE_H
#define FUZZ_HOSTILE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An input, read from its start. Beyond its end there are zeros. */
struct script {
    const uint8_t *at, *end;
};

uint64_t script_take(struct script *script, int bytes);

void hostile_start(void);                  /* once */
void hostile_clear(void);                  /* no workers, and no orders that were not read */
void hostile_obey(void);                   /* take the orders there are */
bool hostile_write(struct script *script); /* one thing that a worker can write; false: none was */
void hostile_say(struct script *script);   /* one thing that is told of a worker */
void hostile_end_all(void);                /* all that have not ended yet were killed */
#endif
