/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mapping what another address space has: see addr_space_copy_from in addr_space.h. All is built aside, the copies of
 * frames included, and then adopted. Whoever wants one moment's contents keeps the other's vCPUs still meanwhile.
 */
#include "mm/addr_space_private.h"

/* Puts a leaf of `level` with a copy of the bytes at `source` into the hole at `gpa`. MM_ENOMEM. */
static int copy_leaf(struct addr_space *aside, const struct area *area, gpa_t gpa, const void *source, unsigned level)
{
	struct npt *npt = &aside->npt;
	unsigned order = level * NPT_INDEX_BITS;
	hpa_t frame = npt->hal->alloc_frames(npt->hal, order, FRAME_GUEST);

	if (frame == HPA_NONE) {
		return MM_ENOMEM;
	}
	npt_write_back(npt, memcpy(npt_pointer(npt, frame), source, npt_span(level)), npt_span(level));
	struct npt_place place = npt_walk(npt, gpa);
	int status = npt_fill_hole(npt, place.slot, place.level, gpa, level,
	                           npt_new_leaf(npt, &area->range, level, frame, area->attributes));

	if (status != MM_OK) {
		npt->hal->free_frames(npt->hal, frame, order, FRAME_GUEST);
		return status;
	}
	aside->statistics.frames_owned += BIT(order);
	return MM_OK;
}

/* Copies [gpa, gpa + bytes), part or all of a leaf, which is found at `source`. */
static int copy_run(struct addr_space *aside, const struct area *area, gpa_t gpa, const char *source, uint64_t bytes)
{
	bool large = bytes == npt_span(LEVEL_2M) && area->pages != AREA_PAGES_4K &&
	             aside->npt.format.level[LEVEL_2M].leaf && is_aligned(gpa, npt_span(LEVEL_2M));

	if (large && copy_leaf(aside, area, gpa, source, LEVEL_2M) == MM_OK) {
		return MM_OK;
	}
	int status = large && area->pages == AREA_PAGES_2M ? MM_ENOMEM : MM_OK;

	for (uint64_t at = 0; at < bytes && status == MM_OK; at += FRAME_SIZE) {
		status = copy_leaf(aside, area, gpa + at, source + at, 0);
	}
	return status;
}

/* Copies what `from` has filled of the area. */
static int copy_leaves(struct addr_space *aside, const struct area *area, const struct addr_space *from)
{
	int status = MM_OK;
	gpa_t next;

	for (gpa_t at = area->range.start; at < area->range.end && status == MM_OK; at = next) {
		struct npt_entry entry = npt_lookup(&from->npt, at);

		next = MIN(align_down(at, npt_span(entry.level)) + npt_span(entry.level), area->range.end);
		if (entry.kind == NPT_LEAF) {
			const char *source = mm_pointer(from->npt.hal, entry.address);

			status = copy_run(aside, area, at, source, next - at);
		}
	}
	return status;
}

/* The part of `area`, one of `from`, that lies in `range`. */
static int copy_area(struct addr_space *aside, const struct addr_space *from, const struct area *area,
                     const struct gpa_range *range)
{
	gpa_t start = MAX(area->range.start, range->start);
	struct area wanted = *area;

	wanted.range.start = start;
	wanted.populate = false; /* what is filled there gets filled here */
	wanted.uneven = false;   /* its leaves are made anew */
	int status = addr_space_check_area(aside, &wanted, MIN(area->range.end, range->end) - start);

	if (status == MM_OK) {
		status = addr_space_map_area(aside, &wanted);
	}
	if (status != MM_OK || area->backend != AREA_ALLOC) {
		return status;
	}
	struct area *copy = area_set_find(&aside->areas, start);

	copy->populate = area->populate;
	return copy_leaves(aside, copy, from);
}

/* Under both locks. */
static int copy_range(struct addr_space *space, const struct addr_space *from, const struct gpa_range *range)
{
	const struct area *area = area_set_at_or_after(&space->areas, range->start);
	struct addr_space aside;

	if (area != NULL && area->range.start < range->end) {
		return MM_EEXIST;
	}
	int status = addr_space_begin_aside(space, &aside);

	if (status != MM_OK) {
		return status;
	}
	area = area_set_at_or_after(&from->areas, range->start);
	for (; area != NULL && area->range.start < range->end && status == MM_OK; area = area_set_next(area)) {
		status = copy_area(&aside, from, area, range);
	}
	addr_space_end_aside(space, &aside);
	if (status == MM_OK) {
		addr_space_adopt(space, &aside, range->start, range->end);
	} else {
		addr_space_drop_aside(space, &aside);
	}
	return status;
}

int addr_space_copy_from(struct addr_space *space, struct addr_space *from, gpa_t start, uint64_t size)
{
	struct addr_space *first = (uintptr_t)space < (uintptr_t)from ? space : from;
	struct addr_space *second = first == space ? from : space;
	struct gpa_range range = {start, start + size};
	int status = addr_space_check_range(space, start, size);

	if (status == MM_OK) {
		status = space == from ? MM_EINVAL : addr_space_check_range(from, start, size);
	}
	if (status != MM_OK) {
		return status;
	}
	spin_lock(&first->lock);
	spin_lock(&second->lock);
	status = copy_range(space, from, &range);
	spin_unlock(&second->lock);
	spin_unlock(&first->lock);
	return status;
}
