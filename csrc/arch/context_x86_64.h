#ifndef AIONIF_ARCH_CONTEXT_X86_64_H
#define AIONIF_ARCH_CONTEXT_X86_64_H

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

static const char *const aionif__register_names[AIONIF__NAMED_REGISTERS] = {
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",    "r8",
    "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "eflags", "rip"};

static inline uintptr_t context_pc(const ucontext_t *context) {
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
}

static inline uintptr_t context_sp(const ucontext_t *context) {
    return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
}

static inline void context_read(const ucontext_t *context,
                                uint64_t registers[AIONIF__NAMED_REGISTERS]) {
    static const int order[AIONIF__NAMED_REGISTERS] = {
        REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
        REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_EFL, REG_RIP};
    for (int i = 0; i < AIONIF__NAMED_REGISTERS; i++) {
        registers[i] = (uint64_t)context->uc_mcontext.gregs[order[i]];
    }
}

static inline void context_resume(ucontext_t *context, struct aionif__invocation *invocation,
                                  int ending) {
    greg_t *registers = context->uc_mcontext.gregs;
    registers[REG_RIP] = (greg_t)(uintptr_t)aionif__invoke_exit;
    registers[REG_RBX] = (greg_t)(uintptr_t)invocation;
    registers[REG_RSP] = (greg_t)(uintptr_t)invocation->resume_sp;
    registers[REG_RBP] = (greg_t)((uintptr_t)invocation->resume_sp + 48);
    registers[REG_RAX] = ending;
    /* Direction, trap and alignment-check flags are the ABI's at every function's exit. */
    registers[REG_EFL] &= ~(greg_t)(0x400 | 0x100 | 0x40000);
    struct _libc_fpstate *fp = context->uc_mcontext.fpregs;
    if (fp) {
        fp->cwd = 0x37f;
        fp->swd = 0;
        fp->ftw = 0; /* the abridged tag word of fxsave: all eight registers empty */
        fp->mxcsr = 0x1f80;
    }
}

/* The caller has checked that the stack pointer lies in readable stack. */
static inline void context_pop_call(ucontext_t *context) {
    uintptr_t sp = context_sp(context);
    context->uc_mcontext.gregs[REG_RIP] = *(greg_t *)sp;
    context->uc_mcontext.gregs[REG_RSP] = (greg_t)(sp + 8);
}

/* One that the kernel is going to restart looks just as one that is to be made now, so these are those
 * that may wait for long, and of which nothing is lost when they are not made. The pc is libc's. */
static inline void context_interrupt(ucontext_t *context) {
    static const short waiting[] = {
        SYS_read,  SYS_readv,  SYS_pread64, SYS_preadv,  SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg,
        SYS_write, SYS_writev, SYS_sendto,  SYS_sendmsg, SYS_accept,   SYS_accept4, SYS_connect,
        SYS_wait4, SYS_waitid, SYS_flock,   SYS_open,    SYS_openat,   SYS_futex};
    greg_t *registers = context->uc_mcontext.gregs;
    if (memcmp((const char *)context_pc(context), aionif__syscall_code, AIONIF__SYSCALL_BYTES) !=
        0) {
        return;
    }
    enum { FUTEX_COMMAND = 0x7f, WAIT = 0, WAIT_BITSET = 9 };
    int operation = (int)registers[REG_RSI] & FUTEX_COMMAND;
    for (size_t i = 0; i < sizeof waiting / sizeof waiting[0]; i++) {
        if (registers[REG_RAX] == waiting[i] &&
            (waiting[i] != SYS_futex || operation == WAIT || operation == WAIT_BITSET)) {
            registers[REG_RAX] = -EINTR;
            registers[REG_RIP] += AIONIF__SYSCALL_BYTES;
            return;
        }
    }
}

/* tgkill(pid, tid, sig) has just returned 0 here, or, where libc may block signals meanwhile, the
 * rt_sigprocmask(SIG_SETMASK) that follows it. The pc is libc's: its bytes can be read. */
static inline bool context_raised_self(const ucontext_t *context, int sig, pid_t tid,
                                       bool may_block) {
    const greg_t *registers = context->uc_mcontext.gregs;
    if (registers[REG_RAX] != 0 || memcmp((const char *)context_pc(context) - AIONIF__SYSCALL_BYTES,
                                          aionif__syscall_code, AIONIF__SYSCALL_BYTES) != 0) {
        return false;
    }
    bool sent = (pid_t)registers[REG_RSI] == tid && (int)registers[REG_RDX] == sig;
    bool unblocked = registers[REG_RDI] == SIG_SETMASK && registers[REG_R10] == 8;
    return sent || (may_block && unblocked);
}

static inline uint64_t context_syscall_argument(const ucontext_t *context, int index) {
    static const int order[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
    return (uint64_t)context->uc_mcontext.gregs[order[index]];
}

static inline void context_syscall_return(ucontext_t *context, int64_t value) {
    context->uc_mcontext.gregs[REG_RAX] = value;
}
#endif
