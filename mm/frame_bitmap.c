/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame allocator of run time. Memory is cut into aligned blocks of 2 MiB; each run of frames has one bit a
 * frame, a count a block, and three index sets: broken blocks (some frames free), whole ones, and GiB of whole
 * ones. An index set finds its first member in one step per level, so nothing here scans but frame_alloc_run.
 * Called through struct mm_hal and by arch and hv for their own frames; takes its own lock.
 */
#include "mm/frame_bitmap.h"
#include "lib/string.h"
#include "lib/util.h"

/* How many broken blocks to search for a run shorter than a block before a whole one is broken. */
#define BROKEN_TRIES 8

/* ---- one region ---- */

static hpa_t frame_address(const struct frame_bitmap_region *region, uint64_t frame)
{
	return region->first + (frame << FRAME_SHIFT);
}

/* Files the block anew now that `now` of its frames are free. */
static void count_block(struct frame_bitmap_region *region, uint64_t block, uint64_t now)
{
	uint64_t was = region->free_frames[block];
	uint64_t gib = gib_of(region, block);

	region->free_frames[block] = (uint16_t)now;
	if (was == BLOCK_FRAMES) {
		set_remove(&region->whole, block);
		if (region->whole_blocks[gib]-- == GIB_BLOCKS) {
			set_remove(&region->whole_gibs, gib);
		}
	} else if (was != 0) {
		set_remove(&region->broken, block);
	}
	if (now == BLOCK_FRAMES) {
		set_add(&region->whole, block);
		if (++region->whole_blocks[gib] == GIB_BLOCKS) {
			set_add(&region->whole_gibs, gib);
		}
	} else if (now != 0) {
		set_add(&region->broken, block);
	}
}

/* Before a block that has one holder is taken apart. */
static inline void spread_holder(struct frame_bitmap_region *region, uint64_t block)
{
	if (unlikely(region->block_holder[block] != HOLDER_EACH)) {
		memset(&region->holder[block * BLOCK_FRAMES], region->block_holder[block], BLOCK_FRAMES);
		region->block_holder[block] = HOLDER_EACH;
	}
}

/* Flips `count` frames inside one block, fewer than all of it, all of which are free or all held. */
static void flip_in_block(struct frame_bitmap_region *region, uint64_t frame, uint64_t count, uint8_t holder)
{
	uint64_t block = frame / BLOCK_FRAMES;
	uint64_t was = region->free_frames[block];

	spread_holder(region, block);
	memset(&region->holder[frame], holder, count);
	count_block(region, block, holder == HOLDER_NOBODY ? was + count : was - count);
	while (count != 0) {
		uint64_t bit = frame % WORD_BITS;
		uint64_t part = MIN(count, WORD_BITS - bit);

		region->free_bits[frame / WORD_BITS] ^= BITS(bit + part - 1, bit);
		frame += part;
		count -= part;
	}
}

/* Flips all frames of a block. */
static void flip_block(struct frame_bitmap_region *region, uint64_t block, uint8_t holder)
{
	bool to_free = holder == HOLDER_NOBODY;
	uint64_t *words = &region->free_bits[block * BLOCK_WORDS];

	region->block_holder[block] = holder;
	for (unsigned i = 0; i < BLOCK_WORDS; i++) {
		words[i] = to_free ? UINT64_MAX : 0;
	}
	count_block(region, block, to_free ? BLOCK_FRAMES : 0);
}

/* Gives `count` frames, all of which are free or all held, to `holder`. */
static void flip(struct frame_bitmap_region *region, uint64_t frame, uint64_t count, uint8_t holder)
{
	while (count != 0) {
		uint64_t part = MIN(count, BLOCK_FRAMES - frame % BLOCK_FRAMES);

		if (part == BLOCK_FRAMES) {
			flip_block(region, frame / BLOCK_FRAMES, holder);
		} else {
			flip_in_block(region, frame, part, holder);
		}
		frame += part;
		count -= part;
	}
}

