/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel's extended page tables, SDM vol. 3C 29.3.2 "EPT translation mechanism". Data and two encoders for the
 * walker; used by VMX vCPUs of arch/x86_64. Knows nothing of VMCS fields: the EPTP is arch's.
 */
#include "lib/util.h"
#include "mm/formats.h"
#include "mm/npt_private.h"

/*
 * SDM vol. 3C, tables 29-2 to 29-7:
 *
 *   bit    leaf                              table
 *   0      read                              1
 *   1      write                             1
 *   2      execute                           1
 *   5:3    memory type                       0
 *   6      ignore PAT: always 0              0
 *   7      page (levels above 0)             0
 *   8      accessed: set in advance          the same
 *   9      dirty: set in advance             ignored, 0
 *   11     ignored; ours: hidden             ignored
 *   51:12  address                           address
 *   52     ignored; ours: device             ignored
 *   54:53  ignored; ours: clean, writable     ignored
 */
#define EPT_READ      BIT(0)
#define EPT_WRITE     BIT(1)
#define EPT_EXECUTE   BIT(2)
#define EPT_RWX       BITS(2, 0)
#define EPT_TYPE_LOW  3
#define EPT_TYPE_HIGH 5
#define EPT_PAGE      BIT(7)
#define EPT_ACCESSED  BIT(8)
#define EPT_DIRTY     BIT(9)
#define EPT_HIDDEN    BIT(11)
#define EPT_ADDRESS   BITS(51, 12)
#define EPT_DEVICE    BIT(52)
#define EPT_CLEAN     BIT(53)
#define EPT_WRITABLE  BIT(54)

_Static_assert(EPT_READ == MM_READ && EPT_WRITE == MM_WRITE && EPT_EXECUTE == MM_EXECUTE, "bits 2:0 are ours");
_Static_assert((EPT_ADDRESS & (EPT_RWX | EPT_PAGE | EPT_ACCESSED | EPT_DIRTY | EPT_HIDDEN | EPT_DEVICE)) == 0,
               "no flag lies in the address");
_Static_assert(FRAME_SHIFT + 4 * NPT_INDEX_BITS == 48 && FRAME_SHIFT + 5 * NPT_INDEX_BITS == 57,
               "4 levels walk 48 bits of GPA, 5 levels 57");

/* Memory types, SDM vol. 3A 13.3 "Methods of caching available", encoded as in the MTRRs. */
static const uint8_t ept_type[] = {
	[MM_WRITE_BACK] = 6, [MM_WRITE_THROUGH] = 4, [MM_WRITE_COMBINING] = 1, [MM_UNCACHED] = 0, [MM_DEVICE] = 0,
};
static const uint8_t type_of_ept[] = {
	[0] = MM_UNCACHED, [1] = MM_WRITE_COMBINING, [4] = MM_WRITE_THROUGH, [6] = MM_WRITE_BACK, [7] = MM_UNCACHED,
};

static uint64_t ept_leaf(unsigned level, hpa_t address, struct npt_attributes attributes)
{
	uint64_t entry = address | attributes.permissions | EPT_ACCESSED | EPT_DIRTY;

	entry |= (uint64_t)ept_type[attributes.type] << EPT_TYPE_LOW;
	entry |= attributes.type == MM_DEVICE ? EPT_DEVICE : 0;
	return level > 0 ? entry | EPT_PAGE : entry;
}

static struct npt_attributes ept_attributes(uint64_t entry)
{
	uint8_t type = type_of_ept[field(entry, EPT_TYPE_HIGH, EPT_TYPE_LOW)];

	return (struct npt_attributes){
		.permissions = (uint8_t)(entry & EPT_RWX),
		.type = entry & EPT_DEVICE ? MM_DEVICE : type,
	};
}

void npt_format_ept(struct npt_format *format, const struct ept_capabilities *capabilities)
{
	uint8_t levels = capabilities->five_level ? 5 : 4;

	*format = (struct npt_format){
		.name = "ept",
		.levels = levels,
		.input_bits = (uint8_t)npt_shift(levels),
		.output_bits = MIN(capabilities->physical_bits, 52),
		.level = {{12, 9, true},
	                  {21, 9, capabilities->leaf_2m},
	                  {30, 9, capabilities->leaf_1g},
	                  {39, 9, false},
	                  {48, 9, false}},
		/* SDM 29.3.3.1: write without read is a misconfiguration, execute without read an option. */
		.legal_permissions = 1U << MM_NONE | 1U << MM_READ | 1U << MM_RW | 1U << MM_RX | 1U << MM_RWX,
		.address_mask = EPT_ADDRESS,
		.table_bits = EPT_RWX | EPT_ACCESSED,
		.valid_mask = EPT_RWX,
		.hidden_mark = EPT_HIDDEN,
		.permission_mask = EPT_RWX | EPT_HIDDEN,
		.make_leaf = ept_leaf,
		.attributes = ept_attributes,
	};
	if (capabilities->accessed_dirty) {
		format->dirty_flag = EPT_DIRTY;
	} else {
		format->clean_mark = EPT_CLEAN;
		format->writable_mark = EPT_WRITABLE;
		format->write_mask = EPT_WRITE;
	}
	if (capabilities->execute_only) {
		format->legal_permissions |= 1U << MM_EXECUTE;
	}
}
