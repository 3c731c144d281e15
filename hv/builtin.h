/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guests that are compiled in, as `kernel = builtin:NAME` calls for them. The Makefile builds them from
 * guests/ and tools/builtin.sh embeds them page-aligned among the constants: an ELF file with a PVH note on
 * x86, a Linux Image on Arm, so that they go through the same loaders as any other kernel.
 */
#pragma once

struct builtin_guest {
	const char *name;
	const void *start;
	const void *end;
};

extern const struct builtin_guest builtin_guests[];
extern const unsigned builtin_guest_count;
