/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A limit on what one VM may hold: an mm_hal over a frame_bitmap that counts. Frames of every use count, for a VM's
 * tables are as much memory as its pages. Whoever reaches the limit gets HPA_NONE, as if there were no more. Any number
 * of CPUs may use one quota, any number of quotas one bitmap.
 */
#pragma once

#include "mm/frames.h"
#include "mm/hal.h"

struct frame_quota {
	struct mm_hal hal;           /* what the VM is given */
	struct frame_bitmap *frames; /* where the frames come from; not owned */
	struct frame_allowance allowance;
	uint64_t limit; /* in frames, or FRAME_NO_LIMIT */
	/* Told of a free that frame_bitmap refuses: a bug of the caller's. */
	void (*bad_free)(hpa_t base, uint64_t count);
};

/* The hal comes without a flush; whoever needs one sets it. */
void frame_quota_init(struct frame_quota *quota, struct frame_bitmap *frames, uint64_t limit,
                      void (*bad_free)(hpa_t base, uint64_t count));

/* Runs of any length: frame_alloc_run and frame_free. */
hpa_t frame_quota_alloc_run(struct frame_quota *quota, uint64_t count, uint64_t alignment, enum frame_use use);
void frame_quota_free_run(struct frame_quota *quota, hpa_t base, uint64_t count, enum frame_use use);

struct frame_quota_counts {
	uint64_t limit, held, peak; /* in frames; the most that was ever held */
};
struct frame_quota_counts frame_quota_counts(struct frame_quota *quota);
