/* The slot and the invocation on aarch64; x86_64.S says what each is for.
 *
 *   worker's stack                        guarded stack (stack.c)
 *   | caller of invoke     |              | stack words of the call   |  <- stack_top, 16-aligned
 *   | d8 .. d15            |              | frames of the function    |
 *   | x19 .. x28           |              | ...                       |
 *   | x29, x30             | <- x29, resume_sp
 *
 * The CFA is taken from x29, so unwinders cross the switch without noticing it. The low halves of
 * v8..v15 are the caller's too, so a recovered fault has to bring them back. `hint #34` is "bti c",
 * spelled so that assemblers which do not know it take it. */
#include "arch/invoke_offsets.h"

#define INVOKE_FRAME 160
#define REGISTERS_SIZE 208
#define REGISTERS_INDIRECT 64
#define REGISTERS_VECTOR 80
#define RESULT_VECTOR 16
/* x29, x30 and a struct aionif__registers. */
#define THUNK_FRAME (16 + REGISTERS_SIZE)

    .text

    .globl aionif_thunk
    .type aionif_thunk, %function
    .p2align 4
aionif_thunk:
    .cfi_startproc
    hint #34
    stp x29, x30, [sp, #-THUNK_FRAME]!
    .cfi_def_cfa_offset THUNK_FRAME
    .cfi_offset x29, -THUNK_FRAME
    .cfi_offset x30, -THUNK_FRAME + 8
    mov x29, sp
    .cfi_def_cfa x29, THUNK_FRAME
    stp x0, x1, [sp, #16]
    stp x2, x3, [sp, #32]
    stp x4, x5, [sp, #48]
    stp x6, x7, [sp, #64]
    stp x8, xzr, [sp, #16 + REGISTERS_INDIRECT]
    stp q0, q1, [sp, #16 + REGISTERS_VECTOR]
    stp q2, q3, [sp, #16 + REGISTERS_VECTOR + 32]
    stp q4, q5, [sp, #16 + REGISTERS_VECTOR + 64]
    stp q6, q7, [sp, #16 + REGISTERS_VECTOR + 96]
    add x0, sp, #16
    add x1, x29, #THUNK_FRAME
    bl aionif__enter
    ldp q0, q1, [x0, #RESULT_VECTOR]
    ldp q2, q3, [x0, #RESULT_VECTOR + 32]
    ldp x0, x1, [x0]
    ldp x29, x30, [sp], #THUNK_FRAME
    .cfi_def_cfa sp, 0
    .cfi_restore x29
    .cfi_restore x30
    ret
    .cfi_endproc
    .size aionif_thunk, . - aionif_thunk

    .globl aionif__invoke
    .hidden aionif__invoke
    .type aionif__invoke, %function
    .p2align 5
aionif__invoke:
    .cfi_startproc
    .cfi_personality 0x9b, DW.ref.aionif__personality
    hint #34
    stp x29, x30, [sp, #-INVOKE_FRAME]!
    .cfi_def_cfa_offset INVOKE_FRAME
    .cfi_offset x29, -INVOKE_FRAME
    .cfi_offset x30, -INVOKE_FRAME + 8
    mov x29, sp
    .cfi_def_cfa x29, INVOKE_FRAME
    stp x19, x20, [sp, #16]
    .cfi_offset x19, -144
    .cfi_offset x20, -136
    stp x21, x22, [sp, #32]
    .cfi_offset x21, -128
    .cfi_offset x22, -120
    stp x23, x24, [sp, #48]
    .cfi_offset x23, -112
    .cfi_offset x24, -104
    stp x25, x26, [sp, #64]
    .cfi_offset x25, -96
    .cfi_offset x26, -88
    stp x27, x28, [sp, #80]
    .cfi_offset x27, -80
    .cfi_offset x28, -72
    /* 72 to 79 are v8 to v15. */
    stp d8, d9, [sp, #96]
    .cfi_offset 72, -64
    .cfi_offset 73, -56
    stp d10, d11, [sp, #112]
    .cfi_offset 74, -48
    .cfi_offset 75, -40
    stp d12, d13, [sp, #128]
    .cfi_offset 76, -32
    .cfi_offset 77, -24
    stp d14, d15, [sp, #144]
    .cfi_offset 78, -16
    .cfi_offset 79, -8
    mov x19, x0
    str x29, [x19, #INVOCATION_RESUME_SP]
    ldr x10, [x19, #INVOCATION_STACK_TOP]
    ldr x11, [x19, #INVOCATION_WORD_COUNT]
    cbnz x11, .Lcopy_words
.Lload:
    mov sp, x10
    ldr x16, [x19, #INVOCATION_FUNCTION]
    ldr x9, [x19, #INVOCATION_REGISTERS]
    ldp q0, q1, [x9, #REGISTERS_VECTOR]
    ldp q2, q3, [x9, #REGISTERS_VECTOR + 32]
    ldp q4, q5, [x9, #REGISTERS_VECTOR + 64]
    ldp q6, q7, [x9, #REGISTERS_VECTOR + 96]
    ldp x0, x1, [x9]
    ldp x2, x3, [x9, #16]
    ldp x4, x5, [x9, #32]
    ldp x6, x7, [x9, #48]
    ldr x8, [x9, #REGISTERS_INDIRECT]
    blr x16
    ldr x9, [x19, #INVOCATION_RESULT]
    stp x0, x1, [x9]
    stp q0, q1, [x9, #RESULT_VECTOR]
    stp q2, q3, [x9, #RESULT_VECTOR + 32]
    mov w0, wzr

    /* In: x19 = the invocation, w0 = how it ended. A recovered fault arrives here with sp and x29
     * already those of the worker's stack; a return or an exception still has the guarded one's. */
    .globl aionif__invoke_exit
    .hidden aionif__invoke_exit
aionif__invoke_exit:
    ldr x29, [x19, #INVOCATION_RESUME_SP]
    mov sp, x29
    ldp d14, d15, [sp, #144]
    ldp d12, d13, [sp, #128]
    ldp d10, d11, [sp, #112]
    ldp d8, d9, [sp, #96]
    ldp x27, x28, [sp, #80]
    ldp x25, x26, [sp, #64]
    ldp x23, x24, [sp, #48]
    ldp x21, x22, [sp, #32]
    ldp x19, x20, [sp, #16]
    .cfi_remember_state
    ldp x29, x30, [sp], #INVOKE_FRAME
    .cfi_def_cfa sp, 0
    .cfi_restore x29
    .cfi_restore x30
    ret
    .cfi_restore_state

    /* Over an even count for alignment; the word past an odd one is never read. */
.Lcopy_words:
    ldr x9, [x19, #INVOCATION_WORDS]
    add x12, x11, #1
    and x12, x12, #~1
    sub x10, x10, x12, lsl #3
.Lcopy_next:
    sub x11, x11, #1
    ldr x12, [x9, x11, lsl #3]
    str x12, [x10, x11, lsl #3]
    cbnz x11, .Lcopy_next
    b .Lload

    /* The personality routine installs this address with x0 = the exception, x1 = its kind. */
    .globl aionif__invoke_landing
    .hidden aionif__invoke_landing
aionif__invoke_landing:
    str x0, [x19, #INVOCATION_EXCEPTION]
    mov w0, w1
    b aionif__invoke_exit
    .globl aionif__invoke_end
    .hidden aionif__invoke_end
aionif__invoke_end:
    .cfi_endproc
    .size aionif__invoke, . - aionif__invoke

    .globl aionif__invoke_leave
    .hidden aionif__invoke_leave
    .type aionif__invoke_leave, %function
aionif__invoke_leave:
    .cfi_startproc
    hint #34
    mov x19, x0
    mov w0, w1
    b aionif__invoke_exit
    .cfi_endproc
    .size aionif__invoke_leave, . - aionif__invoke_leave

    /* Never arrived at: no return address is replaced on this processor. */
    .globl aionif__stop_landing
    .hidden aionif__stop_landing
    .type aionif__stop_landing, %function
aionif__stop_landing:
    brk #0
    .size aionif__stop_landing, . - aionif__stop_landing

    /* exit_group by an instruction of our own: the filter of exits.c knows libc's and traps it. */
    .globl aionif__exit_group
    .hidden aionif__exit_group
    .type aionif__exit_group, %function
aionif__exit_group:
    .cfi_startproc
    hint #34
    mov x8, #94
    svc #0
    brk #0
    .cfi_endproc
    .size aionif__exit_group, . - aionif__exit_group

    /* An indirect reference, as position-independent unwind tables need it. */
    .hidden DW.ref.aionif__personality
    .weak DW.ref.aionif__personality
    .section .data.rel.local.DW.ref.aionif__personality, "awG", %progbits, DW.ref.aionif__personality, comdat
    .p2align 3
    .type DW.ref.aionif__personality, %object
    .size DW.ref.aionif__personality, 8
DW.ref.aionif__personality:
    .xword aionif__personality

    .section .note.GNU-stack, "", %progbits
