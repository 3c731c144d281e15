/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMX world switch: into the guest by VMRESUME, out of it at HOST_RIP, and round again for as long as
 * vmx_handle_exit answers the exits. A VMCALL of supervisor code, whose cost is mostly this switch, is answered
 * right here. Nothing but vmx_ops calls it, with the vCPU's VMCS current and interrupts off. SDM vol. 3C 26, 27.
 *
 * HOST_RSP is the vCPU itself, so that an exit can store the guest's registers before it needs one of its own;
 * nothing is pushed until RSP is back on the stack of vmx_run (world_switch.inc; vmx_vcpu.stack is its lowest slot).
 *
 * The CPU itself switches RIP, RSP, RFLAGS, CR0, CR3, CR4, the segments, EFER and PAT; the other general registers
 * are moved here. FPU and the rest of the lazy state stay the guest's until the vCPU is put.
 */
#include "vmx.h"
#include "world_switch.inc"

/* A field of the current VMCS into a register, which also carries the field's encoding. */
.macro	vmcs_read field, low, register
	movl	$\field, \low
	vmread	\register, \register
.endm

	.text
	.globl	vmx_run
	.hidden	vmx_run
	.type	vmx_run, @function
	.balign	16
vmx_run:
	push_host_registers
	movq	%rsi, VCPU_VMX_EXIT(%rdi)
	movq	%rsp, VCPU_VMX_STACK(%rdi)
.Lenter:
	load_r12_to_r15
.Lenter_again: /* C code has preserved R12 to R15, which are still the guest's */
	cmpw	$0, VCPU_REQUEST(%rdi)
	jne	.Lprepare
.Lprepared:
	movq	VCPU_GPR(0)(%rdi), %rax
	load_most
	vmresume

	/* Refused: this runs on our stack with the guest's registers. A VMCS that was never entered wants VMLAUNCH. */
	vmcs_read FIELD_HOST_RSP, %edi, %rdi
	vmcs_read FIELD_INSTRUCTION_ERROR, %eax, %rax
	cmpl	$ERROR_NOT_LAUNCHED, %eax
	jne	.Lrefused
	load_r12_to_r15
	movq	VCPU_GPR(0)(%rdi), %rax
	load_most
	vmlaunch
	vmcs_read FIELD_HOST_RSP, %edi, %rdi
.Lrefused:
	movq	VCPU_VMX_EXIT(%rdi), %rsi
	subq	$8, %rsp
	leaq	48(%rsp), %rbp
	call	vmx_entry_refused
	addq	$8, %rsp
	return_to_caller

	.globl	vmx_exit_point
	.hidden	vmx_exit_point
	.balign	16
vmx_exit_point:
	movq	%rax, VCPU_GPR(0)(%rsp)
	save_all_but_rax %rsp
	movq	%rsp, %rdi
	movq	VCPU_VMX_STACK(%rdi), %rsp
	vmcs_read FIELD_EXIT_REASON, %r8d, %r8
	cmpl	$REASON_VMCALL, %r8d
	jne	.Lgeneral

	/* RAX, RBX, RCX, RDX and RSI are still the guest's. Any blocking, a single step or user code goes the long way. */
	vmcs_read FIELD_GUEST_INTERRUPTIBILITY, %r9d, %r9
	vmcs_read FIELD_GUEST_RFLAGS, %r10d, %r10
	vmcs_read FIELD_GUEST_SS_RIGHTS, %r11d, %r11
	andl	$RFLAGS_TF_BIT, %r10d
	andl	$RIGHTS_DPL_BITS, %r11d
	orl	%r10d, %r9d
	orl	%r11d, %r9d
	jne	.Lgeneral
	vmcs_read FIELD_EXIT_INSTRUCTION_LENGTH, %r9d, %r9
	movl	$FIELD_GUEST_RIP, %r10d
	vmread	%r10, %r11
	addq	%r9, %r11
	vmwrite	%r11, %r10
	incq	VCPU_EXITS_VMCALL(%rdi)
	return_hypercall VCPU_VMX_EXIT

.Lgeneral:
	movq	VCPU_VMX_EXIT(%rdi), %rsi
	movq	%r8, %rdx
	pushq	%rdi /* and RSP is a multiple of 16 */
	leaq	48(%rsp), %rbp
	call	vmx_handle_exit
	popq	%rdi
	cmpl	$RUN_ON, %eax
	je	.Lenter_again
	jl	.Lenter
	return_to_caller

.Lprepare:
	pushq	%rdi
	leaq	48(%rsp), %rbp
	call	vmx_prepare
	popq	%rdi
	testl	%eax, %eax
	js	.Lprepared
	return_to_caller
	.size	vmx_run, . - vmx_run

	.section .note.GNU-stack, "", @progbits
