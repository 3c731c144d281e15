/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of mm/: addresses, ranges, permissions, memory types, errors. Addresses and sizes are in bytes
 * unless a name says frames; ranges are half-open everywhere.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t gpa_t; /* guest-physical address */
typedef uint64_t hpa_t; /* host-physical address */

#define FRAME_SHIFT 12
#define FRAME_SIZE  (UINT64_C(1) << FRAME_SHIFT)
#define HPA_NONE    UINT64_MAX /* "no frame" */

struct gpa_range {
	gpa_t start;
	gpa_t end; /* exclusive */
};

/* What a call may answer. Negative values, each cause its own; MM_OK is 0. */
enum mm_status {
	MM_OK = 0,
	MM_EALIGN = -1, /* GPA, HPA or size is not a multiple of 4 KiB */
	MM_EINVAL = -2, /* size 0 where something must be done, or an unknown flag */
	MM_ERANGE = -3, /* wraps, leaves the space, or exceeds the format's or the CPU's width */
	MM_EEXIST = -4, /* overlaps an area that is mapped */
	MM_EPERM = -5,  /* a permission set that the format cannot express */
	MM_ENOMEM = -6, /* no frame to be had */
	MM_EACCES = -7, /* the area is there and lacks the right */
	MM_EFAULT = -8, /* nothing is there */
	MM_ENOSPC = -9, /* no hole of the size and alignment asked for in the GPAs looked at */
};

/* "MM_ENOMEM" for MM_ENOMEM; "MM_?" for what is no status. */
const char *mm_status_name(int status);

/* Permissions and accesses are the same three bits. Empty permissions are legal: a guard. */
enum mm_permission {
	MM_NONE = 0,
	MM_READ = 1,
	MM_WRITE = 2,
	MM_EXECUTE = 4,
	MM_RW = MM_READ | MM_WRITE,
	MM_RX = MM_READ | MM_EXECUTE,
	MM_RWX = MM_READ | MM_WRITE | MM_EXECUTE,
};

enum mm_memory_type {
	MM_WRITE_BACK,
	MM_WRITE_THROUGH,
	MM_WRITE_COMBINING,
	MM_UNCACHED,
	MM_DEVICE, /* strictly ordered; on x86 the same as MM_UNCACHED */
};

/* Who holds a frame: the frame allocators account for each use by itself. */
enum frame_use {
	FRAME_KERNEL, /* the hypervisor's image, stacks, per-VM structures, the allocator's own bitmaps */
	FRAME_TABLE,  /* page tables of any kind, nodes of area sets */
	FRAME_GUEST,  /* guest memory */
	FRAME_USES,
};
