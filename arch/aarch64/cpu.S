/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What needs the MMU off, and the change of stack. Called by cpu.c, paging.c and arch.c with DAIF masked. Between
 * the two writes of SCTLR_EL2 nothing touches memory: data would go past the caches there. The code itself lies
 * at virtual = physical and was cleaned to the point of coherency by the caller.
 */
#include "layout.h"

#define SCTLR_M_BIT	0
#define SCTLR_C_BIT	2
#define HCR_E2H_BIT	34

	.text

	.globl	arm_translation_code
	.hidden	arm_translation_code
arm_translation_code:

/*
 * bool arm_switch_translation(const struct arm_translation *to)
 *
 *	x1 to x5: HCR, MAIR, TCR, TTBR0, SCTLR to be loaded
 *	x6: the old SCTLR_EL2   x7: the old HCR_EL2   x9: scratch
 */
	.globl	arm_switch_translation
	.hidden	arm_switch_translation
	.type	arm_switch_translation, %function
	.p2align 2
arm_switch_translation:
	ldp	x1, x2, [x0, #TRANSLATION_HCR]
	ldp	x3, x4, [x0, #TRANSLATION_TCR]
	ldr	x5, [x0, #TRANSLATION_SCTLR]
	mrs	x7, hcr_el2
	mrs	x6, sctlr_el2
	bic	x9, x6, #(1 << SCTLR_M_BIT)
	bic	x9, x9, #(1 << SCTLR_C_BIT)
	dsb	sy
	msr	sctlr_el2, x9
	isb
	msr	hcr_el2, x1
	isb
	mrs	x9, hcr_el2
	eor	x9, x9, x1
	tbnz	x9, #HCR_E2H_BIT, 1f		/* RES1 on this CPU: back to where we were */
	msr	mair_el2, x2
	msr	tcr_el2, x3
	msr	ttbr0_el2, x4
	isb
	tlbi	alle2
	ic	iallu
	dsb	sy
	isb
	msr	sctlr_el2, x5
	isb
	mov	x0, #1
	ret
1:	msr	hcr_el2, x7
	isb
	msr	sctlr_el2, x6
	isb
	mov	x0, #0
	ret
	.size	arm_switch_translation, . - arm_switch_translation

/* bool arm_e2h_clearable(void): clears HCR_EL2.E2H and looks, then puts everything back. */
	.globl	arm_e2h_clearable
	.hidden	arm_e2h_clearable
	.type	arm_e2h_clearable, %function
arm_e2h_clearable:
	mrs	x7, hcr_el2
	mrs	x6, sctlr_el2
	mov	x1, #1
	lsl	x1, x1, #HCR_E2H_BIT
	bic	x1, x7, x1
	bic	x9, x6, #(1 << SCTLR_M_BIT)
	bic	x9, x9, #(1 << SCTLR_C_BIT)
	mrs	x10, daif
	msr	daifset, #0xf
	dsb	sy
	msr	sctlr_el2, x9
	isb
	msr	hcr_el2, x1
	isb
	mrs	x0, hcr_el2
	msr	hcr_el2, x7
	isb
	tlbi	alle2
	dsb	sy
	isb
	msr	sctlr_el2, x6
	isb
	msr	daif, x10
	ubfx	x0, x0, #HCR_E2H_BIT, #1
	eor	x0, x0, #1
	ret
	.size	arm_e2h_clearable, . - arm_e2h_clearable

	.globl	arm_translation_code_end
	.hidden	arm_translation_code_end
arm_translation_code_end:

/* _Noreturn void arch_run_on_stack(uintptr_t top, void (*function)(void *), void *argument) */
	.globl	arch_run_on_stack
	.hidden	arch_run_on_stack
	.type	arch_run_on_stack, %function
arch_run_on_stack:
	mov	sp, x0
	mov	x29, xzr			/* the backtrace ends here */
	mov	x30, xzr
	mov	x0, x2
	blr	x1
	udf	#0				/* it came back: an error of ours */
	.size	arch_run_on_stack, . - arch_run_on_stack

	.section .note.GNU-stack, "", %progbits
