/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assembler macros that the world switches of VMX and SVM share. The stack from vmx_run and svm_run on:
 *
 *	48(%rsp)	return address
 *	40(%rsp)	the caller's RBP, to which RBP points while C runs, so that backtraces go on
 *	32(%rsp)	RBX
 *	24(%rsp)	R12
 *	16(%rsp)	R13
 *	 8(%rsp)	R14
 *	 0(%rsp)	R15
 */
#pragma once

.macro	push_host_registers
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
.endm

.macro	return_to_caller
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
.endm

/*
 * The guest's registers, by ModRM number, from and to the vCPU. RSP (4) lives in the VMCS or VMCB; RAX (0) lives in the
 * VMCB too. `load_most` spends %rdi, the vCPU.
 */
.macro	load_r12_to_r15
	movq	VCPU_GPR(12)(%rdi), %r12
	movq	VCPU_GPR(13)(%rdi), %r13
	movq	VCPU_GPR(14)(%rdi), %r14
	movq	VCPU_GPR(15)(%rdi), %r15
.endm

.macro	load_most
	movq	VCPU_GPR(1)(%rdi), %rcx
	movq	VCPU_GPR(2)(%rdi), %rdx
	movq	VCPU_GPR(3)(%rdi), %rbx
	movq	VCPU_GPR(5)(%rdi), %rbp
	movq	VCPU_GPR(6)(%rdi), %rsi
	movq	VCPU_GPR(8)(%rdi), %r8
	movq	VCPU_GPR(9)(%rdi), %r9
	movq	VCPU_GPR(10)(%rdi), %r10
	movq	VCPU_GPR(11)(%rdi), %r11
	movq	VCPU_GPR(7)(%rdi), %rdi
.endm

.macro	save_all_but_rax vcpu
	movq	%rcx, VCPU_GPR(1)(\vcpu)
	movq	%rdx, VCPU_GPR(2)(\vcpu)
	movq	%rbx, VCPU_GPR(3)(\vcpu)
	movq	%rbp, VCPU_GPR(5)(\vcpu)
	movq	%rsi, VCPU_GPR(6)(\vcpu)
	movq	%rdi, VCPU_GPR(7)(\vcpu)
	movq	%r8, VCPU_GPR(8)(\vcpu)
	movq	%r9, VCPU_GPR(9)(\vcpu)
	movq	%r10, VCPU_GPR(10)(\vcpu)
	movq	%r11, VCPU_GPR(11)(\vcpu)
	movq	%r12, VCPU_GPR(12)(\vcpu)
	movq	%r13, VCPU_GPR(13)(\vcpu)
	movq	%r14, VCPU_GPR(14)(\vcpu)
	movq	%r15, VCPU_GPR(15)(\vcpu)
.endm

/* Back to hv/ with a hypercall: number and arguments are still in the guest's registers, %r9 is spent. */
.macro	return_hypercall exit
	movq	\exit(%rdi), %r9
	movq	%rax, EXIT_CALL_NUMBER(%r9)
	movq	%rbx, EXIT_CALL_ARGUMENT(%r9)
	movq	%rcx, EXIT_CALL_ARGUMENT + 8(%r9)
	movq	%rdx, EXIT_CALL_ARGUMENT + 16(%r9)
	movq	%rsi, EXIT_CALL_ARGUMENT + 24(%r9)
	movl	$KIND_HYPERCALL, %eax
	return_to_caller
.endm
