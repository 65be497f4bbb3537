#ifndef AIONIF_ARCH_CONTEXT_AARCH64_H
#define AIONIF_ARCH_CONTEXT_AARCH64_H

#include <asm/sigcontext.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

/* A choice of the 34, which a report has no room for: arguments, the linkage registers and those
 * that compilers take first for what must outlive a call. */
static const char *const aionif__register_names[AIONIF__NAMED_REGISTERS] = {
    "x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6", "x7", "x8",
    "x16", "x17", "x19", "x20", "x29", "x30", "sp", "pc", "pstate"};

static inline uintptr_t context_pc(const ucontext_t *context) {
    return (uintptr_t)context->uc_mcontext.pc;
}

static inline uintptr_t context_sp(const ucontext_t *context) {
    return (uintptr_t)context->uc_mcontext.sp;
}

static inline void context_read(const ucontext_t *context,
                                uint64_t registers[AIONIF__NAMED_REGISTERS]) {
    static const unsigned char order[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 19, 20, 29, 30};
    enum { GENERAL = sizeof order };
    for (int i = 0; i < GENERAL; i++) {
        registers[i] = context->uc_mcontext.regs[order[i]];
    }
    registers[GENERAL] = context->uc_mcontext.sp;
    registers[GENERAL + 1] = context->uc_mcontext.pc;
    registers[GENERAL + 2] = context->uc_mcontext.pstate;
}

/* The floating point state is one of several records, each a header and as many bytes as it says. */
static inline struct fpsimd_context *context_fpsimd(ucontext_t *context) {
    char *records = (char *)context->uc_mcontext.__reserved;
    size_t room = sizeof context->uc_mcontext.__reserved;
    for (size_t at = 0; at + sizeof(struct fpsimd_context) <= room;) {
        struct _aarch64_ctx *record = (struct _aarch64_ctx *)(records + at);
        if (record->magic == FPSIMD_MAGIC) {
            return (struct fpsimd_context *)record;
        }
        if (record->magic == 0 || record->size < sizeof *record) {
            break;
        }
        at += record->size;
    }
    return NULL;
}

static inline void context_resume(ucontext_t *context, struct aionif__invocation *invocation,
                                  int ending) {
    mcontext_t *machine = &context->uc_mcontext;
    machine->pc = (uintptr_t)aionif__invoke_exit;
    machine->sp = (uintptr_t)invocation->resume_sp;
    machine->regs[29] = (uintptr_t)invocation->resume_sp;
    machine->regs[19] = (uintptr_t)invocation;
    machine->regs[0] = (uint64_t)ending;
    /* BTYPE, left by a wild jump, would forbid arriving where no branch target is marked. */
    machine->pstate &= ~(uint64_t)0xc00;
    struct fpsimd_context *fp = context_fpsimd(context);
    if (fp) {
        fp->fpcr = 0;
        fp->fpsr = 0;
    }
}

/* A call leaves its return address in x30 and the stack as it was. */
static inline void context_pop_call(ucontext_t *context) {
    context->uc_mcontext.pc = context->uc_mcontext.regs[30];
}

/* Only for calls that are stopped where the runtime returns, which is not done here. */
static inline void context_interrupt(ucontext_t *context) { (void)context; }

/* tgkill(pid, tid, sig) has just returned 0 here, or, where libc may block signals meanwhile, the
 * rt_sigprocmask(SIG_SETMASK) that follows it. The pc is libc's: its bytes can be read. The
 * first argument is overwritten by the result; the number of the call is kept. */
static inline bool context_raised_self(const ucontext_t *context, int sig, pid_t tid,
                                       bool may_block) {
    const mcontext_t *machine = &context->uc_mcontext;
    if (machine->regs[0] != 0 || memcmp((const char *)context_pc(context) - AIONIF__SYSCALL_BYTES,
                                        aionif__syscall_code, AIONIF__SYSCALL_BYTES) != 0) {
        return false;
    }
    bool sent = machine->regs[8] == SYS_tgkill && (pid_t)machine->regs[1] == tid &&
                (int)machine->regs[2] == sig;
    bool unblocked = machine->regs[8] == SYS_rt_sigprocmask && machine->regs[3] == 8;
    return sent || (may_block && unblocked);
}

static inline uint64_t context_syscall_argument(const ucontext_t *context, int index) {
    return context->uc_mcontext.regs[index];
}

static inline void context_syscall_return(ucontext_t *context, int64_t value) {
    context->uc_mcontext.regs[0] = (uint64_t)value;
}
#endif
