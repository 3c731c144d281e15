/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor's own hold on the machine's memory: the frame allocators over the firmware's map, and the
 * mm_hal through which everything above gets frames.
 */
#pragma once

#include "hv/boot_info.h"
#include "mm/frame_quota.h"

/* Bump first, then the bitmap over all conventional memory. Logs the account. False: too little memory. */
bool host_memory_init(const struct boot_info *info);

/* Once the hypervisor stands on its own tables and stack: frees what only the firmware's boot services had used. */
void host_memory_reclaim(const struct boot_info *info);

/* The hypervisor's own: without a limit, and without a flush, for nothing but its own tables is walked with it. */
struct mm_hal *host_memory_hal(void);

/* For a VM: the same frames, at most `limit` of them. Its flush is the VM's to set. */
void host_memory_quota(struct frame_quota *quota, uint64_t limit);

/* How many of the last free frames no guest's memory gets. */
uint64_t host_memory_reserve(void);

/* The account now. Panics if free + held differs from total: that would be the allocator's own error. */
struct frame_counts host_memory_counts(void);
/* "mm: N frames, N free, N kernel, N tables, N guest". */
void host_memory_log(const char *subsystem);
