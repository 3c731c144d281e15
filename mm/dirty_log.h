/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of an address space were written, by the guest or by the guest accessor, since the last look. By the
 * hardware's dirty bits where the format has them, else by write protection: the first write to a leaf then costs a
 * nested fault, which addr_space_handle_fault answers by itself. A leaf is the grain: a write into one of 2 MiB marks
 * its 512 pages, and a merge (addr_space_compact) spreads a mark over the larger leaf. Permissions as everybody else
 * sees them (addr_space_protect, addr_space_translate, the accessor) are the area's, whatever the log has done to the
 * tables. To map, replace, copy, discard or unmap is no write, and marks go with the leaf that had them.
 */
#pragma once

#include "mm/addr_space.h"

/* 64-bit words of a bitmap for `size` bytes of guest memory. */
#define DIRTY_LOG_WORDS(size) (((size) / FRAME_SIZE + 63) / 64)

/*
 * From now on the pages of [start, start + size) are watched; none counts as dirty yet, and pages that are filled later
 * count as dirty when they are written. Leaves that the range cuts are split. One log a space: MM_EEXIST. MM_EALIGN,
 * MM_EINVAL, MM_ERANGE, MM_ENOMEM.
 */
int addr_space_dirty_log_start(struct addr_space *space, gpa_t start, uint64_t size);

/*
 * Sets in `bitmap` (DIRTY_LOG_WORDS(size) words; bit n is page n of the range) the pages that were written since the
 * start or the last call, clears the others, and begins anew for these pages; one flush. Dirty leaves that the range
 * cuts are split. MM_EFAULT: no log is running, or the range leaves the watched one. MM_EALIGN, MM_EINVAL, MM_ENOMEM
 * (nothing has changed then).
 */
int addr_space_dirty_log_collect(struct addr_space *space, gpa_t start, uint64_t size, uint64_t *bitmap);

/*
 * Stops watching and gives leaves their rights back: looks at every leaf of the space. Needs no frame; nothing happens
 * when no log is running.
 */
void addr_space_dirty_log_stop(struct addr_space *space);
