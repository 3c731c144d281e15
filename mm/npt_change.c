/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page-table walker, second half: unmap, protect, the dirty log. All go the same way: count the tables that splits
 * need and take them; change the entries, hiding what is to go; flush once; put in place what had to wait for
 * the flush (break-before-make); then free. Nothing after the taking can fail.
 */
#include "lib/string.h"
#include "mm/npt_private.h"

/* Only the leaves at the two ends of a range can be partly covered, so only two that the CPU may use break. */
#define BROKEN_LEAVES 2

struct update {
	struct npt *npt;
	struct npt_target target;
	uint64_t *slot;           /* unmap: the one entry that is removed, or that leads to all that is; or NULL */
	struct gpa_range room;    /* unmap: holds the range, and nothing else is mapped in it */
	struct frame_list tables; /* for splits */
	uint64_t permission_bits; /* protect: what goes under permission_mask */
	uint64_t log_marks;       /* with any of these a leaf is the dirty log's business */
	bool removes;             /* unmap; else one of the next three */
	bool cleans;              /* the dirty log: leaves become clean */
	bool dirties;             /* the dirty log: leaves become dirty; else protect */
	bool tells;               /* unmap: somebody wants to be told of leaves */
	bool hides;               /* something is hidden and waits for the flush */
	bool linked;              /* the table being changed is in the CPU's reach */
	unsigned broken_count;
	struct npt_flush flush;
	uint64_t *bitmap; /* cleans: a bit for each page from bitmap_start on that was dirty; or NULL */
	gpa_t bitmap_start;
	struct {
		uint64_t *slot;
		uint64_t entry; /* goes there after the flush */
	} broken[BROKEN_LEAVES];
};

void npt_gather(struct npt_flush *flush, gpa_t start, gpa_t end)
{
	if (flush->count != 0) {
		struct gpa_range *last = &flush->ranges[flush->count - 1];

		if (start <= last->end || flush->count == NPT_FLUSH_RANGES) {
			last->end = MAX(last->end, end);
			return;
		}
	}
	flush->ranges[flush->count] = (struct gpa_range){start, end};
	flush->count++;
}

void npt_flush(struct npt *npt, const struct npt_flush *flush)
{
	if (flush->count != 0) {
		npt->statistics.flushes++;
		if (npt->hal->flush != NULL) {
			npt->hal->flush(npt->hal, npt, flush->ranges, flush->count);
		}
	}
}

static inline void flush(struct update *update)
{
	npt_flush(update->npt, &update->flush);
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

	if (npt_is_clean(format, entry)) {
		piece = npt_clean(format, piece);
	}
	npt_fill_run(slot, piece, npt_leaf_step(format, level - 1), NPT_ENTRIES);
	npt->statistics.leaves[level]--;
	npt->statistics.leaves[level - 1] += NPT_ENTRIES;
	npt->statistics.tables++;
	npt->statistics.splits++;
	return table;
}

/* The CPU has written through a clean leaf of which `table` was being made: all that is there is dirty. */
static void dirty_pieces(const struct npt_format *format, uint64_t *table)
{
	for (unsigned i = 0; i < NPT_ENTRIES; i++) {
		if (table[i] != 0) {
			npt_mark_dirty(format, &table[i]);
		}
	}
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
		npt_gather(&update->flush, base, base + npt_span(level));
	}
	update->linked = false;
	change_table(update, npt_pointer(update->npt, table), level - 1, start, end);
	update->linked = linked;
	bool breaks = in_use && format->break_before_make;
	uint64_t last = __atomic_exchange_n(slot, breaks ? 0 : table_entry, __ATOMIC_ACQ_REL);

	if (unlikely(npt_is_clean(format, entry) && !npt_is_clean(format, last))) {
		dirty_pieces(format, npt_pointer(update->npt, table));
	}
	if (breaks) {
		update->broken[update->broken_count].slot = slot;
		update->broken[update->broken_count].entry = table_entry;
		update->broken_count++;
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
		npt_gather(&update->flush, start, end);
	}
	if (update->tells || npt_is_table(&npt->format, level, entry)) {
		npt_store(slot, npt_hide(&npt->format, entry));
		update->hides = true;
	} else {
		npt_store(slot, 0);
		npt->statistics.leaves[level]--;
	}
}

/* changed_leaf, where the dirty log has a say. */
static __attribute__((noinline)) uint64_t logged_leaf(const struct update *update, uint64_t entry)
{
	const struct npt_format *format = &update->npt->format;

	if (update->cleans) {
		return npt_is_clean(format, entry) ? entry : npt_clean(format, entry);
	}
	return update->dirties ? npt_dirty(format, entry)
	                       : npt_with_permissions(format, entry, update->permission_bits);
}

