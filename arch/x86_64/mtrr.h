/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory types that the MTRRs give to host-physical memory, as a pure function over their values, so that it
 * is tested on the host. arch.c reads the values once. SDM vol. 3A 11.11; APM vol. 2 7.7 and 7.9.
 */
#pragma once

#include "lib/util.h"
#include "mm/types.h"

#define MTRR_FIXED_COUNT  11 /* 64K_00000, 16K_80000, 16K_A0000, 4K_C0000 to 4K_F8000 */
#define MTRR_VARIABLE_MAX 32

/* The encodings of a type, SDM table 11-8. */
enum mtrr_type {
	MTRR_UNCACHEABLE = 0,
	MTRR_WRITE_COMBINING = 1,
	MTRR_WRITE_THROUGH = 4,
	MTRR_WRITE_PROTECTED = 5,
	MTRR_WRITE_BACK = 6,
};

/* IA32_MTRR_DEF_TYPE */
#define MTRR_DEF_FIXED_ENABLE BIT(10)
#define MTRR_DEF_ENABLE       BIT(11)
/* IA32_MTRRCAP */
#define MTRR_CAP_VARIABLES(cap) ((unsigned)field(cap, 7, 0))
#define MTRR_CAP_FIXED          BIT(8)
/* IA32_MTRR_PHYSMASKn */
#define MTRR_MASK_VALID BIT(11)

struct mtrrs {
	uint64_t def_type;                /* IA32_MTRR_DEF_TYPE; 0, as after reset, where the CPU has no MTRRs */
	uint64_t fixed[MTRR_FIXED_COUNT]; /* in address order; counts only if has_fixed */
	bool has_fixed;
	uint8_t physical_bits;
	unsigned variable_count;
	struct {
		uint64_t base, mask; /* IA32_MTRR_PHYSBASEn, IA32_MTRR_PHYSMASKn */
	} variable[MTRR_VARIABLE_MAX];
	uint64_t top_mem2; /* AMD: memory from 4 GiB up to here is write-back by default; 0: not so */
};

/*
 * The type of [base, base + bytes), the strictest where it differs inside (uncached, then write-combining, then
 * write-through, then write-back). Uncached where the range leaves the physical address space.
 */
enum mm_memory_type mtrr_memory_type(const struct mtrrs *mtrrs, hpa_t base, uint64_t bytes);
