/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills a fresh VMCS: controls, masks, the host's state and the constant part of the guest's (SDM vol. 3C
 * 24.4 to 24.8). Called by vmx.c with the VMCS current; the registers that a start sets come after.
 */
#include "vmx.h"

#define NO_LINK_POINTER UINT64_MAX /* 24.4.2: no VMCS shadowing */
#define PAT_AT_RESET    UINT64_C(0x0007040600070406)

/*
 * #MC is the host's. #DB and #AC that a guest raises while it delivers #DB or #AC repeat for ever inside the
 * CPU and keep interrupts and NMIs out of it, so both exit and go back to the guest one at a time.
 */
#define EXCEPTIONS (BIT(X86_DB) | BIT(X86_AC) | BIT(X86_MC))

#define CPUID_7_EBX_INVPCID   BIT(10)
#define CPUID_D1_EAX_XSAVES   BIT(3)
#define CPUID_80000001_RDTSCP BIT(27) /* EDX */

static uint64_t table_base(bool interrupts)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} table;
	if (interrupts) {
		__asm__ volatile("sidt %0" : "=m"(table));
	} else {
		__asm__ volatile("sgdt %0" : "=m"(table));
	}
	return table.base;
}

/* 24.5. The limits of GDTR and IDTR come out as 0xffff after an exit (27.5.2): our tables are followed by
 * nothing that a selector or vector of ours could reach, and only we load selectors or raise vectors then. */
void vmx_setup_host(void)
{
	vmwrite(VMCS_HOST_CR0, read_cr0());
	vmwrite(VMCS_HOST_CR3, read_cr3());
	vmwrite(VMCS_HOST_CR4, read_cr4());
	vmwrite(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmwrite(VMCS_HOST_PAT, rdmsr(MSR_IA32_PAT));
	vmwrite(VMCS_HOST_CS, HOST_CS);
	vmwrite(VMCS_HOST_SS, HOST_DS);
	vmwrite(VMCS_HOST_DS, HOST_DS);
	vmwrite(VMCS_HOST_ES, HOST_DS);
	vmwrite(VMCS_HOST_FS, 0);
	vmwrite(VMCS_HOST_GS, 0);
	vmwrite(VMCS_HOST_TR, HOST_TR);
	vmwrite(VMCS_HOST_FS_BASE, 0);
	vmwrite(VMCS_HOST_GS_BASE, (uintptr_t)this_cpu());
	vmwrite(VMCS_HOST_TR_BASE, (uintptr_t)&this_cpu()->tss);
	vmwrite(VMCS_HOST_GDTR_BASE, table_base(false));
	vmwrite(VMCS_HOST_IDTR_BASE, table_base(true));
	vmwrite(VMCS_HOST_SYSENTER_CS, 0);
	vmwrite(VMCS_HOST_SYSENTER_ESP, 0);
	vmwrite(VMCS_HOST_SYSENTER_EIP, 0);
	vmwrite(VMCS_HOST_RIP, (uintptr_t)vmx_exit_point);
}

/* An instruction that the guest's CPUID does not show must be #UD: its control stays off. */
static uint32_t secondary_controls(void)
{
	uint64_t controls = vmx_capabilities.cpu2;
	if (!(x86_guest_leaf(7, 0).ebx & CPUID_7_EBX_INVPCID)) {
		controls &= ~CPU2_INVPCID;
	}
	if (!(x86_guest_leaf(0xd, 1).eax & CPUID_D1_EAX_XSAVES)) {
		controls &= ~CPU2_XSAVES;
	}
	if (!(x86_guest_leaf(0x80000001, 0).edx & CPUID_80000001_RDTSCP)) {
		controls &= ~CPU2_RDTSCP;
	}
	return (uint32_t)controls;
}

static void setup_controls(struct arch_vcpu *vcpu)
{
	uint32_t secondary = secondary_controls();
	vmwrite(VMCS_PIN_CONTROLS, vmx_capabilities.pin);
	vmwrite(VMCS_CPU_CONTROLS, vmx_capabilities.cpu);
	vmwrite(VMCS_CPU2_CONTROLS, secondary);
	vmwrite(VMCS_EXIT_CONTROLS, vmx_capabilities.exit);
	vmwrite(VMCS_ENTRY_CONTROLS, vmx_capabilities.entry);
	vmwrite(VMCS_EXCEPTION_BITMAP, EXCEPTIONS);
	vmwrite(VMCS_PAGE_FAULT_MASK, 0);
	vmwrite(VMCS_PAGE_FAULT_MATCH, 0);
	vmwrite(VMCS_CR3_TARGET_COUNT, 0);
	vmwrite(VMCS_ENTRY_INTERRUPTION, 0);
	vmwrite(VMCS_EPTP, vcpu->vm->nested_root);
	vmx_setup_msrs(vcpu);
	vmwrite(VMCS_CR0_MASK, ~VMX_CR0_GUEST_OWNED);
	vmwrite(VMCS_CR4_MASK, ~vmx_cr4_guest_owned());
	if (vmx_capabilities.cpu & CPU_TPR_SHADOW) {
		vmwrite(VMCS_VIRTUAL_APIC, (uintptr_t)vcpu->lapic.registers);
		vcpu->vmx.virtual_eoi = false;
		vmwrite(VMCS_TPR_THRESHOLD, 0); /* writes of CR8 exit instead, where one matters */
	}
	if (secondary & CPU2_VPID) {
		vmwrite(VMCS_VPID, vcpu->vm->tag);
	}
	if (secondary & CPU2_XSAVES) {
		vmwrite(VMCS_XSS_EXITING_BITMAP, 0);
	}
	if (secondary & CPU2_ENCLS) {
		vmwrite(VMCS_ENCLS_EXITING_BITMAP, UINT64_MAX);
	}
	vmx_arm_timer(vcpu);
}

void vmx_setup(struct arch_vcpu *vcpu)
{
	vmwrite(VMCS_HOST_RSP, (uintptr_t)vcpu); /* vmx_asm.S */
	setup_controls(vcpu);
	vmx_setup_host();
	vmwrite(VMCS_LINK_POINTER, NO_LINK_POINTER);
	vmwrite(VMCS_GUEST_DEBUGCTL, 0);
	vmwrite(VMCS_GUEST_PAT, PAT_AT_RESET);
	vmwrite(VMCS_GUEST_EFER, 0);
	vmwrite(VMCS_GUEST_SYSENTER_CS, 0);
	vmwrite(VMCS_GUEST_SYSENTER_ESP, 0);
	vmwrite(VMCS_GUEST_SYSENTER_EIP, 0);
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmwrite(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
	vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
	for (unsigned i = 0; i < 4; i++) {
		vmwrite(VMCS_GUEST_PDPTE0 + VMCS_SEGMENT(i), 0);
	}
}
