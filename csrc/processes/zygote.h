/* The zygote, which forks worker processes, as the parent sees it. */
#ifndef AIONIF_ZYGOTE_H
#define AIONIF_ZYGOTE_H
#include "processes/process.h"

void aionif__zygote_wait(int milliseconds); /* without the lock, for news */
/* Descriptors that a worker is started with: segment, bell, its end of the socket, setup, reply. */
enum { AIONIF__OF_A_WORKER = 5 };

/* false, with errno: not sent. */
bool aionif__zygote_order(const struct aionif__process *process, const int *descriptors);
void aionif__zygote_pump(void);
/* end_of: the serial of the process that ends when this is readable; 0: it is something else. */
void aionif__zygote_listen(int descriptor, uint64_t end_of);
/* Only the zygote, its real parent, knows that an id is still its; false: not sent. */
bool aionif__zygote_signal(const struct aionif__process *process, int number);
bool aionif__zygote_lost(void);
bool aionif__zygote_stillborn(void); /* the last one was lost before it was ready */
void aionif__zygote_forked(void);
#endif
