/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frame allocation for the whole image. Called by hv_main once, then through struct mm_hal by mm/ and arch/.
 * A failed free here is the hypervisor's own error, never a guest's: it panics.
 */
#include "hv/host_memory.h"

#include "lib/log.h"
#include "lib/panic.h"
#include "lib/util.h"

static struct frame_bump bump;
static struct frame_bitmap frames;

static hpa_t alloc_frames(struct mm_hal *hal, unsigned order, enum frame_use use)
{
	(void)hal;
	return frame_alloc(&frames, order, use);
}

static void give_back(hpa_t base, uint64_t count, enum frame_use use)
{
	if (frame_free(&frames, base, count, use) != MM_OK) {
		panic("mm: %llu frames at 0x%llx freed that nobody holds", (unsigned long long)count,
		      (unsigned long long)base);
	}
}

static void free_frames(struct mm_hal *hal, hpa_t base, unsigned order, enum frame_use use)
{
	(void)hal;
	give_back(base, UINT64_C(1) << order, use);
}

struct mm_hal host_hal = {.alloc_frames = alloc_frames, .free_frames = free_frames};

void host_memory_hal(struct mm_hal *hal,
                     void (*flush)(struct mm_hal *hal, struct npt *npt, const struct gpa_range *ranges, unsigned count))
{
	*hal = host_hal;
	hal->flush = flush;
}

hpa_t host_memory_alloc_run(uint64_t count, unsigned order)
{
	return frame_alloc_run(&frames, count, UINT64_C(1) << order, FRAME_GUEST);
}

void host_memory_free_run(hpa_t base, uint64_t count)
{
	give_back(base, count, FRAME_GUEST);
}

struct frame_counts host_memory_counts(void)
{
	struct frame_counts counts;
	if (!frame_counts(&frames, &counts)) {
		panic("mm: the frame account does not sum up: %llu frames, %llu free, %llu kernel, %llu tables, "
		      "%llu guest",
		      (unsigned long long)counts.total, (unsigned long long)counts.free,
		      (unsigned long long)counts.held[FRAME_KERNEL], (unsigned long long)counts.held[FRAME_TABLE],
		      (unsigned long long)counts.held[FRAME_GUEST]);
	}
	return counts;
}

void host_memory_log(const char *subsystem)
{
	struct frame_counts counts = host_memory_counts();
	log_line(subsystem, "%llu frames, %llu free, %llu kernel, %llu tables, %llu guest",
	         (unsigned long long)counts.total, (unsigned long long)counts.free,
	         (unsigned long long)counts.held[FRAME_KERNEL], (unsigned long long)counts.held[FRAME_TABLE],
	         (unsigned long long)counts.held[FRAME_GUEST]);
}

bool host_memory_init(const struct boot_info *info)
{
	frame_bump_init(&bump, info->regions, info->region_count);
	if (frame_bitmap_init(&frames, &bump, 0) != MM_OK) {
		return false;
	}
	host_memory_log("mm");
	return true;
}

void host_memory_reclaim(const struct boot_info *info)
{
	for (unsigned i = 0; i < info->reclaimable_count; i++) {
		give_back(info->reclaimable[i].base, info->reclaimable[i].frames, FRAME_KERNEL);
	}
}
