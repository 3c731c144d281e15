/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entry stubs of all 256 vectors, and the one instruction that may fault. traps.c points the IDT at
 * x86_trap_stubs, STUB_BYTES apart, and gets every trap but the timer's in x86_trap. Nothing here may touch FPU or SSE
 * registers: they hold a guest's state.
 *
 * The stack that x86_trap sees as struct x86_trap_frame, RSP at the left:
 *
 *      rax rcx rdx rbx rbp rsi rdi r8 .. r15 | vector | error code          | rip cs rflags rsp ss
 *      x86_trap_common                       | stub   | CPU, or 0 from stub | CPU, RSP aligned to 16 before
 */

#define STUB_BYTES         16 /* as in traps.c */
#define CPU_ARMED_DEADLINE 24 /* in struct x86_cpu */
#define MSR_X2APIC_EOI     0x80b

	.text
	.altmacro

/* The vectors for which the CPU pushes an error code: SDM vol. 3A table 6-1, APM vol. 2 table 8-1. */
.macro stub vector
	.balign STUB_BYTES
	.if !((\vector == 8) || ((\vector >= 10) && (\vector <= 14)) || (\vector == 17) || (\vector == 21) \
		|| (\vector == 29) || (\vector == 30))
	pushq	$0
	.endif
	pushq	$\vector
	jmp	x86_trap_common
.endm

	.balign	STUB_BYTES
	.globl	x86_trap_stubs
	.hidden	x86_trap_stubs
	.type	x86_trap_stubs, @function
x86_trap_stubs:
	.set	vector, 0
	.rept	256
	stub	%vector
	.set	vector, vector + 1
	.endr
	.size	x86_trap_stubs, . - x86_trap_stubs

	.type	x86_trap_common, @function
x86_trap_common:
	pushq	%r15
	pushq	%r14
	pushq	%r13
	pushq	%r12
	pushq	%r11
	pushq	%r10
	pushq	%r9
	pushq	%r8
	pushq	%rdi
	pushq	%rsi
	pushq	%rbp
	pushq	%rbx
	pushq	%rdx
	pushq	%rcx
	pushq	%rax
	cld
	movq	%rsp, %rdi
	call	x86_trap
	popq	%rax
	popq	%rcx
	popq	%rdx
	popq	%rbx
	popq	%rbp
	popq	%rsi
	popq	%rdi
	popq	%r8
	popq	%r9
	popq	%r10
	popq	%r11
	popq	%r12
	popq	%r13
	popq	%r14
	popq	%r15
	addq	$16, %rsp /* vector, error code */
	iretq
	.size	x86_trap_common, . - x86_trap_common

/*
 * The host timer's gate. It comes in windows of the world switch, at every tick of a guest's clock: nothing is saved
 * that is not needed to write down that it came and to end it. In xAPIC mode by a write to x86_lapic_eoi, else by MSR.
 */
	.balign	STUB_BYTES
	.globl	x86_timer_stub
	.hidden	x86_timer_stub
	.type	x86_timer_stub, @function
x86_timer_stub:
	pushq	%rax
	movq	$0, %gs:CPU_ARMED_DEADLINE
	movq	x86_lapic_eoi(%rip), %rax
	testq	%rax, %rax
	jz	1f
	movl	$0, (%rax)
	popq	%rax
	iretq
1:	pushq	%rcx
	pushq	%rdx
	movl	$MSR_X2APIC_EOI, %ecx
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
	.size	x86_timer_stub, . - x86_timer_stub

/*
 * bool rdmsr_safe(uint32_t msr, uint64_t *value). x86_trap sends a #GP at x86_rdmsr_may_fault on to
 * x86_rdmsr_faulted.
 */
	.balign	16
	.globl	rdmsr_safe
	.hidden	rdmsr_safe
	.type	rdmsr_safe, @function
rdmsr_safe:
	movl	%edi, %ecx
	.globl	x86_rdmsr_may_fault
	.hidden	x86_rdmsr_may_fault
x86_rdmsr_may_fault:
	rdmsr
	shlq	$32, %rdx
	orq	%rdx, %rax
	movq	%rax, (%rsi)
	movl	$1, %eax
	ret
	.globl	x86_rdmsr_faulted
	.hidden	x86_rdmsr_faulted
x86_rdmsr_faulted:
	xorl	%eax, %eax
	ret
	.size	rdmsr_safe, . - rdmsr_safe

	.section .note.GNU-stack, "", @progbits