/* The same for one frame. */
static inline void flip_one(struct frame_bitmap_region *region, uint64_t frame, uint8_t holder)
{
	uint64_t block = frame / BLOCK_FRAMES;
	uint64_t now = region->free_frames[block] + (holder == HOLDER_NOBODY ? UINT64_C(1) : UINT64_MAX);

	spread_holder(region, block);
	region->holder[frame] = holder;
	region->free_bits[frame / WORD_BITS] ^= BIT(frame % WORD_BITS);
	if (likely(now > 1 && now < BLOCK_FRAMES - 1)) {
		region->free_frames[block] = (uint16_t)now; /* broken before and after */
	} else {
		count_block(region, block, now);
	}
}

/* A free frame of the block, which has one. */
static uint64_t frame_in_block(const struct frame_bitmap_region *region, uint64_t block)
{
	uint64_t word = block * BLOCK_WORDS;

	while (region->free_bits[word] == 0) {
		word++;
	}
	return word * WORD_BITS + (unsigned)__builtin_ctzll(region->free_bits[word]);
}

/* The first held frame in [from, to), or `to`. */
static uint64_t first_held(const struct frame_bitmap_region *region, uint64_t from, uint64_t to)
{
	while (from < to) {
		if (from % BLOCK_FRAMES == 0 && region->free_frames[from / BLOCK_FRAMES] == BLOCK_FRAMES) {
			from += BLOCK_FRAMES;
			continue;
		}
		uint64_t held = ~region->free_bits[from / WORD_BITS] >> from % WORD_BITS;

		if (held != 0) {
			return MIN(from + (unsigned)__builtin_ctzll(held), to);
		}
		from = align_down(from, WORD_BITS) + WORD_BITS;
	}
	return to;
}

/* `count` free frames in [from, to), aligned; or NOTHING. This one scans. */
static uint64_t find_run(const struct frame_bitmap_region *region, uint64_t from, uint64_t to, uint64_t count,
                         uint64_t alignment)
{
	uint64_t bias = region->first >> FRAME_SHIFT; /* alignment is that of the address */
	uint64_t at = align_up(from + bias, alignment) - bias;

	while (at < to && count <= to - at) {
		uint64_t held = first_held(region, at, at + count);

		if (held == at + count) {
			return at;
		}
		uint64_t next = held + 1;

		if (region->free_frames[held / BLOCK_FRAMES] == 0) {
			next = align_down(held, BLOCK_FRAMES) + BLOCK_FRAMES;
		}
		at = align_up(next + bias, alignment) - bias;
	}
	return NOTHING;
}

/* An aligned run of more than one frame, shorter than a block, in one of the first broken blocks. */
static uint64_t find_in_broken(const struct frame_bitmap_region *region, uint64_t count)
{
	uint64_t block = set_first(&region->broken);

	for (unsigned tries = 0; block != NOTHING && tries < BROKEN_TRIES; tries++) {
		uint64_t start = block * BLOCK_FRAMES;
		uint64_t frame = find_run(region, start, start + BLOCK_FRAMES, count, count);

		if (frame != NOTHING) {
			return frame;
		}
		block = set_after(&region->broken, block);
	}
	return NOTHING;
}

/* ---- the allocator ---- */

static struct frame_bitmap_region *region_at(const struct frame_bitmap *frames, unsigned i)
{
	struct frame_bitmap_region *region = frames->current + i;

	return region < frames->end ? region : region - frames->count;
}

/* Whether `count` frames are allowed and there are so many beside those kept from `use`. */
static inline bool may_take(const struct frame_bitmap *frames, uint64_t count, enum frame_use use,
                            const struct frame_allowance *allowance)
{
	uint64_t kept = frames->kept[use];

	return allowance->left >= count && frames->counts.free > kept && frames->counts.free - kept >= count;
}

static inline hpa_t account(struct frame_bitmap *frames, struct frame_bitmap_region *region, uint64_t frame,
                            uint64_t count, enum frame_use use)
{
	frames->counts.free -= count;
	frames->counts.held[use] += count;
	frames->current = region;
	return frame_address(region, frame);
}

