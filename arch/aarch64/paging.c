/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EL2's own page tables, by mm's walker: the whole of usable memory at virtual = physical, the image by its
 * sections with W^X, and a window above all memory for stacks with guard pages. Later changes only ever fill holes
 * or take away what they filled, so nothing that the hypervisor stands on is split.
 */
#include "cpu.h"
#include "lib/image.h"
#include "lib/printf.h"
#include "lib/string.h"

#define LEVEL_1G     2U
#define VIRTUAL_BITS 48
/* The last 512 GiB of EL2's virtual addresses; no memory may lie there. */
#define STACK_WINDOW_START (BIT(VIRTUAL_BITS) - BIT(39))

struct mm_hal *arm_hal;
static struct mm_hal el2_hal; /* arm_hal's frames, EL2's flush */
static struct npt tables;
static uint64_t next_stack = STACK_WINDOW_START;
static const struct memory_region *regions;
static unsigned region_count;

static hpa_t alloc_frames(struct mm_hal *hal, unsigned order, enum frame_use use)
{
	(void)hal;
	return arm_hal->alloc_frames(arm_hal, order, use);
}

static void free_frames(struct mm_hal *hal, hpa_t frames, unsigned order, enum frame_use use)
{
	(void)hal;
	arm_hal->free_frames(arm_hal, frames, order, use);
}

static void flush(struct mm_hal *hal, struct npt *npt, const struct gpa_range *ranges, unsigned count)
{
	(void)hal;
	(void)npt;
	(void)ranges;
	(void)count;
	dsb(ishst);
	tlbi(alle2is);
	dsb(ish);
	isb();
}

/* New entries are seen by the walker from here on; holes are not cached. */
static void publish(void)
{
	dsb(ishst);
	isb();
}

static int map(uint64_t start, uint64_t end, uint8_t permissions, enum mm_memory_type type)
{
	struct npt_attributes attributes = {.permissions = permissions, .type = (uint8_t)type};
	return start < end ? npt_map(&tables, start, start, end - start, attributes, LEVEL_1G) : MM_OK;
}

/* [start, end) of memory, without the image in it. */
static int map_around_image(uint64_t start, uint64_t end, uint8_t permissions, enum mm_memory_type type)
{
	uint64_t hole_start = MIN(MAX((uint64_t)image_start, start), end);
	uint64_t hole_end = MIN(MAX((uint64_t)image_end, start), end);
	int status = map(start, hole_start, permissions, type);
	return status == MM_OK ? map(hole_end, end, permissions, type) : status;
}

static int map_image(void)
{
	int status = map((uint64_t)image_start, (uint64_t)text_start, MM_READ, MM_WRITE_BACK);
	if (status == MM_OK) {
		status = map((uint64_t)text_start, (uint64_t)text_end, MM_RX, MM_WRITE_BACK);
	}
	if (status == MM_OK) {
		status = map((uint64_t)text_end, (uint64_t)rodata_end, MM_READ, MM_WRITE_BACK);
	}
	return status == MM_OK ? map((uint64_t)rodata_end, (uint64_t)image_end, MM_RW, MM_WRITE_BACK) : status;
}

static int map_region(const struct memory_region *region)
{
	uint64_t start = region->base;
	uint64_t end = start + (region->frames << FRAME_SHIFT);
	if (end > STACK_WINDOW_START) {
		return MM_ERANGE;
	}
	switch (region->kind) {
	case MEMORY_CONVENTIONAL:
	case MEMORY_LOADED:
		return map_around_image(start, end, MM_RW, MM_WRITE_BACK);
	case MEMORY_ACPI:
		return map(start, end, MM_READ, MM_WRITE_BACK);
	case MEMORY_DEVICE:
		return map(start, end, MM_RW, MM_DEVICE);
	case MEMORY_FIRMWARE:
	case MEMORY_RESERVED:
	default:
		return MM_OK;
	}
}

static int build(void)
{
	struct npt_format format;
	npt_format_arm_el2(&format, &(struct arm_el2_capabilities){.physical_bits = arm_features.physical_bits});
	int status = npt_init(&tables, &format, &el2_hal);
	if (status == MM_OK) {
		status = map_image();
	}
	for (unsigned i = 0; i < region_count && status == MM_OK; i++) {
		status = map_region(&regions[i]);
	}
	return status;
}

/* TCR_EL2.PS and VTCR_EL2.PS by the number of bits; D19.2.144 */
uint64_t arm_physical_size(void)
{
	static const uint8_t bits[] = {32, 36, 40, 42, 44, 48};
	uint64_t size = 0;
	while (size + 1 < ARRAY_SIZE(bits) && bits[size] < arm_features.physical_bits) {
		size++;
	}
	return size;
}

