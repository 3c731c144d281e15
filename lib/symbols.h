/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names for addresses in the image's text, for backtraces. The table is made by tools/symbols.sh from the
 * first link and linked into the second one; it is sorted by address.
 */
#pragma once

#include <stdint.h>

struct symbol {
	uint32_t offset; /* from image_start */
	uint32_t name;   /* into symbol_names */
};

extern const struct symbol symbol_table[];
extern const uint32_t symbol_count;
extern const char symbol_names[];

/* The name of the function that holds `address` and the distance from its start, or NULL outside the text. */
const char *symbol_find(uintptr_t address, uint64_t *offset);
