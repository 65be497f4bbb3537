/* The worker's side of the process tier, as serve.c asks for it. */
#ifndef AIONIF_CHILD_H
#define AIONIF_CHILD_H
#include "lanes/lane.h"
#include "threads/thread.h"

/* Turns the record's names into this process's addresses: loads the library, maps buffers. False: the
 * call can't run, the record says why; `ending` is how a library's initialiser ended, if it did not
 * return. On the worker's thread. */
bool aionif__child_prepare(struct aionif__thread *self, struct aionif__record *record,
                           struct aionif__invocation *invocation, int *ending);
void aionif__child_done(struct aionif__thread *self);
/* A seal's filter has trapped this system call; in a handler. Where no call can be ended for it, the
 * parent reads it after the process has died. */
void aionif__child_denied(int number);
/* Names the files of the recorded frames, which mean nothing in the parent. */
void aionif__child_describe(struct aionif__thread *self, const struct aionif__record *record);
#endif
