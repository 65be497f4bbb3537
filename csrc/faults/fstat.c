/* glibc 2.33 to 2.38 makes fstat(fd) of newfstatat(fd, "", buffer, AT_EMPTY_PATH). A filter can't see
 * whether the path is empty, and with another one the same call tells of any file's existence, size
 * and times. So a seal under which no file may be looked at never lets that call through: it is
 * trapped, and the handler makes of it what it should have been, which names no path.
 *
 * Hostile code gains nothing here. What is called in the call's place is fstat(), which it may
 * call by itself, and the path is only looked at. A path that another thread changes meanwhile
 * makes no difference: it is not passed on. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults/fstat.h"

#include "arch/context.h"
#include "core.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The pointer may be anything, and a fault here would kill, so the kernel is asked to read first: by a
 * call that no seal denies, which does nothing as there is no such operation. process_vm_readv() is
 * for the process alone that was sealed, and not for its children. */
static bool can_be_read(uint64_t address) {
    enum { NO_OPERATION = -1, SET = 8 };
    void *set = (void *)(uintptr_t)(address & ~(uint64_t)(SET - 1)); /* all of it in one page */
    return syscall(SYS_rt_sigprocmask, NO_OPERATION, set, NULL, SET) == 0 || errno != EFAULT;
}

/* 0, or the errno that the call would have had. */
static int check_path(uint64_t path) {
    if (!path) {
        return 0; /* newer kernels take it for an empty one */
    }
    if (!can_be_read(path)) {
        return EFAULT;
    }
    return *(const volatile char *)(uintptr_t)path ? EACCES : 0; /* as for every other path */
}

bool aionif__fstat_answer(const siginfo_t *info, ucontext_t *context) {
    if (info->si_signo != SIGSYS || info->si_code != SYS_SECCOMP ||
        info->si_errno != AIONIF_SEAL_FSTAT || info->si_syscall != SYS_newfstatat) {
        return false;
    }
    int error = check_path(context_syscall_argument(context, 1));
    if (!error && syscall(SYS_fstat, (int)context_syscall_argument(context, 0),
                          (void *)(uintptr_t)context_syscall_argument(context, 2)) != 0) {
        error = errno;
    }
    context_syscall_return(context, -error);
    return true;
}
