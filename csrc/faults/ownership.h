/* Whose fault it is: the call's in progress on this thread, or nobody's that we know. */
#ifndef AIONIF_OWNERSHIP_H
#define AIONIF_OWNERSHIP_H
#include "threads/thread.h"

#include <signal.h>
#include <ucontext.h>

void aionif__ownership_start(pid_t process, bool raise_blocks);
pid_t aionif__ownership_process(void);
bool aionif__is_owner(pid_t process);
bool aionif__on_call_stack(const struct aionif__invocation *invocation, uintptr_t sp);
/* Ours, or the one that replaced it. */
bool aionif__on_alternate_stack(const struct aionif__thread *self, uintptr_t sp);
bool aionif__raised_by_kernel(const siginfo_t *info);
/* But for the interpreter's frames on its stack, which take a backtrace. */
bool aionif__is_calls_fault(const struct aionif__thread *self,
                            const struct aionif__invocation *invocation, const siginfo_t *info,
                            const ucontext_t *context);
bool aionif__is_overflow(const struct aionif__thread *self,
                         const struct aionif__invocation *invocation, const siginfo_t *info,
                         const ucontext_t *context);
#endif