static bool switch_to_own(void)
{
	struct arm_translation to = {
		.hcr = ARM_HOST_HCR,
		.mair = ARM_EL2_MAIR,
		.tcr = TCR_EL2_RES1 | TCR_T0SZ(VIRTUAL_BITS) | TCR_IRGN0_WRITE_BACK | TCR_ORGN0_WRITE_BACK |
	               TCR_SH0_INNER | TCR_TG0_4K | arm_physical_size() << TCR_PS_LOW,
		.ttbr0 = tables.root,
		.sctlr = SCTLR_EL2_RES1 | SCTLR_M | SCTLR_C | SCTLR_SA | SCTLR_I | SCTLR_WXN,
	};
	arm_clean_invalidate(arm_translation_code, (uint64_t)(arm_translation_code_end - arm_translation_code));
	return arm_switch_translation(&to);
}

bool arm_paging_init(const struct arch_host *host, char *message, size_t size)
{
	arm_hal = host->hal;
	el2_hal = (struct mm_hal){
		.alloc_frames = alloc_frames,
		.free_frames = free_frames,
		.flush = flush,
		.virtual_offset = host->hal->virtual_offset,
	};
	regions = host->regions;
	region_count = host->region_count;
	int status = build();
	if (status != MM_OK) {
		snprintf(message, size, "the hypervisor's own page tables: %s", mm_status_name(status));
		return false;
	}
	if (!switch_to_own()) {
		snprintf(message, size, "HCR_EL2.E2H cannot be cleared on this CPU: EL2 without VHE is needed");
		return false;
	}
	return true;
}

bool arch_map_device(hpa_t base, uint64_t bytes)
{
	uint64_t start = align_down(base, FRAME_SIZE);
	uint64_t end = align_up(base + bytes, FRAME_SIZE);
	if (end <= start || end > STACK_WINDOW_START) {
		return false;
	}
	while (start < end) {
		uint64_t run = start;
		while (run < end && npt_lookup(&tables, run).kind == NPT_HOLE) {
			run += FRAME_SIZE;
		}
		if (map(start, run, MM_RW, MM_DEVICE) != MM_OK) {
			return false;
		}
		/* What is there already stays as it is. */
		start = run == start ? start + FRAME_SIZE : run;
	}
	publish();
	return true;
}

uintptr_t arch_stack_alloc(unsigned frames)
{
	static const struct npt_attributes attributes = {.permissions = MM_RW, .type = MM_WRITE_BACK};
	uint64_t bottom = next_stack + FRAME_SIZE; /* the page below stays a hole */
	for (unsigned i = 0; i < frames; i++) {
		hpa_t frame = arm_hal->alloc_frames(arm_hal, 0, FRAME_KERNEL);
		if (frame == HPA_NONE ||
		    npt_map(&tables, bottom + i * FRAME_SIZE, frame, FRAME_SIZE, attributes, 0) != MM_OK) {
			return 0; /* stacks are taken at start only: without one the hypervisor does not start */
		}
	}
	publish();
	next_stack = bottom + frames * FRAME_SIZE;
	return next_stack;
}

bool arm_readable(uint64_t address)
{
	if (!is_aligned(address, sizeof(uint64_t)) || address >= BIT(VIRTUAL_BITS)) {
		return false;
	}
	struct npt_entry entry = npt_lookup(&tables, address);
	return entry.kind == NPT_LEAF && (entry.attributes.permissions & MM_READ) &&
	       entry.attributes.type == MM_WRITE_BACK;
}

bool arm_is_guard_page(uint64_t address)
{
	return address >= STACK_WINDOW_START && address < next_stack && npt_lookup(&tables, address).kind == NPT_HOLE;
}

static void unmap_firmware(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (regions[i].kind == MEMORY_FIRMWARE) {
			npt_unmap(&tables, regions[i].base, regions[i].frames << FRAME_SHIFT, NULL, NULL);
		}
	}
}

/* Code and data lie in the same regions, so they are writable and executable: SCTLR_EL2.WXN is off meanwhile. */
bool arm_paging_map_firmware(bool on)
{
	uint64_t sctlr = sysreg_read(sctlr_el2);
	if (!on) {
		sysreg_write(sctlr_el2, sctlr | SCTLR_WXN);
		unmap_firmware(region_count);
		return true;
	}
	for (unsigned i = 0; i < region_count; i++) {
		uint64_t end = regions[i].base + (regions[i].frames << FRAME_SHIFT);
		if (regions[i].kind == MEMORY_FIRMWARE && map(regions[i].base, end, MM_RWX, MM_WRITE_BACK) != MM_OK) {
			unmap_firmware(i);
			return false;
		}
	}
	sysreg_write(sctlr_el2, sctlr & ~SCTLR_WXN);
	publish();
	tlbi(alle2is); /* WXN may be held in cached translations */
	dsb(ish);
	isb();
	return true;
}
