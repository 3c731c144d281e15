/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames of one VM: see frame_quota.h. Called through struct mm_hal by all of mm/ and by arch. Counts nothing
 * itself: frame_bitmap does, under the lock that it takes anyway, for this is the path of every fault.
 */
#include "mm/frame_quota.h"

#include "lib/util.h"

static hpa_t alloc_frames(struct mm_hal *hal, unsigned order, enum frame_use use)
{
	struct frame_quota *quota = container_of(hal, struct frame_quota, hal);

	return frame_alloc_within(quota->frames, order, use, &quota->allowance);
}

static void free_frames(struct mm_hal *hal, hpa_t base, unsigned order, enum frame_use use)
{
	frame_quota_free_run(container_of(hal, struct frame_quota, hal), base, BIT(order), use);
}

void frame_quota_init(struct frame_quota *quota, struct frame_bitmap *frames, uint64_t limit,
                      void (*bad_free)(hpa_t base, uint64_t count))
{
	*quota = (struct frame_quota){
		.hal.alloc_frames = alloc_frames,
		.hal.free_frames = free_frames,
		.hal.virtual_offset = frames->virtual_offset,
		.frames = frames,
		.allowance = {limit, limit},
		.limit = limit,
		.bad_free = bad_free,
	};
}

hpa_t frame_quota_alloc_run(struct frame_quota *quota, uint64_t count, uint64_t alignment, enum frame_use use)
{
	return frame_alloc_run_within(quota->frames, count, alignment, use, &quota->allowance);
}

void frame_quota_free_run(struct frame_quota *quota, hpa_t base, uint64_t count, enum frame_use use)
{
	if (frame_free_within(quota->frames, base, count, use, &quota->allowance) != MM_OK) {
		quota->bad_free(base, count);
	}
}

struct frame_quota_counts frame_quota_counts(struct frame_quota *quota)
{
	spin_lock(&quota->frames->lock);
	struct frame_allowance allowance = quota->allowance;

	spin_unlock(&quota->frames->lock);
	return (struct frame_quota_counts){
		.limit = quota->limit,
		.held = quota->limit - allowance.left,
		.peak = quota->limit - MIN(allowance.least, allowance.left),
	};
}
