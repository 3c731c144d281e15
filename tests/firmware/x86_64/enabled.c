/* SPDX-License-Identifier: Apache-2.0 */
/* Virtualization switched on by the firmware and locked so: any further write of the register is a #GP. */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/vmcb.h"
#include "arch/x86_64/vmcs.h"
#include "tests/firmware/state.h"

#define CPUID_1_ECX_VMX BIT(5)

const char *state_enter(void)
{
	if (cpuid(1, 0).ecx & CPUID_1_ECX_VMX) {
		wrmsr(MSR_IA32_FEATURE_CONTROL, FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMXON_OUTSIDE_SMX);
	} else {
		wrmsr(MSR_VM_CR, VM_CR_LOCK);
	}
	return NULL;
}
