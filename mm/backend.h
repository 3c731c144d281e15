/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two backends of an area, as addr_space.c and guest_memory.c see them. All run under the space's lock. An
 * `area` handed in need not be in the set yet. Private to mm/.
 */
#pragma once

#include "lib/string.h"
#include "mm/addr_space.h"
#include "mm/npt_private.h"

/* Derives what the area keeps for speed; after its range or its attributes have changed. */
void backend_linear_derive(const struct addr_space *space, struct area *area);
void backend_alloc_derive(const struct addr_space *space, struct area *area);

static inline void backend_derive(const struct addr_space *space, struct area *area)
{
	area->special = area->attributes.permissions != MM_RWX || area->backend == AREA_LINEAR;
	if (area->backend == AREA_LINEAR) {
		backend_linear_derive(space, area);
	} else {
		backend_alloc_derive(space, area);
	}
}

/* Maps the whole area, which has been checked. MM_EEXIST, MM_ENOMEM. */
int backend_linear_map(struct addr_space *space, const struct area *area);

/* Fills the whole area, in which nothing is filled yet, with zeroed frames. MM_ENOMEM. */
int backend_alloc_populate(struct addr_space *space, const struct area *area);

/*
 * Fills the hole in `slot` of `hole_level` (above 0), where the walk for `gpa` ended: with a zeroed frame of 2 MiB if
 * it may and can be had, else with a page and the tables to it. MM_ENOMEM.
 */
int backend_alloc_fill_high(struct addr_space *space, const struct area *area, gpa_t gpa, uint64_t *slot,
                            unsigned hole_level);

/* Fills the hole in `slot` of a level-0 table with a zeroed page: what most faults need. MM_ENOMEM. */
static inline int backend_alloc_fill_page(struct addr_space *space, const struct area *area, uint64_t *slot)
{
	struct npt *npt = &space->npt;
	uint64_t entry = area->page_entry;
	hpa_t frame = npt->hal->alloc_frames(npt->hal, 0, FRAME_GUEST);

	if (unlikely(frame == HPA_NONE)) {
		return MM_ENOMEM;
	}
	entry += frame >> npt->format.address_shift;
	npt_zero(npt, frame, FRAME_SIZE);
	npt_store(slot, entry);
	npt->statistics.leaves[0]++;
	space->statistics.frames_owned++;
	space->statistics.faults_filled++;
	return MM_OK;
}

/* An npt_release with the space as context: frees what belongs to an alloc area. The areas must still be there. */
void backend_release(void *context, gpa_t gpa, hpa_t address, unsigned level);

/* addr_space_translate, but a guard is there, with empty permissions. */
int addr_space_look_up(const struct addr_space *space, gpa_t address, struct translation *result);

/* What addr_space_handle_fault does, but with the lock held; `force`: whatever the permissions. */
int addr_space_fault_locked(struct addr_space *space, gpa_t gpa, unsigned access, bool force);
