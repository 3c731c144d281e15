/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this CPU's VMX offers: CPUID, IA32_FEATURE_CONTROL and the capability MSRs (SDM vol. 3D appendix A),
 * asked once before anything is touched. Fills vmx_capabilities with control fields whose every bit the CPU
 * allows. Must change nothing but an unlocked IA32_FEATURE_CONTROL.
 */
#include "lib/printf.h"
#include "vmx.h"
#include "vmx_adjust.h"
#include "vmx_names.h"

struct vmx_capabilities vmx_capabilities;

#define CPUID_FEATURES   1
#define CPUID_ECX_VMX    BIT(5)
#define VMX_REGION_LIMIT 4096

/* What each control field must and may have; the rest stays at what the CPU forces. */
static const struct {
	enum vmx_control_field name;
	uint32_t msr, true_msr; /* true_msr 0: there is none */
	uint64_t wanted, optional;
	uint32_t *value;
} controls[] = {
	{VMX_PIN, MSR_IA32_VMX_PINBASED_CTLS, MSR_IA32_VMX_TRUE_PINBASED_CTLS,
         PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMI, PIN_PREEMPTION_TIMER, &vmx_capabilities.pin},
	{VMX_CPU, MSR_IA32_VMX_PROCBASED_CTLS, MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
         CPU_HLT | CPU_MWAIT | CPU_MONITOR | CPU_RDPMC | CPU_CR8_LOAD | CPU_CR8_STORE | CPU_UNCONDITIONAL_IO |
                 CPU_MSR_BITMAPS | CPU_SECONDARY,
         CPU_TPR_SHADOW, &vmx_capabilities.cpu},
	{VMX_CPU2, MSR_IA32_VMX_PROCBASED_CTLS2, 0, CPU2_EPT | CPU2_UNRESTRICTED,
         CPU2_VPID | CPU2_RDTSCP | CPU2_INVPCID | CPU2_XSAVES | CPU2_WBINVD | CPU2_ENCLS | VMX_VIRTUAL_EOI,
         &vmx_capabilities.cpu2},
	{VMX_EXIT, MSR_IA32_VMX_EXIT_CTLS, MSR_IA32_VMX_TRUE_EXIT_CTLS,
         EXIT_SAVE_DEBUG | EXIT_HOST_64 | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER,
         EXIT_SAVE_TIMER, &vmx_capabilities.exit},
	{VMX_ENTRY, MSR_IA32_VMX_ENTRY_CTLS, MSR_IA32_VMX_TRUE_ENTRY_CTLS,
         ENTRY_LOAD_DEBUG | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER, 0, &vmx_capabilities.entry},
};

bool vmx_unlock(void)
{
	uint64_t value = rdmsr(MSR_IA32_FEATURE_CONTROL);
	if (!(value & FEATURE_CONTROL_LOCK)) {
		value |= FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMXON_OUTSIDE_SMX;
		wrmsr(MSR_IA32_FEATURE_CONTROL, value);
		value = rdmsr(MSR_IA32_FEATURE_CONTROL);
	}
	return (value & FEATURE_CONTROL_VMXON_OUTSIDE_SMX) != 0;
}

static bool check_controls(bool true_controls, char *message, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(controls); i++) {
		uint32_t msr = true_controls && controls[i].true_msr ? controls[i].true_msr : controls[i].msr;
		struct vmx_adjusted adjusted =
			vmx_adjust(rdmsr(msr), (uint32_t)controls[i].wanted, (uint32_t)controls[i].optional);
		if (adjusted.missing) {
			unsigned bit = (unsigned)__builtin_ctz(adjusted.missing);
			(void)snprintf(message, size, "VMX: this CPU lacks \"%s\" (bit %u of the %s)",
			               vmx_control_name(controls[i].name, bit), bit,
			               vmx_control_field_name(controls[i].name));
			return false;
		}
		*controls[i].value = adjusted.value;
	}
	return true;
}

