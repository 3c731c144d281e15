/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of mm/ that touch entries share: npt.c, npt_change.c, addr_space.c, backend_alloc.c,
 * guest_memory.c, dump.c. Entries are read and written here and nowhere else: release stores (what an entry leads to
 * is complete before the entry is seen), acquire loads in walks, which may run without the lock, and relaxed loads
 * under it. Nothing here takes a lock.
 */
#pragma once

#include "mm/npt.h"

#include "lib/string.h"
#include "lib/util.h"

#define NPT_INDEX_BITS 9
#define NPT_ENTRIES    (1U << NPT_INDEX_BITS)
#define LEVEL_2M       1U /* its entries stand for 2 MiB each */
#define GIB_LEVEL      2U /* for 1 GiB */

/* Every format that mm/ has uses 4 KiB tables of 64-bit entries: only the root may be larger. */
_Static_assert(NPT_ENTRIES * sizeof(uint64_t) == FRAME_SIZE, "a table is one frame");

static inline unsigned npt_shift(unsigned level)
{
	return FRAME_SHIFT + NPT_INDEX_BITS * level;
}

/* What one entry of `level` covers, in bytes. */
static inline uint64_t npt_span(unsigned level)
{
	return BIT(npt_shift(level));
}

static inline uint64_t npt_load(const uint64_t *slot)
{
	return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

/* What the entry leads to is seen as it was when the entry was stored. */
static inline uint64_t npt_load_to_follow(const uint64_t *slot)
{
	return __atomic_load_n(slot, __ATOMIC_ACQUIRE);
}

static inline void npt_store(uint64_t *slot, uint64_t entry)
{
	__atomic_store_n(slot, entry, __ATOMIC_RELEASE);
}

static inline bool npt_is_table(const struct npt_format *format, unsigned level, uint64_t entry)
{
	return level > 0 && ((entry ^ format->table_bits) & ~format->address_mask) == 0;
}

static inline hpa_t npt_address(const struct npt_format *format, uint64_t entry)
{
	return (entry & format->address_mask) << format->address_shift;
}

static inline uint64_t npt_table_entry(const struct npt_format *format, hpa_t table)
{
	return table >> format->address_shift | format->table_bits;
}

static inline uint64_t *npt_pointer(const struct npt *npt, hpa_t address)
{
	return (void *)(uintptr_t)(address + npt->virtual_offset); /* NOLINT(performance-no-int-to-ptr) */
}

/* What was written to a guest's frames is there for it, before it can reach them. */
static inline void npt_write_back(const struct npt *npt, const void *memory, uint64_t bytes)
{
	if (unlikely(npt->clean != NULL)) {
		npt->clean(memory, bytes);
	}
}

/* Zeros for a guest. */
static inline __attribute__((always_inline)) void npt_zero(const struct npt *npt, hpa_t frame, uint64_t bytes)
{
	npt_write_back(npt, memset(npt_pointer(npt, frame), 0, bytes), bytes);
}

static inline uint64_t *npt_table(const struct npt *npt, uint64_t entry)
{
	return npt_pointer(npt, npt_address(&npt->format, entry));
}

static inline bool npt_is_hidden(const struct npt_format *format, uint64_t entry)
{
	return (entry & format->hidden_mark) != 0;
}

static inline uint64_t npt_hide(const struct npt_format *format, uint64_t entry)
{
	return (entry & ~format->valid_mask) | format->hidden_mark;
}

/* Undoes npt_hide as far as kind and address go: a hidden table is exact again. */
static inline uint64_t npt_unhide(const struct npt_format *format, uint64_t entry)
{
	return npt_is_hidden(format, entry) ? (entry & ~format->hidden_mark) | format->valid_mask : entry;
}

/* A leaf's entry, hidden if it has no permission. */
static inline uint64_t npt_leaf(const struct npt_format *format, unsigned level, hpa_t address,
                                struct npt_attributes attributes)
{
	if (unlikely(attributes.permissions == MM_NONE)) {
		attributes.permissions = MM_READ;
		return npt_hide(format, format->make_leaf(level, address, attributes));
	}
	return format->make_leaf(level, address, attributes);
}

/* What to add to a leaf's entry for the next leaf of a contiguous run. */
static inline uint64_t npt_leaf_step(const struct npt_format *format, unsigned level)
{
	return npt_span(level) >> format->address_shift;
}

static inline struct npt_attributes npt_leaf_attributes(const struct npt_format *format, uint64_t entry)
{
	struct npt_attributes attributes = format->attributes(entry);

	if (npt_is_hidden(format, entry)) {
		attributes.permissions = MM_NONE;
	}
	if ((entry & format->writable_mark) != 0) {
		attributes.permissions |= MM_WRITE;
	}
	return attributes;
}

/* ---- the dirty log: struct npt_format tells what makes a leaf clean ---- */

static inline bool npt_is_clean(const struct npt_format *format, uint64_t entry)
{
	return (~entry & format->dirty_flag) != 0 ||
	       ((entry & format->clean_mark) != 0 && ((entry ^ format->read_only) & format->write_mask) == 0);
}

static inline uint64_t npt_clean(const struct npt_format *format, uint64_t entry)
{
	uint64_t clean = (entry & ~format->dirty_flag) | format->clean_mark;

	if (((clean ^ format->read_only) & format->write_mask) != 0) {
		clean = (clean ^ format->write_mask) | format->writable_mark;
	}
	return clean;
}

/* As npt_leaf makes it. */
static inline uint64_t npt_dirty(const struct npt_format *format, uint64_t entry)
{
	uint64_t dirty = (entry | format->dirty_flag) & ~(format->clean_mark | format->writable_mark);
	bool writable = ((dirty ^ format->read_only) & format->write_mask) != 0;

	return (entry & format->writable_mark) != 0 && !writable ? dirty ^ format->write_mask : dirty;
}

/* A marked leaf with what a plain one with its new permissions has under permission_mask: no cleaner than before. */
static inline uint64_t npt_with_permissions(const struct npt_format *format, uint64_t entry, uint64_t permission_bits)
{
	uint64_t marks = format->clean_mark | format->writable_mark;
	uint64_t changed = (entry & ~(format->permission_mask | marks)) | permission_bits;

	if ((npt_dirty(format, entry) & format->permission_mask) == permission_bits) {
		return entry; /* it has them, though the log may keep writes away */
	}
	return npt_is_clean(format, entry) ? npt_clean(format, changed) : changed;
}

/* What a write by other hands than the guest's does. The CPU may use the leaf meanwhile; it need not be told. */
static inline void npt_mark_dirty(const struct npt_format *format, uint64_t *slot)
{
	if (format->dirty_flag != 0) {
		__atomic_fetch_or(slot, format->dirty_flag, __ATOMIC_RELAXED);
	} else {
		__atomic_fetch_and(slot, ~format->clean_mark, __ATOMIC_RELAXED);
	}
}

/* A new leaf for somewhere in `range`: clean if the log watches any of that. */
static inline uint64_t npt_new_leaf(const struct npt *npt, const struct gpa_range *range, unsigned level, hpa_t address,
                                    struct npt_attributes attributes)
{
	uint64_t entry = npt_leaf(&npt->format, level, address, attributes);

	if (unlikely(range->start < npt->watched.end && range->end > npt->watched.start)) {
		entry = npt_clean(&npt->format, entry);
	}
	return entry;
}

/* npt_child, where address_shift is 0. */
static inline uint64_t *npt_child_unshifted(const struct npt *npt, uint64_t entry)
{
	return (uint64_t *)(uintptr_t)(entry + npt->table_bias); /* NOLINT(performance-no-int-to-ptr) */
}

/*
 * What an entry of a level above 0 leads to, if it is a table's: a pointer to that table, so one aligned to a frame. In
 * every other entry (hole, leaf, hidden) the low bits differ from a table's, and what comes out is not aligned.
 */
static inline uint64_t *npt_child(const struct npt *npt, uint64_t entry)
{
	return npt_child_unshifted(npt, entry << npt->format.address_shift);
}

static inline bool npt_is_child(const uint64_t *child)
{
	return is_aligned((uintptr_t)child, FRAME_SIZE);
}

/* The index in its table of the entry for `address`; that of the topmost table may exceed NPT_ENTRIES. */
static inline size_t npt_index(const struct npt *npt, unsigned level, gpa_t address)
{
	return address >> npt_shift(level) & (level == npt->top ? npt->index_mask : NPT_ENTRIES - 1);
}

/* Where a walk ended: at a leaf, or at a hole (entry 0). */
struct npt_place {
	uint64_t *slot;
	uint64_t entry;
	unsigned level;
};

/* The whole walk, from the top. `address` must be in the npt's range. */
struct npt_place npt_walk(const struct npt *npt, gpa_t address);

static inline struct npt_place npt_place_in(uint64_t *table, unsigned level, gpa_t address)
{
	uint64_t *slot = &table[(address >> npt_shift(level)) % NPT_ENTRIES];

	return (struct npt_place){slot, npt_load_to_follow(slot), level};
}

/* True if npt_walk_gib may be used. */
static inline bool npt_has_gib(const struct npt *npt, gpa_t address)
{
	return address >> npt_shift(GIB_LEVEL) < npt->gib_count;
}

/* The same in steps, for the three levels that most spaces have. */
static inline __attribute__((always_inline)) struct npt_place npt_walk_gib(const struct npt *npt, gpa_t address)
{
	uint64_t *slot = &npt->gib_table[address >> npt_shift(GIB_LEVEL)];
	struct npt_place place = {slot, npt_load_to_follow(slot), GIB_LEVEL};
	uint64_t *child = npt_child_unshifted(npt, place.entry);

	if (unlikely(!npt_is_child(child))) {
		return place;
	}
	place = npt_place_in(child, 1, address);
	child = npt_child_unshifted(npt, place.entry);
	return likely(npt_is_child(child)) ? npt_place_in(child, 0, address) : place;
}

static inline bool npt_in_range(const struct npt *npt, gpa_t address)
{
	return address - npt->range.start < npt->range.end - npt->range.start;
}

/*
 * A list of frames, linked through their first words, first in, first out: what an update has taken and not used
 * yet.
 */
struct frame_list {
	hpa_t head; /* HPA_NONE: empty */
	hpa_t tail;
};

#define FRAME_LIST_EMPTY ((struct frame_list){HPA_NONE, HPA_NONE})

/* Takes `count` frames of 2^order, or none at all: MM_ENOMEM. Adds to what the list holds. */
int frame_list_take(struct frame_list *list, struct mm_hal *hal, uint64_t count, unsigned order, enum frame_use use);
void frame_list_give_back(struct frame_list *list, struct mm_hal *hal, unsigned order, enum frame_use use);

static inline hpa_t frame_list_pop(struct frame_list *list, const struct mm_hal *hal)
{
	hpa_t frame = list->head;

	list->head = *(const hpa_t *)mm_pointer(hal, frame);
	return frame;
}

/* The lowest table that holds all of [start, end): the same entries would be reached from the topmost one. */
struct npt_target {
	gpa_t start, end;
	uint64_t *table;
	unsigned level;
	uint64_t *slot;                 /* of the one entry that the range is all of, if npt_narrow_in stopped at one */
	bool empty;                     /* there is nothing in the range */
	uint64_t *path[NPT_MAX_LEVELS]; /* from level + 1 up: the slots that lead to it */
};

/* Fills in all but start and end. */
void npt_narrow(const struct npt *npt, struct npt_target *target);
/* The same, but goes no further down than to an entry all of which lies in `room`. */
void npt_narrow_in(const struct npt *npt, struct npt_target *target, const struct gpa_range *room);

/* True if `room` holds all that an entry of `level` stands for, and it does not lead to the table of GiB. */
static inline bool npt_may_remove(const struct npt *npt, const struct gpa_range *room, unsigned level, gpa_t address)
{
	gpa_t base = align_down(address, npt_span(level));

	return base >= room->start && base + npt_span(level) <= room->end &&
	       (level <= GIB_LEVEL || !npt_has_gib(npt, base));
}

/*
 * A mapping about to be made: which leaves go where, and what they lead to. In the range of leaves[level]
 * leaves of that level are used, up to the target's level; elsewhere in it leaves[0].
 */
struct npt_mapping {
	struct npt *npt;
	struct npt_target target;
	struct npt_attributes attributes;
	struct gpa_range leaves[NPT_MAX_LEVELS];
	bool contiguous;             /* else frames come from the lists, zeroed on the way */
	uint64_t to_address;         /* contiguous: HPA = GPA + this */
	struct frame_list frames[2]; /* 4 KiB, 2 MiB */
	struct gpa_range blocks;     /* what the frames of 2 MiB are for, whatever the leaves */
	uint64_t tables_needed;
	struct frame_list tables;
};

/* The part of `range` that leaves of `level` can cover when it maps to GPA + `to_address`. */
struct gpa_range npt_leaf_range(const struct npt_format *format, unsigned level, const struct gpa_range *range,
                                uint64_t to_address);

/* `count` entries from `slot` on, each `step` more than the one before. */
void npt_fill_run(uint64_t *slot, uint64_t entry, uint64_t step, size_t count);

/* npt_map and npt_unmap for who has checked the arguments. */
int npt_map_checked(struct npt *npt, gpa_t start, hpa_t address, uint64_t size, struct npt_attributes attributes,
                    unsigned largest_level);
/* The same for one page, which needs no plan. */
int npt_map_page(struct npt *npt, gpa_t start, hpa_t address, struct npt_attributes attributes);
/*
 * `room` holds [start, end), which is not empty, and nothing is mapped in the rest of it: tables that lie in it go
 * without a look at what else they hold.
 */
int npt_unmap_checked(struct npt *npt, gpa_t start, gpa_t end, const struct gpa_range *room, npt_release *release,
                      void *context);

/* All or nothing; leaves frames[] to its owner on failure. Wants the target narrowed. MM_EEXIST, MM_ENOMEM. */
int npt_map_prepared(struct npt_mapping *mapping);

/* npt_fill_hole where tables lack. */
int npt_fill_hole_below(struct npt *npt, uint64_t *slot, unsigned hole_level, gpa_t address, unsigned level,
                        uint64_t entry);

/* Puts a leaf's `entry` for `level` at the hole in `slot` of `hole_level`, adding tables. MM_ENOMEM. */
static inline int npt_fill_hole(struct npt *npt, uint64_t *slot, unsigned hole_level, gpa_t address, unsigned level,
                                uint64_t entry)
{
	if (level != hole_level) {
		return npt_fill_hole_below(npt, slot, hole_level, address, level, entry);
	}
	npt_store(slot, entry);
	npt->statistics.leaves[level]++;
	return MM_OK;
}

/*
 * Frees `table` of `level`, which no CPU reaches any more and which holds nothing outside [start, end), and all below
 * it; tells each leaf to `release`.
 */
void npt_free_tree(struct npt *npt, hpa_t table, unsigned level, gpa_t start, gpa_t end, npt_release *release,
                   void *context);

/* Ranges gathered for one flush; when there are more, the last one grows over the rest. */
#define NPT_FLUSH_RANGES 8

struct npt_flush {
	unsigned count;
	struct gpa_range ranges[NPT_FLUSH_RANGES];
};

/* Called with rising starts. */
void npt_gather(struct npt_flush *flush, gpa_t start, gpa_t end);
/* Does nothing if nothing was gathered. */
void npt_flush(struct npt *npt, const struct npt_flush *flush);

/*
 * Makes every leaf of [start, start + size) clean and sets the bits of the pages that were dirty in `bitmap` (NULL:
 * nobody asks), clears the others; dirty leaves partly covered are split. MM_ENOMEM: nothing has changed.
 */
int npt_clean_range(struct npt *npt, gpa_t start, uint64_t size, uint64_t *bitmap);

/* Makes every leaf dirty again, as they are when no log runs. */
void npt_dirty_all(struct npt *npt);

/* npt_destroy, but tells each leaf to `release` (may be NULL). */
void npt_destroy_releasing(struct npt *npt, npt_release *release, void *context);

/* MM_EALIGN, MM_ERANGE, MM_EPERM as in npt.h; size 0 passes. */
int npt_check_range(const struct npt *npt, gpa_t start, uint64_t size);

static inline int npt_check_target(const struct npt *npt, hpa_t address, uint64_t size)
{
	uint64_t limit = BIT(npt->format.output_bits);

	if (!is_aligned(address, FRAME_SIZE)) {
		return MM_EALIGN;
	}
	return address <= limit && size <= limit - address ? MM_OK : MM_ERANGE;
}

static inline int npt_check_permissions(const struct npt_format *format, unsigned permissions)
{
	return permissions <= MM_RWX && (format->legal_permissions >> permissions & 1) ? MM_OK : MM_EPERM;
}
