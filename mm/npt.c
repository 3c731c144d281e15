/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page-table walker, first half: making and destroying a tree, looking up, mapping. npt_change.c has the
 * second: unmap and protect. addr_space.c calls both under its lock, arch for the hypervisor's own tables.
 * Nothing in here may leave a tree half changed or reach a table that was freed.
 */
#include "mm/npt.h"

#include "lib/string.h"
#include "mm/npt_private.h"

int npt_init(struct npt *npt, const struct npt_format *format, struct mm_hal *hal)
{
	hpa_t root = hal->alloc_frames(hal, format->root_order, FRAME_TABLE);

	if (root == HPA_NONE) {
		return MM_ENOMEM;
	}
	npt->format = *format;
	npt->hal = hal;
	npt->root = root;
	npt->root_table = mm_pointer(hal, root);
	npt->statistics = (struct npt_statistics){.tables = BIT(format->root_order)};
	memset(npt->root_table, 0, FRAME_SIZE << format->root_order);
	return MM_OK;
}

static unsigned count_entries(const uint64_t *table)
{
	unsigned count = 0;

	for (const uint64_t *slot = table; slot < table + NPT_ENTRIES; slot += 4) {
		count += slot[0] != 0;
		count += slot[1] != 0;
		count += slot[2] != 0;
		count += slot[3] != 0;
	}
	return count;
}

/* The leaves of one level-0 table. */
static void release_pages(struct npt *npt, const uint64_t *table, gpa_t start, npt_release *release, void *context)
{
	unsigned count = 0;

	if (release == NULL) {
		count = count_entries(table);
	} else {
		for (unsigned i = 0; i < NPT_ENTRIES; i++) {
			if (table[i] != 0) {
				release(context, start + i * FRAME_SIZE, npt_address(&npt->format, table[i]), 0);
				count++;
			}
		}
	}
	npt->statistics.leaves[0] -= count;
}

/* What an entry that no CPU reaches any more leads to. */
static void free_entry(struct npt *npt, uint64_t entry, unsigned level, gpa_t start, npt_release *release,
		       void *context)
{
	entry = npt_unhide(&npt->format, entry);
	if (npt_is_table(&npt->format, level, entry)) {
		npt_free_tree(npt, npt_address(&npt->format, entry), level - 1, start, release, context);
		return;
	}
	npt->statistics.leaves[level]--;
	if (release != NULL) {
		release(context, start, npt_address(&npt->format, entry), level);
	}
}

/* Recurses once per level. */
void npt_free_tree(struct npt *npt, hpa_t table, unsigned level, gpa_t start, npt_release *release, void *context)
{
	const uint64_t *entries = mm_pointer(npt->hal, table);

	if (level == 0) {
		release_pages(npt, entries, start, release, context);
	} else {
		for (unsigned i = 0; i < NPT_ENTRIES; i++) {
			if (entries[i] != 0) {
				free_entry(npt, entries[i], level, start + i * npt_span(level), release, context);
			}
		}
	}
	npt->statistics.tables--;
	npt->hal->free_frames(npt->hal, table, 0, FRAME_TABLE);
}

void npt_destroy_releasing(struct npt *npt, npt_release *release, void *context)
{
	unsigned top = npt_top(npt);
	bool empty = npt->statistics.tables == BIT(npt->format.root_order) && npt->statistics.leaves[top] == 0;

	if (!empty) {
		for (size_t i = 0; i < npt_table_entries(npt, top); i++) {
			if (npt->root_table[i] != 0) {
				free_entry(npt, npt->root_table[i], top, i << npt_shift(top), release, context);
			}
		}
	}
	npt->hal->free_frames(npt->hal, npt->root, npt->format.root_order, FRAME_TABLE);
	npt->root = HPA_NONE;
	npt->root_table = NULL;
	npt->statistics.tables = 0;
}

void npt_destroy(struct npt *npt)
{
	npt_destroy_releasing(npt, NULL, NULL);
}

int frame_list_take(struct frame_list *list, struct mm_hal *hal, uint64_t count, unsigned order, enum frame_use use)
{
	struct frame_list taken = FRAME_LIST_EMPTY;
	hpa_t *link = &taken.head;

	for (uint64_t i = 0; i < count; i++) {
		hpa_t frame = hal->alloc_frames(hal, order, use);

		if (frame == HPA_NONE) {
			frame_list_give_back(&taken, hal, order, use);
			return MM_ENOMEM;
		}
		*link = frame;
		link = mm_pointer(hal, frame);
		*link = HPA_NONE;
		taken.tail = frame;
	}
	if (count != 0) {
		*(list->head == HPA_NONE ? &list->head : (hpa_t *)mm_pointer(hal, list->tail)) = taken.head;
		list->tail = taken.tail;
	}
	return MM_OK;
}

