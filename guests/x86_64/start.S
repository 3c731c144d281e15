/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entry of the tiny guests on x86-64, in flat 32-bit protected mode: by the PVH boot protocol, EBX at the start info;
 * or, made an ELF32 file by objcopy, by multiboot, EBX at its information and its number in EAX. Maps the first 4 GiB one to one with 2 MiB pages, goes to 64-bit mode, loads an IDT that `guarded` can
 * recover through, and calls guest_main.
 */
#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define CODE_64 0x08
#define DATA_64 0x10
#define PRESENT_WRITABLE 3
#define PRESENT_WRITABLE_LARGE 0x83
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 3		/* modules on page boundaries, the size of memory */

	.section .note.pvh, "a", @note
	.balign 4
	.long 4			/* namesz */
	.long 4			/* descsz */
	.long XEN_ELFNOTE_PHYS32_ENTRY
	.asciz "Xen"
	.long _start

	.section .head, "ax"
	.balign 4
	.long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

	.code32
	.globl _start
_start:
	cld
	movl %ebx, %ebp			/* these two are kept through CPU set-up */
	movl %eax, %esi
	/* PML4[0] -> PDPT, PDPT[0..3] -> four page directories, each entry a 2 MiB page. */
	movl $pdpt + PRESENT_WRITABLE, pml4
	movl $pd + PRESENT_WRITABLE, %eax
	xorl %ecx, %ecx
1:	movl %eax, pdpt(, %ecx, 8)
	addl $0x1000, %eax
	incl %ecx
	cmpl $4, %ecx
	jne 1b
	movl $PRESENT_WRITABLE_LARGE, %eax
	xorl %ecx, %ecx
2:	movl %eax, pd(, %ecx, 8)
	addl $0x200000, %eax
	incl %ecx
	cmpl $2048, %ecx
	jne 2b
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $CR0_PG, %eax
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $CODE_64, $start64

	.code64
start64:
	movw $DATA_64, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	leaq stack_top(%rip), %rsp
	movl %ebp, %edi
	call guest_entry		/* does not return */
	hlt

/*
 * uint64_t guarded(void (*function)(void *), void *argument): the stack while `function` runs
 *
 *	guard_rsp -> r15 r14 r13 r12 rbp rbx | return address of guarded
 */
	.globl guarded
guarded:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, guard_rsp(%rip)
	movq %rdi, %rax
	movq %rsi, %rdi
	call *%rax
	xorl %eax, %eax
guard_leave:
	movq $0, guard_rsp(%rip)
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

/* After CALL_EXPECT_FAULT, with its answer in RAX. */
	.globl fault_resume
fault_resume:
	movq guard_rsp(%rip), %rsp
	jmp guard_leave

/* One stub a vector: pushes nothing but the vector, for the frame is thrown away or printed from RSP on. */
	.altmacro
	.macro stub vector
	.balign 16
	pushq $\vector
	jmp exception
	.endm
	.balign 16
	.globl exception_stubs
exception_stubs:
	.set vector, 0
	.rept 32
	stub %vector
	.set vector, vector + 1
	.endr

exception:
	popq %rdi			/* the vector */
	cmpq $0, guard_rsp(%rip)
	je 1f
	movq guard_rsp(%rip), %rsp
	leal 1(%rdi), %eax
	jmp guard_leave
1:	movq %rsp, %rsi
	andq $-16, %rsp
	call unexpected_exception	/* does not return */
	hlt

	.section .rodata
	.balign 8
gdt:	.quad 0
	.quad 0x00af9b000000ffff	/* 64-bit code */
	.quad 0x00cf93000000ffff	/* data */
gdt_pointer:
	.word . - gdt - 1
	.long gdt

	.section .bss
	.balign 4096
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4 * 4096
	.balign 16
	.skip 16384
stack_top:
	.globl guard_rsp
guard_rsp:
	.skip 8

	.section .note.GNU-stack, "", @progbits
