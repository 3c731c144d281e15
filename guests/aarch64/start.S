/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entry of the tiny guests on AArch64: an arm64 Image (Linux Documentation/arch/arm64/booting.rst) entered at
 * EL1 with the MMU off and the device tree in x0. Sets vectors that `guarded` can recover through, and calls
 * guest_entry.
 */
#define RAM_START 0x40000000

	.section .head, "ax"
	.globl _start
_start:
	b 1f
	nop
	.quad _start - RAM_START	/* text_offset */
	.quad guest_end - _start	/* image_size */
	.quad 0xa		/* flags: little-endian, 4 KiB pages, anywhere */
	.quad 0, 0, 0
	.ascii "ARM\x64"
	.long 0
1:	ldr x1, =stack_top
	mov sp, x1
	ldr x1, =vectors
	msr vbar_el1, x1
	isb
	ldr x1, =bss_start	/* the loader zeroes image_size; firmware loaders need not */
	ldr x2, =guest_end
2:	cmp x1, x2
	b.hs 3f
	str xzr, [x1], #8
	b 2b
3:	bl guest_entry		/* does not return */
	b .

/*
 * uint64_t guarded(void (*function)(void *), void *argument): the stack while `function` runs
 *
 *	guard_sp -> x29 x30 x27 x28 x25 x26 x23 x24 x21 x22 x19 x20
 */
	.globl guarded
guarded:
	stp x19, x20, [sp, #-16]!
	stp x21, x22, [sp, #-16]!
	stp x23, x24, [sp, #-16]!
	stp x25, x26, [sp, #-16]!
	stp x27, x28, [sp, #-16]!
	stp x29, x30, [sp, #-16]!
	adrp x2, guard_sp
	mov x3, sp
	str x3, [x2, :lo12:guard_sp]
	mov x2, x0
	mov x0, x1
	blr x2
	mov w0, #0
guard_leave:
	adrp x2, guard_sp
	str xzr, [x2, :lo12:guard_sp]
	ldp x29, x30, [sp], #16
	ldp x27, x28, [sp], #16
	ldp x25, x26, [sp], #16
	ldp x23, x24, [sp], #16
	ldp x21, x22, [sp], #16
	ldp x19, x20, [sp], #16
	ret

/* After CALL_EXPECT_FAULT, with its answer in x0. */
	.globl fault_resume
fault_resume:
	adrp x2, guard_sp
	ldr x3, [x2, :lo12:guard_sp]
	mov sp, x3
	b guard_leave

exception:
	adrp x2, guard_sp
	ldr x3, [x2, :lo12:guard_sp]
	cbz x3, 1f
	mov sp, x3
	mrs x0, esr_el1
	ubfx x0, x0, #26, #6
	add w0, w0, #1
	b guard_leave
1:	mrs x0, esr_el1
	mrs x1, elr_el1
	mrs x2, far_el1
	bl unexpected_exception	/* does not return */
	b .

/* An IRQ at EL1, for on_interrupt(now); x0 and x1 are on the stack. */
interrupt:
	stp x2, x3, [sp, #-16]!
	stp x4, x5, [sp, #-16]!
	stp x6, x7, [sp, #-16]!
	stp x8, x9, [sp, #-16]!
	stp x10, x11, [sp, #-16]!
	stp x12, x13, [sp, #-16]!
	stp x14, x15, [sp, #-16]!
	stp x16, x17, [sp, #-16]!
	stp x18, x29, [sp, #-16]!
	str x30, [sp, #-16]!
	adrp x1, on_interrupt
	ldr x1, [x1, :lo12:on_interrupt]
	blr x1
	ldr x30, [sp], #16
	ldp x18, x29, [sp], #16
	ldp x16, x17, [sp], #16
	ldp x14, x15, [sp], #16
	ldp x12, x13, [sp], #16
	ldp x10, x11, [sp], #16
	ldp x8, x9, [sp], #16
	ldp x6, x7, [sp], #16
	ldp x4, x5, [sp], #16
	ldp x2, x3, [sp], #16
	ldp x0, x1, [sp], #16
	eret

	.balign 2048
	.globl vectors
vectors:
	.rept 5
	.balign 128
	b exception
	.endr
	.balign 128
	stp x0, x1, [sp, #-16]!
	mrs x0, cntvct_el0
	b interrupt
	.rept 10
	.balign 128
	b exception
	.endr

	.section .bss
	.balign 16
	.skip 16384
stack_top:
guard_sp:
	.skip 8

	.section .note.GNU-stack, "", %progbits