/* What is to become of a leaf that stays. */
static inline uint64_t changed_leaf(const struct update *update, uint64_t entry)
{
	if (unlikely((entry & update->log_marks) != 0)) {
		return logged_leaf(update, entry);
	}
	return (entry & ~update->npt->format.permission_mask) | update->permission_bits;
}

static void set_bits(uint64_t *bitmap, uint64_t first, uint64_t last)
{
	for (; first < last && first % 64 != 0; first++) {
		bitmap[first / 64] |= BIT(first % 64);
	}
	for (; last - first >= 64; first += 64) {
		bitmap[first / 64] = UINT64_MAX;
	}
	for (; first < last; first++) {
		bitmap[first / 64] |= BIT(first % 64);
	}
}

/* Gives a leaf its new permissions or flags. */
static void rewrite_leaf(struct update *update, uint64_t *slot, uint64_t entry, uint64_t changed, gpa_t start,
                         gpa_t end)
{
	while (!__atomic_compare_exchange_n(slot, &entry, changed, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
		changed = changed_leaf(update, entry); /* the CPU has set the dirty flag meanwhile */
	}
	if (changed != entry && !npt_is_hidden(&update->npt->format, entry)) {
		npt_gather(&update->flush, start, end);
	}
	if (unlikely(update->bitmap != NULL) && changed != entry) {
		set_bits(update->bitmap, (start - update->bitmap_start) >> FRAME_SHIFT,
		         (end - update->bitmap_start) >> FRAME_SHIFT);
	}
}

/* Changes all or part of a leaf that is not removed as a whole. */
static void change_leaf(struct update *update, uint64_t *slot, unsigned level, uint64_t entry, gpa_t start, gpa_t end)
{
	uint64_t changed = update->removes ? 0 : changed_leaf(update, entry);

	if (changed == entry) {
		return;
	}
	if (end - start == npt_span(level)) {
		rewrite_leaf(update, slot, entry, changed, start, end);
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

/* Takes the tables for splits, clears `bitmap` (or NULL), changes, flushes. MM_ENOMEM: nothing has changed. */
static inline __attribute__((always_inline)) int run_update(struct update *update, uint64_t *bitmap)
{
	/* cppcheck-suppress ctuuninitvar ; its callers set what is needed, field by field */
	struct npt *npt = update->npt;
	const struct npt_target *target = &update->target;
	unsigned splits = target->level > 0 && update->slot == NULL ? count_splits(update) : 0;

	update->linked = true;
	update->hides = false;
	update->tables = FRAME_LIST_EMPTY;
	update->flush.count = 0;
	update->broken_count = 0;
	if (splits != 0 && frame_list_take(&update->tables, npt->hal, splits, 0, FRAME_TABLE) != MM_OK) {
		return MM_ENOMEM;
	}
	if (bitmap != NULL) {
		uint64_t pages = (target->end - target->start) >> FRAME_SHIFT;

		memset(bitmap, 0, (pages + 63) / 64 * sizeof(*bitmap));
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
	int status = run_update(&update, NULL);

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
	update.bitmap = NULL;
	update.removes = false;
	update.cleans = false;
	update.dirties = false;
	update.slot = NULL;
	update.room = (struct gpa_range){start, start + size};
	update.target.start = start;
	update.target.end = start + size;
	npt_narrow(npt, &update.target);
	update.permission_bits = npt_leaf(format, 0, 0, attributes) & format->permission_mask;
	update.log_marks = format->clean_mark | format->writable_mark;
	return update.target.empty ? MM_OK : run_update(&update, NULL);
}

int npt_clean_range(struct npt *npt, gpa_t start, uint64_t size, uint64_t *bitmap)
{
	struct update update = {.npt = npt,
	                        .cleans = true,
	                        .log_marks = UINT64_MAX,
	                        .room = {start, start + size},
	                        .bitmap = bitmap,
	                        .bitmap_start = start};

	update.target.start = start;
	update.target.end = start + size;
	npt_narrow(npt, &update.target);
	return run_update(&update, bitmap);
}

void npt_dirty_all(struct npt *npt)
{
	struct update update = {.npt = npt, .dirties = true, .log_marks = UINT64_MAX, .room = npt->range};

	update.target.start = npt->range.start;
	update.target.end = npt->range.end;
	npt_narrow(npt, &update.target);
	(void)run_update(&update, NULL); /* cuts no leaf, so it takes nothing and cannot fail */
}
