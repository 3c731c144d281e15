/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the vmx*.c files share: the capabilities of this CPU, the exit handlers' return values, helpers around
 * the current VMCS. Nobody else includes it; the rest of arch/x86_64 sees vmx_ops only.
 */
#pragma once

/* What vmx_asm.S needs of structs and of the manual's numbers, held to the truth by vmx.c. */
#define VCPU_GPR(number)   ((number)*8)
#define VCPU_VMX_EXIT      128
#define VCPU_VMX_STACK     136
#define VCPU_REQUEST       176 /* request and interrupts, as one word */
#define REASON_VMCALL      18
#define VCPU_EXITS_VMCALL  (VCPU_EXITS + REASON_VMCALL * 8)
#define VCPU_EXITS         224
#define EXIT_CALL_NUMBER   40
#define EXIT_CALL_ARGUMENT 48
#define KIND_HYPERCALL     3
#define ERROR_NOT_LAUNCHED 5
#define RFLAGS_TF_BIT      0x100
#define RIGHTS_DPL_BITS    0x60

#define FIELD_EXIT_REASON             0x4402
#define FIELD_INSTRUCTION_ERROR       0x4400
#define FIELD_EXIT_INSTRUCTION_LENGTH 0x440c
#define FIELD_GUEST_SS_RIGHTS         0x4818
#define FIELD_GUEST_INTERRUPTIBILITY  0x4824
#define FIELD_GUEST_RIP               0x681e
#define FIELD_GUEST_RFLAGS            0x6820
#define FIELD_HOST_RSP                0x6c14

/* What vmx_handle_exit answers beside enum vm_exit_kind: enter again. The second one where R12 to R15 may have changed.
 */
#define RUN_ON     (-1)
#define RUN_ON_ALL (-2)

#ifndef __ASSEMBLER__

#include "cpu.h"
#include "vcpu.h"
#include "vmcs.h"

enum vmx_answer { VMX_RUN_ON = RUN_ON, VMX_RUN_ON_ALL = RUN_ON_ALL };

/* ---- vmx_caps.c: what this CPU offers ---- */

/* Of the secondary controls, for guests in x2APIC mode; with the TPR shadow. */
#define VMX_VIRTUAL_EOI (CPU2_X2APIC | CPU2_VIRTUAL_INTERRUPTS)

struct vmx_capabilities {
	uint32_t revision;
	uint32_t pin, cpu, cpu2, exit, entry; /* the control fields, every bit allowed by the capability MSRs */
	uint64_t ept_vpid;                    /* IA32_VMX_EPT_VPID_CAP */
	uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	uint32_t timer_shift; /* the preemption timer counts TSC >> timer_shift */
	bool virtual_eoi;     /* VMX_VIRTUAL_EOI can be had, which is off in cpu2 */
};
extern struct vmx_capabilities vmx_capabilities; /* valid after vmx_check */

bool vmx_check(char *message, size_t size);
/* IA32_FEATURE_CONTROL allows VMXON, or is unlocked and now does. */
bool vmx_unlock(void);

/* ---- vmx_setup.c: a fresh VMCS ---- */

/* Writes every field of the current VMCS but the registers that a start sets. */
void vmx_setup(struct arch_vcpu *vcpu);
/* The host state of this CPU, which may differ from the one that ran the vCPU before. */
void vmx_setup_host(void);

/* ---- vmx_msrs.c ---- */

/* The MSR bitmap, and IA32_SPEC_CTRL as after reset. For vmx_setup. */
void vmx_setup_msrs(struct arch_vcpu *vcpu);
/* Whether writes of the MSR exit. */
void vmx_intercept_write(struct arch_vcpu *vcpu, uint32_t msr, bool on);
uint64_t vmx_get_spec_ctrl(const struct arch_vcpu *vcpu);
void vmx_put_spec_ctrl(struct arch_vcpu *vcpu, uint64_t value);

/* ---- vmx_asm.S ---- */

