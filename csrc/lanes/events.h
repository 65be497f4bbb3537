/* Events: what an event loop is told, and how it is woken for it. */
#ifndef AIONIF_EVENTS_H
#define AIONIF_EVENTS_H
#include "lanes/state.h"

bool aionif__events_promise(struct aionif_port *port, uint32_t count); /* false: no memory */
int aionif__events_take(struct aionif__events *events, uint64_t *out, int room); /* how many */
bool aionif__announce(struct aionif_port *port, uint64_t value, int kind);
void aionif__ring_all(void);                        /* every loop is to look */
void aionif__port_forget(struct aionif_port *port); /* one outstanding call less */
void aionif__core_event(int kind, int detail, int thread, const void *function,
                        const char *executor, const char *text);
bool aionif__has_core_event(void);
#endif
