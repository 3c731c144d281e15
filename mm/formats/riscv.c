/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RISC-V G-stage translation, Sv39x4 and Sv48x4: privileged specification, "hypervisor" extension, "Two-stage
 * address translation". Data and two encoders for the walker. The root is four tables wide.
 */
#include "lib/util.h"
#include "mm/formats.h"
#include "mm/npt_private.h"

/*
 * Privileged specification, "Sv39" (the entry) and "Guest physical address translation" (U must be set):
 *
 *   bit    leaf                                 table
 *   0      V                                    1
 *   1      R                                    0
 *   2      W                                    0
 *   3      X                                    0
 *   4      U: always, a guest's access is one   reserved, 0
 *   6      A: set in advance                    reserved, 0
 *   7      D: set in advance; without it the    reserved, 0
 *          CPU sets it at a write (Svadu), or
 *          the write faults
 *   9:8    RSW; ours: memory type               RSW, 0
 *   53:10  PPN                                  PPN
 *   54     reserved; in a hole ours: hidden     reserved, 0
 *   62:61  PBMT (Svpbmt)                        reserved, 0
 */
#define GSTAGE_V                BIT(0)
#define GSTAGE_R                BIT(1)
#define GSTAGE_W                BIT(2)
#define GSTAGE_X                BIT(3)
#define GSTAGE_PERMISSIONS_LOW  1
#define GSTAGE_PERMISSIONS_HIGH 3
#define GSTAGE_U                BIT(4)
#define GSTAGE_A                BIT(6)
#define GSTAGE_D                BIT(7)
#define GSTAGE_RSW_LOW          8
#define GSTAGE_RSW_HIGH         9
#define GSTAGE_PPN              BITS(53, 10)
#define GSTAGE_ADDRESS_SHIFT    2
#define GSTAGE_HIDDEN           BIT(54)
#define GSTAGE_PBMT_LOW         61
#define GSTAGE_ROOT_EXTRA_BITS  2
#define GSTAGE_OUTPUT_BITS      56

_Static_assert(FRAME_SHIFT - GSTAGE_ADDRESS_SHIFT == 10, "the PPN starts at bit 10");
_Static_assert((GSTAGE_PPN & (GSTAGE_D | GSTAGE_HIDDEN)) == 0, "no flag lies in the PPN");
_Static_assert(MM_READ << GSTAGE_PERMISSIONS_LOW == GSTAGE_R && MM_WRITE << GSTAGE_PERMISSIONS_LOW == GSTAGE_W &&
                       MM_EXECUTE << GSTAGE_PERMISSIONS_LOW == GSTAGE_X,
               "R, W, X stand in our order");
_Static_assert(FRAME_SHIFT + 3 * NPT_INDEX_BITS + GSTAGE_ROOT_EXTRA_BITS == 41, "Sv39x4 walks 41 bits of GPA");
_Static_assert(FRAME_SHIFT + 4 * NPT_INDEX_BITS + GSTAGE_ROOT_EXTRA_BITS == 50, "Sv48x4 walks 50 bits of GPA");

/* What RSW holds. There is no write-through: it becomes write-combining (NC), and says so when asked. */
static const uint8_t gstage_rsw[] = {
	[MM_WRITE_BACK] = 0, [MM_WRITE_THROUGH] = 1, [MM_WRITE_COMBINING] = 1, [MM_UNCACHED] = 2, [MM_DEVICE] = 3,
};
static const uint8_t type_of_rsw[] = {MM_WRITE_BACK, MM_WRITE_COMBINING, MM_UNCACHED, MM_DEVICE};
/* PBMT, "Svpbmt": 0 PMA (what the platform says), 1 NC, 2 IO; by RSW. */
static const uint8_t gstage_pbmt[] = {0, 1, 2, 2};

/* Without Svpbmt the platform's PMAs decide. */
static uint64_t gstage_leaf(unsigned level, hpa_t address, struct npt_attributes attributes)
{
	uint64_t entry = address >> GSTAGE_ADDRESS_SHIFT | GSTAGE_V | GSTAGE_U | GSTAGE_A | GSTAGE_D;

	(void)level;
	entry |= (uint64_t)attributes.permissions << GSTAGE_PERMISSIONS_LOW;
	return entry | (uint64_t)gstage_rsw[attributes.type] << GSTAGE_RSW_LOW;
}

static uint64_t gstage_leaf_pbmt(unsigned level, hpa_t address, struct npt_attributes attributes)
{
	uint64_t pbmt = gstage_pbmt[gstage_rsw[attributes.type]];

	return gstage_leaf(level, address, attributes) | pbmt << GSTAGE_PBMT_LOW;
}

static struct npt_attributes gstage_attributes(uint64_t entry)
{
	return (struct npt_attributes){
		.permissions = (uint8_t)field(entry, GSTAGE_PERMISSIONS_HIGH, GSTAGE_PERMISSIONS_LOW),
		.type = type_of_rsw[field(entry, GSTAGE_RSW_HIGH, GSTAGE_RSW_LOW)],
	};
}

int npt_format_riscv(struct npt_format *format, const struct riscv_gstage_capabilities *capabilities)
{
	unsigned levels = capabilities->levels;

	if (levels != 3 && levels != 4) {
		return MM_EINVAL;
	}
	*format = (struct npt_format){
		.name = levels == 3 ? "sv39x4" : "sv48x4",
		.levels = (uint8_t)levels,
		.input_bits = (uint8_t)(npt_shift(levels) + GSTAGE_ROOT_EXTRA_BITS),
		.output_bits = MIN(capabilities->physical_bits, GSTAGE_OUTPUT_BITS),
		.root_order = GSTAGE_ROOT_EXTRA_BITS,
		.level = {{12, 9, true}, {21, 9, true}, {30, 9, true}, {39, 9, true}},
		/* Write without read is reserved. */
		.legal_permissions =
			1U << MM_NONE | 1U << MM_READ | 1U << MM_RW | 1U << MM_EXECUTE | 1U << MM_RX | 1U << MM_RWX,
		.address_mask = GSTAGE_PPN,
		.address_shift = GSTAGE_ADDRESS_SHIFT,
		.table_bits = GSTAGE_V,
		.valid_mask = GSTAGE_V,
		.hidden_mark = GSTAGE_HIDDEN,
		.permission_mask = GSTAGE_V | GSTAGE_R | GSTAGE_W | GSTAGE_X | GSTAGE_HIDDEN,
		.dirty_flag = GSTAGE_D,
		.make_leaf = capabilities->svpbmt ? gstage_leaf_pbmt : gstage_leaf,
		.attributes = gstage_attributes,
	};
	format->level[levels - 1].bits = NPT_INDEX_BITS + GSTAGE_ROOT_EXTRA_BITS;
	return MM_OK;
}
