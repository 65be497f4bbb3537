/* Zygotes, which fork worker processes, as the parent sees them; a pool's settings say which. */
#ifndef AIONIF_ZYGOTE_H
#define AIONIF_ZYGOTE_H
#include "processes/process.h"

struct aionif__zygote {
    struct aionif__zygote *next;
    uint32_t number;
    uint32_t workers; /* that refer to it */
    int socket;       /* -1: it is lost, or is to end */
    int handle;       /* a pidfd; -1: there is none */
    bool ready;       /* it has said so; orders may be sent before */
    bool stillborn;   /* it was lost before it was ready */
    bool replaced;
    bool spent;       /* it is to start no more workers */
    uint32_t crashes; /* of calls of its workers */
    int64_t due_ns;   /* by when it is to be ready */
};

extern struct aionif__zygote *aionif__zygotes; /* all that have not been done with */

void aionif__zygote_wait(uint32_t number, int milliseconds); /* without the lock, for news */
/* Descriptors that a worker is started with: segment, bell, its end of the socket, setup, reply,
 * stdout. */
enum { AIONIF__OF_A_WORKER = 6 };

/* false, with errno: not sent. */
bool aionif__zygote_order(struct aionif__process *process, uint32_t number, bool fresh,
                          const int *descriptors);            /* fresh: it starts no other worker */
void aionif__zygote_crashed(struct aionif__process *process); /* a call in a sandbox has */
void aionif__zygote_leave(struct aionif__process *process);   /* it is freed */
void aionif__zygote_lose(struct aionif__zygote *zygote);      /* its workers die with it */
bool aionif__zygote_drop_spent(void);                         /* true: one is yet to end */
int64_t aionif__zygote_ask(void); /* news.c: the pump, for the watchdog */
void aionif__zygote_pump(void);   /* news.c, as the next one */
/* end_of: the serial of the process that ends when this is readable; 0: it is something else. */
void aionif__zygote_listen(int descriptor, uint64_t end_of);
/* Only the zygote, its real parent, knows that an id is still its; false: not sent. */
bool aionif__zygote_signal(const struct aionif__process *process, int number);
bool aionif__zygote_lost(uint32_t number);
bool aionif__zygote_stillborn(uint32_t number); /* the last one was lost before it was ready */
void aionif__zygote_forked(void);
void aionif__news_forked(void);
#endif
