/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor's own page tables, virtual = physical, by mm's walker: text read-execute, constants read-only,
 * all else read-write and never executable, frame 0 and the pages below stacks unmapped. Called by arch_init, and
 * through arch.h by whoever needs a stack, a device or the firmware. Changes are made by one CPU while the others
 * stand still: no lock, and no CPU but this one to flush.
 */
#include "arch/x86_64/cpu.h"

#include "arch/arch.h"
#include "lib/image.h"
#include "lib/log.h"
#include "lib/string.h"

#define LEVEL_TOP 2 /* 1 GiB, where the format has it */

static struct {
	struct mm_hal hal; /* what the walker sees: frames from `frames`, our own flush */
	struct mm_hal *frames;
	struct npt npt;
	hpa_t root; /* for CR3: npt.root, or the level above it */
	bool in_use;
	const struct memory_region *regions;
	unsigned region_count;
} host;

/* ---- what the walker needs ---- */

static hpa_t alloc_frames(struct mm_hal *hal, unsigned order, enum frame_use use)
{
	(void)hal;
	return host.frames->alloc_frames(host.frames, order, use);
}

static void free_frames(struct mm_hal *hal, hpa_t frames, unsigned order, enum frame_use use)
{
	(void)hal;
	host.frames->free_frames(host.frames, frames, order, use);
}

/* No page is global and there are no PCIDs: a write to CR3 forgets all. */
static void flush(struct mm_hal *hal, struct npt *npt, const struct gpa_range *ranges, unsigned count)
{
	(void)hal;
	(void)npt;
	(void)ranges;
	(void)count;
	if (host.in_use) {
		write_cr3(host.root);
	}
}

/* ---- building ---- */

struct mapping {
	bool mapped;
	struct npt_attributes attributes;
};

static struct mapping mapping_of(enum memory_kind kind)
{
	switch (kind) {
	case MEMORY_CONVENTIONAL:
	case MEMORY_LOADED:
		return (struct mapping){true, {MM_RW, MM_WRITE_BACK}};
	case MEMORY_ACPI:
		return (struct mapping){true, {MM_READ, MM_WRITE_BACK}};
	case MEMORY_DEVICE:
		return (struct mapping){true, {MM_RW, MM_DEVICE}};
	case MEMORY_FIRMWARE:
	case MEMORY_RESERVED:
	default:
		return (struct mapping){.mapped = false};
	}
}

static bool same_mapping(struct mapping a, struct mapping b)
{
	return a.mapped && b.mapped && a.attributes.permissions == b.attributes.permissions &&
	       a.attributes.type == b.attributes.type;
}

static hpa_t region_end(const struct memory_region *region)
{
	return region->base + region->frames * FRAME_SIZE;
}

/* Neighbours that are mapped alike go in one piece: large leaves may cross from one region to the next. */
static int map_regions(void)
{
	for (unsigned i = 0; i < host.region_count; i++) {
		struct mapping mapping = mapping_of(host.regions[i].kind);
		hpa_t start = host.regions[i].base;
		if (!mapping.mapped) {
			continue;
		}
		while (i + 1 < host.region_count && host.regions[i + 1].base == region_end(&host.regions[i]) &&
		       same_mapping(mapping, mapping_of(host.regions[i + 1].kind))) {
			i++;
		}
		/* Frame 0 stays a hole, so that a null pointer faults. */
		start = MAX(start, FRAME_SIZE);
		hpa_t end = region_end(&host.regions[i]);
		if (start >= end) {
			continue;
		}
		int status = npt_map(&host.npt, start, start, end - start, mapping.attributes, LEVEL_TOP);
		if (status != MM_OK) {
			log_line("paging", "0x%lx to 0x%lx cannot be mapped: %s", start, end, mm_status_name(status));
			return status;
		}
	}
	return MM_OK;
}

static int protect_image(void)
{
	static const struct {
		const char *start, *end;
		uint8_t permissions;
	} parts[] = {
		{image_start, text_start, MM_READ},
		{text_start, text_end, MM_RX},
		{rodata_start, rodata_end, MM_READ},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		uint64_t bytes = (uint64_t)(parts[i].end - parts[i].start);
		if (bytes == 0) {
			continue;
		}
		int status = npt_protect(&host.npt, (uintptr_t)parts[i].start, bytes, parts[i].permissions);
		if (status != MM_OK) {
			return status;
		}
	}
	return npt_unmap(&host.npt, (uintptr_t)boot_stack_guard, FRAME_SIZE, NULL, NULL);
}

