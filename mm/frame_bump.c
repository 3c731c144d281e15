/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame allocator of early boot: eats conventional memory from its start and never frees. What alignment or
 * a region's end leaves over is remembered, so that frame_bitmap can take over every frame. Called by boot and
 * arch before frame_bitmap_init; knows no pointers, only addresses.
 */
#include "lib/util.h"
#include "mm/frames.h"

/* Frame 0 looks like a null pointer: nobody gets it. */
static uint64_t unusable_at_start(const struct memory_region *region)
{
	return region->base == 0 ? 1 : 0;
}

void frame_bump_init(struct frame_bump *bump, const struct memory_region *regions, unsigned count)
{
	*bump = (struct frame_bump){.regions = regions, .count = count};
	if (count != 0) {
		bump->used = unusable_at_start(&regions[0]);
	}
}

/* Where in `run` an allocation fits, or HPA_NONE. */
static hpa_t fit(const struct frame_bump *bump, const struct frame_run *run, uint64_t frames, uint64_t alignment)
{
	hpa_t end = run->base + (run->frames << FRAME_SHIFT);
	hpa_t at = align_up(run->base, alignment << FRAME_SHIFT);

	end = bump->limit != 0 ? MIN(end, bump->limit) : end;
	return at < end && frames <= (end - at) >> FRAME_SHIFT ? at : HPA_NONE;
}

static void add_gap(struct frame_bump *bump, hpa_t base, hpa_t end)
{
	struct frame_run gap = {base, (end - base) >> FRAME_SHIFT};
	struct frame_run *shortest = &bump->gaps[0];

	if (gap.frames == 0) {
		return;
	}
	if (bump->gap_count < FRAME_BUMP_GAPS) {
		bump->gaps[bump->gap_count] = gap;
		bump->gap_count++;
		return;
	}
	for (unsigned i = 1; i < FRAME_BUMP_GAPS; i++) {
		shortest = bump->gaps[i].frames < shortest->frames ? &bump->gaps[i] : shortest;
	}
	if (shortest->frames < gap.frames) {
		*shortest = gap;
	}
}

static hpa_t alloc_from_gaps(struct frame_bump *bump, uint64_t frames, uint64_t alignment)
{
	for (unsigned i = 0; i < bump->gap_count; i++) {
		struct frame_run gap = bump->gaps[i];
		hpa_t at = fit(bump, &gap, frames, alignment);

		if (at != HPA_NONE) {
			bump->gap_count--;
			bump->gaps[i] = bump->gaps[bump->gap_count];
			add_gap(bump, gap.base, at);
			add_gap(bump, at + (frames << FRAME_SHIFT), gap.base + (gap.frames << FRAME_SHIFT));
			return at;
		}
	}
	return HPA_NONE;
}

/* What is left of region `i`, which is the current one or a later one. */
static struct frame_run rest_of(const struct frame_bump *bump, unsigned i)
{
	const struct memory_region *region = &bump->regions[i];
	uint64_t gone = i == bump->current ? bump->used : unusable_at_start(region);

	if (region->kind != MEMORY_CONVENTIONAL || gone > region->frames) {
		gone = region->frames;
	}
	return (struct frame_run){region->base + (gone << FRAME_SHIFT), region->frames - gone};
}

/* Region `i` becomes the current one; what is left of those before it goes to the gaps. */
static void move_to(struct frame_bump *bump, unsigned i)
{
	while (bump->current < i) {
		struct frame_run rest = rest_of(bump, bump->current);

		add_gap(bump, rest.base, rest.base + (rest.frames << FRAME_SHIFT));
		bump->current++;
		bump->used = unusable_at_start(&bump->regions[bump->current]);
	}
}

hpa_t frame_bump_alloc(struct frame_bump *bump, uint64_t frames, uint64_t alignment)
{
	hpa_t at = frames == 0 ? HPA_NONE : alloc_from_gaps(bump, frames, alignment);

	if (frames == 0 || at != HPA_NONE) {
		return at;
	}
	for (unsigned i = bump->current; i < bump->count; i++) {
		struct frame_run rest = rest_of(bump, i);

		at = fit(bump, &rest, frames, alignment);
		if (at != HPA_NONE) {
			move_to(bump, i);
			add_gap(bump, rest.base, at);
			bump->used = ((at - bump->regions[i].base) >> FRAME_SHIFT) + frames;
			return at;
		}
	}
	return HPA_NONE;
}
