/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What frame_bitmap.c (allocating), frame_takeover.c (making the bitmap from the memory map) and frame_poison.c (the
 * debug build's check of free memory) share: how a run of frames is described. Private to them; users include
 * mm/frames.h.
 */
#pragma once

#include "lib/util.h"
#include "mm/frames.h"
#include "mm/index_set.h"

#define BLOCK_ORDER  9U
#define BLOCK_FRAMES (UINT64_C(1) << BLOCK_ORDER)
#define BLOCK_WORDS  (BLOCK_FRAMES / WORD_BITS)
#define BLOCK_SIZE   (BLOCK_FRAMES << FRAME_SHIFT)
#define GIB_ORDER    18U
#define GIB_BLOCKS   (UINT64_C(1) << (GIB_ORDER - BLOCK_ORDER))

/* What the holder of a frame may be besides an enum frame_use. */
#define HOLDER_NOBODY 0xff /* free */
#define HOLDER_NEVER  0xfe /* not ours, or frame 0: can be neither given out nor freed */
#define HOLDER_EACH   0xfd /* of a block: each of its frames has its own */

_Static_assert(FRAME_SHIFT + BLOCK_ORDER == 21 && FRAME_SHIFT + GIB_ORDER == 30, "blocks are 2 MiB and 1 GiB");
_Static_assert(FRAME_USES < HOLDER_EACH, "a holder fits a byte");

/* A run of frames without holes. Frames and blocks in it count from `first`. */
struct frame_bitmap_region {
	hpa_t first; /* the run's base, aligned down to 2 MiB */
	hpa_t base;
	hpa_t end;
	uint64_t blocks;
	uint64_t gibs;
	uint64_t *free_bits;    /* by frame */
	uint8_t *holder;        /* by frame: enum frame_use or HOLDER_…; holds where block_holder is HOLDER_EACH */
	uint8_t *block_holder;  /* by block: who holds all of its frames, or HOLDER_EACH */
	uint16_t *free_frames;  /* by block */
	uint16_t *whole_blocks; /* by aligned GiB */
#ifdef MM_DEBUG
	uint64_t *poisoned; /* by frame: free and filled with the pattern */
#endif
	struct index_set broken;
	struct index_set whole;
	struct index_set whole_gibs;
};

/* The aligned GiB of the region that the block lies in. */
static inline uint64_t gib_of(const struct frame_bitmap_region *region, uint64_t block)
{
	return (region->first % (GIB_BLOCKS * BLOCK_SIZE) / BLOCK_SIZE + block) / GIB_BLOCKS;
}

#ifdef MM_DEBUG
/* Fills `count` frames that are about to be free; checks those that are about to be held. Under the lock. */
void frame_poison(struct frame_bitmap *frames, struct frame_bitmap_region *region, uint64_t frame, uint64_t count);
void frame_poison_check(struct frame_bitmap *frames, struct frame_bitmap_region *region, uint64_t frame,
                        uint64_t count);
#else
static inline void frame_poison(struct frame_bitmap *frames, struct frame_bitmap_region *region, uint64_t frame,
                                uint64_t count)
{
	(void)frames, (void)region, (void)frame, (void)count;
}

static inline void frame_poison_check(struct frame_bitmap *frames, struct frame_bitmap_region *region, uint64_t frame,
                                      uint64_t count)
{
	(void)frames, (void)region, (void)frame, (void)count;
}
#endif
