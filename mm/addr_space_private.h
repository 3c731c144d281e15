/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files that make up struct addr_space share: addr_space.c, replace.c, copy.c, compact.c, find_free.c,
 * dirty_log.c. Unless it says otherwise, all wants the space's lock held and ranges checked. Private to mm/.
 */
#pragma once

#include "mm/backend.h"

/* MM_EALIGN, MM_EINVAL (size 0), MM_ERANGE. Needs no lock. */
int addr_space_check_range(const struct addr_space *space, gpa_t start, uint64_t size);

/*
 * The same for what is to be mapped: `size` and the fields of `wanted` come from the caller as they are; the end of
 * its range and the type that the format makes of its type are put in. Also MM_EPERM. Needs no lock.
 */
int addr_space_check_area(const struct addr_space *space, struct area *wanted, uint64_t size);

/* What a caller wants mapped at `start`: the end of its range comes with the check. */
static inline struct area addr_space_linear_area(gpa_t start, int64_t offset, struct npt_attributes attributes)
{
	return (struct area){.range.start = start, .attributes = attributes, .backend = AREA_LINEAR, .offset = offset};
}

static inline struct area addr_space_alloc_area(gpa_t start, struct npt_attributes attributes, bool populate,
                                                enum area_pages pages)
{
	return (struct area){.range.start = start,
	                     .attributes = attributes,
	                     .backend = AREA_ALLOC,
	                     .pages = (uint8_t)pages,
	                     .populate = populate};
}

/*
 * Takes the lock for a change that may free frames or tables. Accessors that are inside without the lock leave
 * first, later ones find `changing` and wait for the lock; caches of host pointers see a new generation.
 */
void addr_space_begin_change(struct addr_space *space);
void addr_space_end_change(struct addr_space *space);

/* Tells those who remember where there is no area. */
void addr_space_layout_changed(struct addr_space *space);

/* Maps what `wanted` describes, if nothing is there. MM_EEXIST, MM_ENOMEM. */
int addr_space_map_area(struct addr_space *space, const struct area *wanted);

/* Between addr_space_begin_change and addr_space_end_change. MM_ENOMEM. */
int addr_space_unmap_range(struct addr_space *space, gpa_t start, gpa_t end);

/*
 * Makes `aside`, in which to map what `space` shall have, and lends it the nodes of areas until addr_space_end_aside.
 * Then either addr_space_drop_aside, or addr_space_adopt for the range where all of it lies and `space` has nothing
 * (takes nothing, cannot fail). MM_ENOMEM: there is nothing to end.
 */
int addr_space_begin_aside(struct addr_space *space, struct addr_space *aside);
void addr_space_end_aside(struct addr_space *space, struct addr_space *aside);
void addr_space_drop_aside(struct addr_space *space, struct addr_space *aside);
void addr_space_adopt(struct addr_space *space, struct addr_space *aside, gpa_t start, gpa_t end);

/* ---- dirty_log.c ---- */

/* Also for accessors inside without the lock, as addr_space_log_accessor is. */
static inline bool addr_space_is_watched(const struct addr_space *space, gpa_t gpa)
{
	return gpa >= space->npt.watched.start && gpa < space->npt.watched.end;
}

/* A write of the guest's met the leaf of `level` in `slot`: if the log waited for it, takes note, and lets it happen.
 */
bool addr_space_log_write(struct addr_space *space, gpa_t gpa, uint64_t *slot, unsigned level);

/* The accessor is about to write at `gpa`: takes note, and cuts what was looked up to the leaf that counts. */
void addr_space_log_accessor(struct addr_space *space, gpa_t gpa, struct translation *found);
