/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor's own page tables at EL2 (HCR_EL2.E2H = 0): stage 1 with one 48-bit range and the 4 KiB
 * granule, Arm ARM (DDI 0487) D8.3. Data and two encoders for the walker; used by arch/aarch64. Break-before-
 * make holds here too, so whatever the hypervisor stands on (text, stacks, this table) must be mapped by
 * leaves that no later change splits.
 */
#include "lib/util.h"
#include "mm/formats.h"
#include "mm/npt_private.h"

/*
 * D8.3.1 and D8.3.2, "VMSAv8-64 table, block and page descriptors", stage 1, one VA range:
 *
 *   bit    block, page                          table
 *   0      valid                                1
 *   1      0 in a block, 1 in a page            1
 *   4:2    AttrIndx: into ARM_EL2_MAIR          ignored, 0
 *   6      AP[1]: RES1                          ignored, 0
 *   7      AP[2]: read-only                     ignored, 0
 *   9:8    SH: inner shareable if normal        ignored, 0
 *   10     AF: set in advance                   ignored, 0
 *   47:12  address                              address
 *   54     XN                                   ignored, 0
 *   57:55  for software; ours: hidden, clean,   ignored
 *          writable
 */
#define EL2_VALID           BIT(0)
#define EL2_TABLE_OR_PAGE   BIT(1)
#define EL2_ATTRINDX_LOW    2
#define EL2_ATTRINDX_HIGH   4
#define EL2_AP1             BIT(6)
#define EL2_READ_ONLY       BIT(7)
#define EL2_INNER_SHAREABLE BITS(9, 8)
#define EL2_ACCESS          BIT(10)
#define EL2_ADDRESS         BITS(47, 12)
#define EL2_EXECUTE_NEVER   BIT(54)
#define EL2_HIDDEN          BIT(55)
#define EL2_CLEAN           BIT(56)
#define EL2_WRITABLE        BIT(57)

_Static_assert((ARM_EL2_MAIR & 0xff) == 0xff && (ARM_EL2_MAIR >> 8 * MM_WRITE_THROUGH & 0xff) == 0xbb &&
                       (ARM_EL2_MAIR >> 8 * MM_WRITE_COMBINING & 0xff) == 0x44 &&
                       (ARM_EL2_MAIR >> 8 * MM_UNCACHED & 0xff) == 0x04 &&
                       (ARM_EL2_MAIR >> 8 * MM_DEVICE & 0xff) == 0x00,
               "AttrIndx is the memory type");
_Static_assert((EL2_ADDRESS & (EL2_ACCESS | EL2_EXECUTE_NEVER | EL2_HIDDEN)) == 0, "no flag lies in the address");
_Static_assert(FRAME_SHIFT + 4 * NPT_INDEX_BITS == 48, "levels 0 to 3 walk 48 bits");

static uint64_t el2_leaf(unsigned level, hpa_t address, struct npt_attributes attributes)
{
	uint64_t entry = address | EL2_VALID | EL2_AP1 | EL2_ACCESS;

	entry |= (uint64_t)attributes.type << EL2_ATTRINDX_LOW;
	entry |= attributes.type <= MM_WRITE_COMBINING ? EL2_INNER_SHAREABLE : 0;
	entry |= attributes.permissions & MM_WRITE ? 0 : EL2_READ_ONLY;
	entry |= attributes.permissions & MM_EXECUTE ? 0 : EL2_EXECUTE_NEVER;
	return level > 0 ? entry : entry | EL2_TABLE_OR_PAGE;
}

static struct npt_attributes el2_attributes(uint64_t entry)
{
	unsigned permissions = MM_READ;

	permissions |= entry & EL2_READ_ONLY ? 0U : MM_WRITE;
	permissions |= entry & EL2_EXECUTE_NEVER ? 0U : MM_EXECUTE;
	return (struct npt_attributes){
		.permissions = (uint8_t)permissions,
		.type = (uint8_t)field(entry, EL2_ATTRINDX_HIGH, EL2_ATTRINDX_LOW),
	};
}

void npt_format_arm_el2(struct npt_format *format, const struct arm_el2_capabilities *capabilities)
{
	*format = (struct npt_format){
		.name = "arm-el2",
		.levels = 4,
		.input_bits = 48,
		.output_bits = MIN(capabilities->physical_bits, 48),
		.break_before_make = true,
		.level = {{12, 9, true}, {21, 9, true}, {30, 9, true}, {39, 9, false}},
		/* What is valid is readable. */
		.legal_permissions = 1U << MM_NONE | 1U << MM_READ | 1U << MM_RW | 1U << MM_RX | 1U << MM_RWX,
		.address_mask = EL2_ADDRESS,
		.table_bits = EL2_VALID | EL2_TABLE_OR_PAGE,
		.valid_mask = EL2_VALID,
		.hidden_mark = EL2_HIDDEN,
		.permission_mask = EL2_VALID | EL2_READ_ONLY | EL2_EXECUTE_NEVER | EL2_HIDDEN,
		.clean_mark = EL2_CLEAN,
		.writable_mark = EL2_WRITABLE,
		.write_mask = EL2_READ_ONLY,
		.read_only = EL2_READ_ONLY,
		.make_leaf = el2_leaf,
		.attributes = el2_attributes,
	};
}
