/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page-table walker, first half: making and destroying a tree, looking up, mapping. npt_change.c has the
 * second: unmap and protect. addr_space.c calls both under its lock, arch for the hypervisor's own tables.
 * Nothing in here may leave a tree half changed or reach a table that was freed.
 */
#include "mm/npt.h"

#include "lib/string.h"
#include "mm/npt_private.h"

/* Walks start no lower than here, so that a space costs at most one or two tables more. */
#define LOWEST_TOP GIB_LEVEL

static uint64_t *new_table(struct npt *npt, unsigned order, hpa_t *address)
{
	*address = npt->hal->alloc_frames(npt->hal, order, FRAME_TABLE);
	if (*address == HPA_NONE) {
		return NULL;
	}
	npt->statistics.tables += BIT(order);
	return memset(npt_pointer(npt, *address), 0, FRAME_SIZE << order);
}

static void start_at(struct npt *npt, unsigned level, uint64_t *table)
{
	npt->table = table;
	npt->top = (uint8_t)level;
	npt->shift = (uint8_t)npt_shift(level);
	npt->index_mask = BITS(npt->format.level[level].bits - 1, 0);
}

/* Makes the table for walks from GiB on, where there may be one, and those that lead to it. */
static int make_gib_table(struct npt *npt)
{
	const struct npt_format *format = &npt->format;
	uint64_t entries = npt->index_mask + 1;
	uint64_t *table = npt->table;
	unsigned level = npt->top;

	if (format->address_shift != 0 || level < GIB_LEVEL || npt->range.start >= npt_span(GIB_LEVEL + 1) ||
	    npt->range.end > entries << npt_shift(level) || (level > GIB_LEVEL && format->level[level].leaf)) {
		return MM_OK;
	}
	for (; level > GIB_LEVEL; level--) {
		hpa_t address;
		uint64_t *child = new_table(npt, 0, &address);

		if (child == NULL) {
			return MM_ENOMEM;
		}
		npt_store(table, npt_table_entry(format, address));
		table = child;
		entries = NPT_ENTRIES;
	}
	npt->gib_table = table;
	npt->gib_count = entries;
	return MM_OK;
}

/* Frees what make_gib_table has made, all or part of it. */
static void free_gib_table(struct npt *npt)
{
	uint64_t entry = *npt->table;

	for (unsigned level = npt->top; level > GIB_LEVEL && npt_is_table(&npt->format, level, entry); level--) {
		hpa_t address = npt_address(&npt->format, entry);

		entry = *npt_pointer(npt, address);
		npt->hal->free_frames(npt->hal, address, 0, FRAME_TABLE);
	}
}

/* Frees the tables from the root down to the one where walks start. */
static void free_trunk(struct npt *npt)
{
	unsigned level = npt->format.levels - 1U;
	unsigned order = npt->format.root_order;
	uint64_t index = npt->range.start >> npt_shift(level);
	hpa_t address = npt->root;

	while (level > npt->top) {
		hpa_t child = npt_address(&npt->format, npt_load(npt_pointer(npt, address) + index));

		npt->hal->free_frames(npt->hal, address, order, FRAME_TABLE);
		address = child;
		order = 0;
		level--;
		index = (npt->range.start >> npt_shift(level)) % NPT_ENTRIES;
	}
	npt->hal->free_frames(npt->hal, address, order, FRAME_TABLE);
	npt->root = HPA_NONE;
	npt->table = NULL;
	npt->statistics.tables = 0;
}

int npt_init_range(struct npt *npt, const struct npt_format *format, struct mm_hal *hal, struct gpa_range range)
{
	unsigned level = format->levels - 1U;

	npt->format = *format;
	npt->hal = hal;
	npt->virtual_offset = hal->virtual_offset;
	npt->clean = hal->clean;
	npt->table_bias = npt->virtual_offset - (uintptr_t)(format->table_bits << format->address_shift);
	npt->flag_mask = ~format->address_mask;
	npt->page_flags = npt_leaf(format, 0, 0, (struct npt_attributes){MM_RWX, MM_WRITE_BACK});
	npt->gib_table = NULL;
	npt->gib_count = 0;
	npt->range = range;
	npt->watched = (struct gpa_range){0, 0};
	npt->statistics = (struct npt_statistics){.tables = 0};
	uint64_t *table = new_table(npt, format->root_order, &npt->root);

	if (table == NULL) {
		return MM_ENOMEM;
	}
	start_at(npt, level, table);
	while (level > LOWEST_TOP && range.start >> npt_shift(level) == (range.end - 1) >> npt_shift(level)) {
		hpa_t address;
		uint64_t *child = new_table(npt, 0, &address);

		if (child == NULL) {
			free_trunk(npt);
			return MM_ENOMEM;
		}
		npt_store(&table[npt_index(npt, level, range.start)], npt_table_entry(format, address));
		table = child;
		level--;
		start_at(npt, level, table);
	}
	if (make_gib_table(npt) != MM_OK) {
		free_gib_table(npt);
		free_trunk(npt);
		return MM_ENOMEM;
	}
	return MM_OK;
}

