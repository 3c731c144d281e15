/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arm stage 2 with the 4 KiB granule, Arm ARM (DDI 0487) D8.3 "Translation table descriptor formats". Data and
 * two encoders for the walker; used by arch/aarch64, which takes VTCR_EL2.SL0 and T0SZ from `levels` and
 * `input_bits`, and sets HCR_EL2.FWB if, and only if, it asked for `force_write_back`; VTCR_EL2.HD if for
 * `hardware_dirty`.
 */
#include "lib/util.h"
#include "mm/formats.h"
#include "mm/npt_private.h"

/*
 * D8.3.1 and D8.3.2, "VMSAv8-64 table, block and page descriptors", stage 2:
 *
 *   bit    block, page                          table
 *   0      valid                                1
 *   1      0 in a block, 1 in a page            1
 *   5:2    MemAttr                              ignored, 0
 *   6      S2AP[0]: read                        ignored, 0
 *   7      S2AP[1]: write                       ignored, 0
 *   9:8    SH: inner shareable if normal        ignored, 0
 *   10     AF: set in advance                   ignored, 0
 *   47:12  address                              address
 *   51     DBM: a write sets S2AP[1] (HAFDBS)   ignored, 0
 *   54:53  XN: 0b10 for execute never           ignored, 0
 *   57:55  for software; ours: hidden, clean,   ignored
 *          writable (where there is no DBM)
 *
 * S2AP governs data accesses and XN instruction fetches, each by itself: every permission set is legal.
 */
#define STAGE2_VALID           BIT(0)
#define STAGE2_TABLE_OR_PAGE   BIT(1)
#define STAGE2_MEMATTR_LOW     2
#define STAGE2_MEMATTR_HIGH    5
#define STAGE2_READ            BIT(6)
#define STAGE2_WRITE           BIT(7)
#define STAGE2_INNER_SHAREABLE BITS(9, 8)
#define STAGE2_ACCESS          BIT(10)
#define STAGE2_ADDRESS         BITS(47, 12)
#define STAGE2_DIRTY_MODIFIER  BIT(51)
#define STAGE2_EXECUTE_NEVER   BIT(54)
#define STAGE2_HIDDEN          BIT(55)
#define STAGE2_CLEAN           BIT(56)
#define STAGE2_WRITABLE        BIT(57)

/* A root of up to 2^4 concatenated tables stands for one more level, D8.2.8. */
#define STAGE2_CONCATENATED_BITS 4
#define STAGE2_IPA_MIN           32
#define STAGE2_IPA_MAX           48

_Static_assert((STAGE2_ADDRESS & (STAGE2_ACCESS | STAGE2_EXECUTE_NEVER | STAGE2_HIDDEN)) == 0,
               "no flag lies in the address");
_Static_assert(FRAME_SHIFT + 4 * NPT_INDEX_BITS == STAGE2_IPA_MAX, "levels 0 to 3 walk 48 bits of IPA");
_Static_assert(STAGE2_IPA_MIN <= FRAME_SHIFT + 2 * NPT_INDEX_BITS + STAGE2_CONCATENATED_BITS,
               "the smallest space starts at Arm's level 2");

/* MemAttr[3:0], D8.6.5: outer and inner WB, WT, non-cacheable; device-nGnRE; device-nGnRnE. */
static const uint8_t stage2_memattr[] = {
	[MM_WRITE_BACK] = 0xf, [MM_WRITE_THROUGH] = 0xa, [MM_WRITE_COMBINING] = 0x5,
	[MM_UNCACHED] = 0x1,   [MM_DEVICE] = 0x0,
};
/*
 * The same with HCR_EL2.FWB = 1, D8.6.6: write-back whatever stage 1 says. There is no write-through: it becomes
 * write-combining, and says so when asked.
 */
static const uint8_t forced_memattr[] = {
	[MM_WRITE_BACK] = 0x6, [MM_WRITE_THROUGH] = 0x5, [MM_WRITE_COMBINING] = 0x5,
	[MM_UNCACHED] = 0x1,   [MM_DEVICE] = 0x0,
};
/* Of both: they agree where they overlap. */
static const uint8_t type_of_memattr[16] = {
	[0x0] = MM_DEVICE,     [0x1] = MM_UNCACHED,      [0x5] = MM_WRITE_COMBINING,
	[0x6] = MM_WRITE_BACK, [0xa] = MM_WRITE_THROUGH, [0xf] = MM_WRITE_BACK,
};

