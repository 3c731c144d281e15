/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The areas of one address space, ordered by GPA: lookup, insert, split, shrink and erase in O(log n). Nodes
 * come from frames through a slab of the set's own. Takes no lock: addr_space.h does.
 */
#pragma once

#include "lib/rbtree.h"
#include "lib/util.h"
#include "mm/npt.h"
#include "mm/slab.h"

enum area_backend { AREA_LINEAR, AREA_ALLOC };

/* Which frames an alloc area is filled with where it covers a whole aligned 2 MiB. */
enum area_pages {
	AREA_PAGES_AUTO, /* 2 MiB when there is one, else 4 KiB */
	AREA_PAGES_4K,   /* never a leaf of 2 MiB */
	AREA_PAGES_2M,   /* 2 MiB, or MM_ENOMEM */
};

struct area {
	struct rb_node node;
	struct gpa_range range;
	struct npt_attributes attributes;
	uint8_t backend;    /* enum area_backend */
	uint8_t pages;      /* enum area_pages; alloc only */
	bool populate;      /* alloc only */
	uint8_t leaf_shift; /* derived: log2 of the size of every leaf; 0: alloc, or a guard, or they differ */
	bool uneven;        /* linear: leaves may be smaller than they could be; addr_space_compact ends it */
	bool special;       /* derived: its faults are not just filled: linear, or without some right */
	union {
		int64_t offset;      /* linear: HPA = GPA - offset */
		uint64_t page_entry; /* alloc, derived: what a 4 KiB leaf's entry has beside the address */
	};
};

struct area_set {
	struct rb_tree tree;
	struct area *last; /* found or made last, or area_nowhere: faults come in runs; read without the lock too */
	struct slab nodes;
	uint64_t count;
};

void area_set_init(struct area_set *set, struct mm_hal *hal);
/* Erases every area. */
void area_set_destroy(struct area_set *set);

/* A node for area_set_insert or area_set_split, to be taken before anything changes; NULL: no frame. */
struct area *area_set_take_node(struct area_set *set);
void area_set_give_back(struct area_set *set, struct area *node);

/* Where a new area goes in the tree. */
struct area_place {
	struct rb_node *parent;
	int side;
};

/* The area with the lowest GPA of those that end above `address`, or NULL. */
struct area *area_set_at_or_after(const struct area_set *set, gpa_t address);
/* The same, and the place for an area that starts at `address` and overlaps none. */
struct area *area_set_find_place(const struct area_set *set, gpa_t address, struct area_place *place);
/* The same, and the areas beside it, or NULL. */
struct area *area_set_find_between(const struct area_set *set, gpa_t address, struct area **below, struct area **above);
struct area *area_set_next(const struct area *area);

/* Copies all but the place in the tree. */
static inline void area_copy(struct area *to, const struct area *from)
{
	__builtin_memcpy(&to->range, &from->range, sizeof(*to) - offsetof(struct area, range));
}

static inline bool area_holds(const struct area *area, gpa_t address)
{
	return address >= area->range.start && address < area->range.end;
}

/* Holds no address. */
extern struct area area_nowhere;

/* The area that holds `address` if it is the one found or made last, else NULL. Needs no lock while none is erased. */
static inline struct area *area_set_last(const struct area_set *set, gpa_t address)
{
	struct area *last = __atomic_load_n(&set->last, __ATOMIC_ACQUIRE);

	return area_holds(last, address) ? last : NULL;
}

/* The slow half of area_set_find. */
struct area *area_set_search(struct area_set *set, gpa_t address);

/* The area that holds `address`, or NULL. */
static inline struct area *area_set_find(struct area_set *set, gpa_t address)
{
	struct area *last = area_set_last(set, address);

	return likely(last != NULL) ? last : area_set_search(set, address);
}

/* Puts in `area`, filled in by the caller, at a place found for its start since the set last changed. */
void area_set_insert(struct area_set *set, struct area *area, const struct area_place *place);
void area_set_erase(struct area_set *set, struct area *area);

/* Cuts `area` at `at` inside it: `node` becomes the upper part. */
void area_set_split(struct area_set *set, struct area *area, gpa_t at, struct area *node);

/* Moves every area of `from`, whose nodes come from the slab of `to`, and none of which overlaps one there. */
void area_set_move(struct area_set *to, struct area_set *from);
