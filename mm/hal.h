/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that mm/ needs from outside. One `struct mm_hal` serves any number of address spaces; whoever needs
 * per-VM state behind a call embeds it and uses container_of.
 */
#pragma once

#include "mm/types.h"

struct npt;

struct mm_hal {
	/*
	 * 2^order contiguous frames aligned to their size, contents undefined; HPA_NONE when there are none.
	 * Callers of mm/ never see a frame that was not zeroed before it became reachable by a guest.
	 */
	hpa_t (*alloc_frames)(struct mm_hal *hal, unsigned order, enum frame_use use);
	/* Gives back what alloc_frames gave, whole or frame by frame. */
	void (*free_frames)(struct mm_hal *hal, hpa_t frames, unsigned order, enum frame_use use);
	/*
	 * Makes every CPU forget its cached translations of `npt` for the `count` ranges; returns when that is
	 * done. May be NULL where no hardware walks the table. count == 0 stands for the whole space.
	 */
	void (*flush)(struct mm_hal *hal, struct npt *npt, const struct gpa_range *ranges, unsigned count);
	/*
	 * Called with `bytes` at `memory` that were written for a guest, before any CPU can reach them through the
	 * table: writes them back to where a guest finds them that reads past the caches. NULL where none does.
	 */
	void (*clean)(const void *memory, uint64_t bytes);
	/*
	 * Host-virtual = host-physical + offset, for every frame that alloc_frames returns and all memory that linear
	 * areas of a cached type map. A multiple of 4 KiB; 0 in the image.
	 */
	uintptr_t virtual_offset;
};

static inline void *mm_pointer(const struct mm_hal *hal, hpa_t address)
{
	return (void *)(uintptr_t)(address + hal->virtual_offset); /* NOLINT(performance-no-int-to-ptr) */
}