static inline uint64_t make_leaf(unsigned level, hpa_t address, struct npt_attributes attributes, uint64_t memattr)
{
	uint64_t entry = address | STAGE2_VALID | STAGE2_ACCESS;

	entry |= memattr << STAGE2_MEMATTR_LOW;
	entry |= attributes.type <= MM_WRITE_COMBINING ? STAGE2_INNER_SHAREABLE : 0;
	entry |= attributes.permissions & MM_READ ? STAGE2_READ : 0;
	entry |= attributes.permissions & MM_WRITE ? STAGE2_WRITE : 0;
	entry |= attributes.permissions & MM_EXECUTE ? 0 : STAGE2_EXECUTE_NEVER;
	return level > 0 ? entry : entry | STAGE2_TABLE_OR_PAGE;
}

static uint64_t stage2_leaf(unsigned level, hpa_t address, struct npt_attributes attributes)
{
	return make_leaf(level, address, attributes, stage2_memattr[attributes.type]);
}

static uint64_t forced_leaf(unsigned level, hpa_t address, struct npt_attributes attributes)
{
	return make_leaf(level, address, attributes, forced_memattr[attributes.type]);
}

static struct npt_attributes stage2_attributes(uint64_t entry)
{
	unsigned permissions = MM_NONE;

	permissions |= entry & STAGE2_READ ? MM_READ : 0U;
	permissions |= entry & STAGE2_WRITE ? MM_WRITE : 0U;
	permissions |= entry & STAGE2_EXECUTE_NEVER ? 0U : MM_EXECUTE;
	return (struct npt_attributes){
		.permissions = (uint8_t)permissions,
		.type = type_of_memattr[field(entry, STAGE2_MEMATTR_HIGH, STAGE2_MEMATTR_LOW)],
	};
}

int npt_format_arm_stage2(struct npt_format *format, const struct arm_stage2_capabilities *capabilities)
{
	unsigned ipa_bits = capabilities->ipa_bits;
	unsigned output_bits = MIN(capabilities->physical_bits, STAGE2_IPA_MAX);
	unsigned levels = 2;

	/* D8.2.1: an IPA is no wider than a PA. */
	if (ipa_bits < STAGE2_IPA_MIN || ipa_bits > output_bits) {
		return MM_ERANGE;
	}
	while (npt_shift(levels) + STAGE2_CONCATENATED_BITS < ipa_bits) {
		levels++;
	}
	unsigned root_bits = ipa_bits - npt_shift(levels - 1);

	*format = (struct npt_format){
		.name = "stage2",
		.levels = (uint8_t)levels,
		.input_bits = (uint8_t)ipa_bits,
		.output_bits = (uint8_t)output_bits,
		.root_order = (uint8_t)(root_bits > NPT_INDEX_BITS ? root_bits - NPT_INDEX_BITS : 0),
		.break_before_make = true,
		.level = {{12, 9, true}, {21, 9, true}, {30, 9, true}, {39, 9, false}},
		.legal_permissions = UINT8_MAX,
		.address_mask = STAGE2_ADDRESS,
		.table_bits = STAGE2_VALID | STAGE2_TABLE_OR_PAGE,
		.valid_mask = STAGE2_VALID,
		.hidden_mark = STAGE2_HIDDEN,
		.permission_mask = STAGE2_VALID | STAGE2_READ | STAGE2_WRITE | STAGE2_EXECUTE_NEVER | STAGE2_HIDDEN,
		.clean_mark = STAGE2_CLEAN,
		.writable_mark = capabilities->hardware_dirty ? STAGE2_DIRTY_MODIFIER : STAGE2_WRITABLE,
		.write_mask = STAGE2_WRITE,
		.make_leaf = capabilities->force_write_back ? forced_leaf : stage2_leaf,
		.attributes = stage2_attributes,
	};
	format->level[levels - 1].bits = (uint8_t)root_bits;
	return MM_OK;
}
