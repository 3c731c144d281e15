/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How frame_bitmap takes memory over from frame_bump: once, at the end of early boot, from the same memory map. No
 * frame may get lost on the way, and none that was given out may be free.
 */
#include "lib/string.h"
#include "mm/frame_bitmap.h"

static bool is_accounted(const struct memory_region *region)
{
	return region->kind == MEMORY_CONVENTIONAL || region->kind == MEMORY_LOADED;
}

/* The next run of neighbouring accounted regions from `*i` on; moves *i past it. False: no more. */
static bool next_run(const struct frame_bump *bump, unsigned *i, struct frame_run *run)
{
	while (*i < bump->count && !is_accounted(&bump->regions[*i])) {
		++*i;
	}
	if (*i == bump->count) {
		return false;
	}
	*run = (struct frame_run){bump->regions[*i].base, 0};
	while (*i < bump->count && is_accounted(&bump->regions[*i]) &&
	       bump->regions[*i].base == run->base + (run->frames << FRAME_SHIFT)) {
		run->frames += bump->regions[*i].frames;
		++*i;
	}
	return true;
}

/* Cuts `bytes` off the memory at *cursor, which may be just a count (starting at 0). */
static void *carve(uintptr_t *cursor, uint64_t bytes)
{
	void *at = (void *)*cursor; /* NOLINT(performance-no-int-to-ptr) */

	*cursor += align_up(bytes, sizeof(uint64_t));
	return at;
}

static void carve_set(struct index_set *set, uintptr_t *cursor, uint64_t members)
{
	set->levels = 0;
	do {
		members = (members + WORD_BITS - 1) / WORD_BITS;
		set->words[set->levels] = carve(cursor, members * sizeof(uint64_t));
		set->levels++;
	} while (members > 1);
}

/* Places the region's arrays at `memory`; returns where they end. */
static uintptr_t carve_region(struct frame_bitmap_region *region, uintptr_t memory)
{
	uint64_t frames = region->blocks * BLOCK_FRAMES;

	region->free_bits = carve(&memory, frames / WORD_BITS * sizeof(uint64_t));
	region->free_frames = carve(&memory, region->blocks * sizeof(uint16_t));
	region->whole_blocks = carve(&memory, region->gibs * sizeof(uint16_t));
	region->holder = carve(&memory, frames);
	region->block_holder = carve(&memory, region->blocks);
#ifdef MM_DEBUG
	region->poisoned = carve(&memory, frames / WORD_BITS * sizeof(uint64_t));
#endif
	carve_set(&region->broken, &memory, region->blocks);
	carve_set(&region->whole, &memory, region->blocks);
	carve_set(&region->whole_gibs, &memory, region->gibs);
	return memory;
}

/* Makes a region of the run, all of it held as FRAME_KERNEL. */
static int init_region(struct frame_bitmap *frames, struct frame_bump *bump, struct frame_bitmap_region *region,
                       const struct frame_run *run)
{
	region->base = run->base;
	region->end = run->base + (run->frames << FRAME_SHIFT);
	region->first = align_down(region->base, BLOCK_SIZE);
	region->blocks = (align_up(region->end, BLOCK_SIZE) - region->first) / BLOCK_SIZE;
	region->gibs = gib_of(region, region->blocks - 1) + 1;

	uint64_t bytes = carve_region(region, 0);
	hpa_t memory = frame_bump_alloc(bump, align_up(bytes, FRAME_SIZE) >> FRAME_SHIFT, 1);

	if (memory == HPA_NONE) {
		return MM_ENOMEM;
	}
	uintptr_t start = (uintptr_t)(memory + frames->virtual_offset);

	memset((void *)start, 0, bytes); /* NOLINT(performance-no-int-to-ptr) */
	carve_region(region, start);
	memset(region->holder, HOLDER_NEVER, region->blocks * BLOCK_FRAMES);
	memset(region->block_holder, HOLDER_EACH, region->blocks);
	memset(&region->holder[(region->base - region->first) >> FRAME_SHIFT], FRAME_KERNEL, run->frames);
	if (region->base == 0) {
		region->holder[0] = HOLDER_NEVER;
	}
	frames->counts.total += run->frames;
	frames->counts.held[FRAME_KERNEL] += run->frames;
	return MM_OK;
}

static void free_at_takeover(struct frame_bitmap *frames, hpa_t base, uint64_t count)
{
	if (base == 0 && count != 0) {
		base += FRAME_SIZE;
		count--;
	}
	if (count != 0) {
		(void)frame_free(frames, base, count, FRAME_KERNEL);
	}
}

/* Frees what the bump allocator has not given out. */
static void free_the_rest(struct frame_bitmap *frames, const struct frame_bump *bump)
{
	for (unsigned i = bump->current; i < bump->count; i++) {
		const struct memory_region *region = &bump->regions[i];
		uint64_t used = i == bump->current ? bump->used : 0;

		if (region->kind == MEMORY_CONVENTIONAL && used < region->frames) {
			free_at_takeover(frames, region->base + (used << FRAME_SHIFT), region->frames - used);
		}
	}
	for (unsigned i = 0; i < bump->gap_count; i++) {
		free_at_takeover(frames, bump->gaps[i].base, bump->gaps[i].frames);
	}
}

int frame_bitmap_init(struct frame_bitmap *frames, struct frame_bump *bump, uintptr_t virtual_offset)
{
	struct frame_run run;
	unsigned runs = 0;
	unsigned next = 0;

	*frames = (struct frame_bitmap){
		.virtual_offset = virtual_offset,
		.unlimited = {FRAME_NO_LIMIT, FRAME_NO_LIMIT},
	};
	while (next_run(bump, &next, &run)) {
		runs++;
	}
	uint64_t bytes = runs * sizeof(struct frame_bitmap_region);
	hpa_t memory = frame_bump_alloc(bump, align_up(bytes, FRAME_SIZE) >> FRAME_SHIFT, 1);

	if (memory == HPA_NONE) {
		return MM_ENOMEM;
	}
	frames->regions = (void *)(uintptr_t)(memory + virtual_offset); /* NOLINT(performance-no-int-to-ptr) */
	next = 0;
	while (next_run(bump, &next, &run)) {
		int status = init_region(frames, bump, &frames->regions[frames->count], &run);

		if (status != MM_OK) {
			return status;
		}
		frames->count++;
	}
	frames->end = frames->regions + frames->count;
	frames->current = frames->regions;
	free_the_rest(frames, bump);
	return MM_OK;
}
