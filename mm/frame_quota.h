/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A limit on what one VM may hold: an mm_hal that passes on to another one and counts. Frames of every use count, for
 * a VM's tables are as much memory as its pages. Whoever reaches the limit gets HPA_NONE, as if there were no more.
 */
#pragma once

#include "mm/hal.h"

struct frame_quota {
	struct mm_hal hal;    /* what the VM is given */
	struct mm_hal *below; /* where the frames come from; not owned */
	uint64_t limit;       /* in frames; UINT64_MAX: none */
	uint64_t held;        /* in frames; changed atomically */
	uint64_t peak;        /* the most that was ever held */
	uint64_t refused;     /* allocations that the limit refused (not those that `below` could not serve) */
};

/* `flush` as in struct mm_hal, with &quota->hal as its hal. */
void frame_quota_init(struct frame_quota *quota, struct mm_hal *below, uint64_t limit,
                      void (*flush)(struct mm_hal *hal, struct npt *npt, const struct gpa_range *ranges,
                                    unsigned count));

/* Runs of any length (frame_alloc_run), taken past the hal, are told here. False: the limit; nothing was counted. */
bool frame_quota_take(struct frame_quota *quota, uint64_t frames);
void frame_quota_give(struct frame_quota *quota, uint64_t frames);
