/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of mm/ that touch entries share: npt.c, npt_change.c, addr_space.c, backend_alloc.c,
 * guest_memory.c, dump.c. Entries are read and written here and nowhere else: relaxed loads (a table is reached
 * through the address that was loaded, which orders the two), release stores (what an entry leads to is
 * complete before the entry is seen). Nothing here takes a lock.
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

/* One step down to `level`; false if there is no table to step to. */
static inline __attribute__((always_inline)) bool npt_descend(const struct npt *npt, struct npt_place *place,
							      gpa_t address, unsigned level)
{
	uint64_t table = place->entry ^ npt->format.table_bits;

	if ((table & npt->flag_mask) != 0) {
		return false;
	}
	place->slot = npt_pointer(npt, table << npt->format.address_shift) +
		      (address >> npt_shift(level)) % NPT_ENTRIES;
	place->entry = npt_load(place->slot);
	place->level = level;
	return true;
}

/* `address` must be in the npt's range. For hot paths, hence unrolled: others call npt_lookup. */
static inline __attribute__((always_inline)) struct npt_place npt_walk(const struct npt *npt, gpa_t address)
{
	struct npt_place place = {.slot = &npt->table[address >> npt->shift & npt->index_mask], .level = npt->top};

	place.entry = npt_load(place.slot);
	while (unlikely(place.level > 2)) {
		if (!npt_descend(npt, &place, address, place.level - 1)) {
			return place;
		}
	}
	if (likely(place.level == 2) && !npt_descend(npt, &place, address, 1)) {
		return place;
	}
	npt_descend(npt, &place, address, 0);
	return place;
}

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

/*
 * A mapping about to be made: which leaves go where, and what they lead to. In the range of leaves[level]
 * leaves of that level are used; every range lies inside the one below; leaves[0] is the whole.
 */
struct npt_mapping {
	struct npt *npt;
	struct npt_attributes attributes;
	struct gpa_range leaves[NPT_MAX_LEVELS];
	bool contiguous;	     /* else frames come from the lists, zeroed on the way */
	uint64_t to_address;	     /* contiguous: HPA = GPA + this */
	struct frame_list frames[2]; /* 4 KiB, 2 MiB */
	struct gpa_range blocks;     /* what the frames of 2 MiB are for, whatever the leaves */
	uint64_t tables_needed;
	struct frame_list tables;
};

/* The part of `range` that leaves of `level` can cover when it maps to GPA + `to_address`. */
struct gpa_range npt_leaf_range(const struct npt_format *format, unsigned level, const struct gpa_range *range,
				uint64_t to_address);

/* All or nothing; leaves frames[] to its owner on failure. MM_EEXIST, MM_ENOMEM. */
int npt_map_prepared(struct npt_mapping *mapping);

/* Puts a leaf's `entry` for `level` at the hole in `slot` of `hole_level`, adding tables. MM_ENOMEM. */
int npt_fill_hole(struct npt *npt, uint64_t *slot, unsigned hole_level, gpa_t address, unsigned level, uint64_t entry);

/* Frees `table` of `level`, which no CPU reaches any more, and all below it; tells each leaf to `release`. */
void npt_free_tree(struct npt *npt, hpa_t table, unsigned level, gpa_t start, npt_release *release, void *context);

/* The first GPA that the topmost table has an entry for. */
gpa_t npt_table_start(const struct npt *npt);

/* npt_destroy, but tells each leaf to `release` (may be NULL). */
void npt_destroy_releasing(struct npt *npt, npt_release *release, void *context);

/* MM_EALIGN, MM_ERANGE, MM_EPERM as in npt.h; size 0 passes. */
int npt_check_range(const struct npt *npt, gpa_t start, uint64_t size);
int npt_check_target(const struct npt *npt, hpa_t address, uint64_t size);

static inline int npt_check_permissions(const struct npt_format *format, unsigned permissions)
{
	return permissions <= MM_RWX && (format->legal_permissions >> permissions & 1) ? MM_OK : MM_EPERM;
}