int npt_init(struct npt *npt, const struct npt_format *format, struct mm_hal *hal)
{
	return npt_init_range(npt, format, hal, (struct gpa_range){0, BIT(format->input_bits)});
}

static uint64_t count_entries(const uint64_t *slot, uint64_t count)
{
	const uint64_t *end = slot + count;
	uint64_t entries = 0;

	for (; end - slot >= 4; slot += 4) {
		entries += slot[0] != 0;
		entries += slot[1] != 0;
		entries += slot[2] != 0;
		entries += slot[3] != 0;
	}
	for (; slot < end; slot++) {
		entries += *slot != 0;
	}
	return entries;
}

/* Recurses once per level, by way of npt_free_tree. */
static inline __attribute__((always_inline)) void free_entries(struct npt *npt, const uint64_t *slot, unsigned level,
                                                               gpa_t start, gpa_t end, npt_release *release,
                                                               void *context)
{
	const struct npt_format *format = &npt->format;
	uint64_t leaves = 0;
	gpa_t next;

	for (gpa_t at = start; at < end; at = next, slot++) {
		uint64_t entry = npt_unhide(format, *slot);

		next = MIN(align_down(at, npt_span(level)) + npt_span(level), end);
		if (entry == 0) {
			continue;
		}
		if (npt_is_table(format, level, entry)) {
			npt_free_tree(npt, npt_address(format, entry), level - 1, at, next, release, context);
			continue;
		}
		leaves++;
		if (release != NULL) {
			release(context, at, npt_address(format, entry), level);
		}
	}
	npt->statistics.leaves[level] -= leaves;
}

static void free_table(struct npt *npt, hpa_t table)
{
	npt->statistics.tables--;
	npt->hal->free_frames(npt->hal, table, 0, FRAME_TABLE);
}

/* npt_free_tree for a table of level 0 of whose leaves nobody wants to be told. */
static __attribute__((noinline)) void free_last_table(struct npt *npt, hpa_t table, gpa_t start, gpa_t end)
{
	const uint64_t *slot = npt_pointer(npt, table) + npt_index(npt, 0, start);

	npt->statistics.leaves[0] -= count_entries(slot, (end - start) >> FRAME_SHIFT);
	free_table(npt, table);
}

void npt_free_tree(struct npt *npt, hpa_t table, unsigned level, gpa_t start, gpa_t end, npt_release *release,
                   void *context)
{
	if (level == 0 && release == NULL) {
		free_last_table(npt, table, start, end);
		return;
	}
	free_entries(npt, npt_pointer(npt, table) + npt_index(npt, level, start), level, start, end, release, context);
	free_table(npt, table);
}

void npt_destroy_releasing(struct npt *npt, npt_release *release, void *context)
{
	const struct gpa_range *range = &npt->range;
	uint64_t leaves = 0;

	for (unsigned level = 0; level < NPT_MAX_LEVELS; level++) {
		leaves += npt->statistics.leaves[level];
	}
	if (leaves != 0) { /* no leaf, no table but those of the init */
		free_entries(npt, &npt->table[npt_index(npt, npt->top, range->start)], npt->top, range->start,
		             range->end, release, context);
	} else {
		free_gib_table(npt);
	}
	free_trunk(npt);
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
	const struct gpa_range *range = &npt->range;

	if (!is_aligned(start | size, FRAME_SIZE)) {
		return MM_EALIGN;
	}
	return start >= range->start && start <= range->end && size <= range->end - start ? MM_OK : MM_ERANGE;
}

struct npt_place npt_walk(const struct npt *npt, gpa_t address)
{
	struct npt_place place = {.slot = &npt->table[npt_index(npt, npt->top, address)], .level = npt->top};

	if (npt_has_gib(npt, address)) {
		return npt_walk_gib(npt, address);
	}
	place.entry = npt_load_to_follow(place.slot);
	while (place.level > 0) {
		uint64_t *child = npt_child(npt, place.entry);

		if (!npt_is_child(child)) {
			break;
		}
		place.level--;
		place.slot = child + (address >> npt_shift(place.level)) % NPT_ENTRIES;
		place.entry = npt_load_to_follow(place.slot);
	}
	return place;
}

struct npt_entry npt_lookup(const struct npt *npt, gpa_t address)
{
	struct npt_entry result = {.kind = NPT_HOLE, .level = npt->top};

	if (!npt_in_range(npt, address)) {
		return result;
	}
	struct npt_place place = npt_walk(npt, address);

