/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aborts that stage 2 caused: the faulting address from HPFAR_EL2 or by a walk, then the virtual GIC, mm, or an exit
 * for hv. Called by vcpu.c with the vCPU loaded.
 */
#include "vcpu.h"

/* io_access.detail */
#define DETAIL_SIGN_EXTEND 1U
#define DETAIL_64_BIT	   2U
#define REGISTER_ZERO	   31 /* SRT: XZR */
#define INSTRUCTION_BYTES  4

bool arm_guest_translate(uint64_t address, gpa_t *ipa)
{
	uint64_t saved = sysreg_read(par_el1);
	__asm__ volatile("at s1e1r, %0" : : "r"(address) : "memory");
	isb();
	uint64_t par = sysreg_read(par_el1);
	sysreg_write(par_el1, saved);
	if (par & PAR_F) {
		return false;
	}
	*ipa = (par & PAR_PA) | (address & (FRAME_SIZE - 1));
	return true;
}

/*
 * HPFAR_EL2 is valid for every stage-2 fault but a permission fault on the access itself, D19.2.58: then the guest's
 * own walk tells. False: its tables have changed meanwhile; the access must be tried again.
 */
static bool faulting_address(uint64_t esr, gpa_t *gpa)
{
	uint64_t far = sysreg_read(far_el2);
	if ((esr & FSC_TYPE) == FSC_PERMISSION && !(esr & ESR_ABORT_S1PTW)) {
		return arm_guest_translate(far, gpa);
	}
	*gpa = field(sysreg_read(hpfar_el2), HPFAR_FIPA_HIGH, HPFAR_FIPA_LOW) << IPA_PAGE_SHIFT;
	if (!(esr & ESR_ABORT_S1PTW)) {
		*gpa |= far & (FRAME_SIZE - 1);
	}
	return true;
}

/*
 * A walk reads, unless the walker may read and wanted to update a descriptor. Cache maintenance sets WnR but needs no
 * more than to find the page.
 */
static uint8_t access_of(uint64_t esr, bool instruction)
{
	bool permission = (esr & FSC_TYPE) == FSC_PERMISSION;
	if (esr & ESR_ABORT_S1PTW) {
		return permission ? MM_WRITE : MM_READ;
	}
	if (instruction) {
		return MM_EXECUTE;
	}
	if ((esr & ESR_ABORT_CM) && !permission) {
		return MM_READ;
	}
	return esr & ESR_ABORT_WNR ? MM_WRITE : MM_READ;
}

/* Without FEAT_S2FWB a guest whose caches are off must not find what mm's zeroing left in the cache, see vm.c. */
static void clean_filled(struct arch_vcpu *vcpu, gpa_t gpa)
{
	struct translation translation;
	if (addr_space_translate(vcpu->vm->space, gpa, &translation) == MM_OK) {
		uint64_t leaf = UINT64_C(1) << translation.leaf_shift;
		arm_clean_invalidate(mm_pointer(arm_hal, align_down(translation.address, leaf)), leaf);
	}
}

static void fill_io(struct arch_vcpu *vcpu, uint64_t esr, gpa_t gpa, struct io_access *io)
{
	unsigned source = (unsigned)field(esr, ESR_ABORT_SRT_HIGH, ESR_ABORT_SRT_LOW);
	unsigned size = (unsigned)field(esr, ESR_ABORT_SAS_HIGH, ESR_ABORT_SAS_LOW);

	io->address = gpa;
	io->width = (uint8_t)(1U << size);
	io->write = esr & ESR_ABORT_WNR;
	io->target = (uint8_t)source;
	io->length = INSTRUCTION_BYTES;
	io->detail = (esr & ESR_ABORT_SSE ? DETAIL_SIGN_EXTEND : 0) | (esr & ESR_ABORT_SF ? DETAIL_64_BIT : 0);
	uint64_t value = source == REGISTER_ZERO ? 0 : vcpu->x[source];
	io->value = value & (UINT64_MAX >> (64 - 8 * io->width));
}

