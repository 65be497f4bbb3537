/* Signals that native calls raise: who owns them, recovery, and passing on what is not ours. */
#ifndef AIONIF_FAULT_H
#define AIONIF_FAULT_H
#include "threads/thread.h"

/* SECCOMP_RET_DATA of the core's own filters, to tell their SIGSYS from another's. */
enum { AIONIF__FILTER_MARK = 0x0a10 };

/* Installs the handlers; NULL, or why they can't be. */
const char *aionif__fault_start(void);
void aionif__fault_forked(void);
/* A seal's filter has trapped this system call: told in the handler, before anything is decided. */
void aionif__fault_tell_denials(void (*told)(int number));
/* Another handler may have been put in front since: puts ours back and names the signal, else 0. */
int aionif__fault_reclaim(void);
/* The process these handlers recover in; a fork inside a call makes another one. */
pid_t aionif__fault_pid(void);
/* The signal by which the watchdog asks a thread to leave its call. */
int aionif__fault_abort_signal(void);
/* Die of `sig` as if the core had no handler. */
_Noreturn void aionif__fault_die(int sig);
/* End the call in progress as an exit(); returns where that is not for us to stop. */
void aionif__fault_exit(int status);
#endif