void frame_list_give_back(struct frame_list *list, struct mm_hal *hal, unsigned order, enum frame_use use)
{
	while (list->head != HPA_NONE) {
		hal->free_frames(hal, frame_list_pop(list, hal), order, use);
	}
}

int npt_check_range(const struct npt *npt, gpa_t start, uint64_t size)
{
	uint64_t limit = BIT(npt->format.input_bits);

	if (!is_aligned(start | size, FRAME_SIZE)) {
		return MM_EALIGN;
	}
	return start <= limit && size <= limit - start ? MM_OK : MM_ERANGE;
}

int npt_check_target(const struct npt *npt, hpa_t address, uint64_t size)
{
	uint64_t limit = BIT(npt->format.output_bits);

	if (!is_aligned(address, FRAME_SIZE)) {
		return MM_EALIGN;
	}
	return address <= limit && size <= limit - address ? MM_OK : MM_ERANGE;
}

struct npt_entry npt_lookup(const struct npt *npt, gpa_t address)
{
	struct npt_entry result = {.kind = NPT_HOLE, .level = (uint8_t)npt_top(npt)};

	if (address >> npt->format.input_bits != 0) {
		return result;
	}
	struct npt_place place = npt_walk(npt, address);

	result.level = (uint8_t)place.level;
	result.raw = place.entry;
	if (place.entry != 0) {
		result.kind = NPT_LEAF;
		result.attributes = npt_leaf_attributes(&npt->format, place.level, place.entry);
		result.address = npt_address(&npt->format, place.entry) + (address & (npt_span(place.level) - 1));
	}
	return result;
}

/*
 * Counts the tables that [start, end) lacks below `table` of `level` (NULL: there is none yet) and makes sure
 * that nothing is mapped there. MM_EEXIST. Recurses once per level.
 */
static int prepare_table(struct npt_mapping *mapping, const uint64_t *table, unsigned level, gpa_t start, gpa_t end)
{
	const struct npt *npt = mapping->npt;
	const struct gpa_range *leaves = &mapping->leaves[level];
	gpa_t next;

	if (table == NULL && level == 0) {
		return MM_OK;
	}
	for (gpa_t at = start; at < end; at = next) {
		uint64_t entry = table == NULL ? 0 : npt_load(&table[npt_index(npt, level, at)]);

		next = MIN(align_down(at, npt_span(level)) + npt_span(level), end);
		if (at >= leaves->start && at < leaves->end) {
			if (entry != 0) {
				return MM_EEXIST;
			}
			next = table == NULL ? MIN(leaves->end, end) : next;
			continue;
		}
		const uint64_t *child = NULL;

		if (npt_is_table(&npt->format, level, entry)) {
			child = npt_table(npt, entry);
		} else if (entry != 0) {
			return MM_EEXIST;
		} else {
			mapping->tables_needed++;
		}
		int status = prepare_table(mapping, child, level - 1, at, next);

		if (status != MM_OK) {
			return status;
		}
	}
	return MM_OK;
}

static void fill_contiguous(const struct npt_mapping *mapping, uint64_t *slot, unsigned level, gpa_t start,
			    size_t count)
{
	const struct npt_format *format = &mapping->npt->format;
	uint64_t step = npt_leaf_step(format, level);
	uint64_t entry = npt_leaf(format, level, start + mapping->to_address, mapping->attributes);

	for (uint64_t *end = slot + count; slot < end; slot++) {
		npt_store(slot, entry);
		entry += step;
	}
}

static void fill_frames(struct npt_mapping *mapping, uint64_t *slot, unsigned level, size_t count)
{
	const struct npt_format *format = &mapping->npt->format;
	const struct mm_hal *hal = mapping->npt->hal;
	struct frame_list *frames = &mapping->frames[level];
	uint64_t template = npt_leaf(format, level, 0, mapping->attributes);
	uint64_t step = npt_leaf_step(format, 0);
	size_t bytes = npt_span(level);

	for (uint64_t *end = slot + count; slot < end; slot++) {
		hpa_t frame = frame_list_pop(frames, hal);

		memset(mm_pointer(hal, frame), 0, bytes);
		npt_store(slot, template + (frame >> FRAME_SHIFT) * step);
	}
}

static void fill_leaves(struct npt_mapping *mapping, uint64_t *slot, unsigned level, gpa_t start, gpa_t end)
{
	size_t count = (end - start) >> npt_shift(level);

	if (mapping->contiguous) {
		fill_contiguous(mapping, slot, level, start, count);
	} else {
		fill_frames(mapping, slot, level, count);
	}
	mapping->npt->statistics.leaves[level] += count;
}