static bool check_ept(char *message, size_t size)
{
	static const struct {
		uint64_t bits;
		const char *name;
	} needed[] = {
		{EPT_CAP_WALK_4, "EPT with a page-walk length of 4"},
		{EPT_CAP_WRITE_BACK, "write-back EPT paging structures"},
		{EPT_CAP_INVEPT, "INVEPT"},
	};
	uint64_t capabilities = rdmsr(MSR_IA32_VMX_EPT_VPID_CAP);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (!(capabilities & needed[i].bits)) {
			(void)snprintf(message, size, "VMX: this CPU lacks %s (IA32_VMX_EPT_VPID_CAP)", needed[i].name);
			return false;
		}
	}
	/* VPIDs are worth having only if they can be invalidated one by one or all together. */
	if (!(capabilities & EPT_CAP_INVVPID) || !(capabilities & (EPT_CAP_INVVPID_SINGLE | EPT_CAP_INVVPID_ALL))) {
		vmx_capabilities.cpu2 &= ~(uint32_t)CPU2_VPID;
	}
	vmx_capabilities.ept_vpid = capabilities;
	return true;
}

bool vmx_check(char *message, size_t size)
{
	if (!(cpuid(CPUID_FEATURES, 0).ecx & CPUID_ECX_VMX)) {
		(void)snprintf(message, size, "VMX: this CPU has none, or does not show it (CPUID.1:ECX.VMX = 0)");
		return false;
	}
	if (!vmx_unlock()) {
		(void)snprintf(message, size,
		               "VMX: switched off and locked by the firmware (IA32_FEATURE_CONTROL = 0x%llx): enable "
		               "\"Intel Virtualization Technology\" in its setup, then power off and on",
		               (unsigned long long)rdmsr(MSR_IA32_FEATURE_CONTROL));
		return false;
	}
	uint64_t basic = rdmsr(MSR_IA32_VMX_BASIC);
	uint64_t misc = rdmsr(MSR_IA32_VMX_MISC);
	if (VMX_BASIC_REGION_BYTES(basic) > VMX_REGION_LIMIT || VMX_BASIC_MEMORY_TYPE(basic) != VMX_MEMORY_TYPE_WB) {
		(void)snprintf(message, size,
		               "VMX: VMCS regions of this CPU are not 4 KiB of write-back memory "
		               "(IA32_VMX_BASIC = 0x%llx)",
		               (unsigned long long)basic);
		return false;
	}
	if (!check_controls((basic & VMX_BASIC_TRUE_CONTROLS) != 0, message, size) || !check_ept(message, size)) {
		return false;
	}
	/* The guest turns long mode on and off without an exit, so the CPU must keep the entry control in step. */
	if (!(misc & VMX_MISC_STORES_LMA)) {
		(void)snprintf(message, size,
		               "VMX: this CPU does not store EFER.LMA on VM exits (bit 5 of IA32_VMX_MISC)");
		return false;
	}
	if (!(vmx_capabilities.pin & PIN_PREEMPTION_TIMER)) {
		vmx_capabilities.exit &= ~(uint32_t)EXIT_SAVE_TIMER; /* of no use alone, and refused: 26.2.1.2 */
	}
	vmx_capabilities.virtual_eoi =
		(vmx_capabilities.cpu & CPU_TPR_SHADOW) && (vmx_capabilities.cpu2 & VMX_VIRTUAL_EOI) == VMX_VIRTUAL_EOI;
	vmx_capabilities.cpu2 &= ~(uint32_t)VMX_VIRTUAL_EOI; /* off until a guest is in x2APIC mode */
	if (vmx_capabilities.cpu & CPU_TPR_SHADOW) {
		vmx_capabilities.cpu &= ~(uint32_t)(CPU_CR8_LOAD | CPU_CR8_STORE);
	}
	vmx_capabilities.timer_shift = VMX_MISC_TIMER_SHIFT(misc);
	vmx_capabilities.revision = VMX_BASIC_REVISION(basic);
	vmx_capabilities.cr0_fixed0 = rdmsr(MSR_IA32_VMX_CR0_FIXED0);
	vmx_capabilities.cr0_fixed1 = rdmsr(MSR_IA32_VMX_CR0_FIXED1);
	vmx_capabilities.cr4_fixed0 = rdmsr(MSR_IA32_VMX_CR4_FIXED0);
	vmx_capabilities.cr4_fixed1 = rdmsr(MSR_IA32_VMX_CR4_FIXED1);
	return true;
}
