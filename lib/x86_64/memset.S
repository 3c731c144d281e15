/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memset for the image: general registers only, since the others hold the guest's state. Small sizes by stores
 * that may overlap, large ones by REP STOSQ. The direction flag is clear, as the ABI wants.
 */

	.text
	.globl	memset
	.hidden	memset
	.type	memset, @function
	.p2align 4
/* rdi: to, esi: value, rdx: bytes; r8 keeps `to`, rax holds the value eight times. */
memset:
	mov	%rdi, %r8
	movzbl	%sil, %eax
	movabs	$0x0101010101010101, %rcx
	imul	%rcx, %rax
	cmp	$16, %rdx
	jb	.Lset_below_16
	cmp	$256, %rdx
	jae	.Lset_large
	/* 16 to 255: the last 16 first, then 16 at a time from the start. */
	mov	%rax, -16(%rdi, %rdx)
	mov	%rax, -8(%rdi, %rdx)
	shr	$4, %rdx
1:	mov	%rax, (%rdi)
	mov	%rax, 8(%rdi)
	add	$16, %rdi
	dec	%rdx
	jnz	1b
	mov	%r8, %rax
	ret
.Lset_large:
	mov	%rax, -8(%rdi, %rdx)
	mov	%rdx, %rcx
	shr	$3, %rcx
	rep stosq
	mov	%r8, %rax
	ret
.Lset_below_16:
	cmp	$8, %edx
	jb	.Lset_below_8
	mov	%rax, (%rdi)
	mov	%rax, -8(%rdi, %rdx)
	mov	%r8, %rax
	ret
.Lset_below_8:
	cmp	$4, %edx
	jb	.Lset_below_4
	mov	%eax, (%rdi)
	mov	%eax, -4(%rdi, %rdx)
	mov	%r8, %rax
	ret
.Lset_below_4:
	test	%edx, %edx
	jz	.Lset_done
	/* First, last and middle byte: all there are. */
	mov	%al, (%rdi)
	mov	%al, -1(%rdi, %rdx)
	shr	%edx
	mov	%al, (%rdi, %rdx)
.Lset_done:
	mov	%r8, %rax
	ret
	.size	memset, . - memset

	.section .note.GNU-stack, "", @progbits
