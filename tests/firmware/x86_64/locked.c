/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtualization switched off in the firmware's setup, which locks it so until the next reset. SDM vol. 3C 23.7,
 * APM vol. 2 15.30.1.
 */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/vmcb.h"
#include "arch/x86_64/vmcs.h"
#include "tests/firmware/state.h"

#define CPUID_1_ECX_VMX BIT(5)

const char *state_enter(void)
{
	if (cpuid(1, 0).ecx & CPUID_1_ECX_VMX) {
		wrmsr(MSR_IA32_FEATURE_CONTROL, FEATURE_CONTROL_LOCK);
		return NULL;
	}
	wrmsr(MSR_VM_CR, VM_CR_SVMDIS | VM_CR_LOCK);
	return rdmsr(MSR_VM_CR) == (VM_CR_SVMDIS | VM_CR_LOCK) ? NULL : "VM_CR keeps nothing here";
}