/* Hands out `count` frames of the region; under the lock. */
static hpa_t take(struct frame_bitmap *frames, struct frame_bitmap_region *region, uint64_t frame, uint64_t count,
                  enum frame_use use)
{
	frame_poison_check(frames, region, frame, count);
	if (count == BLOCK_FRAMES && frame % BLOCK_FRAMES == 0) {
		flip_block(region, frame / BLOCK_FRAMES, (uint8_t)use);
	} else {
		flip(region, frame, count, (uint8_t)use);
	}
	return account(frames, region, frame, count, use);
}

/* The same for one frame. */
static inline hpa_t take_one(struct frame_bitmap *frames, struct frame_bitmap_region *region, uint64_t frame,
                             enum frame_use use)
{
	frame_poison_check(frames, region, frame, 1);
	flip_one(region, frame, (uint8_t)use);
	return account(frames, region, frame, 1, use);
}

/* The first frames of a whole block, or all of it. */
static hpa_t alloc_from_block(struct frame_bitmap *frames, uint64_t count, enum frame_use use)
{
	for (unsigned i = 0; i < frames->count; i++) {
		struct frame_bitmap_region *region = region_at(frames, i);
		uint64_t block = set_first(&region->whole);

		if (block != NOTHING) {
			return take(frames, region, block * BLOCK_FRAMES, count, use);
		}
	}
	return HPA_NONE;
}

static hpa_t alloc_page(struct frame_bitmap *frames, enum frame_use use, struct frame_allowance *allowance)
{
	if (unlikely(!may_take(frames, 1, use, allowance))) {
		return HPA_NONE;
	}
	allowance->left--; /* nothing fails from here on */
	for (unsigned i = 0; i < frames->count; i++) {
		struct frame_bitmap_region *region = region_at(frames, i);
		uint64_t block = set_first(&region->broken);

		if (likely(block != NOTHING)) {
			return take_one(frames, region, frame_in_block(region, block), use);
		}
	}
	return alloc_from_block(frames, 1, use);
}

/* More than one frame, fewer than a block. */
static hpa_t alloc_small(struct frame_bitmap *frames, uint64_t count, enum frame_use use)
{
	for (unsigned i = 0; i < frames->count; i++) {
		struct frame_bitmap_region *region = region_at(frames, i);
		uint64_t frame = find_in_broken(region, count);

		if (frame != NOTHING) {
			return take(frames, region, frame, count, use);
		}
	}
	return alloc_from_block(frames, count, use);
}

static hpa_t alloc_gib(struct frame_bitmap *frames, enum frame_use use)
{
	for (unsigned i = 0; i < frames->count; i++) {
		struct frame_bitmap_region *region = region_at(frames, i);
		uint64_t gib = set_first(&region->whole_gibs);

		if (gib != NOTHING) {
			hpa_t address =
				align_down(region->first, BLOCK_SIZE * GIB_BLOCKS) + gib * BLOCK_SIZE * GIB_BLOCKS;

			return take(frames, region, (address - region->first) >> FRAME_SHIFT, BLOCK_FRAMES * GIB_BLOCKS,
			            use);
		}
	}
	return HPA_NONE;
}

static hpa_t alloc_run(struct frame_bitmap *frames, uint64_t count, uint64_t alignment, enum frame_use use)
{
	for (unsigned i = 0; i < frames->count; i++) {
		struct frame_bitmap_region *region = region_at(frames, i);
		uint64_t frame = find_run(region, 0, region->blocks * BLOCK_FRAMES, count, alignment);

		if (frame != NOTHING) {
			return take(frames, region, frame, count, use);
		}
	}
	return HPA_NONE;
}

/* More than one frame. */
static hpa_t alloc_order(struct frame_bitmap *frames, unsigned order, enum frame_use use)
{
	hpa_t address = HPA_NONE;

	if (order == BLOCK_ORDER) {
		return alloc_from_block(frames, BLOCK_FRAMES, use);
	}
	if (order == GIB_ORDER) {
		return alloc_gib(frames, use);
	}
	if (order < BLOCK_ORDER) {
		address = alloc_small(frames, BIT(order), use);
	}
	/* Rare: an order that no set serves, or broken blocks that were not searched. */
	return address != HPA_NONE ? address : alloc_run(frames, BIT(order), BIT(order), use);
}

