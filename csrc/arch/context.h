/* A saved context (ucontext_t) as a fault handler needs it. Everything here runs in a handler.
 *
 * context_read          pc, sp and the named registers, for the report
 * context_resume        make sigreturn arrive at aionif__invoke_exit with the invocation's stack
 * context_pop_call      undo the call that jumped to an address which holds no code
 * context_interrupt     let the system call that the signal came in the way of fail with EINTR
 * context_raised_self   did the interrupted thread itself just send `sig` to itself (raise, abort)?
 * context_syscall_*     the arguments and result of the system call that seccomp trapped */
#ifndef AIONIF_ARCH_CONTEXT_H
#define AIONIF_ARCH_CONTEXT_H
#include "arch/invoke.h"

#include <signal.h>

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code of a SIGSYS that a filter raised */
#endif

#if defined(__x86_64__)
#include "arch/context_x86_64.h"
#else
#include "arch/context_aarch64.h"
#endif
#endif
