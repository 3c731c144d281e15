/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor's own page tables on x86-64: long mode, supervisor pages, 4 levels, the lower half only.
 * Data and two encoders for the walker; used by arch/x86_64. Memory types are indexes into X86_HOST_PAT;
 * EFER.NXE must be set.
 */
#include "mm/formats.h"
#include "mm/formats/x86_long.h"

_Static_assert((X86_HOST_PAT & 0xff) == 0x06, "PAT entry 0 is WB (6)");
_Static_assert((X86_HOST_PAT >> 8 & 0xff) == 0x04, "PAT entry 1 is WT (4)");
_Static_assert((X86_HOST_PAT >> 16 & 0xff) == 0x01, "PAT entry 2 is WC (1)");
_Static_assert((X86_HOST_PAT >> 24 & 0xff) == 0x00, "PAT entry 3 is UC (0)");

/* The root has half of its entries: the lower half of all addresses. */
#define HOST_ROOT_BITS (NPT_INDEX_BITS - 1)
#define HOST_BITS      47

_Static_assert(FRAME_SHIFT + 3 * NPT_INDEX_BITS + HOST_ROOT_BITS == HOST_BITS,
               "4 levels walk 47 bits of the lower half");

void npt_format_x86_host(struct npt_format *format, const struct x86_host_capabilities *capabilities)
{
	*format = (struct npt_format){
		LONG_FORMAT_COMMON,
		.name = "x86-host",
		/* SDM vol. 3A 4.5.1: addresses are canonical; from bit 47 up they would have to be sign-extended. */
		.input_bits = HOST_BITS,
		.level = {{12, 9, true}, {21, 9, true}, {30, 9, capabilities->leaf_1g}, {39, HOST_ROOT_BITS, false}},
		.table_bits = LONG_PRESENT | LONG_WRITABLE | LONG_ACCESSED,
		.legal_permissions = 1U << MM_NONE | 1U << MM_READ | 1U << MM_RW | 1U << MM_RX | 1U << MM_RWX,
		.make_leaf = long_leaf,
		.attributes = long_attributes,
	};
}
