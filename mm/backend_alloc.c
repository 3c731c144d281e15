/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The alloc backend: an area whose frames come from the allocator, all at once (populate) or each at its first
 * fault. A frame is zeroed before any CPU can reach it. Called by addr_space.c.
 */
#include "lib/string.h"
#include "mm/backend.h"

#define LEVEL_4K 0
#define ORDER_4K 0
#define ORDER_2M NPT_INDEX_BITS

static bool may_map_2m(const struct addr_space *space, const struct area *area)
{
	return area->pages != AREA_PAGES_4K && space->npt.format.level[LEVEL_2M].leaf;
}

void backend_alloc_derive(const struct addr_space *space, struct area *area)
{
	area->page_entry = npt_new_leaf(&space->npt, &area->range, LEVEL_4K, 0, area->attributes);
}

/*
 * Takes all frames for the area: of 2 MiB for its whole blocks while there are any, though they may be mapped by
 * 4 KiB, and of 4 KiB for the rest.
 */
static int take_frames(struct npt_mapping *mapping, const struct area *area, bool map_2m)
{
	/* cppcheck-suppress ctuuninitvar ; set by the only caller */
	struct mm_hal *hal = mapping->npt->hal;
	gpa_t start = align_up(area->range.start, npt_span(LEVEL_2M));
	gpa_t end = start;
	uint64_t pages = (area->range.end - area->range.start) >> FRAME_SHIFT;

	while (end + npt_span(LEVEL_2M) <= area->range.end &&
	       frame_list_take(&mapping->frames[LEVEL_2M], hal, 1, ORDER_2M, FRAME_GUEST) == MM_OK) {
		end += npt_span(LEVEL_2M);
		pages -= BIT(ORDER_2M);
	}
	if (map_2m && area->pages == AREA_PAGES_2M && end + npt_span(LEVEL_2M) <= area->range.end) {
		return MM_ENOMEM;
	}
	mapping->blocks = (struct gpa_range){start, end};
	return frame_list_take(&mapping->frames[LEVEL_4K], hal, pages, ORDER_4K, FRAME_GUEST);
}

int backend_alloc_populate(struct addr_space *space, const struct area *area)
{
	bool map_2m = may_map_2m(space, area);
	struct npt_mapping mapping;

	mapping.npt = &space->npt;
	mapping.attributes = area->attributes;
	mapping.contiguous = false;
	mapping.frames[LEVEL_4K] = FRAME_LIST_EMPTY;
	mapping.frames[LEVEL_2M] = FRAME_LIST_EMPTY;
	int status = take_frames(&mapping, area, map_2m);

	if (status == MM_OK) {
		struct gpa_range none = {area->range.end, area->range.end};

		mapping.target.start = area->range.start;
		mapping.target.end = area->range.end;
		npt_narrow(&space->npt, &mapping.target);
		mapping.leaves[LEVEL_4K] = area->range;
		mapping.leaves[LEVEL_2M] = map_2m ? mapping.blocks : none;
		for (unsigned level = LEVEL_2M + 1; level < NPT_MAX_LEVELS; level++) {
			mapping.leaves[level] = none;
		}
		status = npt_map_prepared(&mapping);
	}
	if (status != MM_OK) {
		frame_list_give_back(&mapping.frames[LEVEL_4K], space->npt.hal, ORDER_4K, FRAME_GUEST);
		frame_list_give_back(&mapping.frames[LEVEL_2M], space->npt.hal, ORDER_2M, FRAME_GUEST);
		return status;
	}
	space->statistics.frames_owned += (area->range.end - area->range.start) >> FRAME_SHIFT;
	return MM_OK;
}

static bool covers_block(const struct area *area, gpa_t gpa)
{
	gpa_t start = align_down(gpa, npt_span(LEVEL_2M));

	return start >= area->range.start && start + npt_span(LEVEL_2M) <= area->range.end;
}

int backend_alloc_fill_high(struct addr_space *space, const struct area *area, gpa_t gpa, uint64_t *slot,
                            unsigned hole_level)
{
	struct npt *npt = &space->npt;
	struct mm_hal *hal = npt->hal;
	bool want_2m = may_map_2m(space, area) && covers_block(area, gpa);
	hpa_t frame = want_2m ? hal->alloc_frames(hal, ORDER_2M, FRAME_GUEST) : HPA_NONE;
	unsigned level = frame != HPA_NONE ? LEVEL_2M : LEVEL_4K;

	if (frame == HPA_NONE && !(want_2m && area->pages == AREA_PAGES_2M)) {
		frame = hal->alloc_frames(hal, ORDER_4K, FRAME_GUEST);
	}
	if (frame == HPA_NONE) {
		return MM_ENOMEM;
	}
	npt_zero(npt, frame, npt_span(level));
	int status = npt_fill_hole(npt, slot, hole_level, gpa, level,
	                           npt_new_leaf(npt, &area->range, level, frame, area->attributes));

	if (status != MM_OK) {
		hal->free_frames(hal, frame, level * NPT_INDEX_BITS, FRAME_GUEST);
		return status;
	}
	space->statistics.frames_owned += npt_span(level) >> FRAME_SHIFT;
	space->statistics.faults_filled++;
	return MM_OK;
}

void backend_release(void *context, gpa_t gpa, hpa_t address, unsigned level)
{
	struct addr_space *space = context;
	const struct area *area = area_set_find(&space->areas, gpa);

	if (area != NULL && area->backend == AREA_ALLOC) {
		space->npt.hal->free_frames(space->npt.hal, address, level * NPT_INDEX_BITS, FRAME_GUEST);
		space->statistics.frames_owned -= npt_span(level) >> FRAME_SHIFT;
	}
}
