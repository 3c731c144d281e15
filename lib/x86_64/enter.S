/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enter_on_stack of lib/enter.h. `function` finds the stack as a call would have left it, with a return address
 * and a frame pointer of 0, where backtraces end:
 *
 *	top - 8:	0			<- RSP
 */

	.text
	.globl	enter_on_stack
	.hidden	enter_on_stack
	.type	enter_on_stack, @function
/* RDI: top, RSI: function, RDX: argument. */
enter_on_stack:
	cli
	cld
	movq	%rdi, %rsp
	pushq	$0
	xorl	%ebp, %ebp
	movq	%rdx, %rdi
	jmpq	*%rsi
	.size	enter_on_stack, . - enter_on_stack

	.section .note.GNU-stack, "", @progbits
