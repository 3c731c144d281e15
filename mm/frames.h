/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame allocators. frame_bump serves early boot from the firmware's memory map and never frees;
 * frame_bitmap takes over every conventional frame at run time, contiguous and aligned runs included, knows
 * who holds each, and refuses to free what is not held. The sum free + held by use equals the total, always.
 */
#pragma once

#include "lib/spinlock.h"
#include "mm/types.h"

enum memory_kind {
	MEMORY_CONVENTIONAL, /* free for the hypervisor after ExitBootServices */
	MEMORY_LOADED,       /* conventional in kind, but holds the image, loaded files, boot data: FRAME_KERNEL */
	MEMORY_ACPI,         /* tables; kept, mapped read-only */
	MEMORY_FIRMWARE,     /* runtime services: kept, mapped only for a call into the firmware */
	MEMORY_DEVICE,       /* memory-mapped I/O */
	MEMORY_RESERVED,     /* never touched */
};

struct memory_region {
	hpa_t base; /* 4 KiB-aligned */
	uint64_t frames;
	enum memory_kind kind;
};

struct frame_run {
	hpa_t base;
	uint64_t frames;
};

/* Runs that alignment or a region's end left over; when there are more, the shortest is given up. */
#define FRAME_BUMP_GAPS 32

struct frame_bump {
	const struct memory_region *regions; /* sorted by base, disjoint; the caller's */
	unsigned count;
	unsigned current; /* the region being eaten, from its start */
	uint64_t used;    /* frames of it that are gone */
	hpa_t limit;      /* nothing at or above this address (0: no limit); may be changed between calls */
	unsigned gap_count;
	struct frame_run gaps[FRAME_BUMP_GAPS]; /* free, in regions that are eaten or being eaten */
};

void frame_bump_init(struct frame_bump *bump, const struct memory_region *regions, unsigned count);
/* `frames` contiguous frames aligned to `alignment` frames (a power of two), or HPA_NONE. Not zeroed. */
hpa_t frame_bump_alloc(struct frame_bump *bump, uint64_t frames, uint64_t alignment);

#define FRAME_REGIONS_MAX 128 /* of a memory map; the allocators themselves take any number */

struct frame_counts {
	uint64_t total;
	uint64_t free;
	uint64_t held[FRAME_USES];
};

struct frame_bitmap_region; /* one per run of frames, sorted by base; lives in frames from the bump allocator */

/* More frames than any machine has; room above for those that come back and were taken by other means. */
#define FRAME_NO_LIMIT (UINT64_C(1) << 63)

/* What somebody may still take of the frames; several may share one bitmap. Changed under the bitmap's lock. */
struct frame_allowance {
	uint64_t left;  /* in frames; FRAME_NO_LIMIT to begin with: as much as there is */
	uint64_t least; /* the least that was ever left, as far as a free has recorded it */
};

struct frame_bitmap {
	struct spinlock lock;
	struct frame_bitmap_region *regions;
	unsigned count;
	struct frame_bitmap_region *end;
	struct frame_bitmap_region *current; /* where the last allocation succeeded */
	struct frame_counts counts;
	uint64_t kept[FRAME_USES];         /* how many free frames this use must leave */
	struct frame_allowance unlimited;  /* of those who name none */
	uintptr_t virtual_offset;          /* as in struct mm_hal */
	void (*poison_error)(hpa_t frame); /* see frame_on_poison_error */
};

/*
 * Takes over: every MEMORY_CONVENTIONAL and MEMORY_LOADED frame of `bump`'s regions is accounted for; LOADED ones
 * and all that `bump` gave out (the bitmap's own memory, which it takes from there, included) as FRAME_KERNEL, the
 * rest free. Frame 0 is never given out. `bump` must not be used afterwards. MM_ENOMEM.
 */
int frame_bitmap_init(struct frame_bitmap *frames, struct frame_bump *bump, uintptr_t virtual_offset);

/*
 * 2^order frames aligned to their size, or HPA_NONE: none are left, or `allowance` has fewer left, which it then keeps.
 * Contents undefined. Fits small requests into broken 2 MiB blocks first, so that whole ones last.
 */
hpa_t frame_alloc_within(struct frame_bitmap *frames, unsigned order, enum frame_use use,
                         struct frame_allowance *allowance);
/* `count` contiguous frames aligned to `alignment` frames (a power of two), or HPA_NONE. For linear guests. */
hpa_t frame_alloc_run_within(struct frame_bitmap *frames, uint64_t count, uint64_t alignment, enum frame_use use,
                             struct frame_allowance *allowance);
/*
 * Gives `count` frames back, and to the allowance that they were taken within. MM_EINVAL, and nothing changes, if any
 * of them is not held for `use` (a double free) or not known here; the caller treats that as its own bug. MM_EALIGN.
 */
int frame_free_within(struct frame_bitmap *frames, hpa_t base, uint64_t count, enum frame_use use,
                      struct frame_allowance *allowance);

/* The same without a limit. */
static inline hpa_t frame_alloc(struct frame_bitmap *frames, unsigned order, enum frame_use use)
{
	return frame_alloc_within(frames, order, use, &frames->unlimited);
}

static inline hpa_t frame_alloc_run(struct frame_bitmap *frames, uint64_t count, uint64_t alignment, enum frame_use use)
{
	return frame_alloc_run_within(frames, count, alignment, use, &frames->unlimited);
}

static inline int frame_free(struct frame_bitmap *frames, hpa_t base, uint64_t count, enum frame_use use)
{
	return frame_free_within(frames, base, count, use, &frames->unlimited);
}

/*
 * Keeps the last `count` free frames from FRAME_GUEST: tables and the hypervisor's own structures still come out of
 * them. A guest's demand thus cannot starve the tables without which neither a fault could be answered nor memory be
 * given back. May be called at any time; 0 (as after the init) keeps none.
 */
void frame_reserve(struct frame_bitmap *frames, uint64_t count);

/*
 * With MM_DEBUG defined, what is freed from now on is filled with a pattern, and whoever allocates it checks that it is
 * still there: a write through a stale pointer is then found. `poison_error` is told the first frame that was written
 * to, under the allocator's lock; the frame is given out all the same. NULL ends it. Without MM_DEBUG nothing is done.
 */
void frame_on_poison_error(struct frame_bitmap *frames, void (*poison_error)(hpa_t frame));

/* A consistent copy; also checks the sum and returns false if it does not hold. */
bool frame_counts(struct frame_bitmap *frames, struct frame_counts *counts);
