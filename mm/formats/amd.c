/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMD's nested page tables, APM vol. 2 15.25: the host's long-mode format, in which every access of a guest is
 * a user access. Data and two encoders for the walker; used by SVM vCPUs of arch/x86_64. Memory types are
 * indexes into the host's PAT, which arch programs as X86_HOST_PAT.
 */
#include "mm/formats.h"
#include "mm/formats/x86_long.h"

static uint64_t amd_leaf(unsigned level, hpa_t address, struct npt_attributes attributes)
{
	return long_leaf(level, address, attributes) | LONG_USER;
}

void npt_format_amd(struct npt_format *format, const struct amd_npt_capabilities *capabilities)
{
	*format = (struct npt_format){
		LONG_FORMAT_COMMON,
		.name = "npt",
		.input_bits = 48,
		.level = {{12, 9, true}, {21, 9, true}, {30, 9, capabilities->leaf_1g}, {39, 9, false}},
		.table_bits = LONG_PRESENT | LONG_WRITABLE | LONG_USER | LONG_ACCESSED,
		.legal_permissions = 1U << MM_NONE | 1U << MM_RX | 1U << MM_RWX,
		.make_leaf = amd_leaf,
		.attributes = long_attributes,
	};
	/* APM 15.25.5: without EFER.NXE bit 63 is reserved, and all that is readable is executable. */
	if (capabilities->no_execute) {
		format->legal_permissions |= 1U << MM_READ | 1U << MM_RW;
	}
}
