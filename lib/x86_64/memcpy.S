/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcpy and memmove for the image: general registers only, since the others hold the guest's state. Below 16
 * bytes all loads come before all stores. Above, the forward copy loads its last bytes first, which makes it
 * right for overlapping memory too as long as `to` lies below `from`; memmove goes backward only where it must.
 * The direction flag is clear, as the ABI wants.
 */

	.text
	.globl	memmove
	.hidden	memmove
	.type	memmove, @function
	.p2align 4
/* rdi: to, rsi: from, rdx: bytes. */
memmove:
	mov	%rdi, %rax
	sub	%rsi, %rax
	cmp	%rdx, %rax
	jae	memcpy			/* `to` is not inside [from, from + bytes) */
	mov	%rdi, %rax
	cmp	$16, %rdx
	jb	.Lcopy_below_16
	/* Backward, 16 at a time; the first 16 are held in r8, r9 and stored last. */
	mov	(%rsi), %r8
	mov	8(%rsi), %r9
1:	mov	-16(%rsi, %rdx), %rcx
	mov	-8(%rsi, %rdx), %r10
	mov	%rcx, -16(%rdi, %rdx)
	mov	%r10, -8(%rdi, %rdx)
	sub	$16, %rdx
	cmp	$16, %rdx
	jae	1b
	mov	%r8, (%rdi)
	mov	%r9, 8(%rdi)
	ret
	.size	memmove, . - memmove

	.globl	memcpy
	.hidden	memcpy
	.type	memcpy, @function
	.p2align 4
/* rdi: to, rsi: from, rdx: bytes. */
memcpy:
	mov	%rdi, %rax
	cmp	$16, %rdx
	jb	.Lcopy_below_16
	mov	-8(%rsi, %rdx), %r9
	cmp	$256, %rdx
	jae	.Lcopy_large
	/* 16 to 255: 16 at a time from the start; the last 16, held in r8 and r9, are stored at the end. */
	mov	-16(%rsi, %rdx), %r8
	lea	-16(%rdi, %rdx), %r11
	shr	$4, %rdx
1:	mov	(%rsi), %rcx
	mov	8(%rsi), %r10
	mov	%rcx, (%rdi)
	mov	%r10, 8(%rdi)
	add	$16, %rsi
	add	$16, %rdi
	dec	%rdx
	jnz	1b
	mov	%r8, (%r11)
	mov	%r9, 8(%r11)
	ret
.Lcopy_large:
	mov	%rdx, %rcx
	shr	$3, %rcx
	rep movsq
	mov	%r9, -8(%rax, %rdx)
	ret
.Lcopy_below_16:
	cmp	$8, %edx
	jb	.Lcopy_below_8
	mov	(%rsi), %rcx
	mov	-8(%rsi, %rdx), %r8
	mov	%rcx, (%rdi)
	mov	%r8, -8(%rdi, %rdx)
	ret
.Lcopy_below_8:
	cmp	$4, %edx
	jb	.Lcopy_below_4
	mov	(%rsi), %ecx
	mov	-4(%rsi, %rdx), %r8d
	mov	%ecx, (%rdi)
	mov	%r8d, -4(%rdi, %rdx)
	ret
.Lcopy_below_4:
	test	%edx, %edx
	jz	.Lcopy_done
	/* First, last and middle byte: all there are. */
	mov	%edx, %r10d
	shr	%r10d
	movzbl	(%rsi), %ecx
	movzbl	-1(%rsi, %rdx), %r8d
	movzbl	(%rsi, %r10), %r9d
	mov	%cl, (%rdi)
	mov	%r9b, (%rdi, %r10)
	mov	%r8b, -1(%rdi, %rdx)
.Lcopy_done:
	ret
	.size	memcpy, . - memcpy

	.section .note.GNU-stack, "", @progbits
