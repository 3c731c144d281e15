/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypervisor's own hold on the machine's memory: the frame allocators over the firmware's map, and the
 * mm_hal through which everything above gets frames.
 */
#pragma once

#include "hv/boot_info.h"
#include "mm/hal.h"

/* Bump first, then the bitmap over all conventional memory. Logs the account. False: too little memory. */
bool host_memory_init(const struct boot_info *info);

/* Once the hypervisor stands on its own tables and stack: frees what only the firmware's boot services had used. */
void host_memory_reclaim(const struct boot_info *info);

/* alloc and free from the bitmap; no flush: nothing but the hypervisor's own tables is walked with it. */
extern struct mm_hal host_hal;

/* For a VM's embedded hal: the same frames, with `flush` of its own. */
void host_memory_hal(struct mm_hal *hal, void (*flush)(struct mm_hal *hal, struct npt *npt,
                                                       const struct gpa_range *ranges, unsigned count));

/* `count` contiguous frames aligned to 2^order frames for a linear guest; HPA_NONE. Contents undefined. */
hpa_t host_memory_alloc_run(uint64_t count, unsigned order);
void host_memory_free_run(hpa_t base, uint64_t count);

/* The account now. Panics if free + held differs from total: that would be the allocator's own error. */
struct frame_counts host_memory_counts(void);
/* "mm: N frames, N free, N kernel, N tables, N guest". */
void host_memory_log(const char *subsystem);
