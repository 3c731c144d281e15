/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EL2 with VHE on (HCR_EL2.E2H = 1), as firmware leaves it that runs at EL2 itself and has switched it on. What the
 * firmware that is really there set for E2H = 0 is made right for E2H = 1, so that it goes on; but its periodic
 * timer stops, for its accesses reach another timer from here on. For emulators: no cache is cleaned.
 */
#include "arch/aarch64/cpu.h"
#include "tests/firmware/state.h"

#define MMFR1_VH_LOW 8

/* TCR_EL2 with E2H = 1, D19.2.144: as TCR_EL1. One range from the bottom, of 39 bits: one table of 1 GiB blocks. */
#define VIRTUAL_BITS     39
#define TCR_EPD1         BIT(23) /* no table for the upper range */
#define TCR_IPS_LOW      32
#define TCR_PS_BITS(tcr) field(tcr, 18, 16) /* with E2H = 0 */

/* CPTR_EL2 with E2H = 1, D19.2.34: as CPACR_EL1. Floating point and SVE do not trap. */
#define CPTR_FPEN BITS(21, 20)
#define CPTR_ZEN  BITS(17, 16)

/* CNTHCT_EL2 with E2H = 1, D19.12.11: for EL0 the lowest bits, for EL1 those that were the lowest. */
#define CNTHCT_EL0_ALL (BITS(1, 0) | BITS(9, 8))
#define CNTHCT_EL1_ALL BITS(11, 10)

/*
 * D8.3.1, blocks of 1 GiB in the EL2&0 regime: AP[1], which was RES1, would give EL0 access and so take execution
 * from EL2.
 */
#define BLOCK                 BIT(0)
#define BLOCK_ATTRINDX_LOW    2
#define BLOCK_INNER_SHAREABLE BITS(9, 8)
#define BLOCK_ACCESS          BIT(10)
#define ENTRIES               512

/* QEMU's virt machine: devices below 1 GiB, then memory, up to 255 GiB of it, then devices again. */
#define MEMORY_FIRST 1
#define MEMORY_END   256

#define MAIR_DEVICE     0x00
#define MAIR_WRITE_BACK 0xff
#define MAIR_ATTRIBUTES 8

static uint64_t blocks[ENTRIES] __attribute__((aligned(FRAME_SIZE)));

/* The firmware's own choice of memory types stays: the index of one that it has. */
static unsigned find_attributes(uint64_t mair, uint8_t attributes)
{
	unsigned index = 0;
	while (index < MAIR_ATTRIBUTES && (uint8_t)(mair >> 8 * index) != attributes) {
		index++;
	}
	return index;
}

static bool fill_blocks(uint64_t mair)
{
	unsigned device = find_attributes(mair, MAIR_DEVICE), memory = find_attributes(mair, MAIR_WRITE_BACK);
	for (unsigned i = 0; i < ENTRIES; i++) {
		bool is_memory = i >= MEMORY_FIRST && i < MEMORY_END;
		blocks[i] = GIB(i) | BLOCK | BLOCK_ACCESS | (is_memory ? BLOCK_INNER_SHAREABLE : 0) |
		            (uint64_t)(is_memory ? memory : device) << BLOCK_ATTRINDX_LOW;
	}
	return device < MAIR_ATTRIBUTES && memory < MAIR_ATTRIBUTES;
}

const char *state_enter(void)
{
	struct arm_translation to = {
		.hcr = sysreg_read(hcr_el2) | HCR_E2H,
		.mair = sysreg_read(mair_el2),
		.tcr = TCR_T0SZ(VIRTUAL_BITS) | TCR_IRGN0_WRITE_BACK | TCR_ORGN0_WRITE_BACK | TCR_SH0_INNER |
	               TCR_TG0_4K | TCR_EPD1 | TCR_PS_BITS(sysreg_read(tcr_el2)) << TCR_IPS_LOW,
		.ttbr0 = (uint64_t)blocks,
		.sctlr = sysreg_read(sctlr_el2),
	};
	if (ID_FIELD(sysreg_read(id_aa64mmfr1_el1), MMFR1_VH_LOW) == 0) {
		return "this CPU has no VHE";
	}
	if (!fill_blocks(to.mair)) {
		return "the firmware's MAIR_EL2 lacks a memory type";
	}
	uint64_t daif = sysreg_read(daif);
	__asm__ volatile("msr daifset, #0xf" : : : "memory");
	sysreg_write(cntv_ctl_el0, 0);
	sysreg_write(cntp_ctl_el0, 0);
	bool on = arm_switch_translation(&to);
	if (on) {
		sysreg_write(cptr_el2, CPTR_FPEN | CPTR_ZEN);
		sysreg_write(cnthctl_el2, CNTHCT_EL0_ALL | CNTHCT_EL1_ALL);
		isb();
	}
	sysreg_write(daif, daif);
	return on ? NULL : "HCR_EL2.E2H stays 0";
}
