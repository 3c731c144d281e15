/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SVM world switch. svm_run enters the guest, hands each exit to svm_exit (svm_exits.c) and enters again until
 * that answers an enum vm_exit_kind; a bare VMMCALL of supervisor code at the address of the last one, whose cost is
 * mostly this switch, is answered right here. Nothing but svm_ops calls it. APM vol. 2 15.5, 15.6.
 *
 * The stack from svm_run on:
 *
 *	48(%rsp)	return address
 *	40(%rsp)	the caller's RBP, to which RBP points while C runs, so that backtraces go on
 *	32(%rsp)	RBX
 *	24(%rsp)	R12
 *	16(%rsp)	R13
 *	 8(%rsp)	R14
 *	 0(%rsp)	R15
 *	-8(%rsp)	vcpu while C runs, which makes RSP a multiple of 16
 *
 * VMRUN keeps the host's RIP, RSP, RAX, RFLAGS, CR0, CR3, CR4, EFER and the selectors of CS, DS, ES, SS in the host
 * save area and loads the guest's; VMSAVE and VMLOAD move FS, GS, TR, LDTR and the system-call MSRs; all the other
 * general registers are moved here. The guest's RAX lives in the VMCB while the guest runs. The host's RAX is the
 * VMCB's address, before and after; from there the way back to the vCPU is in the part of the VMCB that is software's.
 */
#include "svm.h"
#include "vmcb.h"

	.macro	restore_and_return
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.endm

	.text
	.globl	svm_run
	.hidden	svm_run
	.type	svm_run, @function
	.balign	16
svm_run:
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsi, VCPU_SVM_EXIT(%rdi)

.Lenter:
	cmpb	$0, VCPU_SVM_REQUEST(%rdi)
	jne	.Lprepare
.Lprepared:
	movq	VCPU_SVM_VMCB(%rdi), %rax
	movq	VCPU_GPR(0)(%rdi), %rcx
	movq	%rcx, VMCB_RAX(%rax)
	movq	VCPU_GPR(1)(%rdi), %rcx
	movq	VCPU_GPR(2)(%rdi), %rdx
	movq	VCPU_GPR(3)(%rdi), %rbx
	movq	VCPU_GPR(5)(%rdi), %rbp
	movq	VCPU_GPR(6)(%rdi), %rsi
	movq	VCPU_GPR(8)(%rdi), %r8
	movq	VCPU_GPR(9)(%rdi), %r9
	movq	VCPU_GPR(10)(%rdi), %r10
	movq	VCPU_GPR(11)(%rdi), %r11
	movq	VCPU_GPR(12)(%rdi), %r12
	movq	VCPU_GPR(13)(%rdi), %r13
	movq	VCPU_GPR(14)(%rdi), %r14
	movq	VCPU_GPR(15)(%rdi), %r15
	movq	VCPU_GPR(7)(%rdi), %rdi
	vmload	%rax
	vmrun	%rax
	vmsave	%rax
	movq	VMCB_VCPU(%rax), %rax
	movq	%rcx, VCPU_GPR(1)(%rax)
	movq	%rdx, VCPU_GPR(2)(%rax)
	movq	%rbx, VCPU_GPR(3)(%rax)
	movq	%rbp, VCPU_GPR(5)(%rax)
	movq	%rsi, VCPU_GPR(6)(%rax)
	movq	%rdi, VCPU_GPR(7)(%rax)
	movq	%r8, VCPU_GPR(8)(%rax)
	movq	%r9, VCPU_GPR(9)(%rax)
	movq	%r10, VCPU_GPR(10)(%rax)
	movq	%r11, VCPU_GPR(11)(%rax)
	movq	%r12, VCPU_GPR(12)(%rax)
	movq	%r13, VCPU_GPR(13)(%rax)
	movq	%r14, VCPU_GPR(14)(%rax)
	movq	%r15, VCPU_GPR(15)(%rax)
	movq	%rax, %rdi
	movq	VCPU_SVM_HOST_VMCB(%rdi), %rax
	vmload	%rax
	movq	VCPU_SVM_VMCB(%rdi), %r8
	movq	VMCB_RAX(%r8), %rax

	/* RAX, RBX, RCX, RDX and RSI are still the guest's. */
	cmpl	$VMEXIT_VMMCALL, VMCB_EXIT_CODE(%r8)
	jne	.Lgeneral
	movq	VMCB_RIP(%r8), %r9
	cmpq	%r9, VCPU_SVM_CALL_RIP(%rdi)
	jne	.Lgeneral
	cmpb	$0, VMCB_CPL(%r8)
	jne	.Lgeneral
	addq	$VMMCALL_BYTES, VMCB_RIP(%r8)
	incq	VCPU_EXITS_VMMCALL(%rdi)
	movq	VCPU_SVM_EXIT(%rdi), %r9
	movq	%rax, EXIT_CALL_NUMBER(%r9)
	movq	%rbx, EXIT_CALL_ARGUMENT(%r9)
	movq	%rcx, EXIT_CALL_ARGUMENT + 8(%r9)
	movq	%rdx, EXIT_CALL_ARGUMENT + 16(%r9)
	movq	%rsi, EXIT_CALL_ARGUMENT + 24(%r9)
	movl	$KIND_HYPERCALL, %eax
	restore_and_return

.Lgeneral:
	movq	%rax, VCPU_GPR(0)(%rdi)
	leaq	40(%rsp), %rbp
	movq	VCPU_SVM_EXIT(%rdi), %rsi
	movq	%r8, %rdx
	pushq	%rdi
	call	svm_exit
	popq	%rdi
	testl	%eax, %eax
	js	.Lenter
	restore_and_return

.Lprepare:
	leaq	40(%rsp), %rbp
	pushq	%rdi
	call	svm_prepare
	popq	%rdi
	jmp	.Lprepared
	.size	svm_run, . - svm_run

	.section .note.GNU-stack, "", @progbits