/* ops->run: enters the guest and calls vmx_handle_exit after each exit until that answers an enum vm_exit_kind. */
enum vm_exit_kind vmx_run(struct arch_vcpu *vcpu, struct vm_exit *exit);
extern const char vmx_exit_point[]; /* HOST_RIP */

/* ---- vmx_interrupts.c ---- */

/* For vmx_asm.S: does what arch_vcpu.request and interrupts ask for. X86_RUN_ON, or an exit after all. */
int vmx_prepare(struct arch_vcpu *vcpu);

/* ---- vmx_exits.c ---- */

/* For vmx_asm.S: an enum vm_exit_kind, RUN_ON or RUN_ON_ALL. */
int vmx_handle_exit(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t reason);
/* For vmx_asm.S: neither VMRESUME nor VMLAUNCH would enter. */
enum vm_exit_kind vmx_entry_refused(struct arch_vcpu *vcpu, struct vm_exit *exit);

/*
 * Goes on at `next_rip`, behind an instruction that was emulated. vmx_move_slowly also ends a STI or MOV SS shadow
 * and owes the guest its single step. Outside 64-bit mode EIP may come out as 2^32: the next entry fails for that
 * and vmx_exits.c mends it.
 */
#define RFLAGS_TF BIT(8)
void vmx_move_slowly(uint64_t next_rip);
static inline void vmx_move_to(uint64_t next_rip)
{
	uint64_t blocking = vmread(VMCS_GUEST_INTERRUPTIBILITY);
	uint64_t step = vmread(VMCS_GUEST_RFLAGS) & RFLAGS_TF;
	if (unlikely(blocking | step)) {
		vmx_move_slowly(next_rip);
		return;
	}
	vmwrite(VMCS_GUEST_RIP, next_rip);
}

/* Steps over the instruction that exited. */
static inline void vmx_skip(void)
{
	vmx_move_to(vmread(VMCS_GUEST_RIP) + vmread(VMCS_EXIT_INSTRUCTION_LENGTH));
}

/*
 * The host's own timer ends a guest's time by an external interrupt. The preemption timer, where there is one, is
 * the net below it: after each millisecond in the guest it makes an exit that looks at the deadline, come what may
 * of interrupts. It counts on over other exits, so nothing has to be done for it on them.
 */
void vmx_arm_timer(const struct arch_vcpu *vcpu);

/* Queues an exception for the next entry of the current VMCS. */
void vmx_inject(enum x86_vector vector, uint32_t error_code);

/* ---- vmx_control_registers.c ---- */

/* The bits of CR0 and CR4 that only a guest uses: SDM vol. 3A 2.5. */
#define CR0_AM BIT(18)

uint64_t vmx_guest_cr0(void);
uint64_t vmx_guest_cr4(const struct arch_vcpu *vcpu);
/* Without the checks that a MOV makes: for resets. */
void vmx_put_cr0(struct arch_vcpu *vcpu, uint64_t value);
void vmx_put_cr4(struct arch_vcpu *vcpu, uint64_t value);
void vmx_put_efer(uint64_t value);
/* The guest/host masks. */
#define VMX_CR0_GUEST_OWNED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_WP | CR0_AM | CR0_PG)
uint64_t vmx_cr4_guest_owned(void);
/* The exit: MOV to and from CR0, CR3, CR4, CR8, CLTS, LMSW. */
int vmx_exit_control_register(struct arch_vcpu *vcpu, struct vm_exit *exit);

/* ---- vmx.c ---- */

/* Forgets what the CPU caches for the VM's VPID. */
void vmx_flush_vpid(const struct arch_vm *vm);

/* ---- vmx_report.c: cold paths ---- */

/* A VM entry that the CPU refused (VMfail), or that failed on the guest's state (reason has bit 31 set). */
void vmx_report_refusal(struct arch_vcpu *vcpu);
void vmx_report_entry_failure(struct arch_vcpu *vcpu, uint64_t reason);
void vmx_report_misconfiguration(struct arch_vcpu *vcpu, gpa_t gpa);

#endif
