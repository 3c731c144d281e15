/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page-table walker, second half: unmap and protect. Both go the same way: count the tables that splits
 * need and take them; change the entries, hiding what is to go; flush once; put in place what had to wait for
 * the flush (break-before-make); then free. Nothing after the taking can fail.
 */
#include "lib/string.h"
#include "mm/npt_private.h"

/* Ranges gathered for one flush; when there are more, the last one grows over the rest. */
#define FLUSH_RANGES 8
/* Only the leaves at the two ends of a range can be partly covered, so only two that the CPU may use break. */
#define BROKEN_LEAVES 2

struct update {
	struct npt *npt;
	struct npt_target target;
	uint64_t *slot;           /* unmap: the one entry that is removed, or that leads to all that is; or NULL */
	struct gpa_range room;    /* unmap: holds the range, and nothing else is mapped in it */
	struct frame_list tables; /* for splits */
	uint64_t permission_bits; /* protect: what goes under permission_mask */
	bool removes;             /* unmap; else protect */
	bool tells;               /* unmap: somebody wants to be told of leaves */
	bool hides;               /* something is hidden and waits for the flush */
	bool linked;              /* the table being changed is in the CPU's reach */
	unsigned flush_count;
	unsigned broken_count;
	struct gpa_range flush[FLUSH_RANGES];
	struct {
		uint64_t *slot;
		uint64_t entry; /* goes there after the flush */
	} broken[BROKEN_LEAVES];
};

/* Called with rising starts. */
static void gather(struct update *update, gpa_t start, gpa_t end)
{
	if (update->flush_count != 0) {
		struct gpa_range *last = &update->flush[update->flush_count - 1];

		if (start <= last->end || update->flush_count == FLUSH_RANGES) {
			last->end = MAX(last->end, end);
			return;
		}
	}
	update->flush[update->flush_count] = (struct gpa_range){start, end};
	update->flush_count++;
}

static inline void flush(struct update *update)
{
	struct npt *npt = update->npt;

	if (update->flush_count != 0) {
		npt->statistics.flushes++;
		if (npt->hal->flush != NULL) {
			npt->hal->flush(npt->hal, npt, update->flush, update->flush_count);
		}
	}
	for (unsigned i = 0; i < update->broken_count; i++) {
		npt_store(update->broken[i].slot, update->broken[i].entry);
	}
}

/* The level of the leaf that holds `address` inside it, or 0: nothing to split there. */
static unsigned cut_level(const struct npt *npt, gpa_t address)
{
	struct npt_place place;

	if (!npt_in_range(npt, address)) {
		return 0;
	}
	place = npt_walk(npt, address);
	return place.entry != 0 && !is_aligned(address, npt_span(place.level)) ? place.level : 0;
}

/* How many tables it takes to have leaf boundaries at both ends. A leaf that goes on there leaves no room. */
static unsigned count_splits(const struct update *update)
{
	const struct npt *npt = update->npt;
	gpa_t start = update->target.start;
	gpa_t end = update->target.end;
	unsigned start_level = start > update->room.start ? 0 : cut_level(npt, start);
	unsigned end_level = end < update->room.end ? 0 : cut_level(npt, end);
	unsigned count = 0;

	for (unsigned level = 1; level <= MAX(start_level, end_level); level++) {
		bool at_start = level <= start_level && !is_aligned(start, npt_span(level));
		bool at_end = level <= end_level && !is_aligned(end, npt_span(level));
		bool same = start >> npt_shift(level) == end >> npt_shift(level);

		count += (unsigned)at_start + at_end - (at_start && at_end && same);
	}
	return count;
}

/* Makes the table of leaves that says the same as the one leaf `entry` of `level`. Not linked yet. */
static hpa_t split_leaf(struct update *update, unsigned level, uint64_t entry)
{
	struct npt *npt = update->npt;
	const struct npt_format *format = &npt->format;
	hpa_t table = frame_list_pop(&update->tables, npt->hal);
	uint64_t *slot = npt_pointer(npt, table);
	uint64_t piece = npt_leaf(format, level - 1, npt_address(format, entry), npt_leaf_attributes(format, entry));

	npt_fill_run(slot, piece, npt_leaf_step(format, level - 1), NPT_ENTRIES);
	npt->statistics.leaves[level]--;
	npt->statistics.leaves[level - 1] += NPT_ENTRIES;
	npt->statistics.tables++;
	npt->statistics.splits++;
	return table;
}

static bool change_table(struct update *update, uint64_t *table, unsigned level, gpa_t start, gpa_t end);

/* Splits the leaf `entry` at `slot` and changes [start, end) of it. */
static void change_part(struct update *update, uint64_t *slot, unsigned level, uint64_t entry, gpa_t start, gpa_t end)
{
	const struct npt_format *format = &update->npt->format;
	hpa_t table = split_leaf(update, level, entry);
	uint64_t table_entry = npt_table_entry(format, table);
	gpa_t base = align_down(start, npt_span(level));
	bool in_use = update->linked && !npt_is_hidden(format, entry);
	bool linked = update->linked;

	if (in_use) {
		gather(update, base, base + npt_span(level));
	}
	update->linked = false;
	change_table(update, npt_pointer(update->npt, table), level - 1, start, end);
	update->linked = linked;
	if (in_use && format->break_before_make) {
		npt_store(slot, 0);
		update->broken[update->broken_count].slot = slot;
		update->broken[update->broken_count].entry = table_entry;
		update->broken_count++;
	} else {
		npt_store(slot, table_entry);
	}
}

