/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The long-mode page-table entry, which AMD's nested tables (amd.c) and the hypervisor's own (x86_host.c)
 * share. Only these two include it.
 */
#pragma once

#include "lib/util.h"
#include "mm/npt_private.h"

/*
 * AMD APM vol. 2 5.3 "Long-mode page translation", Intel SDM vol. 3A 4.5 "4-level paging and 5-level paging":
 *
 *   bit    leaf                               table
 *   0      present                            1
 *   1      writable                           1
 *   2      user (AMD nested: always)          the same
 *   4:3    PCD, PWT: PAT index 0 to 3         0
 *   5      accessed: set in advance           the same
 *   6      dirty: set in advance              ignored, 0
 *   7      page size (levels above 0)         0
 *   9      available; ours: device            available
 *   11     available; ours: hidden            available
 *   51:12  address                            address
 *   63     no execute                         0
 *
 * The PAT bit lies elsewhere in large leaves than in small ones and is never set: indexes 0 to 3 suffice, for
 * on x86 MM_DEVICE is MM_UNCACHED with a mark.
 */
#define LONG_PRESENT    BIT(0)
#define LONG_WRITABLE   BIT(1)
#define LONG_USER       BIT(2)
#define LONG_PAT_LOW    3
#define LONG_PAT_HIGH   4
#define LONG_ACCESSED   BIT(5)
#define LONG_DIRTY      BIT(6)
#define LONG_PAGE       BIT(7)
#define LONG_DEVICE     BIT(9)
#define LONG_HIDDEN     BIT(11)
#define LONG_ADDRESS    BITS(51, 12)
#define LONG_NO_EXECUTE BIT(63)

_Static_assert(MM_WRITE_BACK == 0 && MM_WRITE_THROUGH == 1 && MM_WRITE_COMBINING == 2 && MM_UNCACHED == 3,
               "the PAT index is the memory type, see X86_HOST_PAT");
_Static_assert((LONG_ADDRESS & (LONG_HIDDEN | LONG_DEVICE | LONG_NO_EXECUTE)) == 0, "no flag lies in the address");
_Static_assert(FRAME_SHIFT + 4 * NPT_INDEX_BITS == 48, "4 levels walk 48 bits");

static inline uint64_t long_leaf(unsigned level, hpa_t address, struct npt_attributes attributes)
{
	uint64_t entry = address | LONG_PRESENT | LONG_ACCESSED | LONG_DIRTY;

	entry |= (uint64_t)MIN(attributes.type, MM_UNCACHED) << LONG_PAT_LOW;
	entry |= attributes.type == MM_DEVICE ? LONG_DEVICE : 0;
	entry |= attributes.permissions & MM_WRITE ? LONG_WRITABLE : 0;
	entry |= attributes.permissions & MM_EXECUTE ? 0 : LONG_NO_EXECUTE;
	return level > 0 ? entry | LONG_PAGE : entry;
}

static inline struct npt_attributes long_attributes(uint64_t entry)
{
	unsigned permissions = MM_READ;

	permissions |= entry & LONG_WRITABLE ? MM_WRITE : 0U;
	permissions |= entry & LONG_NO_EXECUTE ? 0U : MM_EXECUTE;
	return (struct npt_attributes){
		.permissions = (uint8_t)permissions,
		.type = entry & LONG_DEVICE ? MM_DEVICE : (uint8_t)field(entry, LONG_PAT_HIGH, LONG_PAT_LOW),
	};
}

/* What the two formats have in common. Present implies readable. */
#define LONG_FORMAT_COMMON                                                                                             \
	.levels = 4, .output_bits = MIN(capabilities->physical_bits, 52), .address_mask = LONG_ADDRESS,                \
	.valid_mask = LONG_PRESENT, .hidden_mark = LONG_HIDDEN,                                                        \
	.permission_mask = LONG_PRESENT | LONG_WRITABLE | LONG_NO_EXECUTE | LONG_HIDDEN, .dirty_flag = LONG_DIRTY
