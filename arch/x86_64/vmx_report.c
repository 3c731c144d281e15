/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the log says when a VM entry fails or the EPT is misconfigured: the CPU's own words, then ours. Called by
 * vmx.c and vmx_exits.c with the VMCS current, on the way out of a VM that is at its end; never panics.
 */
#include "lib/log.h"
#include "vmx.h"
#include "vmx_checks.h"
#include "vmx_names.h"

#define CPUID_ADDRESS_SIZES 0x80000008U

static void read_segments(struct vmx_guest_state *state)
{
	for (unsigned name = X86_ES; name < VMX_GUEST_SEGMENTS; name++) {
		struct vmx_guest_segment *segment = &state->segment[name];
		segment->base = vmread(VMCS_GUEST_BASE + VMCS_SEGMENT(name));
		segment->limit = (uint32_t)vmread(VMCS_GUEST_LIMIT + VMCS_SEGMENT(name));
		if (name < X86_GDTR) {
			segment->selector = (uint16_t)vmread(VMCS_GUEST_SELECTOR + VMCS_SEGMENT(name));
			segment->rights = (uint32_t)vmread(VMCS_GUEST_ACCESS_RIGHTS + VMCS_SEGMENT(name));
		}
	}
}

static void read_state(struct vmx_guest_state *state)
{
	*state = (struct vmx_guest_state){
		.cr0 = vmread(VMCS_GUEST_CR0),
		.cr3 = vmread(VMCS_GUEST_CR3),
		.cr4 = vmread(VMCS_GUEST_CR4),
		.efer = vmread(VMCS_GUEST_EFER),
		.pat = vmread(VMCS_GUEST_PAT),
		.dr7 = vmread(VMCS_GUEST_DR7),
		.debugctl = vmread(VMCS_GUEST_DEBUGCTL),
		.rip = vmread(VMCS_GUEST_RIP),
		.rsp = vmread(VMCS_GUEST_RSP),
		.rflags = vmread(VMCS_GUEST_RFLAGS),
		.sysenter_esp = vmread(VMCS_GUEST_SYSENTER_ESP),
		.sysenter_eip = vmread(VMCS_GUEST_SYSENTER_EIP),
		.interruptibility = vmread(VMCS_GUEST_INTERRUPTIBILITY),
		.activity = vmread(VMCS_GUEST_ACTIVITY),
		.pending_debug = vmread(VMCS_GUEST_PENDING_DEBUG),
		.link_pointer = vmread(VMCS_LINK_POINTER),
		.entry_interruption = vmread(VMCS_ENTRY_INTERRUPTION),
		.pin_controls = vmread(VMCS_PIN_CONTROLS),
		.entry_controls = vmread(VMCS_ENTRY_CONTROLS),
		.cr0_fixed0 = vmx_capabilities.cr0_fixed0,
		.cr0_fixed1 = vmx_capabilities.cr0_fixed1,
		.cr4_fixed0 = vmx_capabilities.cr4_fixed0,
		.cr4_fixed1 = vmx_capabilities.cr4_fixed1,
		.physical_bits = x86_features.physical_bits,
		.linear_bits = (uint8_t)(cpuid(CPUID_ADDRESS_SIZES, 0).eax >> 8),
	};
	for (unsigned i = 0; i < ARRAY_SIZE(state->pdpte); i++) {
		state->pdpte[i] = vmread(VMCS_GUEST_PDPTE0 + VMCS_SEGMENT(i));
	}
	read_segments(state);
}

static void log_rule(void *context, const char *rule)
{
	(void)context;
	log_line("vmx", "guest state: %s", rule);
}

static void check_state(void)
{
	struct vmx_guest_state state;
	read_state(&state);
	if (vmx_check_guest_state(&state, log_rule, NULL) == 0) {
		log_line("vmx", "guest state: breaks no rule that is known here");
	}
}

void vmx_report_refusal(struct arch_vcpu *vcpu)
{
	uint64_t error = vmread(VMCS_INSTRUCTION_ERROR);
	log_line("vmx", "vCPU %u of VPID %u: VM entry refused: %s (VM-instruction error %u)", vcpu->index,
	         vcpu->vm->tag, vmx_instruction_error_name(error), (unsigned)error);
	log_line("vmx", "controls: pin 0x%x, processor 0x%x and 0x%x, exit 0x%x, entry 0x%x, interruption 0x%x",
	         (unsigned)vmread(VMCS_PIN_CONTROLS), (unsigned)vmread(VMCS_CPU_CONTROLS),
	         (unsigned)vmread(VMCS_CPU2_CONTROLS), (unsigned)vmread(VMCS_EXIT_CONTROLS),
	         (unsigned)vmread(VMCS_ENTRY_CONTROLS), (unsigned)vmread(VMCS_ENTRY_INTERRUPTION));
}

void vmx_report_entry_failure(struct arch_vcpu *vcpu, uint64_t reason)
{
	uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
	const char *detail = "";
	switch ((enum entry_failure_qualification)qualification) {
	case ENTRY_FAILURE_PDPTE:
		detail = ", loading the PDPTEs";
		break;
	case ENTRY_FAILURE_NMI:
		detail = ", injecting an NMI into a MOV SS shadow";
		break;
	case ENTRY_FAILURE_LINK_POINTER:
		detail = ", the VMCS link pointer";
		break;
	}
	log_line("vmx", "vCPU %u of VPID %u: %s%s (exit reason 0x%llx, qualification 0x%llx)", vcpu->index,
	         vcpu->vm->tag, vmx_exit_name(reason), detail, (unsigned long long)reason,
	         (unsigned long long)qualification);
	check_state();
}

/* The walk that the CPU made, as far as our own walker follows it: the entry that ends it is the one at fault. */
void vmx_report_misconfiguration(struct arch_vcpu *vcpu, gpa_t gpa)
{
	struct npt_entry entry = npt_lookup(&vcpu->vm->space->npt, gpa);
	log_line("vmx", "vCPU %u of VPID %u: EPT misconfiguration at GPA 0x%llx: EPTP 0x%llx, level %u entry 0x%llx",
	         vcpu->index, vcpu->vm->tag, (unsigned long long)gpa, (unsigned long long)vcpu->vm->nested_root,
	         entry.level, (unsigned long long)entry.raw);
}
