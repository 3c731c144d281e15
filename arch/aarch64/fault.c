/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Aborts that stage 2 caused: the faulting address from HPFAR_EL2 or by a walk, then the virtual GIC, mm, or an exit
 * for hv. Called by vcpu.c with the vCPU loaded.
 */
#include "vcpu.h"

#define REGISTER_ZERO 31 /* SRT: XZR */

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
	if ((esr & ESR_ABORT_TYPE) == FSC_PERMISSION && !(esr & ESR_ABORT_S1PTW)) {
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
	bool permission = (esr & ESR_ABORT_TYPE) == FSC_PERMISSION;
	if (esr & ESR_ABORT_S1PTW) {
		return permission ? MM_RW : MM_READ;
	}
	if (instruction) {
		return MM_EXECUTE;
	}
	if ((esr & ESR_ABORT_CM) && !permission) {
		return MM_READ;
	}
	return esr & ESR_ABORT_WNR ? MM_WRITE : MM_READ;
}

/* ---- device registers ---- */

static inline unsigned io_target(uint64_t esr)
{
	return (unsigned)field(esr, ESR_ABORT_SRT_HIGH, ESR_ABORT_SRT_LOW);
}

/* io->detail is ESR_EL2's low half: what arch_vcpu_finish_io needs is there, not in target and length. */
static inline __attribute__((always_inline)) void fill_io(const struct arch_vcpu *vcpu, uint64_t esr, gpa_t gpa,
                                                          bool write, struct io_access *io)
{
	io->address = gpa;
	io->width = (uint8_t)(1U << field(esr, ESR_ABORT_SAS_HIGH, ESR_ABORT_SAS_LOW));
	io->write = write;
	io->detail = (uint32_t)esr;
	if (write) {
		uint64_t value = io_target(esr) == REGISTER_ZERO ? 0 : vcpu->x[io_target(esr)];
		io->value = value & (UINT64_MAX >> (64U - 8U * io->width));
	}
}

static uint64_t sign_extended(uint64_t value, unsigned width, uint32_t esr)
{
	unsigned shift = 64U - 8U * width;
	value = (uint64_t)((int64_t)(value << shift) >> shift);
	return esr & ESR_ABORT_SF ? value : (uint32_t)value;
}

void arch_vcpu_finish_io(struct arch_vcpu *vcpu, const struct io_access *io)
{
	uint32_t esr = io->detail;
	arm_skip_instruction();
	if ((esr & ESR_ABORT_WNR) || io_target(esr) == REGISTER_ZERO) {
		return;
	}
	uint64_t value = io->value;
	vcpu->x[io_target(esr)] = unlikely(esr & ESR_ABORT_SSE) ? sign_extended(value, io->width, esr) : value;
}

static __attribute__((noinline)) bool answered_by_vgic(struct arch_vcpu *vcpu, uint64_t esr, gpa_t gpa)
{
	struct io_access io;
	fill_io(vcpu, esr, gpa, esr & ESR_ABORT_WNR, &io);
	if (!vgic_access(vcpu, io.address, io.width, io.write, &io.value)) {
		return false;
	}
	if (!io.write) {
		io.value &= UINT64_MAX >> (64U - 8U * io.width);
	}
	arch_vcpu_finish_io(vcpu, &io);
	return true;
}

/* A data access where no area is: an exit for hv if the CPU tells what was accessed. */
static int no_area(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr)
{
	if (esr & ESR_ABORT_CM) {
		arm_skip_instruction(); /* nothing is cached of what is not memory */
		return ARM_RUN_ON;
	}
	if (!(esr & ESR_ABORT_ISV)) {
		return VM_EXIT_NESTED_FAULT;
	}
	fill_io(vcpu, esr, exit->fault.gpa, esr & ESR_ABORT_WNR, &exit->io);
	vcpu->mmio = (struct arm_mmio_page){
		.hpfar = sysreg_read(hpfar_el2),
		.layout = vcpu->space->layout,
	};
	return VM_EXIT_MMIO;
}

/* ---- memory ---- */

/* exit->fault is filled. `data`: an access of the guest's own, which may have been one to a device. */
static inline int ask_mm(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr, bool data)
{
	int status = addr_space_handle_fault(vcpu->space, &exit->fault);
	if (likely(status == MM_OK)) {
		dsb(ishst); /* the new entry before the guest's next walk */
		return ARM_RUN_ON;
	}
	exit->status = status;
	return status == MM_EFAULT && data ? no_area(vcpu, exit, esr) : VM_EXIT_NESTED_FAULT;
}

