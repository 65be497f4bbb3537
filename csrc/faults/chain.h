/* The handlers that were installed before ours, and calling them as the kernel would have. */
#ifndef AIONIF_CHAIN_H
#define AIONIF_CHAIN_H
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

/* Put `handler` in front for `sig`; what was there is remembered. False: the kernel refused. */
bool aionif__chain_install(int sig, const struct sigaction *handler);
/* Not in front any more? Then go there again, remembering who was. True: it had to. */
bool aionif__chain_reclaim(int sig, const struct sigaction *handler);
/* In a handler: this signal is not ours. */
void aionif__chain_pass(int sig, siginfo_t *info, void *context);
/* In our handler, whose frame is at `frame`: whether a handler that some library has installed has
 * resolved this fault, and the thread can go on. (One may also leave by a jump.) `ours` is in front
 * afterwards. */
bool aionif__chain_ask(int sig, siginfo_t *info, ucontext_t *context, const struct sigaction *ours,
                       uintptr_t frame);
/* Likewise, first of all: a library that is asked has asked us back, which is its way to say no. */
bool aionif__chain_refuses(int sig, uintptr_t frame);
_Noreturn void aionif__chain_die(int sig);
#endif
