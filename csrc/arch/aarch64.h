/* What portable C needs to know of aarch64 (AAPCS64).
 *
 * The layouts of `registers` and `result` are read by aarch64.S through the offsets that the static
 * assertions below spell out. The names are those of x86_64.h wherever portable C uses them. */
#ifndef AIONIF_ARCH_AARCH64_H
#define AIONIF_ARCH_AARCH64_H

#define AIONIF__INTEGER_REGISTERS 8
#define AIONIF__VECTOR_REGISTERS 8
#define AIONIF__NAMED_REGISTERS 18

#ifndef __ASSEMBLER__
#include <assert.h>
#include <linux/audit.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/types.h>

/* The registers that may carry arguments. Vector registers are kept whole: long double has sixteen
 * bytes. A struct of more than sixteen is passed as the address of a copy, which is not followed: who
 * makes the call keeps the copy until the call is over (aionif/binding/of_cffi.py). */
struct aionif__registers {
    uint64_t integer[AIONIF__INTEGER_REGISTERS];  /* x0..x7 */
    uint64_t indirect;                            /* x8: where a struct in memory is returned */
    uint64_t vector_count;                        /* unused: variadic functions are told nothing */
    uint64_t vector[AIONIF__VECTOR_REGISTERS][2]; /* q0..q7 */
};
static_assert(offsetof(struct aionif__registers, indirect) == 64, "aarch64.S");
static_assert(offsetof(struct aionif__registers, vector) == 80, "aarch64.S");
static_assert(sizeof(struct aionif__registers) == 208, "aarch64.S");

/* The registers that may carry a result. */
struct aionif__result {
    uint64_t integer[2];   /* x0 x1 */
    uint64_t vector[4][2]; /* q0..q3: up to four floats or doubles of one struct */
    uint64_t has_x87;      /* unused: a long double is in q0 */
};
static_assert(offsetof(struct aionif__result, vector) == 16, "aarch64.S");

/* The hidden pointer to a struct that is returned in memory. */
static inline uint64_t *aionif__arch_result_pointer(struct aionif__registers *registers) {
    return &registers->indirect;
}
/* The callee does not return that pointer. */
static inline void aionif__arch_return_pointer(struct aionif__result *result, uint64_t pointer) {
    (void)result;
    (void)pointer;
}

static inline void aionif__arch_pause(void) { __asm__ volatile("isb" ::: "memory"); }

/* How this thread computes: rounding, traps, what becomes of denormals. */
struct aionif__float_control {
    uint64_t fpcr;
};

static inline void aionif__arch_float_read(struct aionif__float_control *out) {
    __asm__ volatile("mrs %0, fpcr" : "=r"(out->fpcr));
}

/* As it was before a call. */
static inline void aionif__arch_float_restore(const struct aionif__float_control *before) {
    struct aionif__float_control now;
    aionif__arch_float_read(&now);
    if (now.fpcr != before->fpcr) {
        __asm__ volatile("msr fpcr, %0" : : "r"(before->fpcr));
    }
}

#define AIONIF__SHADOW_STACKS_OFF "glibc.cpu.aarch64_gcs=0"
/* The guarded control stack. Older headers don't name what asks for it. */
static inline bool aionif__arch_shadow_stacks(void) {
    enum { GET_SHADOW_STACK_STATUS = 74, SHADOW_STACK_ENABLE = 1 };
    unsigned long status = 0;
    return prctl(GET_SHADOW_STACK_STATUS, &status, 0, 0, 0) == 0 && (status & SHADOW_STACK_ENABLE);
}

/* How code enters the kernel, and what seccomp calls this processor. */
enum { AIONIF__AUDIT_ARCH = AUDIT_ARCH_AARCH64, AIONIF__SYSCALL_BYTES = 4 };
static const unsigned char aionif__syscall_code[AIONIF__SYSCALL_BYTES] = {0x01, 0x00, 0x00, 0xd4};
#endif
#endif
