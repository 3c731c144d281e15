/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enter_on_stack of lib/enter.h. Frame pointer and link register are 0 in `function`: backtraces end there.
 */

	.text
	.globl	enter_on_stack
	.hidden	enter_on_stack
	.type	enter_on_stack, %function
/* x0: top, x1: function, x2: argument. */
enter_on_stack:
	msr	daifset, #0xf
	msr	spsel, #1
	mov	sp, x0
	mov	x29, xzr
	mov	x30, xzr
	mov	x0, x2
	br	x1
	.size	enter_on_stack, . - enter_on_stack

	.section .note.GNU-stack, "", %progbits
