/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of mm/ that touch entries share: npt.c, npt_change.c, addr_space.c, backend_alloc.c,
 * guest_memory.c, dump.c. Entries are read and written here and nowhere else: release stores (what an entry leads to
 * is complete before the entry is seen), acquire loads in walks, which may run without the lock, and relaxed loads
 * under it. Nothing here takes a lock.
 */
#pragma once

#include "mm/npt.h"

#include "lib/util.h"

#define NPT_INDEX_BITS 9
#define NPT_ENTRIES    (1U << NPT_INDEX_BITS)

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
	return attributes;
}

/* Where a walk ended: at a leaf, or at a hole (entry 0). */
struct npt_place {
	uint64_t *slot;
	uint64_t entry;
	unsigned level;
};

/*
 * The hint leads straight to the table for one GiB, the last that a fault went to: bits 63:40 are the GiB's number,
 * 39:0 the table's frame number. One word, so that walks without the lock may use it; whoever frees tables
 * forgets it first.
 */
#define NPT_HINT_SHIFT 40
#define NPT_HINT_LEVEL 1
#define NPT_HINT_NONE  UINT64_MAX

static inline void npt_forget(struct npt *npt)
{
	__atomic_store_n(&npt->hint, NPT_HINT_NONE, __ATOMIC_RELEASE);
}

static inline void npt_remember(struct npt *npt, gpa_t address, const uint64_t *table)
{
	uint64_t gib = address >> npt_shift(NPT_HINT_LEVEL + 1);
	uint64_t frame = ((uintptr_t)table - npt->virtual_offset) >> FRAME_SHIFT;

	if (gib < BITS(63, NPT_HINT_SHIFT) >> NPT_HINT_SHIFT && frame < BIT(NPT_HINT_SHIFT)) {
		__atomic_store_n(&npt->hint, gib << NPT_HINT_SHIFT | frame, __ATOMIC_RELEASE);
	}
}

/* The hinted table, if it is the one for `address`, else NULL. */
static inline uint64_t *npt_hinted(const struct npt *npt, gpa_t address)
{
	uint64_t hint = __atomic_load_n(&npt->hint, __ATOMIC_ACQUIRE);

	if (unlikely(hint >> NPT_HINT_SHIFT != address >> npt_shift(NPT_HINT_LEVEL + 1))) {
		return NULL;
	}
	return npt_pointer(npt, hint << (64 - NPT_HINT_SHIFT) >> (64 - NPT_HINT_SHIFT - FRAME_SHIFT));
}

/* Walks to the table for the GiB of `address`; NULL if the walk ends above. */
uint64_t *npt_find_table(const struct npt *npt, gpa_t address);

/* Walks on from there. */
static inline struct npt_place npt_walk_from(const struct npt *npt, uint64_t *table, gpa_t address)
{
	struct npt_place place = {.slot = &table[(address >> npt_shift(NPT_HINT_LEVEL)) % NPT_ENTRIES]};

	place.entry = npt_load_to_follow(place.slot);
	uint64_t low_table = place.entry ^ npt->format.table_bits;

	if ((low_table & npt->flag_mask) != 0) {
		place.level = NPT_HINT_LEVEL;
		return place;
	}
	place.slot = npt_pointer(npt, low_table << npt->format.address_shift) + (address >> FRAME_SHIFT) % NPT_ENTRIES;
	place.entry = npt_load_to_follow(place.slot);
	place.level = 0;
	return place;
}

/* The whole walk, from the top. `address` must be in the npt's range. */
struct npt_place npt_walk(const struct npt *npt, gpa_t address);

/* The index in its table of the entry for `address`; that of the topmost table may exceed NPT_ENTRIES. */
static inline size_t npt_index(const struct npt *npt, unsigned level, gpa_t address)
{
	return address >> npt_shift(level) & (level == npt->top ? npt->index_mask : NPT_ENTRIES - 1);
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
	bool empty;                     /* there is nothing in the range */
	uint64_t *path[NPT_MAX_LEVELS]; /* from level + 1 up: the slots that lead to it */
};

/* Fills in all but start and end. */
void npt_narrow(const struct npt *npt, struct npt_target *target);

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

/* All or nothing; leaves frames[] to its owner on failure. Wants the target narrowed. MM_EEXIST, MM_ENOMEM. */
int npt_map_prepared(struct npt_mapping *mapping);

/* Puts a leaf's `entry` for `level` at the hole in `slot` of `hole_level`, adding tables. MM_ENOMEM. */
int npt_fill_hole(struct npt *npt, uint64_t *slot, unsigned hole_level, gpa_t address, unsigned level, uint64_t entry);

/*
 * Frees `table` of `level`, which no CPU reaches any more and which holds nothing outside [start, end), and all below
 * it; tells each leaf to `release`.
 */
void npt_free_tree(struct npt *npt, hpa_t table, unsigned level, gpa_t start, gpa_t end, npt_release *release,
                   void *context);

/* npt_destroy, but tells each leaf to `release` (may be NULL). */
void npt_destroy_releasing(struct npt *npt, npt_release *release, void *context);

/* MM_EALIGN, MM_ERANGE, MM_EPERM as in npt.h; size 0 passes. */
int npt_check_range(const struct npt *npt, gpa_t start, uint64_t size);
int npt_check_target(const struct npt *npt, hpa_t address, uint64_t size);

static inline int npt_check_permissions(const struct npt_format *format, unsigned permissions)
{
	return permissions <= MM_RWX && (format->legal_permissions >> permissions & 1) ? MM_OK : MM_EPERM;
}
