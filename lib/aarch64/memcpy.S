/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memcpy and memmove for the image: general registers only, since the others hold the guest's state. Every access
 * is aligned to its size; where `from` and `to` are not aligned alike, aligned words are shifted into place. The
 * forward copy never stores over what it has yet to load while `to` lies below `from`, so memmove goes backward
 * only where it must.
 */

	.text
	.globl	memmove
	.hidden	memmove
	.type	memmove, %function
	.p2align 4
/* x0: to (returned), x1: from, x2: bytes. */
memmove:
	sub	x3, x0, x1
	cmp	x3, x2
	b.hs	memcpy				/* `to` is not inside [from, from + bytes) */
	add	x8, x0, x2			/* backward: x8 and x1 run from the ends */
	add	x1, x1, x2
	cmp	x2, #16
	b.lo	.Lmove_bytes
	tst	x3, #7
	b.ne	.Lmove_bytes			/* not aligned alike */
1:	tst	x8, #7
	b.eq	2f
	ldrb	w4, [x1, #-1]!
	strb	w4, [x8, #-1]!
	sub	x2, x2, #1
	b	1b
2:	subs	x2, x2, #16
	b.lo	4f
3:	ldp	x4, x5, [x1, #-16]!
	stp	x4, x5, [x8, #-16]!
	subs	x2, x2, #16
	b.hs	3b
4:	add	x2, x2, #16
.Lmove_bytes:
	cbz	x2, 6f
5:	ldrb	w4, [x1, #-1]!
	strb	w4, [x8, #-1]!
	subs	x2, x2, #1
	b.ne	5b
6:	ret
	.size	memmove, . - memmove

	.globl	memcpy
	.hidden	memcpy
	.type	memcpy, %function
	.p2align 4
/* x0: to (returned), x1: from, x2: bytes; x8 runs. */
memcpy:
	mov	x8, x0
	cmp	x2, #16
	b.lo	.Lcopy_bytes
1:	tst	x8, #7
	b.eq	2f
	ldrb	w4, [x1], #1
	strb	w4, [x8], #1
	sub	x2, x2, #1
	b	1b
2:	ands	x3, x1, #7
	b.ne	.Lcopy_shifted
	subs	x2, x2, #64
	b.lo	4f
3:	ldp	x4, x5, [x1]
	ldp	x6, x7, [x1, #16]
	ldp	x9, x10, [x1, #32]
	ldp	x11, x12, [x1, #48]
	stp	x4, x5, [x8]
	stp	x6, x7, [x8, #16]
	stp	x9, x10, [x8, #32]
	stp	x11, x12, [x8, #48]
	add	x1, x1, #64
	add	x8, x8, #64
	subs	x2, x2, #64
	b.hs	3b
4:	add	x2, x2, #64
	subs	x2, x2, #8
	b.lo	6f
5:	ldr	x4, [x1], #8
	str	x4, [x8], #8
	subs	x2, x2, #8
	b.hs	5b
6:	add	x2, x2, #8
.Lcopy_bytes:
	cbz	x2, 8f
7:	ldrb	w4, [x1], #1
	strb	w4, [x8], #1
	subs	x2, x2, #1
	b.ne	7b
8:	ret

/*
 * `to` is aligned, `from` is x3 bytes past an aligned word. x5 holds that word, x6 the next one:
 *
 *	bytes in memory    x5: ....abcd   x6: efgh....      (x3 = 4)
 *	stored                 (x5 >> 8 * x3) | (x6 << (64 - 8 * x3)) = abcdefgh
 *
 * Each word that is loaded holds at least one byte that is wanted, so no page beyond `from`'s is touched.
 */
.Lcopy_shifted:
	subs	x2, x2, #8
	b.lo	10f
	lsl	x4, x3, #3
	neg	x7, x4				/* shifts take the count modulo 64 */
	sub	x1, x1, x3
	ldr	x5, [x1], #8
9:	ldr	x6, [x1], #8
	lsr	x9, x5, x4
	lsl	x10, x6, x7
	orr	x9, x9, x10
	str	x9, [x8], #8
	mov	x5, x6
	subs	x2, x2, #8
	b.hs	9b
	sub	x1, x1, #8			/* x5 came from there */
	add	x1, x1, x3
10:	add	x2, x2, #8
	b	.Lcopy_bytes
	.size	memcpy, . - memcpy

	.section .note.GNU-stack, "", %progbits
