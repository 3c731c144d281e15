/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The alloc backend: an area whose frames come from the allocator, all at once (populate) or each at its first
 * fault. A frame is zeroed before any CPU can reach it. Called by addr_space.c.
 */
#include "lib/string.h"
#include "mm/backend.h"

#define LEVEL_4K 0
#define LEVEL_2M 1
#define ORDER_4K 0
#define ORDER_2M NPT_INDEX_BITS

/* The part of the area that frames of 2 MiB may fill; empty: start == end. */
static struct gpa_range whole_blocks(const struct addr_space *space, const struct area *area)
{
	struct gpa_range blocks = {align_up(area->range.start, npt_span(LEVEL_2M)),
				   align_down(area->range.end, npt_span(LEVEL_2M))};

	if (area->pages == AREA_PAGES_4K || !space->npt.format.level[LEVEL_2M].leaf || blocks.start >= blocks.end) {
		blocks.end = blocks.start;
	}
	return blocks;
}

/*
 * Takes all frames for the area: of 2 MiB for the first blocks of `blocks`, while there are any, and of 4 KiB for
 * the rest. Cuts blocks->end to what they cover.
 */
static int take_frames(struct npt_mapping *mapping, const struct area *area, struct gpa_range *blocks)
{
	struct mm_hal *hal = mapping->npt->hal;
	gpa_t end = blocks->start;

	while (end < blocks->end &&
	       frame_list_take(&mapping->frames[LEVEL_2M], hal, 1, ORDER_2M, FRAME_GUEST) == MM_OK) {
		end += npt_span(LEVEL_2M);
	}
	if (end < blocks->end && area->pages == AREA_PAGES_2M) {
		return MM_ENOMEM;
	}
	blocks->end = end;
	uint64_t pages = (area->range.end - area->range.start - (end - blocks->start)) >> FRAME_SHIFT;

	return frame_list_take(&mapping->frames[LEVEL_4K], hal, pages, ORDER_4K, FRAME_GUEST);
}

int backend_alloc_populate(struct addr_space *space, const struct area *area)
{
	struct gpa_range blocks = whole_blocks(space, area);
	struct npt_mapping mapping;

	mapping.npt = &space->npt;
	mapping.attributes = area->attributes;
	mapping.contiguous = false;
	mapping.frames[LEVEL_4K] = FRAME_LIST_EMPTY;
	mapping.frames[LEVEL_2M] = FRAME_LIST_EMPTY;
	int status = take_frames(&mapping, area, &blocks);

	if (status == MM_OK) {
		mapping.leaves[LEVEL_4K] = area->range;
		mapping.leaves[LEVEL_2M] = blocks;
		for (unsigned level = LEVEL_2M + 1; level < NPT_MAX_LEVELS; level++) {
			mapping.leaves[level] = (struct gpa_range){blocks.end, blocks.end};
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

static bool may_fill_2m(const struct addr_space *space, const struct area *area, gpa_t gpa, unsigned hole_level)
{
	gpa_t start = align_down(gpa, npt_span(LEVEL_2M));

	return hole_level >= LEVEL_2M && area->pages != AREA_PAGES_4K && space->npt.format.level[LEVEL_2M].leaf &&
	       start >= area->range.start && start + npt_span(LEVEL_2M) <= area->range.end;
}

int backend_alloc_fill(struct addr_space *space, const struct area *area, gpa_t gpa, const struct npt_place *place)
{
	struct npt *npt = &space->npt;
	struct mm_hal *hal = npt->hal;
	unsigned level = LEVEL_4K;
	hpa_t frame = HPA_NONE;

	if (may_fill_2m(space, area, gpa, place->level)) {
		frame = hal->alloc_frames(hal, ORDER_2M, FRAME_GUEST);
		level = frame == HPA_NONE && area->pages == AREA_PAGES_AUTO ? LEVEL_4K : LEVEL_2M;
	}
	if (level == LEVEL_4K) {
		frame = hal->alloc_frames(hal, ORDER_4K, FRAME_GUEST);
	}
	if (frame == HPA_NONE) {
		return MM_ENOMEM;
	}
	memset(mm_pointer(hal, frame), 0, npt_span(level));
	int status = npt_fill_hole(npt, place, gpa, level, npt_leaf(&npt->format, level, frame, area->attributes));

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
