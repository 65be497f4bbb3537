/* fstat() in sealed processes, for C libraries that make it of a system call with a path. */
#ifndef AIONIF_FSTAT_H
#define AIONIF_FSTAT_H
#include <signal.h>
#include <stdbool.h>
#include <ucontext.h>

/* In a handler: answers newfstatat() where a seal's filter leaves it to this process; false: it is
 * something else. */
bool aionif__fstat_answer(const siginfo_t *info, ucontext_t *context);
#endif
