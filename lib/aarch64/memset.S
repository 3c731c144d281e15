/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memset for the image: general registers only, since the others hold the guest's state. Every store is aligned
 * to its size. Large fills with 0 go by DC ZVA where DCZID_EL0 permits it, so `to` must be Normal memory: device
 * registers are no business of memset.
 */

	.text
	.globl	memset
	.hidden	memset
	.type	memset, %function
	.p2align 4
/* x0: to (returned), w1: value, x2: bytes; x8 runs, x1 holds the value eight times. */
memset:
	mov	x8, x0
	and	x1, x1, #0xff
	orr	x1, x1, x1, lsl #8
	orr	x1, x1, x1, lsl #16
	orr	x1, x1, x1, lsl #32
	cmp	x2, #16
	b.lo	.Lset_bytes
1:	tst	x8, #7
	b.eq	.Lset_aligned
	strb	w1, [x8], #1
	sub	x2, x2, #1
	b	1b
.Lset_aligned:
	cmp	x2, #256
	b.lo	.Lset_words
	cbnz	x1, .Lset_64
	mrs	x3, dczid_el0
	tbnz	x3, #4, .Lset_64		/* DZP: prohibited */
	and	x3, x3, #0xf			/* BS: log2 of the block's words */
	mov	x4, #4
	lsl	x3, x4, x3			/* bytes of a block */
	cmp	x2, x3, lsl #1
	b.lo	.Lset_64
	sub	x4, x3, #1
2:	tst	x8, x4
	b.eq	3f
	str	xzr, [x8], #8
	sub	x2, x2, #8
	b	2b
3:	sub	x2, x2, x3
4:	dc	zva, x8
	add	x8, x8, x3
	subs	x2, x2, x3
	b.hs	4b
	add	x2, x2, x3
.Lset_64:
	subs	x2, x2, #64
	b.lo	6f
5:	stp	x1, x1, [x8]
	stp	x1, x1, [x8, #16]
	stp	x1, x1, [x8, #32]
	stp	x1, x1, [x8, #48]
	add	x8, x8, #64
	subs	x2, x2, #64
	b.hs	5b
6:	add	x2, x2, #64
.Lset_words:
	subs	x2, x2, #8
	b.lo	8f
7:	str	x1, [x8], #8
	subs	x2, x2, #8
	b.hs	7b
8:	add	x2, x2, #8
.Lset_bytes:
	cbz	x2, 10f
9:	strb	w1, [x8], #1
	subs	x2, x2, #1
	b.ne	9b
10:	ret
	.size	memset, . - memset

	.section .note.GNU-stack, "", %progbits
