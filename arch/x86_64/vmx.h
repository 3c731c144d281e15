/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the vmx*.c files share: the capabilities of this CPU, the exit handlers' return values, helpers around
 * the current VMCS. Nobody else includes it; the rest of arch/x86_64 sees vmx_ops only.
 */
#pragma once

/* What a handler answers where it is no enum vm_exit_kind. The assembly knows that this one is negative. */
#define VMX_RUN_ON	 (-1) /* answered: enter the guest again */
#define VMX_ENTRY_VMFAIL (-2) /* VMLAUNCH or VMRESUME was refused; the guest did not run */

/* Offsets in struct vmx_vcpu for vmx_asm.S, held to the truth by vmx.c. */
#define VMX_VCPU_HOST_RSP 8
#define VMX_VCPU_LAUNCHED 16

#ifndef __ASSEMBLER__

#include "cpu.h"
#include "vcpu.h"
#include "vmcs.h"

/* ---- vmx_caps.c: what this CPU offers ---- */

struct vmx_capabilities {
	uint32_t revision;
	uint32_t pin, cpu, cpu2, exit, entry; /* the control fields, every bit allowed by the capability MSRs */
	uint64_t ept_vpid;		      /* IA32_VMX_EPT_VPID_CAP */
	uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	uint32_t timer_shift; /* the preemption timer counts TSC >> timer_shift */
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

/* ---- vmx_asm.S ---- */

/*
 * Enters the guest and calls vmx_handle_exit after every exit until that answers something else than
 * VMX_RUN_ON; returns that, or VMX_ENTRY_VMFAIL.
 */
int vmx_run_loop(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmx_vcpu *vmx);
extern const char vmx_exit_point[]; /* HOST_RIP */

/* ---- vmx_exits.c ---- */

/* For vmx_asm.S. An enum vm_exit_kind, or VMX_RUN_ON. */
int vmx_handle_exit(struct arch_vcpu *vcpu, struct vm_exit *exit);

/* Arms the preemption timer for the vCPU's deadline. False: the deadline has passed. */
static inline bool vmx_arm_deadline(const struct arch_vcpu *vcpu)
{
	uint64_t now = rdtsc();
	if (unlikely(now >= vcpu->deadline)) {
		return false;
	}
	if (likely(vmx_capabilities.pin & PIN_PREEMPTION_TIMER)) {
		uint64_t units = (vcpu->deadline - now) >> vmx_capabilities.timer_shift;
		vmwrite(VMCS_PREEMPTION_TIMER, MIN(units, UINT32_MAX));
	}
	return true;
}

/*
 * Goes on at `new_rip`, behind the instruction that exited. vmx_skip_slowly ends a STI or MOV SS shadow, owes the
 * guest its single step, and wraps EIP at 4 GiB.
 */
#define RFLAGS_TF BIT(8)
void vmx_skip_slowly(uint64_t new_rip);
static inline void vmx_skip_to(uint64_t old_rip, uint64_t new_rip)
{
	uint64_t shadow = vmread(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
	uint64_t step = vmread(VMCS_GUEST_RFLAGS) & RFLAGS_TF;
	if (unlikely(shadow | step | ((old_rip ^ new_rip) >> 32))) {
		vmx_skip_slowly(new_rip);
		return;
	}
	vmwrite(VMCS_GUEST_RIP, new_rip);
}
static inline void vmx_skip(void)
{
	uint64_t rip = vmread(VMCS_GUEST_RIP);
	vmx_skip_to(rip, rip + vmread(VMCS_EXIT_INSTRUCTION_LENGTH));
}

/* Queues an exception for the next entry of the current VMCS. */
void vmx_inject(enum x86_vector vector, uint32_t error_code);

/* ---- vmx_control_registers.c ---- */

/* The bits of CR0 and CR4 that only a guest uses: SDM vol. 3A 2.5. */
#define CR0_AM	     BIT(18)
#define CR4_VME	     BIT(0)
#define CR4_PVI	     BIT(1)
#define CR4_TSD	     BIT(2)
#define CR4_DE	     BIT(3)
#define CR4_PSE	     BIT(4)
#define CR4_PCE	     BIT(8)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE    BIT(17)
#define CR4_PKE	     BIT(22)

uint64_t vmx_guest_cr0(void);
uint64_t vmx_guest_cr4(void);
/* Without the checks that a MOV makes: for resets. */
void vmx_put_cr0(struct arch_vcpu *vcpu, uint64_t value);
void vmx_put_cr4(struct arch_vcpu *vcpu, uint64_t value);
void vmx_put_efer(uint64_t value);
/* The guest/host masks. */
#define VMX_CR0_GUEST_OWNED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_WP | CR0_AM | CR0_PG)
uint64_t vmx_cr4_guest_owned(const struct arch_vcpu *vcpu);
/* The exit: MOV to and from CR0, CR3, CR4, CR8, CLTS, LMSW. */
int vmx_exit_control_register(struct arch_vcpu *vcpu, struct vm_exit *exit);

/* ---- vmx.c ---- */

/* Forgets what the CPU caches for the VM's VPID. */
void vmx_flush_vpid(const struct arch_vm *vm);

/* ---- vmx_report.c: cold paths ---- */

/* A VM entry that VMLAUNCH or VMRESUME refused, or (reason has bit 31 set) that failed on the guest's state. */
void vmx_report_vmfail(struct arch_vcpu *vcpu);
void vmx_report_entry_failure(struct arch_vcpu *vcpu, uint64_t reason);
void vmx_report_misconfiguration(struct arch_vcpu *vcpu, gpa_t gpa);

#endif
