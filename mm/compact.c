/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Merging what protect, splits and page-by-page work have cut up: see addr_space_compact in addr_space.h. First the
 * areas, then the leaves: tables that say no more than one leaf would are hidden, flushed, and put in place as that
 * leaf. Takes nothing and cannot fail; never moves data.
 */
#include "mm/addr_space_private.h"

struct compaction {
	struct npt *npt;
	struct npt_flush flush;
	unsigned largest; /* level of the area at hand */
	uint64_t merged;
};

/*
 * The leaf of `level` that says the same as the table below it does, or 0: there is none. Recurses once per level.
 */
static uint64_t merged_leaf(const struct npt *npt, unsigned level, const uint64_t *table)
{
	const struct npt_format *format = &npt->format;
	uint64_t step = npt_leaf_step(format, level - 1);
	uint64_t first = 0;
	bool clean = true;

	for (unsigned i = 0; i < NPT_ENTRIES; i++) {
		uint64_t entry = npt_load(&table[i]);

		if (npt_is_table(format, level - 1, entry)) {
			entry = merged_leaf(npt, level - 1, npt_table(npt, entry));
		}
		if (entry == 0) {
			return 0;
		}
		clean &= npt_is_clean(format, entry);
		entry = npt_dirty(format, entry);
		first = i == 0 ? entry : first;
		if (entry != first + i * step) {
			return 0;
		}
	}
	hpa_t address = npt_address(format, first);

	if (!is_aligned(address, npt_span(level))) {
		return 0;
	}
	uint64_t leaf = npt_leaf(format, level, address, npt_leaf_attributes(format, first));

	return clean ? npt_clean(format, leaf) : leaf;
}

/* Hides the tables of [start, end) that leaves can stand for, the highest ones there are. Recurses once per level. */
static void hide_tables(struct compaction *compaction, uint64_t *table, unsigned level, gpa_t start, gpa_t end)
{
	const struct npt *npt = compaction->npt;
	const struct npt_format *format = &npt->format;
	uint64_t *slot = &table[npt_index(npt, level, start)];
	bool may = level <= compaction->largest && format->level[level].leaf;
	gpa_t next;

	for (gpa_t at = start; at < end; at = next, slot++) {
		uint64_t entry = npt_load(slot);

		next = MIN(align_down(at, npt_span(level)) + npt_span(level), end);
		if (!npt_is_table(format, level, entry)) {
			continue;
		}
		uint64_t *below = npt_table(npt, entry);

		if (may && next - at == npt_span(level) && merged_leaf(npt, level, below) != 0) {
			npt_gather(&compaction->flush, at, next);
			npt_store(slot, npt_hide(format, entry));
			compaction->merged++;
		} else {
			hide_tables(compaction, below, level - 1, at, next);
		}
	}
}

/* After the flush: puts the leaves in and frees the tables. Recurses once per level. */
static void put_leaves(struct npt *npt, uint64_t *table, unsigned level, gpa_t start, gpa_t end)
{
	const struct npt_format *format = &npt->format;
	uint64_t *slot = &table[npt_index(npt, level, start)];
	gpa_t next;

	for (gpa_t at = start; at < end; at = next, slot++) {
		uint64_t entry = npt_load(slot);
		uint64_t was = npt_unhide(format, entry);

		next = MIN(align_down(at, npt_span(level)) + npt_span(level), end);
		if (!npt_is_table(format, level, was)) {
			continue;
		}
		if (entry == was) {
			put_leaves(npt, npt_table(npt, entry), level - 1, at, next);
			continue;
		}
		/* Now that no CPU writes its flags into the table any more. */
		uint64_t leaf = merged_leaf(npt, level, npt_table(npt, was));

		npt_free_tree(npt, npt_address(format, was), level - 1, at, next, NULL, NULL);
		npt->statistics.leaves[level]++;
		npt_store(slot, leaf);
	}
}

static bool continues(const struct area *area, const struct area *next)
{
	if (next == NULL || next->range.start != area->range.end || next->backend != area->backend ||
	    next->attributes.permissions != area->attributes.permissions ||
	    next->attributes.type != area->attributes.type) {
		return false;
	}
	return area->backend == AREA_LINEAR ? next->offset == area->offset
	                                    : next->pages == area->pages && next->populate == area->populate;
}

/* Makes one area of those that continue `area` from inside [start, end) on. */
static void merge_areas(struct addr_space *space, struct area *area, gpa_t start, gpa_t end)
{
	struct area *next = area_set_next(area);
	bool whole = area->range.start >= start;

	while (area->range.end < end && continues(area, next)) {
		area->range.end = next->range.end;
		area->uneven = true;
		area_set_erase(&space->areas, next);
		next = area_set_next(area);
	}
	/* All its leaves will be as large as they can be. */
	area->uneven &= !whole || area->range.end > end;
	backend_derive(space, area);
}

static uint64_t compact_range(struct addr_space *space, gpa_t start, gpa_t end)
{
	struct compaction compaction = {.npt = &space->npt};
	struct npt *npt = &space->npt;

	for (struct area *area = area_set_at_or_after(&space->areas, start); area != NULL && area->range.start < end;
	     area = area_set_next(area)) {
		merge_areas(space, area, start, end);
		compaction.largest = npt->top;
		if (area->backend == AREA_ALLOC) {
			compaction.largest = area->pages == AREA_PAGES_4K ? 0 : LEVEL_2M;
		}
		hide_tables(&compaction, npt->table, npt->top, MAX(area->range.start, start),
		            MIN(area->range.end, end));
	}
	if (compaction.merged != 0) {
		npt_flush(npt, &compaction.flush);
		put_leaves(npt, npt->table, npt->top, start, end);
	}
	return compaction.merged;
}

int addr_space_compact(struct addr_space *space, gpa_t start, uint64_t size, uint64_t *merged)
{
	int status = addr_space_check_range(space, start, size);

	if (status == MM_OK) {
		addr_space_begin_change(space);
		*merged = compact_range(space, start, start + size);
		addr_space_end_change(space);
	}
	return status;
}