	result.level = (uint8_t)place.level;
	result.raw = place.entry;
	if (place.entry != 0) {
		result.kind = NPT_LEAF;
		result.attributes = npt_leaf_attributes(&npt->format, place.entry);
		result.address = npt_address(&npt->format, place.entry) + (address & (npt_span(place.level) - 1));
	}
	return result;
}

static int check_holes(const uint64_t *slot, uint64_t count)
{
	uint64_t any = 0;

	for (const uint64_t *end = slot + count; slot < end; slot++) {
		any |= npt_load(slot);
	}
	return any == 0 ? MM_OK : MM_EEXIST;
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

	if (level == 0) {
		return table == NULL ? MM_OK
		                     : check_holes(&table[npt_index(npt, 0, start)], (end - start) >> FRAME_SHIFT);
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

void npt_fill_run(uint64_t *slot, uint64_t entry, uint64_t step, size_t count)
{
	uint64_t *end = slot + count;

	for (; end - slot >= 4; slot += 4) {
		npt_store(&slot[0], entry);
		npt_store(&slot[1], entry + step);
		npt_store(&slot[2], entry + 2 * step);
		npt_store(&slot[3], entry + 3 * step);
		entry += 4 * step;
	}
	for (; slot < end; slot++) {
		npt_store(slot, entry);
		entry += step;
	}
}

static void fill_contiguous(const struct npt_mapping *mapping, uint64_t *slot, unsigned level, hpa_t address,
                            size_t count)
{
	const struct npt_format *format = &mapping->npt->format;

	npt_fill_run(slot, npt_new_leaf(mapping->npt, &mapping->leaves[0], level, address, mapping->attributes),
	             npt_leaf_step(format, level), count);
}

static void fill_frames(struct npt_mapping *mapping, uint64_t *slot, unsigned level, size_t count)
{
	const struct npt_format *format = &mapping->npt->format;
	const struct mm_hal *hal = mapping->npt->hal;
	struct frame_list *frames = &mapping->frames[level];
	uint64_t template = npt_new_leaf(mapping->npt, &mapping->leaves[0], level, 0, mapping->attributes);
	size_t bytes = npt_span(level);

	for (uint64_t *end = slot + count; slot < end; slot++) {
		hpa_t frame = frame_list_pop(frames, hal);

		npt_zero(mapping->npt, frame, bytes);
		npt_store(slot, template + (frame >> format->address_shift));
	}
}

static void fill_leaves(struct npt_mapping *mapping, uint64_t *slot, unsigned level, gpa_t start, gpa_t end)
{
	const struct mm_hal *hal = mapping->npt->hal;
	size_t count = (end - start) >> npt_shift(level);

	if (mapping->contiguous) {
		fill_contiguous(mapping, slot, level, start + mapping->to_address, count);
	} else if (level == 0 && start >= mapping->blocks.start && start < mapping->blocks.end) {
		/* A level-0 table and a block are of one size. */
		hpa_t block = frame_list_pop(&mapping->frames[1], hal);

		npt_zero(mapping->npt, block, npt_span(1));
		fill_contiguous(mapping, slot, level, block, count);
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

	if (level == 0) {
		fill_leaves(mapping, &table[npt_index(npt, 0, start)], 0, start, end);
		return;
	}
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
		uint64_t *entries = npt_pointer(npt, child);

		memset(entries, 0, FRAME_SIZE);
		fill_table(mapping, entries, level - 1, at, next);
		npt_store(slot, npt_table_entry(&npt->format, child));
	}
}

void npt_narrow_in(const struct npt *npt, struct npt_target *target, const struct gpa_range *room)
{
	gpa_t start = target->start;
	/* An entry of `shift` holds the range if that is not below `range_bits`; below `room_bits` it may lie in room.
	 */
	unsigned range_bits = bit_width(start ^ (target->end - 1));
	unsigned room_bits = bit_width(room->end - room->start);
	bool low = npt_has_gib(npt, target->end - 1);
	uint64_t *table = low ? npt->gib_table : npt->table;
	unsigned level = low ? GIB_LEVEL : npt->top;
	unsigned shift = npt_shift(level);
	uint64_t *slot = &table[low ? start >> shift : start >> shift & npt->index_mask];

	target->empty = false;
	target->slot = NULL;
	while (shift >= range_bits) {
		if (level == 0 || (shift < room_bits && npt_may_remove(npt, room, level, start))) {
			target->slot = slot;
			break;
		}
		uint64_t entry = npt_load(slot);
		uint64_t *child = npt_child(npt, entry);

		if (!npt_is_child(child)) {
			target->empty = entry == 0;
			break;
		}
		target->path[level] = slot;
		level--;
		shift -= NPT_INDEX_BITS;
		table = child;
		slot = &table[(start >> shift) % NPT_ENTRIES];
	}
	target->table = table;
	target->level = level;
}

void npt_narrow(const struct npt *npt, struct npt_target *target)
{
	/* Where the range is all that an entry stands for, the entry itself is what matters. */
	npt_narrow_in(npt, target, &(struct gpa_range){target->start, target->end});
}

int npt_map_prepared(struct npt_mapping *mapping)
{
	/* cppcheck-suppress ctuuninitvar ; its callers set what is needed, field by field */
	struct npt *npt = mapping->npt;
	const struct npt_target *target = &mapping->target;

	mapping->tables_needed = 0;
	mapping->tables = FRAME_LIST_EMPTY;
	int status = prepare_table(mapping, target->table, target->level, target->start, target->end);

	if (status == MM_OK && mapping->tables_needed != 0) {
		status = frame_list_take(&mapping->tables, npt->hal, mapping->tables_needed, 0, FRAME_TABLE);
	}
	if (status != MM_OK) {
		return status;
	}
	fill_table(mapping, target->table, target->level, target->start, target->end);
	npt->statistics.tables += mapping->tables_needed;
	return MM_OK;
}

struct gpa_range npt_leaf_range(const struct npt_format *format, unsigned level, const struct gpa_range *range,
                                uint64_t to_address)
{
	struct gpa_range none = {range->end, range->end};
	struct gpa_range inner = {align_up(range->start, npt_span(level)), align_down(range->end, npt_span(level))};

	if (!format->level[level].leaf || !is_aligned(to_address, npt_span(level)) || inner.start >= inner.end) {
		return none;
	}
	return inner;
}

/* Frees `count` tables, each of which holds nothing but the next one; `entry` leads to the first. */
static void free_chain(struct npt *npt, uint64_t entry, unsigned level, gpa_t address, unsigned count)
{
	for (; count != 0; count--) {
		hpa_t table = npt_address(&npt->format, entry);

		level--;
		entry = npt_pointer(npt, table)[npt_index(npt, level, address)];
		npt->hal->free_frames(npt->hal, table, 0, FRAME_TABLE);
	}
}

int npt_fill_hole_below(struct npt *npt, uint64_t *slot, unsigned hole_level, gpa_t address, unsigned level,
                        uint64_t entry)
{
	struct mm_hal *hal = npt->hal;

	for (unsigned at = level; at < hole_level; at++) {
		hpa_t table = hal->alloc_frames(hal, 0, FRAME_TABLE);

		if (table == HPA_NONE) {
			free_chain(npt, entry, at, address, at - level);
			return MM_ENOMEM;
		}
		uint64_t *entries = memset(npt_pointer(npt, table), 0, FRAME_SIZE);

		entries[(address >> npt_shift(at)) % NPT_ENTRIES] = entry;
		entry = npt_table_entry(&npt->format, table);
	}
	npt_store(slot, entry);
	npt->statistics.tables += hole_level - level;
	npt->statistics.leaves[level]++;
	return MM_OK;
}

int npt_map_page(struct npt *npt, gpa_t start, hpa_t address, struct npt_attributes attributes)
{
	struct gpa_range page = {start, start + FRAME_SIZE};
	uint64_t leaf = npt_new_leaf(npt, &page, 0, address, attributes);
	struct npt_place place = npt_has_gib(npt, start) ? npt_walk_gib(npt, start) : npt_walk(npt, start);

	return place.entry != 0 ? MM_EEXIST : npt_fill_hole(npt, place.slot, place.level, start, 0, leaf);
}

int npt_map_checked(struct npt *npt, gpa_t start, hpa_t address, uint64_t size, struct npt_attributes attributes,
                    unsigned largest_level)
{
	struct npt_mapping mapping;

	mapping.npt = npt;
	mapping.attributes = attributes;
	mapping.contiguous = true;
	mapping.to_address = address - start;
	mapping.target.start = start;
	mapping.target.end = start + size;
	npt_narrow(npt, &mapping.target);
	mapping.leaves[0] = (struct gpa_range){start, start + size};
	for (unsigned level = 1; level < NPT_MAX_LEVELS; level++) {
		mapping.leaves[level] = (struct gpa_range){start + size, start + size};
		if (level <= largest_level && level <= mapping.target.level) {
			mapping.leaves[level] =
				npt_leaf_range(&npt->format, level, &mapping.leaves[0], mapping.to_address);
		}
	}
	return npt_map_prepared(&mapping);
}

int npt_map(struct npt *npt, gpa_t start, hpa_t address, uint64_t size, struct npt_attributes attributes,
            unsigned largest_level)
{
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
	return status == MM_OK ? npt_map_checked(npt, start, address, size, attributes, largest_level) : status;
}
