/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The debug build's eye on free memory: frames are filled with a pattern when they are freed, and whoever gets them
 * next finds out whether somebody wrote to them meanwhile. Called by frame_bitmap.c under its lock; frames that were
 * never freed, or not under this watch, are never touched.
 */
#include "mm/frame_bitmap.h"

#ifdef MM_DEBUG

/* No address, no entry that any table format takes for present, no byte that is 0, and easy to see in a dump. */
#define PATTERN     UINT64_C(0x6f6e2d656e6f2d68)
#define FRAME_WORDS (FRAME_SIZE / sizeof(uint64_t))

static uint64_t *words_of(const struct frame_bitmap *frames, const struct frame_bitmap_region *region, uint64_t frame)
{
	hpa_t address = region->first + (frame << FRAME_SHIFT);

	return (void *)(uintptr_t)(address + frames->virtual_offset); /* NOLINT(performance-no-int-to-ptr) */
}

static bool is_whole(const uint64_t *words)
{
	for (unsigned i = 0; i < FRAME_WORDS; i++) {
		if (words[i] != PATTERN) {
			return false;
		}
	}
	return true;
}

void frame_poison(struct frame_bitmap *frames, struct frame_bitmap_region *region, uint64_t frame, uint64_t count)
{
	if (frames->poison_error == NULL) {
		return;
	}
	for (uint64_t end = frame + count; frame < end; frame++) {
		uint64_t *words = words_of(frames, region, frame);

		for (unsigned i = 0; i < FRAME_WORDS; i++) {
			words[i] = PATTERN;
		}
		region->poisoned[frame / WORD_BITS] |= BIT(frame % WORD_BITS);
	}
}

void frame_poison_check(struct frame_bitmap *frames, struct frame_bitmap_region *region, uint64_t frame, uint64_t count)
{
	hpa_t damaged = HPA_NONE;

	for (uint64_t end = frame + count; frame < end; frame++) {
		uint64_t *poisoned = &region->poisoned[frame / WORD_BITS];
		uint64_t bit = BIT(frame % WORD_BITS);

		if ((*poisoned & bit) != 0 && damaged == HPA_NONE && !is_whole(words_of(frames, region, frame))) {
			damaged = region->first + (frame << FRAME_SHIFT);
		}
		*poisoned &= ~bit;
	}
	if (damaged != HPA_NONE && frames->poison_error != NULL) {
		frames->poison_error(damaged);
	}
}

#endif

void frame_on_poison_error(struct frame_bitmap *frames, void (*poison_error)(hpa_t frame))
{
	spin_lock(&frames->lock);
	frames->poison_error = poison_error;
	spin_unlock(&frames->lock);
}
