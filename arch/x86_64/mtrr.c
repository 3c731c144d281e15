/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From MTRR values to memory types. Pure: no privileged instruction, no state. Called by arch_memory_type for
 * memory that is mapped through to a guest; builds and is tested on the host.
 */
#include "arch/x86_64/mtrr.h"

#include "lib/util.h"

#define TYPE_MASK           UINT64_C(0x7) /* AMD keeps two bits of its own above */
#define FIXED_END           MIB(1)
#define FIXED_64K_END       UINT64_C(0x80000)
#define FIXED_16K_END       UINT64_C(0xc0000)
#define FIXED_64K_REGISTERS 1
#define FIXED_16K_REGISTERS 2
#define FIXED_PER_REGISTER  8 /* one byte each */

/* A type and how far it is sure to reach. */
struct extent {
	uint8_t type;
	hpa_t end;
};

static struct extent fixed_type(const struct mtrrs *m, hpa_t address)
{
	hpa_t start;
	unsigned first, shift;
	if (address < FIXED_64K_END) {
		start = 0;
		first = 0;
		shift = 16;
	} else if (address < FIXED_16K_END) {
		start = FIXED_64K_END;
		first = FIXED_64K_REGISTERS;
		shift = 14;
	} else {
		start = FIXED_16K_END;
		first = FIXED_64K_REGISTERS + FIXED_16K_REGISTERS;
		shift = 12;
	}
	unsigned range = (unsigned)((address - start) >> shift);
	uint64_t value = m->fixed[first + range / FIXED_PER_REGISTER];
	return (struct extent){
		.type = (uint8_t)((value >> (range % FIXED_PER_REGISTER * 8)) & TYPE_MASK),
		.end = start + ((uint64_t)(range + 1) << shift),
	};
}

/* Two variable ranges that overlap: SDM vol. 3A 11.11.4.1. What it calls undefined is uncacheable here. */
static uint8_t combine(uint8_t a, uint8_t b)
{
	if (a == b) {
		return a;
	}
	bool through_and_back =
		(a == MTRR_WRITE_THROUGH && b == MTRR_WRITE_BACK) || (a == MTRR_WRITE_BACK && b == MTRR_WRITE_THROUGH);
	return through_and_back ? MTRR_WRITE_THROUGH : MTRR_UNCACHEABLE;
}

/* The first address after `address` at which a range's membership may change. */
static hpa_t next_change(hpa_t address, hpa_t base, uint64_t mask, uint64_t address_bits)
{
	uint64_t block = mask & (~mask + 1); /* the lowest bit */
	if (mask == 0) {
		return UINT64_MAX;
	}
	/* A mask with holes: it may change with each naturally aligned block. One without holds a single block. */
	if (mask != (address_bits & ~(block - 1))) {
		return align_down(address, block) + block;
	}
	hpa_t start = base & mask;
	if (address < start) {
		return start;
	}
	return address < start + block ? start + block : UINT64_MAX;
}

static struct extent variable_type(const struct mtrrs *m, hpa_t address)
{
	uint64_t address_bits = BITS(m->physical_bits - 1, 12);
	struct extent extent = {.type = (uint8_t)(m->def_type & TYPE_MASK), .end = BIT(m->physical_bits)};
	bool found = false;

	if (m->top_mem2 != 0 && address >= GIB(4) && address < m->top_mem2) {
		extent.type = MTRR_WRITE_BACK;
		extent.end = MIN(extent.end, m->top_mem2);
	} else if (m->top_mem2 != 0 && address < GIB(4)) {
		extent.end = GIB(4);
	}
	for (unsigned i = 0; i < m->variable_count; i++) {
		hpa_t base = m->variable[i].base & address_bits;
		uint64_t mask = m->variable[i].mask & address_bits;
		if (!(m->variable[i].mask & MTRR_MASK_VALID)) {
			continue;
		}
		extent.end = MIN(extent.end, next_change(address, base, mask, address_bits));
		if ((address & mask) == (base & mask)) {
			uint8_t type = (uint8_t)(m->variable[i].base & TYPE_MASK);
			extent.type = found ? combine(extent.type, type) : type;
			found = true;
		}
	}
	return extent;
}

static struct extent type_at(const struct mtrrs *m, hpa_t address)
{
	if (!(m->def_type & MTRR_DEF_ENABLE)) {
		return (struct extent){.type = MTRR_UNCACHEABLE, .end = UINT64_MAX};
	}
	if (address < FIXED_END && m->has_fixed && (m->def_type & MTRR_DEF_FIXED_ENABLE)) {
		return fixed_type(m, address);
	}
	struct extent extent = variable_type(m, address);
	if (address < FIXED_END) {
		extent.end = MIN(extent.end, FIXED_END);
	}
	return extent;
}

/* Write-protected has no name here: its reads may be cached, its writes may not. Uncached is true to both. */
static enum mm_memory_type memory_type(uint8_t type)
{
	switch (type) {
	case MTRR_WRITE_BACK:
		return MM_WRITE_BACK;
	case MTRR_WRITE_THROUGH:
		return MM_WRITE_THROUGH;
	case MTRR_WRITE_COMBINING:
		return MM_WRITE_COMBINING;
	default:
		return MM_UNCACHED;
	}
}

enum mm_memory_type mtrr_memory_type(const struct mtrrs *mtrrs, hpa_t base, uint64_t bytes)
{
	hpa_t limit = BIT(mtrrs->physical_bits);
	if (base >= limit || bytes > limit - base) {
		return MM_UNCACHED;
	}
	/* enum mm_memory_type goes from the laxest to the strictest. */
	enum mm_memory_type strictest = MM_WRITE_BACK;
	hpa_t end = base + MAX(bytes, 1);
	for (hpa_t address = base; address < end && strictest < MM_UNCACHED;) {
		struct extent extent = type_at(mtrrs, address);
		strictest = MAX(strictest, memory_type(extent.type));
		address = extent.end;
	}
	return strictest;
}
