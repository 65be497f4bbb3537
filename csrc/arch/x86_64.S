/* The slot and the invocation on x86-64.
 *
 * aionif_thunk     the address that stands in for every native function when cffi or ctypes calls
 *                  it. It stores the argument registers, asks aionif__enter what is to be done with
 *                  them, and returns with the result registers that aionif__enter hands back.
 * aionif__invoke   switches to the guarded stack, loads the registers of one call and calls it.
 *                  There are three ways out: the function returns; a fault handler rewrites the
 *                  interrupted context to aionif__invoke_exit; an exception reaches this frame,
 *                  whose personality routine stops it at the landing pad.
 *
 *   worker's stack                     guarded stack (stack.c)
 *   | caller of invoke  |              | stack words of the call   |  <- stack_top, 16-aligned
 *   | return address    |              | return address in invoke  |
 *   | rbp               | <- rbp       | frames of the function    |
 *   | rbx r12 .. r15, 8 | <- resume_sp | ...                       |
 *
 * The CFA is taken from rbp, so unwinders cross the switch without noticing it. */
#include "arch/invoke_offsets.h"

    .text

    .globl aionif_thunk
    .type aionif_thunk, @function
    .p2align 4
aionif_thunk:
    .cfi_startproc
    endbr64
    pushq %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    subq $128, %rsp
    movq %rdi, 0(%rsp)
    movq %rsi, 8(%rsp)
    movq %rdx, 16(%rsp)
    movq %rcx, 24(%rsp)
    movq %r8, 32(%rsp)
    movq %r9, 40(%rsp)
    movq %xmm0, 48(%rsp)
    movq %xmm1, 56(%rsp)
    movq %xmm2, 64(%rsp)
    movq %xmm3, 72(%rsp)
    movq %xmm4, 80(%rsp)
    movq %xmm5, 88(%rsp)
    movq %xmm6, 96(%rsp)
    movq %xmm7, 104(%rsp)
    movzbl %al, %eax
    movq %rax, 112(%rsp)
    movq %rsp, %rdi
    leaq 16(%rbp), %rsi
    call aionif__enter
    cmpq $0, 48(%rax)
    je 1f
    fldt 32(%rax)
1:  movq 8(%rax), %rdx
    movq 16(%rax), %xmm0
    movq 24(%rax), %xmm1
    movq 0(%rax), %rax
    leave
    .cfi_def_cfa %rsp, 8
    ret
    .cfi_endproc
    .size aionif_thunk, . - aionif_thunk

    .globl aionif__invoke
    .hidden aionif__invoke
    .type aionif__invoke, @function
    .p2align 5
aionif__invoke:
    .cfi_startproc
    .cfi_personality 0x9b, DW.ref.aionif__personality
    endbr64
    pushq %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    pushq %rbx
    .cfi_offset %rbx, -24
    pushq %r12
    .cfi_offset %r12, -32
    pushq %r13
    .cfi_offset %r13, -40
    pushq %r14
    .cfi_offset %r14, -48
    pushq %r15
    .cfi_offset %r15, -56
    subq $8, %rsp
    movq %rdi, %rbx
    movq %rsp, INVOCATION_RESUME_SP(%rbx)
    movq INVOCATION_STACK_TOP(%rbx), %rsp
    movq INVOCATION_WORD_COUNT(%rbx), %rcx
    testq %rcx, %rcx
    jnz .Lcopy_words
.Lload:
    movq INVOCATION_FUNCTION(%rbx), %r11
    movq INVOCATION_REGISTERS(%rbx), %r10
    movq 112(%r10), %rax
    testl %eax, %eax
    jz .Lload_integers
    movq 48(%r10), %xmm0
    movq 56(%r10), %xmm1
    movq 64(%r10), %xmm2
    movq 72(%r10), %xmm3
    movq 80(%r10), %xmm4
    movq 88(%r10), %xmm5
    movq 96(%r10), %xmm6
    movq 104(%r10), %xmm7
.Lload_integers:
    movq 0(%r10), %rdi
    movq 8(%r10), %rsi
    movq 16(%r10), %rdx
    movq 24(%r10), %rcx
    movq 32(%r10), %r8
    movq 40(%r10), %r9
    call *%r11
    movq INVOCATION_RESULT(%rbx), %rcx
    movq %rax, 0(%rcx)
    movq %rdx, 8(%rcx)
    movq %xmm0, 16(%rcx)
    movq %xmm1, 24(%rcx)
    cmpq $0, 48(%rcx)
    jne .Lstore_x87
