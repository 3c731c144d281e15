/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest-physical address space of a VM: areas (which GPA ranges exist and what backs them), the nested
 * page table that the hardware walks, and the answer to nested faults. Every call is all or nothing. One lock
 * per space: changing calls and faults take it. The guest accessor runs beside faults and maps without it, and
 * keeps all that changes what is mapped (unmap, replace, protect, discard, clear, compact, the dirty log) waiting while
 * it copies. addr_space_translate runs beside faults and maps; what it answers holds until the next change of what is
 * mapped, whose caller must know of it.
 */
#pragma once

#include "lib/spinlock.h"
#include "mm/area_set.h"
#include "mm/npt.h"

struct addr_space_statistics {
	uint64_t faults_filled;  /* lazy holes filled */
	uint64_t faults_raced;   /* found present: another vCPU, or the accessor, had won */
	uint64_t faults_refused; /* MM_EACCES, MM_EFAULT, MM_ENOMEM */
	uint64_t faults_logged;  /* first writes that the dirty log let happen */
	uint64_t frames_owned;   /* guest frames of the alloc backend, in 4 KiB frames */
};

struct addr_space {
	struct spinlock lock;
	gpa_t base;
	uint64_t size;
	struct area_set areas;
	struct npt npt;
	/*
	 * Grows before a present mapping is removed or loses rights. Who keeps a host pointer (guest_peek) compares
	 * it before the use, and again after: what was read in between counts only if it is still the same.
	 */
	uint64_t generation;
	/* Grows with every change of the areas: who remembers that a page has none (device registers) compares it. */
	uint64_t layout;
	/* Guest accessors inside without the lock, and a change that waits for them: addr_space_begin_change. */
	uint32_t readers;
	bool changing;
	struct addr_space_statistics statistics;
};

/* What the hardware says of a nested page fault. */
struct nested_fault {
	gpa_t gpa;
	uint8_t access;    /* enum mm_permission: what was tried */
	bool linear_valid; /* linear_address is known */
	bool table_walk;   /* during the guest's own page walk, not its final access */
	uint64_t linear_address;
};

struct translation {
	hpa_t address;
	uint64_t bytes; /* physically contiguous from `address`: at least to the leaf's end, never past the area's */
	struct npt_attributes attributes;
	uint8_t leaf_shift; /* log2 of the leaf's size */
};

/* Covers [base, base + size); takes the root table. MM_EALIGN, MM_EINVAL, MM_ERANGE, MM_ENOMEM. */
int addr_space_init(struct addr_space *space, gpa_t base, uint64_t size, const struct npt_format *format,
                    struct mm_hal *hal);
/* Unmaps everything and gives every frame back. No CPU may run on the space. */
void addr_space_destroy(struct addr_space *space);

/* Maps [start, start + size) to start - offset (offset may be negative: HPA above GPA). The frames stay the
 * caller's. */
int addr_space_map_linear(struct addr_space *space, gpa_t start, uint64_t size, int64_t offset,
                          struct npt_attributes attributes);
/* Frames from the allocator: all now (populate) or each at its first fault (lazy). */
int addr_space_map_alloc(struct addr_space *space, gpa_t start, uint64_t size, struct npt_attributes attributes,
                         bool populate, enum area_pages pages);
/*
 * The same two, but what the range held before is unmapped first ("unmap_overlap"): in one step, all or nothing, with
 * one flush. Old and new are held at once for a moment, and a root table more.
 */
int addr_space_replace_linear(struct addr_space *space, gpa_t start, uint64_t size, int64_t offset,
                              struct npt_attributes attributes);
int addr_space_replace_alloc(struct addr_space *space, gpa_t start, uint64_t size, struct npt_attributes attributes,
                             bool populate, enum area_pages pages);

/*
 * The lowest hole of `size` bytes, aligned to `alignment` (a power of two, at least 4 KiB), that lies in `limit` and
 * starts at or above `hint`; failing that, the lowest in `limit`. O(areas passed over). MM_EALIGN, MM_EINVAL,
 * MM_ERANGE (limit outside the space), MM_ENOSPC. MM_EALIGN speaks of the size and the limit; a hint may be anything.
 */
int addr_space_find_free(struct addr_space *space, gpa_t hint, uint64_t size, uint64_t alignment,
                         struct gpa_range limit, gpa_t *start);

/* Removes what is mapped in the range, splitting areas and huge leaves; holes are fine. */
int addr_space_unmap(struct addr_space *space, gpa_t start, uint64_t size);
/* New permissions for what is mapped in the range; memory types stay. A hole in the range: MM_EFAULT. */
int addr_space_protect(struct addr_space *space, gpa_t start, uint64_t size, uint8_t permissions);

/* Gives back the frames of the alloc areas in the range; the areas stay, and their next fault finds zeros. Holes and
 * linear areas: MM_EFAULT. MM_EALIGN, MM_EINVAL, MM_ERANGE, MM_ENOMEM. */
int addr_space_discard(struct addr_space *space, gpa_t start, uint64_t size);

/*
 * Unmaps everything; the space stays, as empty as after addr_space_init. Needs no frame and cannot fail. A dirty log
 * goes on.
 */
void addr_space_clear(struct addr_space *space);

/*
 * Merges compatible neighbours in the range back into the largest leaves that the format, the area's page policy and
 * the frames' places allow: same permissions and memory type, contiguous HPAs, both aligned. Tables that this empties
 * are freed after the flush. Areas that continue each other in the range become one, for no leaf reaches over an area's
 * end; alloc areas get no leaves above 2 MiB. Never moves data. `merged`: how many leaves were made. MM_EALIGN,
 * MM_EINVAL, MM_ERANGE.
 */
int addr_space_compact(struct addr_space *space, gpa_t start, uint64_t size, uint64_t *merged);

/*
 * Maps the range as `from` has it: linear areas to the same HPAs, alloc areas with the same policy, and with copies of
 * what is filled in frames of this space's own. Holes stay holes. Nothing may be mapped here in the range (MM_EEXIST).
 * Both spaces' locks are taken, that at the lower address first; the vCPUs of `from` should stand still. MM_EALIGN,
 * MM_EINVAL (also: the two are one), MM_ERANGE, MM_EPERM, MM_ENOMEM.
 */
int addr_space_copy_from(struct addr_space *space, struct addr_space *from, gpa_t start, uint64_t size);

/* The area that holds `gpa`: its range and permissions. False: none. For reports. */
bool addr_space_find_area(struct addr_space *space, gpa_t gpa, struct gpa_range *range, uint8_t *permissions);

/*
 * Answers a nested fault: MM_OK (filled, or another vCPU had won: run on), MM_EACCES (area lacks the right),
 * MM_EFAULT (no area, or linear, which never faults), MM_ENOMEM.
 */
int addr_space_handle_fault(struct addr_space *space, const struct nested_fault *fault);

/* MM_OK, or MM_EFAULT where nothing is present (a lazy hole is not filled). */
int addr_space_translate(const struct addr_space *space, gpa_t address, struct translation *result);

static inline hpa_t addr_space_root(const struct addr_space *space)
{
	return space->npt.root;
}

/* Areas and tables as text, line by line, to `print`, which runs under the lock and must not call back. */
void addr_space_dump(struct addr_space *space, void (*print)(void *context, const char *line), void *context);