/* The commit to prepare_table: cannot fail. A new table is complete before it is linked. */
static void fill_table(struct npt_mapping *mapping, uint64_t *table, unsigned level, gpa_t start, gpa_t end)
{
	struct npt *npt = mapping->npt;
	const struct gpa_range *leaves = &mapping->leaves[level];
	gpa_t next;

	for (gpa_t at = start; at < end; at = next) {
		uint64_t *slot = &table[npt_index(npt, level, at)];

		if (at >= leaves->start && at < leaves->end) {
			next = MIN(leaves->end, end);
			fill_leaves(mapping, slot, level, at, next);
			continue;
		}
		next = MIN(align_down(at, npt_span(level)) + npt_span(level), end);
		uint64_t entry = npt_load(slot);

		if (entry != 0) {
			fill_table(mapping, npt_table(npt, entry), level - 1, at, next);
			continue;
		}
		hpa_t child = frame_list_pop(&mapping->tables, npt->hal);
		uint64_t *entries = mm_pointer(npt->hal, child);

		memset(entries, 0, FRAME_SIZE);
		fill_table(mapping, entries, level - 1, at, next);
		npt_store(slot, npt_table_entry(&npt->format, child));
	}
}

int npt_map_prepared(struct npt_mapping *mapping)
{
	struct npt *npt = mapping->npt;
	const struct gpa_range *range = &mapping->leaves[0];

	mapping->tables_needed = 0;
	mapping->tables = FRAME_LIST_EMPTY;
	int status = prepare_table(mapping, npt->root_table, npt_top(npt), range->start, range->end);

	if (status == MM_OK) {
		status = frame_list_take(&mapping->tables, npt->hal, mapping->tables_needed, 0, FRAME_TABLE);
	}
	if (status != MM_OK) {
		return status;
	}
	fill_table(mapping, npt->root_table, npt_top(npt), range->start, range->end);
	npt->statistics.tables += mapping->tables_needed;
	return MM_OK;
}

/* The part of `range` that leaves of `level` can cover when it maps to GPA + `to_address`. */
static struct gpa_range leaf_range(const struct npt_format *format, unsigned level, const struct gpa_range *range,
				   uint64_t to_address)
{
	struct gpa_range none = {range->end, range->end};
	struct gpa_range inner = {align_up(range->start, npt_span(level)), align_down(range->end, npt_span(level))};

	if (!format->level[level].leaf || !is_aligned(to_address, npt_span(level)) || inner.start >= inner.end) {
		return none;
	}
	return inner;
}

int npt_map(struct npt *npt, gpa_t start, hpa_t address, uint64_t size, struct npt_attributes attributes,
	    unsigned largest_level)
{
	struct npt_mapping mapping;
	int status = npt_check_range(npt, start, size);

	if (status == MM_OK && size == 0) {
		status = MM_EINVAL;
	}
	if (status == MM_OK) {
		status = npt_check_target(npt, address, size);
	}
	if (status == MM_OK) {
		status = npt_check_permissions(&npt->format, attributes.permissions);
	}
	if (status != MM_OK) {
		return status;
	}
	mapping.npt = npt;
	mapping.attributes = attributes;
	mapping.contiguous = true;
	mapping.to_address = address - start;
	mapping.leaves[0] = (struct gpa_range){start, start + size};
	for (unsigned level = 1; level < npt->format.levels; level++) {
		mapping.leaves[level] =
			level <= largest_level ? leaf_range(&npt->format, level, &mapping.leaves[0], mapping.to_address)
					       : (struct gpa_range){start + size, start + size};
	}
	return npt_map_prepared(&mapping);
}

int npt_fill_hole(struct npt *npt, const struct npt_place *place, gpa_t address, unsigned level, uint64_t entry)
{
	struct frame_list tables = FRAME_LIST_EMPTY;
	unsigned needed = place->level - level;

	if (frame_list_take(&tables, npt->hal, needed, 0, FRAME_TABLE) != MM_OK) {
		return MM_ENOMEM;
	}
	npt->statistics.tables += needed;
	npt->statistics.leaves[level]++;
	for (; level < place->level; level++) {
		hpa_t table = frame_list_pop(&tables, npt->hal);
		uint64_t *entries = mm_pointer(npt->hal, table);

		memset(entries, 0, FRAME_SIZE);
		entries[npt_index(npt, level, address)] = entry;
		entry = npt_table_entry(&npt->format, table);
	}
	npt_store(place->slot, entry);
	return MM_OK;
}
