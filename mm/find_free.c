/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where there is room in an address space: see addr_space_find_free in addr_space.h. Called by whoever places
 * things in a guest's memory by itself. Only reads the areas.
 */
#include "mm/addr_space_private.h"

/* The lowest hole in [from, limit) as asked for. Areas are passed over once each, from below. */
static bool find_hole(const struct addr_space *space, gpa_t from, gpa_t limit, uint64_t size, uint64_t alignment,
                      gpa_t *start)
{
	const struct area *area = area_set_at_or_after(&space->areas, from);
	gpa_t at = align_up(from, alignment);

	/* Wrapped: no multiple of the alignment is left. */
	while (at >= from && at <= limit && size <= limit - at) {
		if (area == NULL || area->range.start >= at + size) {
			*start = at;
			return true;
		}
		if (area->range.end > at) {
			from = area->range.end;
			at = align_up(from, alignment);
		}
		area = area_set_next(area);
	}
	return false;
}

int addr_space_find_free(struct addr_space *space, gpa_t hint, uint64_t size, uint64_t alignment,
                         struct gpa_range limit, gpa_t *start)
{
	if (!is_aligned(limit.start | limit.end | size, FRAME_SIZE)) {
		return MM_EALIGN;
	}
	if (size == 0 || alignment < FRAME_SIZE || (alignment & (alignment - 1)) != 0) {
		return MM_EINVAL;
	}
	if (limit.start < space->base || limit.start > limit.end || limit.end - space->base > space->size) {
		return MM_ERANGE;
	}
	spin_lock(&space->lock);
	bool found = find_hole(space, MAX(hint, limit.start), limit.end, size, alignment, start) ||
	             find_hole(space, limit.start, limit.end, size, alignment, start);
	spin_unlock(&space->lock);
	return found ? MM_OK : MM_ENOSPC;
}
