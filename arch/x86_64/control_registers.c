/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest may put in CR4, on VMX and SVM alike. Called by vmx_control_registers.c and svm_control_registers.c
 * for the exits of MOV to CR4, which they then carry out. Changes nothing of a guest.
 */
#include "cpu.h"
#include "vcpu.h"

#define CR3_PCID_MASK BITS(11, 0)

uint64_t x86_cr4_allowed;

/* CR4's bits and the CPUID bits that allow them: SDM vol. 3A 2.5. Neither VMXE nor SMXE is ever a guest's. */
void x86_cr4_init(void)
{
	struct cpuid_result features = x86_guest_leaf(1, 0);
	struct cpuid_result extended = x86_guest_leaf(7, 0);
	const struct {
		uint32_t cpuid;
		uint8_t bit;
		uint64_t cr4;
	} table[] = {
		{features.edx, 1, CR4_VME | CR4_PVI}, {features.edx, 2, CR4_DE},
		{features.edx, 3, CR4_PSE},           {features.edx, 4, CR4_TSD},
		{features.edx, 6, CR4_PAE},           {features.edx, 7, CR4_MCE},
		{features.edx, 13, CR4_PGE},          {features.edx, 24, CR4_OSFXSR},
		{features.edx, 25, CR4_OSXMMEXCPT},   {features.ecx, 17, CR4_PCIDE},
		{features.ecx, 26, CR4_OSXSAVE},      {extended.ebx, 0, CR4_FSGSBASE},
		{extended.ebx, 7, CR4_SMEP},          {extended.ebx, 20, CR4_SMAP},
		{extended.ecx, 2, CR4_UMIP},          {extended.ecx, 3, CR4_PKE},
		{extended.ecx, 16, CR4_LA57},
	};
	x86_cr4_allowed = CR4_PCE;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].cpuid & BIT(table[i].bit)) {
			x86_cr4_allowed |= table[i].cr4;
		}
	}
}

bool x86_cr4_valid(uint64_t old, uint64_t value, uint64_t efer, uint64_t cr3)
{
	bool long_mode = efer & EFER_LMA;
	if (value & ~x86_cr4_allowed) {
		return false;
	}
	if (long_mode && (!(value & CR4_PAE) || ((old ^ value) & CR4_LA57))) {
		return false;
	}
	return !(value & ~old & CR4_PCIDE) || (long_mode && !(cr3 & CR3_PCID_MASK));
}
