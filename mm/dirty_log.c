/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dirty log: see dirty_log.h. It has no memory of its own: what was written is kept in the leaves (struct
 * npt_format says how), so that splits, merges and protections carry it along. Faults and the guest accessor report
 * here the writes that the CPU does not note by itself.
 */
#include "mm/dirty_log.h"

#include "mm/addr_space_private.h"

/* After `splits` were counted: a linear area that was cut inside at `gpa` has lost its even leaves. */
static void note_split(struct addr_space *space, uint64_t splits, gpa_t gpa)
{
	struct area *area = area_set_find(&space->areas, gpa);

	if (space->npt.statistics.splits != splits && area != NULL && area->range.start != gpa) {
		area->uneven = true;
		backend_derive(space, area);
	}
}

/* Begins anew for [start, start + size). MM_ENOMEM. */
static int clean(struct addr_space *space, gpa_t start, uint64_t size, uint64_t *bitmap)
{
	uint64_t splits = space->npt.statistics.splits;
	int status = npt_clean_range(&space->npt, start, size, bitmap);

	note_split(space, splits, start);
	note_split(space, splits, start + size);
	return status;
}

/* New leaves of these areas are to be clean from now on, or not any more. */
static void watch(struct addr_space *space, struct gpa_range watched, const struct gpa_range *areas)
{
	struct area *area = area_set_at_or_after(&space->areas, areas->start);

	space->npt.watched = watched;
	for (; area != NULL && area->range.start < areas->end; area = area_set_next(area)) {
		backend_derive(space, area);
	}
}

int addr_space_dirty_log_start(struct addr_space *space, gpa_t start, uint64_t size)
{
	struct gpa_range range = {start, start + size};
	int status = addr_space_check_range(space, start, size);

	if (status != MM_OK) {
		return status;
	}
	addr_space_begin_change(space);
	status = space->npt.watched.end != 0 ? MM_EEXIST : clean(space, start, size, NULL);
	if (status == MM_OK) {
		watch(space, range, &range);
	}
	addr_space_end_change(space);
	return status;
}

int addr_space_dirty_log_collect(struct addr_space *space, gpa_t start, uint64_t size, uint64_t *bitmap)
{
	const struct gpa_range *watched = &space->npt.watched;
	int status = addr_space_check_range(space, start, size);

	if (status != MM_OK) {
		return status;
	}
	/* Accessors that have taken note are done with writing before the pages count as clean. */
	addr_space_begin_change(space);
	status = start < watched->start || start + size > watched->end ? MM_EFAULT : clean(space, start, size, bitmap);
	addr_space_end_change(space);
	return status;
}

void addr_space_dirty_log_stop(struct addr_space *space)
{
	addr_space_begin_change(space);
	if (space->npt.watched.end != 0) {
		struct gpa_range range = space->npt.watched;

		watch(space, (struct gpa_range){0, 0}, &range);
		npt_dirty_all(&space->npt);
	}
	addr_space_end_change(space);
}

bool addr_space_log_write(struct addr_space *space, gpa_t gpa, uint64_t *slot, unsigned level)
{
	gpa_t start = align_down(gpa, npt_span(level));
	struct npt_flush flush = {.count = 1, .ranges = {{start, start + npt_span(level)}}};
	uint64_t entry = npt_load(slot);
	uint64_t dirty;

	do { /* again if the CPU has set a flag meanwhile */
		dirty = npt_dirty(&space->npt.format, entry);
		if (dirty == entry) {
			return false;
		}
	} while (!__atomic_compare_exchange_n(slot, &entry, dirty, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
	/* A CPU that has the leaf cached without the right would not look again. */
	npt_flush(&space->npt, &flush);
	space->statistics.faults_logged++;
	return true;
}

void addr_space_log_accessor(struct addr_space *space, gpa_t gpa, struct translation *found)
{
	struct npt_place place = npt_walk(&space->npt, gpa);
	uint64_t span = npt_span(place.level);

	npt_mark_dirty(&space->npt.format, place.slot);
	found->bytes = MIN(found->bytes, span - (gpa & (span - 1)));
}
