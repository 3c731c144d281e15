/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks an address up in the table of functions that the second link carries. Called by the panic path: it takes
 * no lock and trusts nothing but that table.
 */
#include "lib/symbols.h"

#include "lib/image.h"

#include <stddef.h>

const char *symbol_find(uintptr_t address, uint64_t *offset)
{
	if (address < (uintptr_t)text_start || address >= (uintptr_t)text_end) {
		return NULL;
	}
	uint64_t wanted = address - (uintptr_t)image_start;
	/* Symbols below `low` start at or before `wanted`, those from `high` on start after it. */
	uint32_t low = 0;
	uint32_t high = symbol_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (symbol_table[middle].offset <= wanted) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	if (low == 0) {
		return NULL;
	}
	*offset = wanted - symbol_table[low - 1].offset;
	return &symbol_names[symbol_table[low - 1].name];
}
