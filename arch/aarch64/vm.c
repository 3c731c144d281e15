/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory as the CPU sees it: the stage-2 format, VMIDs, cached translations, and caches. Called by hv/ by
 * way of arch.h, and by mm's flush.
 *
 * Caches. A guest starts with its MMU and caches off: it then reads and writes memory past the caches, while what the
 * hypervisor wrote there (zeros, an image) may still lie in them. With FEAT_S2FWB stage 2 makes every access of the
 * guest's cacheable, whatever its stage 1 says, and nothing is to be done. Without it
 *   - every frame that mm fills is cleaned and invalidated before a guest can reach it (mm_hal's clean), and so is all
 *     memory that a guest has, with what loaders wrote, before its vCPU starts: it never finds a line that the
 *     hypervisor has dirtied;
 *   - maintenance by set and way, which cannot be meant for one guest, cleans all of the guest's memory (sysreg.c);
 *   - a guest that turns its caches on or off after that is noticed by HCR_EL2.TVM, and its memory cleaned again.
 * With or without it, instructions are fetched past the data caches: what a loader writes is cleaned
 * (arch_clean_guest_memory), and the instruction caches, which may hold what a frame contained in an earlier life, are
 * emptied before a vCPU starts, and when frames leave a VM for others that run.
 */
#include "vm.h"

#include "gic_host.h"
#include "lib/string.h"
#include "vcpu.h"

#define VMIDS           256    /* 8 bits: every CPU has those. 0 stands for no guest. */
#define FLUSH_PAGES_MAX 64     /* more than so many one by one: all at once */
#define CLEAN_PART      MIB(1) /* of a guest's memory, at one exit */

/*
 * VMs of ordinary size: one frame of root, walked from level 1. Larger ones get a root of up to 16 frames, and from 44
 * bits on a level more.
 */
#define GPA_BITS_MIN 39

static uint64_t vmids[VMIDS / 64] = {1};

/* ---- the format ---- */

void arm_stage2_init(void)
{
	sysreg_write(vttbr_el2, 0);
	arm_hal->clean = arm_features.force_write_back ? NULL : arm_clean_invalidate;
	isb();
	tlbi(alle1is);
	dsb(ish);
	isb();
}

unsigned arch_gpa_bits(void)
{
	return arm_features.physical_bits;
}

void arch_nested_format(struct npt_format *format, gpa_t end)
{
	unsigned needed = end > 1 ? 64U - (unsigned)__builtin_clzll(end - 1) : 0;
	struct arm_stage2_capabilities capabilities = {
		.ipa_bits = (uint8_t)MIN(MAX(needed, GPA_BITS_MIN), arm_features.physical_bits),
		.physical_bits = arm_features.physical_bits,
		.force_write_back = arm_features.force_write_back,
		.hardware_dirty = arm_features.hardware_dirty,
	};
	/* No CPU has fewer than 32 bits, and none is asked for more than it has: this cannot fail. */
	(void)npt_format_arm_stage2(format, &capabilities);
}

/* VTCR_EL2, D19.2.160. The start level is two less than the number of levels, with the 4 KiB granule. */
static uint64_t translation_control(const struct npt_format *stage2)
{
	return VTCR_RES1 | TCR_T0SZ(stage2->input_bits) | (uint64_t)(stage2->levels - 2U) << VTCR_SL0_LOW |
	       TCR_IRGN0_WRITE_BACK | TCR_ORGN0_WRITE_BACK | TCR_SH0_INNER | TCR_TG0_4K |
	       arm_physical_size() << TCR_PS_LOW | (arm_features.hardware_dirty ? VTCR_HA | VTCR_HD : 0);
}

/* The smallest PARange that has all of the VM's addresses: its VTCR_EL2.T0SZ need not be one of those sizes. */
uint64_t arm_guest_pa_range(const struct arch_vm *vm)
{
	static const uint8_t bits[] = {32, 36, 40, 42, 44, 48};
	uint64_t range = 0;
	while (range + 1 < ARRAY_SIZE(bits) && bits[range] < vm->space->npt.format.input_bits) {
		range++;
	}
	return range;
}

/* Memory is what the firmware's map calls memory; Arm has no other rules. */
enum mm_memory_type arch_memory_type(hpa_t base, uint64_t bytes)
{
	(void)base;
	(void)bytes;
	return MM_WRITE_BACK;
}

/* ---- VMs ---- */

static uint16_t vmid_alloc(void)
{
	for (unsigned i = 0; i < VMIDS; i++) {
		if (!(vmids[i / 64] & BIT(i % 64))) {
			vmids[i / 64] |= BIT(i % 64);
			return (uint16_t)i;
		}
	}
	return 0;
}

/* Frames leave a VM after a flush. Where they go to, instruction caches must not have what was in them. */
static void forget_instructions(void)
{
	__asm__ volatile("ic ialluis" : : : "memory");
}

static void flush_all(uint64_t vttbr)
{
	uint64_t current = sysreg_read(vttbr_el2);
	dsb(ishst);
	sysreg_write(vttbr_el2, vttbr);
	isb();
	tlbi(vmalls12e1is);
	forget_instructions();
	dsb(ish);
	isb();
	sysreg_write(vttbr_el2, current);
	isb();
}

int arch_vm_init(struct arch_vm *vm, struct addr_space *space, unsigned vcpus)
{
	static const struct npt_attributes device = {.permissions = MM_RW, .type = MM_DEVICE};
	memset(vm, 0, sizeof(*vm));
	if (vcpus == 0 || vcpus > ARM_VCPUS_MAX) {
		return MM_EINVAL;
	}
	vm->space = space;
	vm->vcpus = vcpus;
	vgic_init(vm, gic_host.version);
	if (gic_host.version == 2) {
		hpa_t gicv = gic_host.description.virtual_cpu.base;
		int status = addr_space_map_linear(space, VGIC_CPU_INTERFACE_BASE, VGIC_CPU_INTERFACE_BYTES,
		                                   (int64_t)(VGIC_CPU_INTERFACE_BASE - gicv), device);
		if (status != MM_OK) {
			return status;
		}
	}
	vm->vmid = vmid_alloc();
	if (vm->vmid == 0) {
		return MM_ENOMEM;
	}
	vm->vtcr = translation_control(&space->npt.format);
	vm->vttbr = addr_space_root(space) | (uint64_t)vm->vmid << VTTBR_VMID_LOW;
	return MM_OK;
}

void arch_vm_destroy(struct arch_vm *vm)
{
	flush_all(vm->vttbr);
	vmids[vm->vmid / 64] &= ~BIT(vm->vmid % 64);
}

/* ---- cached translations ---- */

static uint64_t pages_of(const struct gpa_range *ranges, unsigned count)
{
	uint64_t pages = 0;
	for (unsigned i = 0; i < count && pages <= FLUSH_PAGES_MAX; i++) {
		pages += (ranges[i].end - ranges[i].start) >> FRAME_SHIFT;
	}
	return pages;
}

/* By IPA, then everything that was combined from it with stage 1, D8.13.5. */
void arch_vm_flush(struct arch_vm *vm, const struct gpa_range *ranges, unsigned count)
{
	if (count == 0 || pages_of(ranges, count) > FLUSH_PAGES_MAX) {
		flush_all(vm->vttbr);
		return;
	}
	uint64_t current = sysreg_read(vttbr_el2);
	dsb(ishst);
	sysreg_write(vttbr_el2, vm->vttbr);
	isb();
	for (unsigned i = 0; i < count; i++) {
		for (gpa_t page = ranges[i].start; page < ranges[i].end; page += FRAME_SIZE) {
			tlbi_address(ipas2e1is, page >> FRAME_SHIFT);
		}
	}
	dsb(ish);
	tlbi(vmalle1is);
	forget_instructions();
	dsb(ish);
	isb();
	sysreg_write(vttbr_el2, current);
	isb();
}

/* ---- caches ---- */

void arm_empty_instruction_caches(void)
{
	forget_instructions();
	dsb(ish);
	isb();
}

void arch_clean_guest_memory(const void *memory, size_t bytes)
{
	arm_clean_invalidate(memory, bytes);
}

bool arm_clean_guest_part(struct arch_vm *vm, gpa_t *from)
{
	const struct npt *npt = &vm->space->npt;
	gpa_t end = BIT(npt->format.input_bits);
	gpa_t gpa = *from;
	/* To look where nothing is costs about what a page costs. */
	for (uint64_t left = CLEAN_PART; left > 0 && gpa < end; left -= MIN(left, FRAME_SIZE)) {
		struct npt_entry entry = npt_lookup(npt, gpa);
		uint64_t span = UINT64_C(1) << npt->format.level[entry.level].shift;
		uint64_t rest = span - (gpa & (span - 1));
		if (entry.kind == NPT_LEAF && entry.attributes.type == MM_WRITE_BACK) {
			rest = MIN(rest, left);
			arm_clean_invalidate(mm_pointer(arm_hal, entry.address), rest);
			left -= MIN(left, rest - FRAME_SIZE);
		}
		gpa += rest;
	}
	*from = gpa;
	return gpa >= end;
}