/*
 * Removes an entry: it hides until the flush is over, unless it is a leaf that nobody wants to be told of, which is
 * gone at once.
 */
static void remove_entry(struct update *update, uint64_t *slot, unsigned level, uint64_t entry, gpa_t start, gpa_t end)
{
	struct npt *npt = update->npt;

	if (!npt_is_hidden(&npt->format, entry)) {
		gather(update, start, end);
	}
	if (update->tells || npt_is_table(&npt->format, level, entry)) {
		npt_store(slot, npt_hide(&npt->format, entry));
		update->hides = true;
	} else {
		npt_store(slot, 0);
		npt->statistics.leaves[level]--;
	}
}

/* Gives a leaf its new permissions. */
static void protect_leaf(struct update *update, uint64_t *slot, uint64_t entry, gpa_t start, gpa_t end)
{
	const struct npt_format *format = &update->npt->format;
	uint64_t changed;

	do { /* again if the CPU has set the dirty flag meanwhile */
		changed = (entry & ~format->permission_mask) | update->permission_bits;
	} while (!__atomic_compare_exchange_n(slot, &entry, changed, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
	if (changed != entry && !npt_is_hidden(format, entry)) {
		gather(update, start, end);
	}
}

/* Changes all or part of a leaf that is not removed as a whole. */
static void change_leaf(struct update *update, uint64_t *slot, unsigned level, uint64_t entry, gpa_t start, gpa_t end)
{
	if (!update->removes && (entry & update->npt->format.permission_mask) == update->permission_bits) {
		return;
	}
	if (end - start == npt_span(level)) {
		protect_leaf(update, slot, entry, start, end);
	} else {
		change_part(update, slot, level, entry, start, end);
	}
}

static inline uint64_t any_of_8(const uint64_t *slot)
{
	return slot[0] | slot[1] | slot[2] | slot[3] | slot[4] | slot[5] | slot[6] | slot[7];
}

static bool all_holes(const uint64_t *from, const uint64_t *to)
{
	for (; to - from >= 16; from += 16) {
		if ((any_of_8(from) | any_of_8(from + 8)) != 0) {
			return false;
		}
	}
	for (; from < to; from++) {
		if (*from != 0) {
			return false;
		}
	}
	return true;
}

/* True if the table of `level` has nothing but holes outside [from, to). The topmost one and that of GiB stay. */
static bool only_holes_beside(const struct npt *npt, unsigned level, const uint64_t *from, const uint64_t *to)
{
	uintptr_t start = align_down((uintptr_t)from, FRAME_SIZE);

	/* NOLINTBEGIN(performance-no-int-to-ptr) */
	return level != npt->top && start != (uintptr_t)npt->gib_table && all_holes((const uint64_t *)start, from) &&
	       all_holes(to, (const uint64_t *)(start + FRAME_SIZE));
	/* NOLINTEND(performance-no-int-to-ptr) */
}

/*
 * Changes [start, end), which lies inside `table` of `level`. True if all that the table holds is being
 * removed, so that the table itself can go. Recurses once per level.
 */
static bool change_table(struct update *update, uint64_t *table, unsigned level, gpa_t start, gpa_t end)
{
	const struct npt *npt = update->npt;
	uint64_t span = npt_span(level);
	uint64_t *first = &table[npt_index(npt, level, start)];
	uint64_t *slot = first;
	bool dies = update->removes;
	gpa_t next;

	for (gpa_t at = start; at < end; at = next, slot++) {
		uint64_t entry = npt_load(slot);
		bool is_table = npt_is_table(&npt->format, level, entry);

		next = MIN(align_down(at, span) + span, end);
		if (entry == 0) {
			continue;
		}
		if ((update->removes && npt_may_remove(npt, &update->room, level, at)) ||
		    (is_table && change_table(update, npt_table(npt, entry), level - 1, at, next))) {
			remove_entry(update, slot, level, entry, at, next);
			continue;
		}
		dies = false;
		if (!is_table) {
			change_leaf(update, slot, level, entry, at, next);
		}
	}
	return dies && only_holes_beside(npt, level, first, slot);
}

/* After the flush: frees what the entry for [start, end) hides, and makes a hole of it. */
static inline void reap_entry(struct npt *npt, uint64_t *slot, unsigned level, gpa_t start, gpa_t end,
                              npt_release *release, void *context)
{
	const struct npt_format *format = &npt->format;
	uint64_t was = npt_unhide(format, npt_load(slot));

	npt_store(slot, 0);
	if (npt_is_table(format, level, was)) {
		npt_free_tree(npt, npt_address(format, was), level - 1, start, end, release, context);
		return;
	}
	npt->statistics.leaves[level]--;
	if (release != NULL) {
		release(context, start, npt_address(format, was), level);
	}
}

/* The same for all of a table's in [start, end). Recurses once per level. */
static void reap_table(struct npt *npt, uint64_t *table, unsigned level, gpa_t start, gpa_t end, npt_release *release,
                       void *context)
{
	uint64_t *slot = &table[npt_index(npt, level, start)];
	gpa_t next;

	for (gpa_t at = start; at < end; at = next, slot++) {
		uint64_t entry = npt_load(slot);

		next = MIN(align_down(at, npt_span(level)) + npt_span(level), end);
		if (npt_is_table(&npt->format, level, entry)) {
			reap_table(npt, npt_table(npt, entry), level - 1, at, next, release, context);
		} else if (entry != 0) {
			reap_entry(npt, slot, level, at, next, release, context);
		}
	}
}

/* Removes the one entry that is all there is to remove. True as change_table. */
static bool change_entry(struct update *update, uint64_t *slot)
{
	const struct npt_target *target = &update->target;
	uint64_t entry = npt_load(slot);

	if (entry == 0) {
		return false;
	}
	remove_entry(update, slot, target->level, entry, target->start, target->end);
	return only_holes_beside(update->npt, target->level, slot, slot + 1);
}

/* Changes the entries; where a table dies that was all that its own table held, that one goes too. */
static inline __attribute__((always_inline)) void change_all(struct update *update)
{
	const struct npt *npt = update->npt;
	struct npt_target *target = &update->target;
	bool dies = update->slot != NULL
	                    ? change_entry(update, update->slot)
	                    : change_table(update, target->table, target->level, target->start, target->end);

	while (dies) {
		target->level++;
		update->slot = target->path[target->level]; /* reaping starts here */
		remove_entry(update, update->slot, target->level, npt_load(update->slot), target->start, target->end);
		dies = only_holes_beside(npt, target->level, update->slot, update->slot + 1);
	}
}

/* Takes the tables for splits, changes, flushes. MM_ENOMEM: nothing has changed. */
static inline __attribute__((always_inline)) int run_update(struct update *update)
{
	/* cppcheck-suppress ctuuninitvar ; its callers set what is needed, field by field */
	struct npt *npt = update->npt;
	const struct npt_target *target = &update->target;
	unsigned splits = target->level > 0 && update->slot == NULL ? count_splits(update) : 0;

	update->linked = true;
	update->hides = false;
	update->tables = FRAME_LIST_EMPTY;
	update->flush_count = 0;
	update->broken_count = 0;
	if (splits != 0 && frame_list_take(&update->tables, npt->hal, splits, 0, FRAME_TABLE) != MM_OK) {
		return MM_ENOMEM;
	}
	change_all(update);
	flush(update);
	if (unlikely(update->tables.head != HPA_NONE)) { /* a split turned out needless */
		frame_list_give_back(&update->tables, npt->hal, 0, FRAME_TABLE);
	}
	return MM_OK;
}

int npt_unmap_checked(struct npt *npt, gpa_t start, gpa_t end, const struct gpa_range *room, npt_release *release,
                      void *context)
{
	struct update update;
	struct npt_target *target = &update.target;

	update.npt = npt;
	update.removes = true;
	update.tells = release != NULL;
	update.room = *room;
	target->start = start;
	target->end = end;
	npt_narrow_in(npt, target, room);
	if (target->empty) {
		return MM_OK;
	}
	update.slot = target->slot;
	int status = run_update(&update);

	if (status != MM_OK || !update.hides) {
		return status;
	}
	if (update.slot != NULL) {
		reap_entry(npt, update.slot, target->level, start, end, release, context);
	} else {
		reap_table(npt, target->table, target->level, start, end, release, context);
	}
	return MM_OK;
}

int npt_unmap(struct npt *npt, gpa_t start, uint64_t size, npt_release *release, void *context)
{
	struct gpa_range range = {start, start + size};
	int status = npt_check_range(npt, start, size);

	return status != MM_OK || size == 0 ? status
	                                    : npt_unmap_checked(npt, start, start + size, &range, release, context);
}

int npt_protect(struct npt *npt, gpa_t start, uint64_t size, uint8_t permissions)
{
	const struct npt_format *format = &npt->format;
	struct npt_attributes attributes = {.permissions = permissions, .type = MM_WRITE_BACK};
	struct update update;
	int status = npt_check_range(npt, start, size);

	if (status == MM_OK && size == 0) {
		status = MM_EINVAL;
	}
	if (status == MM_OK) {
		status = npt_check_permissions(format, permissions);
	}
	if (status != MM_OK) {
		return status;
	}
	update.npt = npt;
	update.removes = false;
	update.slot = NULL;
	update.room = (struct gpa_range){start, start + size};
	update.target.start = start;
	update.target.end = start + size;
	npt_narrow(npt, &update.target);
	update.permission_bits = npt_leaf(format, 0, 0, attributes) & format->permission_mask;
	return update.target.empty ? MM_OK : run_update(&update);
}
