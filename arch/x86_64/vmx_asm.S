/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMX world switch: into the guest by VMLAUNCH or VMRESUME, out of it at HOST_RIP, and round again for as
 * long as vmx_handle_exit answers the exits. Called by vmx.c's run with the vCPU's VMCS current.
 *
 * The stack while the guest runs; HOST_RSP points at its lowest word:
 *
 *      +64  %rbp of the caller            <- %rbp, so that backtraces go through
 *      +56  %rbx
 *      +48  %r12
 *      +40  %r13
 *      +32  %r14
 *      +24  %r15
 *      +16  struct vmx_vcpu *             (keeps the stack aligned to 16 for the call)
 *       +8  struct vm_exit *
 *       +0  struct arch_vcpu *            <- HOST_RSP; its first member is gpr[16], in ModRM's order
 *
 * The CPU itself switches RIP, RSP, RFLAGS, CR0, CR3, CR4, the segments, EFER and PAT. Nothing else is ours to
 * switch here: FPU and the rest of the lazy state stay the guest's until the vCPU is put.
 */
#include "vmx.h"

#define GPR_OFFSET(n)        (8 * (n))
#define RAX_OFFSET           GPR_OFFSET(0)
#define RCX_OFFSET           GPR_OFFSET(1)
#define RDX_OFFSET           GPR_OFFSET(2)
#define RBX_OFFSET           GPR_OFFSET(3)
#define RBP_OFFSET           GPR_OFFSET(5)
#define RSI_OFFSET           GPR_OFFSET(6)
#define RDI_OFFSET           GPR_OFFSET(7)
#define FRAME_BYTES          64
#define VMCS_HOST_RSP_FIELD  0x6c14 /* appendix B.4.4 */

	.text
	.globl vmx_run_loop
	.hidden vmx_run_loop
	.type vmx_run_loop, @function
/* int vmx_run_loop(struct arch_vcpu *%rdi, struct vm_exit *%rsi, struct vmx_vcpu *%rdx) */
vmx_run_loop:
	push %rbp
	mov %rsp, %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdx
	push %rsi
	push %rdi
	cmp %rsp, VMX_VCPU_HOST_RSP(%rdx)
	je 1f
	mov %rsp, VMX_VCPU_HOST_RSP(%rdx)
	mov $VMCS_HOST_RSP_FIELD, %eax
	vmwrite %rsp, %rax
1:	/* ZF: never launched. The moves below leave the flags alone. */
	cmpq $0, VMX_VCPU_LAUNCHED(%rdx)
	movq $1, VMX_VCPU_LAUNCHED(%rdx)

.Lenter:
	mov RAX_OFFSET(%rdi), %rax
	mov RCX_OFFSET(%rdi), %rcx
	mov RDX_OFFSET(%rdi), %rdx
	mov RBX_OFFSET(%rdi), %rbx
	mov RBP_OFFSET(%rdi), %rbp
	mov RSI_OFFSET(%rdi), %rsi
	mov GPR_OFFSET(8)(%rdi), %r8
	mov GPR_OFFSET(9)(%rdi), %r9
	mov GPR_OFFSET(10)(%rdi), %r10
	mov GPR_OFFSET(11)(%rdi), %r11
	mov GPR_OFFSET(12)(%rdi), %r12
	mov GPR_OFFSET(13)(%rdi), %r13
	mov GPR_OFFSET(14)(%rdi), %r14
	mov GPR_OFFSET(15)(%rdi), %r15
	mov RDI_OFFSET(%rdi), %rdi
	je 2f
	vmresume
	jmp .Lvmfail
2:	vmlaunch
.Lvmfail: /* refused: the next instruction runs, on our stack, with the guest's registers */
	mov $VMX_ENTRY_VMFAIL, %eax
	jmp .Lleave

	.globl vmx_exit_point
	.hidden vmx_exit_point
vmx_exit_point: /* every exit arrives here, interrupts off, %rsp = HOST_RSP */
	push %rdi
	mov 8(%rsp), %rdi
	mov %rax, RAX_OFFSET(%rdi)
	mov %rcx, RCX_OFFSET(%rdi)
	mov %rdx, RDX_OFFSET(%rdi)
	mov %rbx, RBX_OFFSET(%rdi)
	mov %rbp, RBP_OFFSET(%rdi)
	mov %rsi, RSI_OFFSET(%rdi)
	mov %r8, GPR_OFFSET(8)(%rdi)
	mov %r9, GPR_OFFSET(9)(%rdi)
	mov %r10, GPR_OFFSET(10)(%rdi)
	mov %r11, GPR_OFFSET(11)(%rdi)
	mov %r12, GPR_OFFSET(12)(%rdi)
	mov %r13, GPR_OFFSET(13)(%rdi)
	mov %r14, GPR_OFFSET(14)(%rdi)
	mov %r15, GPR_OFFSET(15)(%rdi)
	pop RDI_OFFSET(%rdi)
	mov 8(%rsp), %rsi
	lea FRAME_BYTES(%rsp), %rbp
	call vmx_handle_exit
	mov (%rsp), %rdi
	test %eax, %eax /* negative, so not zero: VMX_RUN_ON, and the next entry is a VMRESUME */
	js .Lenter

.Lleave:
	add $24, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	ret
	.size vmx_run_loop, . - vmx_run_loop