static int stage2_fault(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr, bool instruction)
{
	gpa_t gpa;
	if (!faulting_address(esr, &gpa)) {
		return ARM_RUN_ON;
	}
	exit->raw = esr;
	exit->fault.gpa = gpa;
	exit->fault.access = access_of(esr, instruction);
	exit->fault.linear_valid = !(esr & ESR_ABORT_FNV);
	exit->fault.table_walk = esr & ESR_ABORT_S1PTW;
	exit->fault.linear_address = sysreg_read(far_el2);
	return ask_mm(vcpu, exit, esr, !instruction && !(esr & ESR_ABORT_S1PTW));
}

/* What the guest touched (its CPU interface, say) answered with an error: it is told, and where, if that is known. */
static int external_abort(uint64_t esr, bool instruction)
{
	uint64_t far = sysreg_read(far_el2);
	bool lower = field(sysreg_read(spsr_el2), PSTATE_MODE_EL_HIGH, PSTATE_MODE_EL_LOW) == 0;
	uint64_t own = instruction ? (lower ? EC_INSTRUCTION_ABORT_LOWER : EC_INSTRUCTION_ABORT)
	                           : (lower ? EC_DATA_ABORT_LOWER : EC_DATA_ABORT);
	bool known = !(esr & ESR_ABORT_FNV);
	arm_inject(own << ESR_EC_LOW | ESR_IL | (esr & ESR_ABORT_FNV) | FSC_EXTERNAL, known ? &far : NULL);
	return ARM_RUN_ON;
}

static __attribute__((noinline)) int other_abort(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr,
                                                 bool instruction)
{
	uint64_t status = esr & ESR_ABORT_FSC;
	if (status < FSC_EXTERNAL) {
		return stage2_fault(vcpu, exit, esr, instruction);
	}
	if (status == FSC_EXTERNAL || (status & ESR_ABORT_TYPE) == FSC_EXTERNAL_WALK) {
		return external_abort(esr, instruction);
	}
	exit->raw = esr;
	return VM_EXIT_FAILED;
}

int arm_instruction_abort(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr)
{
	return other_abort(vcpu, exit, esr, true);
}

/* Whether the page is the last one that mm knew nothing of, and mm's areas are still the same. */
static inline bool known_device_page(const struct arch_vcpu *vcpu, uint64_t hpfar)
{
	return hpfar == vcpu->mmio.hpfar && vcpu->space->layout == vcpu->mmio.layout;
}

/* A translation fault that stage 2 has not seen before, neither in a walk of the guest's. */
static __attribute__((noinline)) int translation_fault(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr)
{
	gpa_t gpa = exit->fault.gpa;
	if (unlikely(gpa - VGIC_DISTRIBUTOR_BASE < VGIC_WINDOW_BYTES) && (esr & ESR_ABORT_ISV) &&
	    answered_by_vgic(vcpu, esr, gpa)) {
		return ARM_RUN_ON;
	}
	return ask_mm(vcpu, exit, esr, true);
}

/* HPFAR_EL2 and FAR_EL2 are valid for a translation fault on the guest's own access. */
static inline __attribute__((always_inline)) int unmapped(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr,
                                                          bool write)
{
	uint64_t hpfar = sysreg_read(hpfar_el2);
	uint64_t far = sysreg_read(far_el2);
	gpa_t gpa = hpfar << (IPA_PAGE_SHIFT - HPFAR_FIPA_LOW) | (far & (FRAME_SIZE - 1));

	exit->raw = esr;
	exit->fault.gpa = gpa;
	exit->fault.access = write ? MM_WRITE : MM_READ;
	exit->fault.linear_valid = true;
	exit->fault.table_walk = false;
	exit->fault.linear_address = far;
	if ((esr & ESR_ABORT_ISV) && known_device_page(vcpu, hpfar)) {
		fill_io(vcpu, esr, gpa, write, &exit->io);
		return VM_EXIT_MMIO;
	}
	return translation_fault(vcpu, exit, esr);
}

/* The counted ways are the guest's own loads and stores where nothing is mapped: lazy memory, device registers. */
int arm_data_abort(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr)
{
	uint64_t kind = esr & ESR_ABORT_KIND;
	if (likely(kind == FSC_TRANSLATION)) {
		return unmapped(vcpu, exit, esr, false);
	}
	if (likely(kind == (FSC_TRANSLATION | ESR_ABORT_WNR))) {
		return unmapped(vcpu, exit, esr, true);
	}
	return other_abort(vcpu, exit, esr, false);
}
