/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EL2's exception vectors, Arm ARM D1.3.1.5. Exceptions from a lower level are the guest's: its registers go to
 * struct arch_vcpu and world_switch.S goes on. Exceptions from EL2 itself are the hypervisor's end: their
 * registers go to struct arm_cpu and its own stack is used, for the old one may be what is broken.
 */
#include "layout.h"

/* While a guest runs, SP_EL2 is its struct arch_vcpu: x0 to x30 come first. */
	.macro	guest_exit cause
	.p2align 7
	stp	x0, x1, [sp, #VCPU_X]
	stp	x2, x3, [sp, #VCPU_X + 16]
	stp	x4, x5, [sp, #VCPU_X + 32]
	stp	x6, x7, [sp, #VCPU_X + 48]
	stp	x8, x9, [sp, #VCPU_X + 64]
	stp	x10, x11, [sp, #VCPU_X + 80]
	stp	x12, x13, [sp, #VCPU_X + 96]
	stp	x14, x15, [sp, #VCPU_X + 112]
	stp	x16, x17, [sp, #VCPU_X + 128]
	stp	x18, x19, [sp, #VCPU_X + 144]
	stp	x20, x21, [sp, #VCPU_X + 160]
	stp	x22, x23, [sp, #VCPU_X + 176]
	stp	x24, x25, [sp, #VCPU_X + 192]
	stp	x26, x27, [sp, #VCPU_X + 208]
	stp	x28, x29, [sp, #VCPU_X + 224]
	str	x30, [sp, #VCPU_X + 240]
	.if	\cause == ARM_EXIT_SYNCHRONOUS
	b	arm_synchronous_exit
	.else
	mov	w2, #\cause
	b	arm_asynchronous_exit
	.endif
	.endm

/* SP_EL0 is the only place for a register here: what it held of a guest is lost, and so is the hypervisor. */
	.macro	fatal vector
	.p2align 7
	msr	sp_el0, x0
	mrs	x0, tpidr_el2
	str	x1, [x0, #CPU_CRASH_X + 8]
	mov	x1, #\vector
	b	fatal_exception
	.endm

	.text
	.globl	arm_vectors
	.hidden	arm_vectors
	.p2align 11
arm_vectors:
	/* from EL2 with SP_EL0, which it never uses: synchronous, IRQ, FIQ, SError */
	fatal	0
	fatal	1
	fatal	2
	fatal	3
	/* from EL2 with SP_EL2 */
	fatal	4
	fatal	5
	fatal	6
	fatal	7
	/* from a lower level in AArch64 */
	guest_exit ARM_EXIT_SYNCHRONOUS
	guest_exit ARM_EXIT_IRQ
	guest_exit ARM_EXIT_FIQ
	guest_exit ARM_EXIT_SERROR
	/* from a lower level in AArch32: EL0 of a guest that goes there though it is not offered */
	guest_exit ARM_EXIT_SYNCHRONOUS
	guest_exit ARM_EXIT_IRQ
	guest_exit ARM_EXIT_FIQ
	guest_exit ARM_EXIT_SERROR
	.p2align 7

/* x0: struct arm_cpu, x1: vector; x0 is in SP_EL0 and x1 in crash_x[1]. */
	.type	fatal_exception, %function
fatal_exception:
	str	x1, [x0, #CPU_CRASH_VECTOR]
	stp	x2, x3, [x0, #CPU_CRASH_X + 16]
	stp	x4, x5, [x0, #CPU_CRASH_X + 32]
	stp	x6, x7, [x0, #CPU_CRASH_X + 48]
	stp	x8, x9, [x0, #CPU_CRASH_X + 64]
	stp	x10, x11, [x0, #CPU_CRASH_X + 80]
	stp	x12, x13, [x0, #CPU_CRASH_X + 96]
	stp	x14, x15, [x0, #CPU_CRASH_X + 112]
	stp	x16, x17, [x0, #CPU_CRASH_X + 128]
	stp	x18, x19, [x0, #CPU_CRASH_X + 144]
	stp	x20, x21, [x0, #CPU_CRASH_X + 160]
	stp	x22, x23, [x0, #CPU_CRASH_X + 176]
	stp	x24, x25, [x0, #CPU_CRASH_X + 192]
	stp	x26, x27, [x0, #CPU_CRASH_X + 208]
	stp	x28, x29, [x0, #CPU_CRASH_X + 224]
	str	x30, [x0, #CPU_CRASH_X + 240]
	mrs	x1, sp_el0
	str	x1, [x0, #CPU_CRASH_X]
	mov	x1, sp
	str	x1, [x0, #CPU_CRASH_SP]
	ldr	x1, [x0, #CPU_CRASH_STACK]
	mov	sp, x1
	mov	x29, xzr
	mov	x30, xzr
	bl	arm_fatal_exception
	.size	fatal_exception, . - fatal_exception

	.section .note.GNU-stack, "", %progbits