.Lreturned:
    xorl %eax, %eax

    /* In: rbx = the invocation, eax = how it ended. A recovered fault arrives here with rsp and rbp
     * already those of the worker's stack; a return or an exception still has the guarded one's. */
    .globl aionif__invoke_exit
    .hidden aionif__invoke_exit
aionif__invoke_exit:
    movq INVOCATION_RESUME_SP(%rbx), %rsp
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    .cfi_remember_state
    .cfi_def_cfa %rsp, 8
    ret
    .cfi_restore_state

.Lstore_x87:
    fstpt 32(%rcx)
    jmp .Lreturned

    /* rep movs costs more than the whole switch: a plain loop, over an even count for alignment. */
.Lcopy_words:
    movq INVOCATION_WORDS(%rbx), %rsi
    leaq 1(%rcx), %rdx
    andq $-2, %rdx
    negq %rdx
    leaq (%rsp,%rdx,8), %rsp
.Lcopy_next:
    movq -8(%rsi,%rcx,8), %rax
    movq %rax, -8(%rsp,%rcx,8)
    decq %rcx
    jnz .Lcopy_next
    jmp .Lload

    /* The personality routine installs this address with rax = the exception, rdx = its kind. */
    .globl aionif__invoke_landing
    .hidden aionif__invoke_landing
aionif__invoke_landing:
    movq %rax, INVOCATION_EXCEPTION(%rbx)
    movl %edx, %eax
    cld
    jmp aionif__invoke_exit
    .globl aionif__invoke_end
    .hidden aionif__invoke_end
aionif__invoke_end:
    .cfi_endproc
    .size aionif__invoke, . - aionif__invoke

    .globl aionif__invoke_leave
    .hidden aionif__invoke_leave
    .type aionif__invoke_leave, @function
aionif__invoke_leave:
    .cfi_startproc
    movq %rdi, %rbx
    movl %esi, %eax
    cld
    jmp aionif__invoke_exit
    .cfi_endproc
    .size aionif__invoke_leave, . - aionif__invoke_leave

    /* What a return address of the runtime is replaced by; stop.c says when. rsp and all registers but
     * the results' are those of the code that was to be returned to. The frame ends the stack for
     * unwinders; the nop is for those that look one byte before a return address. */
    .globl aionif__stop_landing
    .hidden aionif__stop_landing
    .type aionif__stop_landing, @function
    .p2align 4
    .cfi_startproc
    .cfi_personality 0x9b, DW.ref.aionif__stop_personality
    .cfi_def_cfa %rsp, 0
    .cfi_undefined %rip
    nop
aionif__stop_landing:
    endbr64
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_offset %rbp, -8
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    subq $48, %rsp
    andq $-16, %rsp
    movq %rax, 0(%rsp)
    movq %rdx, 8(%rsp)
    movups %xmm0, 16(%rsp)
    movups %xmm1, 32(%rsp)
    cld
    call aionif__stop_landed
    movq %rax, %r11
    movq 0(%rsp), %rax
    movq 8(%rsp), %rdx
    movups 16(%rsp), %xmm0
    movups 32(%rsp), %xmm1
    movq %rbp, %rsp
    popq %rbp
    .cfi_def_cfa %rsp, 0
    jmp *%r11
    .cfi_endproc
    .size aionif__stop_landing, . - aionif__stop_landing

    /* exit_group by an instruction of our own: the filter of exits.c knows libc's and traps it. */
    .globl aionif__exit_group
    .hidden aionif__exit_group
    .type aionif__exit_group, @function
aionif__exit_group:
    .cfi_startproc
    movl $231, %eax
    syscall
    hlt
    .cfi_endproc
    .size aionif__exit_group, . - aionif__exit_group

    /* Indirect references, as position-independent unwind tables need them. */
    .macro refer_to name
    .hidden DW.ref.\name
    .weak DW.ref.\name
    .section .data.rel.local.DW.ref.\name, "awG", @progbits, DW.ref.\name, comdat
    .p2align 3
    .type DW.ref.\name, @object
    .size DW.ref.\name, 8
DW.ref.\name:
    .quad \name
    .endm
    refer_to aionif__personality
    refer_to aionif__stop_personality

    .section .note.GNU-stack, "", @progbits
