/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The linear backend: an area that maps to HPA = GPA - offset, mapped at once with the largest leaves. Its
 * frames are someone else's and it never faults. Called by addr_space.c.
 */
#include "mm/backend.h"

int backend_linear_map(struct addr_space *space, const struct area *area)
{
	/* Modulo 2^64: what would wrap is far above any HPA, and addr_space.c has refused it. */
	hpa_t address = area->range.start - (uint64_t)area->offset;
	uint64_t size = area->range.end - area->range.start;

	if (size == FRAME_SIZE) {
		return npt_map_page(&space->npt, area->range.start, address, area->attributes);
	}
	return npt_map_checked(&space->npt, area->range.start, address, size, area->attributes, NPT_MAX_LEVELS);
}

/*
 * Whatever splits and cuts an area has seen, its leaves are the largest that fit in it: splits go no further than
 * the cut asks for, and both happen at the same places. So its ends and its offset tell their size. Where that does
 * not hold the area is uneven.
 */
void backend_linear_derive(const struct addr_space *space, struct area *area)
{
	const struct gpa_range *range = &area->range;

	area->leaf_shift = area->attributes.permissions == MM_NONE || area->uneven ? 0 : FRAME_SHIFT;
	if (area->leaf_shift == 0 || range->end - range->start < npt_span(1) ||
	    !is_aligned((uint64_t)area->offset, npt_span(1))) {
		return;
	}
	for (unsigned level = space->npt.top; level > 0; level--) {
		struct gpa_range large = npt_leaf_range(&space->npt.format, level, range, -(uint64_t)area->offset);

		if (large.start < large.end) {
			bool all = large.start == range->start && large.end == range->end;

			area->leaf_shift = (uint8_t)(all ? npt_shift(level) : 0);
			return;
		}
	}
}
