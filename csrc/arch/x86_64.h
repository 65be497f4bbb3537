/* What portable C needs to know of x86-64 (System V ABI).
 *
 * The layouts of `registers`, `result` and `invocation` (invoke.h) are read by x86_64.S through the
 * offsets that the static assertions below and in invoke.h spell out. */
#ifndef AIONIF_ARCH_X86_64_H
#define AIONIF_ARCH_X86_64_H

#define AIONIF__INTEGER_REGISTERS 6
#define AIONIF__VECTOR_REGISTERS 8
#define AIONIF__NAMED_REGISTERS 18

#ifndef __ASSEMBLER__
#include <assert.h>
#include <linux/audit.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* The registers that may carry arguments. Only the low eight bytes of a vector register are kept:
 * no C type that cffi or ctypes can pass uses more (long double travels in stack words). */
struct aionif__registers {
    uint64_t integer[AIONIF__INTEGER_REGISTERS]; /* rdi rsi rdx rcx r8 r9 */
    uint64_t vector[AIONIF__VECTOR_REGISTERS];   /* xmm0..xmm7 */
    uint64_t vector_count;                       /* al, which variadic functions read */
};
static_assert(offsetof(struct aionif__registers, vector) == 48, "x86_64.S");
static_assert(offsetof(struct aionif__registers, vector_count) == 112, "x86_64.S");
static_assert(sizeof(struct aionif__registers) <= 128, "x86_64.S");

/* The registers that may carry a result. */
struct aionif__result {
    uint64_t integer[2];   /* rax rdx */
    uint64_t vector[2];    /* xmm0 xmm1 */
    unsigned char x87[16]; /* st(0), where the plan says so */
    uint64_t has_x87;
};
static_assert(offsetof(struct aionif__result, vector) == 16, "x86_64.S");
static_assert(offsetof(struct aionif__result, x87) == 32, "x86_64.S");
static_assert(offsetof(struct aionif__result, has_x87) == 48, "x86_64.S");

/* The hidden pointer to a struct that is returned in memory. */
static inline uint64_t *aionif__arch_result_pointer(struct aionif__registers *registers) {
    return &registers->integer[0];
}
/* The callee returns that pointer in rax. */
static inline void aionif__arch_return_pointer(struct aionif__result *result, uint64_t pointer) {
    result->integer[0] = pointer;
}

static inline void aionif__arch_pause(void) { __builtin_ia32_pause(); }

/* How this thread computes: rounding, traps, what becomes of denormals. Which flags are raised is no
 * part of it, as every function may raise some. */
struct aionif__float_control {
    uint32_t vector; /* MXCSR */
    uint16_t x87;
};

static inline void aionif__arch_float_read(struct aionif__float_control *out) {
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(out->vector), "=m"(out->x87));
}

/* As it was before a call. What is on the x87's stack and which flags are raised is not looked at: that
 * costs more than the rest of a call. After a crash the handler has cleared both. */
static inline void aionif__arch_float_restore(const struct aionif__float_control *before) {
    enum { FLAGS = 0x3f };
    struct aionif__float_control now;
    aionif__arch_float_read(&now);
    if ((now.vector ^ before->vector) & ~(uint32_t)FLAGS) {
        __asm__ volatile("ldmxcsr %0" : : "m"(before->vector));
    }
    if (now.x87 != before->x87) { /* fldcw alone would trap later, where a flag is raised */
        __asm__ volatile("fnclex\n\tfldcw %0" : : "m"(before->x87));
    }
}

#define AIONIF__SHADOW_STACKS_OFF "glibc.cpu.x86_shstk=off"
/* User shadow stacks (CET). */
static inline bool aionif__arch_shadow_stacks(void) {
    enum { ARCH_SHSTK_STATUS = 0x5005, ARCH_SHSTK_SHSTK = 1 };
    unsigned long features = 0;
    return syscall(SYS_arch_prctl, ARCH_SHSTK_STATUS, &features) == 0 &&
           (features & ARCH_SHSTK_SHSTK);
}

/* How code enters the kernel, and what seccomp calls this processor. */
enum { AIONIF__AUDIT_ARCH = AUDIT_ARCH_X86_64, AIONIF__SYSCALL_BYTES = 2 };
static const unsigned char aionif__syscall_code[AIONIF__SYSCALL_BYTES] = {0x0f, 0x05};
#endif
#endif
