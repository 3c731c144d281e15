/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest accessor: the only way in which the hypervisor touches guest memory. It crosses pages, areas and
 * frames; faults lazy pages in; respects the areas' permissions unless told not to; never panics and never
 * makes a pointer outside guest memory, whatever the guest passed; any alignment. Memory of the types MM_UNCACHED and
 * MM_DEVICE cannot be had: reading a device has effects, and the host need not have it mapped.
 */
#pragma once

#include "mm/addr_space.h"

enum guest_access_flags {
	GUEST_ACCESS_DEFAULT = 0,
	GUEST_ACCESS_FORCE = 1, /* ignore permissions: loaders write into read-only areas */
};

/* Each returns the number of bytes done: fewer than `bytes` when one cannot be had. */
size_t guest_read(struct addr_space *space, gpa_t from, void *to, size_t bytes, unsigned flags);
size_t guest_write(struct addr_space *space, gpa_t to, const void *from, size_t bytes, unsigned flags);
size_t guest_fill(struct addr_space *space, gpa_t to, int value, size_t bytes, unsigned flags);

/* Naturally aligned loads and stores of 1, 2, 4 or 8 bytes, single-copy atomic. False: cannot be had. */
bool guest_load(struct addr_space *space, gpa_t from, unsigned width, uint64_t *value);
bool guest_store(struct addr_space *space, gpa_t to, unsigned width, uint64_t value);

/*
 * A host pointer to the `bytes` (within one page) at `address`, for reading, or NULL. Valid until
 * space->generation changes: compare it (with the value from before this call) before and after each use. For
 * caches on hot paths (the code page being decoded); all else copies.
 */
const void *guest_peek(struct addr_space *space, gpa_t address, size_t bytes);
