/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which MSRs a vCPU reaches without an exit, and IA32_SPEC_CTRL, which is the guest's own only from its first value
 * other than zero on: then the CPU stores and loads it at each exit and entry, as the last thing before our code runs
 * and the first behind it (SDM vol. 3C 24.6.9, 24.7.2, 24.8.2). Called by vmx_setup.c and vmx.c with the VMCS current.
 */
#include "lib/string.h"
#include "vmx.h"

/* The four parts of the MSR bitmap, 24.6.9; a set bit makes the access exit. */
#define MSR_BITMAP_READ_LOW   0
#define MSR_BITMAP_READ_HIGH  1024
#define MSR_BITMAP_WRITE_LOW  2048
#define MSR_BITMAP_WRITE_HIGH 3072
#define MSR_BITMAP_RANGE      0x2000U
#define MSR_HIGH_BASE         0xc0000000U

/* arch_vcpu.spec_ctrl. */
enum { OF_GUEST, OF_HOST };
_Static_assert(offsetof(struct arch_vcpu, spec_ctrl) % 16 == 0, "MSR areas are aligned to 16 bytes: 24.7.2");

static hpa_t bitmap_of(const struct arch_vcpu *vcpu)
{
	return vcpu->vmx.vmcs + FRAME_SIZE;
}

static void allow_msr(void *context, uint32_t msr, bool read, bool write)
{
	uint8_t *bitmap = context;
	bool high = msr >= MSR_HIGH_BASE;
	uint32_t index = high ? msr - MSR_HIGH_BASE : msr;
	uint8_t keep = (uint8_t)~BIT(index % 8);
	if (index >= MSR_BITMAP_RANGE) {
		return; /* beyond the bitmap: always exits */
	}
	if (read) {
		bitmap[(high ? MSR_BITMAP_READ_HIGH : MSR_BITMAP_READ_LOW) + index / 8] &= keep;
	}
	if (write) {
		bitmap[(high ? MSR_BITMAP_WRITE_HIGH : MSR_BITMAP_WRITE_LOW) + index / 8] &= keep;
	}
}

void vmx_intercept_write(struct arch_vcpu *vcpu, uint32_t msr, bool on)
{
	uint8_t *bitmap = mm_pointer(x86_hal, bitmap_of(vcpu));
	if (on) {
		bitmap[MSR_BITMAP_WRITE_LOW + msr / 8] |= (uint8_t)BIT(msr % 8);
	} else {
		allow_msr(bitmap, msr, false, true);
	}
}

static void switch_spec_ctrl(bool on)
{
	vmwrite(VMCS_EXIT_MSR_STORE_COUNT, on);
	vmwrite(VMCS_EXIT_MSR_LOAD_COUNT, on);
	vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, on);
}

void vmx_setup_msrs(struct arch_vcpu *vcpu)
{
	void *bitmap = mm_pointer(x86_hal, bitmap_of(vcpu));
	memset(bitmap, UINT8_MAX, FRAME_SIZE);
	x86_msr_passthrough(allow_msr, bitmap);
	vmwrite(VMCS_MSR_BITMAPS, bitmap_of(vcpu));

	vcpu->spec_ctrl[OF_GUEST] = (struct vmx_msr){.index = MSR_IA32_SPEC_CTRL};
	vcpu->spec_ctrl[OF_HOST] = (struct vmx_msr){.index = MSR_IA32_SPEC_CTRL};
	vmwrite(VMCS_EXIT_MSR_STORE, (uintptr_t)&vcpu->spec_ctrl[OF_GUEST]);
	vmwrite(VMCS_EXIT_MSR_LOAD, (uintptr_t)&vcpu->spec_ctrl[OF_HOST]);
	vmwrite(VMCS_ENTRY_MSR_LOAD, (uintptr_t)&vcpu->spec_ctrl[OF_GUEST]);
	switch_spec_ctrl(false);
}

uint64_t vmx_get_spec_ctrl(const struct arch_vcpu *vcpu)
{
	return vcpu->spec_ctrl[OF_GUEST].value;
}

void vmx_put_spec_ctrl(struct arch_vcpu *vcpu, uint64_t value)
{
	vcpu->spec_ctrl[OF_GUEST].value = value;
	if (value != 0) {
		vcpu->spec_ctrl[OF_HOST].value = rdmsr(MSR_IA32_SPEC_CTRL);
		allow_msr(mm_pointer(x86_hal, bitmap_of(vcpu)), MSR_IA32_SPEC_CTRL, true, true);
		switch_spec_ctrl(true);
	}
}
