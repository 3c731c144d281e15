/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arch_vcpu_run: into the guest, out of it, and what becomes of an exit; and the guest's floating-point registers.
 * The way out begins in vectors.S, which has saved x0 to x30 and left SP_EL2 at the struct arch_vcpu. Only general
 * registers are switched here: EL1's stay loaded from arch_vcpu_load to arch_vcpu_put. A hypercall is answered with
 * no C at all; everything on its way counts.
 */
#include "layout.h"

	.arch	armv8-a+fp+simd
	.text

	.macro	local name
	.globl	\name
	.hidden	\name
	.type	\name, %function
	.endm

/*
 * enum vm_exit_kind arch_vcpu_run(struct arch_vcpu *vcpu, struct vm_exit *exit)
 *
 *	sp -> [x29 x30][x19 x20][x21 x22][x23 x24][x25 x26][x27 x28][vcpu exit]
 */
	local	arch_vcpu_run
	.p2align 6
arch_vcpu_run:
	stp	x29, x30, [sp, #-RUN_FRAME]!
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	stp	x0, x1, [sp, #RUN_FRAME_VCPU]
enter:						/* x0: vcpu */
	ldrb	w2, [x0, #VCPU_WORK]
	cbnz	w2, prepare
enter_now:
	mov	x2, sp
	str	x2, [x0, #VCPU_HOST_SP]
	mov	sp, x0
	ldp	x2, x3, [sp, #VCPU_X + 16]
	ldp	x4, x5, [sp, #VCPU_X + 32]
	ldp	x6, x7, [sp, #VCPU_X + 48]
	ldp	x8, x9, [sp, #VCPU_X + 64]
	ldp	x10, x11, [sp, #VCPU_X + 80]
	ldp	x12, x13, [sp, #VCPU_X + 96]
	ldp	x14, x15, [sp, #VCPU_X + 112]
	ldp	x16, x17, [sp, #VCPU_X + 128]
	ldp	x18, x19, [sp, #VCPU_X + 144]
	ldp	x20, x21, [sp, #VCPU_X + 160]
	ldp	x22, x23, [sp, #VCPU_X + 176]
	ldp	x24, x25, [sp, #VCPU_X + 192]
	ldp	x26, x27, [sp, #VCPU_X + 208]
	ldp	x28, x29, [sp, #VCPU_X + 224]
	ldr	x30, [sp, #VCPU_X + 240]
	ldp	x0, x1, [sp, #VCPU_X]
	eret
	dsb	nsh				/* nothing is run ahead past the eret */
	isb

prepare:
	ldr	x1, [sp, #RUN_FRAME_EXIT]
	mov	x29, sp
	bl	arm_prepare
	tbz	w0, #31, leave			/* ARM_RUN_ON is negative */
	ldr	x0, [sp, #RUN_FRAME_VCPU]
	b	enter_now

/*
 * From the vectors: sp is the vCPU; x0 to x4 still hold the guest's registers.
 *
 *	x9: vcpu   x10: ESR_EL2   x11: exception class   x12: exit   x13, x14: scratch
 */
	local	arm_synchronous_exit
arm_synchronous_exit:
	mrs	x10, esr_el2
	mov	x9, sp
	ldr	x13, [sp, #VCPU_HOST_SP]
	ubfx	x11, x10, #CLASS_LOW, #CLASS_BITS
	mov	sp, x13
	ldr	x12, [x13, #RUN_FRAME_EXIT]
	cmp	w11, #CLASS_HVC64
	b.ne	1f
	ldr	x14, [x9, #VCPU_EXITS + 8 * CLASS_HVC64]
	add	x14, x14, #1
	str	x14, [x9, #VCPU_EXITS + 8 * CLASS_HVC64]
	/* A call to us: SMCCC fast call, either convention, owner 6. All others are PSCI's. */
	lsr	w13, w0, #SMCCC_CLASS_LOW
	bic	w13, w13, #SMCCC_CLASS_64BIT
	cmp	w13, #SMCCC_CLASS_HYPERVISOR
	b.ne	3f
	mov	w13, w0
	stp	x13, x1, [x12, #EXIT_CALL_NUMBER]
	stp	x2, x3, [x12, #EXIT_CALL_ARGUMENT + 8]
	str	x4, [x12, #EXIT_CALL_ARGUMENT + 24]
	mov	w0, #EXIT_KIND_HYPERCALL
leave:
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	x29, x30, [sp], #RUN_FRAME
	ret

	/* In C: x19 to x29 still are the guest's there, so no backtrace may follow them. */
1:	cmp	w11, #CLASS_DATA_ABORT
	b.ne	2f
	ldr	x14, [x9, #VCPU_EXITS + 8 * CLASS_DATA_ABORT]
	add	x14, x14, #1
	str	x14, [x9, #VCPU_EXITS + 8 * CLASS_DATA_ABORT]
	mov	x0, x9
	mov	x1, x12
	mov	x2, x10
	mov	x29, sp
	bl	arm_data_abort
	tbz	w0, #31, leave			/* ARM_RUN_ON is negative */
	ldr	x0, [sp, #RUN_FRAME_VCPU]
	b	enter
2:	add	x13, x9, x11, lsl #3
	ldr	x14, [x13, #VCPU_EXITS]
	add	x14, x14, #1
	str	x14, [x13, #VCPU_EXITS]
3:	mov	x0, x9
	mov	x1, x12
	mov	x2, x10
	mov	x29, sp
	bl	arm_synchronous
	tbz	w0, #31, leave
	ldr	x0, [sp, #RUN_FRAME_VCPU]
	b	enter

/* w2: ARM_EXIT_IRQ, ARM_EXIT_FIQ or ARM_EXIT_SERROR */
	local	arm_asynchronous_exit
arm_asynchronous_exit:
	ldr	x3, [sp, #VCPU_HOST_SP]
	mov	sp, x3
	ldp	x0, x1, [sp, #RUN_FRAME_VCPU]
	mov	x29, sp
	bl	arm_asynchronous
	b	leave
	.size	arch_vcpu_run, . - arch_vcpu_run

	.macro	each_pair operation
	\operation	q0, q1, [x0]
	\operation	q2, q3, [x0, #32]
	\operation	q4, q5, [x0, #64]
	\operation	q6, q7, [x0, #96]
	\operation	q8, q9, [x0, #128]
	\operation	q10, q11, [x0, #160]
	\operation	q12, q13, [x0, #192]
	\operation	q14, q15, [x0, #224]
	\operation	q16, q17, [x0, #256]
	\operation	q18, q19, [x0, #288]
	\operation	q20, q21, [x0, #320]
	\operation	q22, q23, [x0, #352]
	\operation	q24, q25, [x0, #384]
	\operation	q26, q27, [x0, #416]
	\operation	q28, q29, [x0, #448]
	\operation	q30, q31, [x0, #480]
	.endm

/* void arm_fp_save(struct arm_fp *to) */
	local	arm_fp_save
arm_fp_save:
	each_pair stp
	mrs	x1, fpcr
	mrs	x2, fpsr
	str	x1, [x0, #FP_FPCR]
	str	x2, [x0, #FP_FPSR]
	ret
	.size	arm_fp_save, . - arm_fp_save

/* void arm_fp_load(const struct arm_fp *from) */
	local	arm_fp_load
arm_fp_load:
	each_pair ldp
	ldr	x1, [x0, #FP_FPCR]
	ldr	x2, [x0, #FP_FPSR]
	msr	fpcr, x1
	msr	fpsr, x2
	ret
	.size	arm_fp_load, . - arm_fp_load

	.section .note.GNU-stack, "", %progbits
