/* Whether the interpreter is in the way of ending a call: asked in a signal handler. */
#ifndef AIONIF_INTERPRETER_H
#define AIONIF_INTERPRETER_H
#include <stdbool.h>

void aionif__interpreter_find(void); /* once, before any handler asks */
/* False: this thread has never been in the interpreter. */
bool aionif__interpreter_is_known(void);
/* This thread has the interpreter's lock: who left its call now would never give it back. */
bool aionif__interpreter_is_held(void);
#endif
