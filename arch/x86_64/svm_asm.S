/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SVM world switch. svm_run enters the guest, hands each exit to svm_exit (svm_exits.c) and enters again until
 * that answers an enum vm_exit_kind; a bare VMMCALL of supervisor code at the address of the last one, whose cost is
 * mostly this switch, is answered right here. Nothing but svm_ops calls it. APM vol. 2 15.5, 15.6.
 *
 * The stack is as in world_switch.inc; while C runs the vCPU lies below, which makes RSP a multiple of 16.
 *
 * VMRUN keeps the host's RIP, RSP, RAX, RFLAGS, CR0, CR3, CR4, EFER and the selectors of CS, DS, ES, SS in the host
 * save area and loads the guest's; VMSAVE and VMLOAD move FS, GS, TR, LDTR and the system-call MSRs; all the other
 * general registers are moved here. The guest's RAX lives in the VMCB while the guest runs. The host's RAX is the
 * VMCB's address, before and after; from there the way back to the vCPU is in the part of the VMCB that is software's.
 */
#include "svm.h"
#include "vmcb.h"
#include "world_switch.inc"

	.text
	.globl	svm_run
	.hidden	svm_run
	.type	svm_run, @function
	.balign	16
svm_run:
	push_host_registers
	movq	%rsi, VCPU_SVM_EXIT(%rdi)

.Lenter:
	cmpw	$0, VCPU_REQUEST(%rdi)
	jne	.Lprepare
.Lprepared:
	movq	VCPU_SVM_VMCB(%rdi), %rax
	movq	VCPU_GPR(0)(%rdi), %rcx
	movq	%rcx, VMCB_RAX(%rax)
	load_r12_to_r15
	load_most
	vmload	%rax
	vmrun	%rax
	vmsave	%rax
	movq	VMCB_VCPU(%rax), %rax
	save_all_but_rax %rax
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
	return_hypercall VCPU_SVM_EXIT

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
	return_to_caller

.Lprepare:
	leaq	40(%rsp), %rbp
	pushq	%rdi
	call	svm_prepare
	popq	%rdi
	testl	%eax, %eax
	js	.Lprepared
	return_to_caller
	.size	svm_run, . - svm_run

	.section .note.GNU-stack, "", @progbits
