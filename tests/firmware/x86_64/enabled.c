/* SPDX-License-Identifier: Apache-2.0 */
/* VMX switched on by the firmware and locked so: any further write of the register is a #GP. SDM vol. 3C 23.7. */
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/vmcs.h"
#include "tests/firmware/state.h"

const char *state_enter(void)
{
	/* Unlocked is how the emulator leaves it, and how the image gets it everywhere else. */
	if (rdmsr(MSR_IA32_FEATURE_CONTROL) != 0) {
		return "IA32_FEATURE_CONTROL is not 0 after reset";
	}
	wrmsr(MSR_IA32_FEATURE_CONTROL, FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMXON_OUTSIDE_SMX);
	return NULL;
}