static hpa_t alloc_many(struct frame_bitmap *frames, unsigned order, enum frame_use use,
                        struct frame_allowance *allowance)
{
	if (unlikely(order >= WORD_BITS || !may_take(frames, BIT(order), use, allowance))) {
		return HPA_NONE;
	}
	hpa_t address = alloc_order(frames, order, use);

	allowance->left -= address != HPA_NONE ? BIT(order) : 0;
	return address;
}

hpa_t frame_alloc_within(struct frame_bitmap *frames, unsigned order, enum frame_use use,
                         struct frame_allowance *allowance)
{
	spin_lock(&frames->lock);
	hpa_t address =
		likely(order == 0) ? alloc_page(frames, use, allowance) : alloc_many(frames, order, use, allowance);

	spin_unlock(&frames->lock);
	return address;
}

hpa_t frame_alloc_run_within(struct frame_bitmap *frames, uint64_t count, uint64_t alignment, enum frame_use use,
                             struct frame_allowance *allowance)
{
	hpa_t address = HPA_NONE;

	spin_lock(&frames->lock);
	if (count != 0 && may_take(frames, count, use, allowance)) {
		address = alloc_run(frames, count, alignment, use);
		allowance->left -= address != HPA_NONE ? count : 0;
	}
	spin_unlock(&frames->lock);
	return address;
}

void frame_reserve(struct frame_bitmap *frames, uint64_t count)
{
	spin_lock(&frames->lock);
	frames->kept[FRAME_GUEST] = count;
	spin_unlock(&frames->lock);
}

/* The region that holds `address`, or NULL. */
static struct frame_bitmap_region *find_region(const struct frame_bitmap *frames, hpa_t address)
{
	unsigned low = 0;
	unsigned high = frames->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		struct frame_bitmap_region *region = &frames->regions[middle];

		if (address < region->base) {
			high = middle;
		} else if (address >= region->end) {
			low = middle + 1;
		} else {
			return region;
		}
	}
	return NULL;
}

static bool all_held(const struct frame_bitmap_region *region, uint64_t first, uint64_t count, uint8_t holder)
{
	uint64_t frame = first;

	while (frame < first + count) {
		uint64_t block = frame / BLOCK_FRAMES;

		if (region->block_holder[block] == holder) {
			frame = (block + 1) * BLOCK_FRAMES;
		} else if (region->block_holder[block] == HOLDER_EACH && region->holder[frame] == holder) {
			frame++;
		} else {
			return false;
		}
	}
	return true;
}

static int free_run(struct frame_bitmap *frames, hpa_t base, uint64_t count, enum frame_use use,
                    struct frame_allowance *allowance)
{
	struct frame_bitmap_region *region = find_region(frames, base);

	if (region == NULL || count == 0 || count > (region->end - base) >> FRAME_SHIFT) {
		return MM_EINVAL;
	}
	uint64_t first = (base - region->first) >> FRAME_SHIFT;

	if (!all_held(region, first, count, (uint8_t)use)) {
		return MM_EINVAL;
	}
	frame_poison(frames, region, first, count);
	if (count == 1) {
		flip_one(region, first, HOLDER_NOBODY);
	} else {
		flip(region, first, count, HOLDER_NOBODY);
	}
	frames->counts.free += count;
	frames->counts.held[use] -= count;
	/* What is left shrinks until a free, which thus finds the least. */
	allowance->least = MIN(allowance->least, allowance->left);
	allowance->left += count;
	return MM_OK;
}

int frame_free_within(struct frame_bitmap *frames, hpa_t base, uint64_t count, enum frame_use use,
                      struct frame_allowance *allowance)
{
	if (!is_aligned(base, FRAME_SIZE)) {
		return MM_EALIGN;
	}
	spin_lock(&frames->lock);
	int status = free_run(frames, base, count, use, allowance);

	spin_unlock(&frames->lock);
	return status;
}

bool frame_counts(struct frame_bitmap *frames, struct frame_counts *counts)
{
	uint64_t sum;

	spin_lock(&frames->lock);
	*counts = frames->counts;
	spin_unlock(&frames->lock);
	sum = counts->free;
	for (unsigned use = 0; use < FRAME_USES; use++) {
		sum += counts->held[use];
	}
	return sum == counts->total;
}
