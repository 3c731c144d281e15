/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Into the guest, and the guest's floating-point registers. Called by vcpu.c. The way out is vectors.S. Only general
 * registers are switched here: EL1's stay loaded from arch_vcpu_load to arch_vcpu_put.
 */
#include "layout.h"

	.arch	armv8-a+fp+simd
	.text

/* unsigned arm_enter_guest(struct arch_vcpu *vcpu): returns ARM_EXIT_* when the guest has left. */
	.globl	arm_enter_guest
	.hidden	arm_enter_guest
	.type	arm_enter_guest, %function
	.p2align 6
arm_enter_guest:
	stp	x29, x30, [sp, #-96]!
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	mov	x1, sp
	str	x1, [x0, #VCPU_HOST_SP]
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
	.size	arm_enter_guest, . - arm_enter_guest

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
	.globl	arm_fp_save
	.hidden	arm_fp_save
	.type	arm_fp_save, %function
arm_fp_save:
	each_pair stp
	mrs	x1, fpcr
	mrs	x2, fpsr
	str	x1, [x0, #FP_FPCR]
	str	x2, [x0, #FP_FPSR]
	ret
	.size	arm_fp_save, . - arm_fp_save

/* void arm_fp_load(const struct arm_fp *from) */
	.globl	arm_fp_load
	.hidden	arm_fp_load
	.type	arm_fp_load, %function
arm_fp_load:
	each_pair ldp
	ldr	x1, [x0, #FP_FPCR]
	ldr	x2, [x0, #FP_FPSR]
	msr	fpcr, x1
	msr	fpsr, x2
	ret
	.size	arm_fp_load, . - arm_fp_load

	.section .note.GNU-stack, "", %progbits
