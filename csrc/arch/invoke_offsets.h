/* Offsets into struct aionif__invocation, for the assembly; invoke.h asserts each of them. */
#ifndef AIONIF_INVOKE_OFFSETS_H
#define AIONIF_INVOKE_OFFSETS_H
#define INVOCATION_RESUME_SP 0
#define INVOCATION_STACK_TOP 8
#define INVOCATION_FUNCTION 16
#define INVOCATION_WORDS 24
#define INVOCATION_WORD_COUNT 32
#define INVOCATION_REGISTERS 40
#define INVOCATION_RESULT 48
#define INVOCATION_EXCEPTION 56
#endif