/* Firmware that turned 5-level paging on leaves no way out of it in 64-bit mode: one more table above ours. */
static int add_fifth_level(void)
{
	host.root = host.npt.root;
	if (!(read_cr4() & CR4_LA57)) {
		return MM_OK;
	}
	hpa_t top = alloc_frames(&host.hal, 0, FRAME_TABLE);
	if (top == HPA_NONE) {
		return MM_ENOMEM;
	}
	uint64_t *entries = mm_pointer(&host.hal, top);
	memset(entries, 0, FRAME_SIZE);
	entries[0] = host.npt.root | host.npt.format.table_bits;
	host.root = top;
	return MM_OK;
}

int x86_paging_init(const struct memory_region *regions, unsigned count, struct mm_hal *hal)
{
	struct npt_format format;
	npt_format_x86_host(&format, &(struct x86_host_capabilities){
					     .leaf_1g = x86_features.leaf_1g,
					     .physical_bits = x86_features.physical_bits,
				     });
	host.regions = regions;
	host.region_count = count;
	host.frames = hal;
	host.hal = (struct mm_hal){
		.alloc_frames = alloc_frames,
		.free_frames = free_frames,
		.flush = flush,
		.virtual_offset = hal->virtual_offset,
	};
	int status = npt_init(&host.npt, &format, &host.hal);
	if (status != MM_OK) {
		return status;
	}
	status = map_regions();
	if (status == MM_OK) {
		status = protect_image();
	}
	if (status == MM_OK) {
		status = add_fifth_level();
	}
	if (status != MM_OK) {
		npt_destroy(&host.npt);
		return status;
	}
	x86_cpu_take(host.root);
	host.in_use = true;
	return MM_OK;
}

/* ---- asking ---- */

uint64_t x86_paging_frames(void)
{
	return host.npt.statistics.tables + (host.root != host.npt.root);
}

bool x86_paging_is_data(uintptr_t address)
{
	if (!host.in_use || address >= BIT(host.npt.format.input_bits)) {
		return false;
	}
	struct npt_entry entry = npt_lookup(&host.npt, address);
	return entry.kind == NPT_LEAF && entry.attributes.permissions == MM_RW &&
	       entry.attributes.type == MM_WRITE_BACK;
}

/* ---- changing ---- */

uintptr_t arch_stack_alloc(unsigned frames)
{
	unsigned order = 0;
	while (BIT(order) < frames + 1) { /* the guard's frame is given up */
		order++;
	}
	hpa_t base = alloc_frames(&host.hal, order, FRAME_KERNEL);
	if (base == HPA_NONE) {
		return 0;
	}
	if (npt_unmap(&host.npt, base, FRAME_SIZE, NULL, NULL) != MM_OK) {
		free_frames(&host.hal, base, order, FRAME_KERNEL);
		return 0;
	}
	for (uint64_t i = frames + 1; i < BIT(order); i++) {
		free_frames(&host.hal, base + i * FRAME_SIZE, 0, FRAME_KERNEL);
	}
	return base + (frames + 1) * FRAME_SIZE;
}

/* Parts may be mapped already: each run of holes is mapped, memory that is none of a device's refused. */
bool arch_map_device(hpa_t base, uint64_t bytes)
{
	const struct npt_attributes device = {MM_RW, MM_DEVICE};
	hpa_t limit = BIT(MIN(host.npt.format.input_bits, host.npt.format.output_bits));
	if (bytes == 0 || base >= limit || bytes > limit - base) {
		return false;
	}
	hpa_t end = align_up(base + bytes, FRAME_SIZE);
	hpa_t page = align_down(base, FRAME_SIZE);
	while (page < end) {
		struct npt_entry entry = npt_lookup(&host.npt, page);
		if (entry.kind == NPT_LEAF) {
			if (entry.attributes.type != MM_DEVICE) {
				return false;
			}
			page += FRAME_SIZE;
			continue;
		}
		hpa_t start = page;
		do {
			page += FRAME_SIZE;
		} while (page < end && npt_lookup(&host.npt, page).kind == NPT_HOLE);
		if (npt_map(&host.npt, start, start, page - start, device, LEVEL_TOP) != MM_OK) {
			return false;
		}
	}
	return true;
}

bool x86_paging_firmware(bool map)
{
	const struct npt_attributes all = {MM_RWX, MM_WRITE_BACK};
	bool done = true;
	for (unsigned i = 0; i < host.region_count; i++) {
		const struct memory_region *region = &host.regions[i];
		uint64_t bytes = region->frames * FRAME_SIZE;
		if (region->kind != MEMORY_FIRMWARE || bytes == 0) {
			continue;
		}
		int status = map ? npt_map(&host.npt, region->base, region->base, bytes, all, LEVEL_TOP)
		                 : npt_unmap(&host.npt, region->base, bytes, NULL, NULL);
		done = done && status == MM_OK;
	}
	return done;
}