static bool answered_by_vgic(struct arch_vcpu *vcpu, uint64_t esr, gpa_t gpa)
{
	struct io_access io;
	fill_io(vcpu, esr, gpa, &io);
	if (!vgic_access(vcpu, io.address, io.width, io.write, &io.value)) {
		return false;
	}
	arch_vcpu_finish_io(vcpu, &io);
	return true;
}

static int refused(struct arch_vcpu *vcpu, uint64_t esr, bool instruction, struct vm_exit *exit)
{
	if (exit->status == MM_EFAULT && !instruction && !(esr & ESR_ABORT_S1PTW)) {
		if (esr & ESR_ABORT_CM) {
			arm_skip_instruction(); /* nothing is cached of what is not memory */
			return ARM_RUN_ON;
		}
		if (esr & ESR_ABORT_ISV) {
			fill_io(vcpu, esr, exit->fault.gpa, &exit->io);
			return VM_EXIT_MMIO;
		}
	}
	return VM_EXIT_NESTED_FAULT;
}

static int stage2_fault(struct arch_vcpu *vcpu, uint64_t esr, bool instruction, struct vm_exit *exit)
{
	gpa_t gpa;
	if (unlikely(!faulting_address(esr, &gpa))) {
		return ARM_RUN_ON;
	}
	if (gpa - VGIC_DISTRIBUTOR_BASE < VGIC_WINDOW_BYTES && !instruction &&
	    (esr & (ESR_ABORT_ISV | ESR_ABORT_S1PTW)) == ESR_ABORT_ISV && answered_by_vgic(vcpu, esr, gpa)) {
		return ARM_RUN_ON;
	}
	exit->fault = (struct nested_fault){
		.gpa = gpa,
		.access = access_of(esr, instruction),
		.linear_valid = !(esr & ESR_ABORT_FNV),
		.table_walk = esr & ESR_ABORT_S1PTW,
		.linear_address = sysreg_read(far_el2),
	};
	exit->raw = esr;
	exit->status = addr_space_handle_fault(vcpu->vm->space, &exit->fault);
	if (likely(exit->status == MM_OK)) {
		if (!arm_features.force_write_back) {
			clean_filled(vcpu, gpa);
		}
		dsb(ishst); /* the new entry before the guest's next walk */
		return ARM_RUN_ON;
	}
	return refused(vcpu, esr, instruction, exit);
}

int arm_abort(struct arch_vcpu *vcpu, uint64_t esr, struct vm_exit *exit)
{
	bool instruction = field(esr, ESR_EC_HIGH, ESR_EC_LOW) == EC_INSTRUCTION_ABORT_LOWER;
	uint64_t status = esr & ESR_ABORT_FSC;

	if (likely(status < FSC_EXTERNAL)) {
		return stage2_fault(vcpu, esr, instruction, exit);
	}
	if (status == FSC_EXTERNAL || (status & FSC_TYPE) == FSC_EXTERNAL_WALK) {
		/* What the guest touched (its CPU interface, say) answered with an error: it gets to know. */
		uint64_t far = sysreg_read(far_el2);
		bool lower = field(sysreg_read(spsr_el2), PSTATE_MODE_EL_HIGH, PSTATE_MODE_EL_LOW) == 0;
		uint64_t own = instruction ? (lower ? EC_INSTRUCTION_ABORT_LOWER : EC_INSTRUCTION_ABORT)
					   : (lower ? EC_DATA_ABORT_LOWER : EC_DATA_ABORT);
		arm_inject(own << ESR_EC_LOW | ESR_IL | FSC_EXTERNAL, &far);
		return ARM_RUN_ON;
	}
	exit->raw = esr;
	return VM_EXIT_FAILED;
}

void arch_vcpu_finish_io(struct arch_vcpu *vcpu, const struct io_access *io)
{
	arm_skip_instruction();
	if (io->write || io->target == REGISTER_ZERO) {
		return;
	}
	unsigned shift = 64U - 8U * io->width;
	uint64_t value = io->value << shift;
	if (io->detail & DETAIL_SIGN_EXTEND) {
		value = (uint64_t)((int64_t)value >> shift);
		value = io->detail & DETAIL_64_BIT ? value : (uint32_t)value;
	} else {
		value >>= shift;
	}
	vcpu->x[io->target] = value;
}
