/* The one place that chooses between processors. Each arch header gives
 *   struct aionif__registers, struct aionif__result, AIONIF__INTEGER_REGISTERS, ..._VECTOR_REGISTERS
 *   aionif__arch_result_pointer, aionif__arch_return_pointer, aionif__arch_pause
 *   struct aionif__float_control, aionif__arch_float_read, aionif__arch_float_restore
 *   aionif__arch_shadow_stacks, AIONIF__AUDIT_ARCH, AIONIF__SYSCALL_BYTES, aionif__syscall_code
 * and context_<arch>.h, for fault handlers, what is read from and written to a saved context. */
#ifndef AIONIF_ARCH_H
#define AIONIF_ARCH_H
#if defined(__x86_64__) && defined(__linux__)
#include "arch/x86_64.h"
#elif defined(__aarch64__) && defined(__linux__)
#include "arch/aarch64.h"
#else
#error "aionif runs on Linux, on x86-64 (and aarch64 for its C core); this is another platform"
#endif
#endif
