/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frame allocation for the whole image. Called by hv_main once, then through struct mm_hal by mm/ and arch/.
 * A failed free here is the hypervisor's own error, never a guest's: it panics.
 */
#include "hv/host_memory.h"

#include "lib/log.h"
#include "lib/panic.h"
#include "lib/util.h"

/*
 * Frames that no guest's memory gets, so that tables and the hypervisor's own structures are still to be had when
 * guests have taken all else: for the host, and for each configured VM. A fault takes two tables (three above 512 GiB),
 * a VM at its start about ten frames beside its memory.
 */
#define RESERVE_HOST 64
#define RESERVE_VM   32

static struct frame_bump bump;
static struct frame_bitmap frames;
static struct frame_quota host; /* the hypervisor's own, without a limit */
static uint64_t reserve;

static void bad_free(hpa_t base, uint64_t count)
{
	panic("mm: %llu frames at 0x%llx freed that nobody holds", (unsigned long long)count, (unsigned long long)base);
}

struct mm_hal *host_memory_hal(void)
{
	return &host.hal;
}

void host_memory_quota(struct frame_quota *quota, uint64_t limit)
{
	frame_quota_init(quota, &frames, limit, bad_free);
	quota->hal.clean = host.hal.clean;
}

uint64_t host_memory_reserve(void)
{
	return reserve;
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

/* The debug build's: an error of ours, for no guest reaches a frame that it does not hold. */
static void poison_error(hpa_t frame)
{
	panic("mm: frame 0x%llx was written to after it had been freed", (unsigned long long)frame);
}

bool host_memory_init(const struct boot_info *info)
{
	frame_bump_init(&bump, info->regions, info->region_count);
	if (frame_bitmap_init(&frames, &bump, 0) != MM_OK) {
		return false;
	}
	host_memory_quota(&host, FRAME_NO_LIMIT);
	reserve = RESERVE_HOST + RESERVE_VM * (uint64_t)info->config.vm_count;
	frame_reserve(&frames, reserve);
	frame_on_poison_error(&frames, poison_error);
	host_memory_log("mm");
	return true;
}

void host_memory_reclaim(const struct boot_info *info)
{
	for (unsigned i = 0; i < info->reclaimable_count; i++) {
		frame_quota_free_run(&host, info->reclaimable[i].base, info->reclaimable[i].frames, FRAME_KERNEL);
	}
}
