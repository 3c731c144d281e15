/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one page-table walker. `struct npt` is a tree of tables in some `struct npt_format`: guests' nested
 * tables (EPT, AMD, Arm stage 2, RISC-V G-stage) and the hypervisor's own. It maps, unmaps, protects and
 * looks up; it knows nothing of areas and never takes a lock: addr_space.h does. Every changing call is all
 * or nothing: it prepares the tables it may need, then commits, then flushes once, then frees.
 */
#pragma once

#include "mm/hal.h"

#define NPT_MAX_LEVELS 5

/* Level 0 is the one whose leaves are 4 KiB; the root is level `levels - 1`. */
struct npt_level {
	uint8_t shift; /* log2 of what one entry covers */
	uint8_t bits;  /* log2 of the number of entries; the root's includes concatenated tables */
	bool leaf;     /* the CPU takes a block or page here */
};

struct npt_attributes {
	uint8_t permissions; /* enum mm_permission */
	uint8_t type;        /* enum mm_memory_type */
};

enum npt_kind { NPT_HOLE, NPT_TABLE, NPT_LEAF };

/*
 * A format is masks and two encoders. A hole is an entry of 0 in every format. A table's entry is its
 * address and exactly `table_bits` beside it (what the CPU would set there is set in advance). A leaf is
 * all else; no leaf above level 0 ever looks like a table, not even in the low bits alone that lie below a
 * frame's address (npt_child).
 *
 * An entry may be hidden: its `valid_mask` cleared and `hidden_mark` set, so that the CPU sees a hole and
 * we still see what was there. That is how a leaf without any permission (a guard) is kept, and how what
 * is being removed waits for the flush.
 *
 * A leaf is made dirty, and becomes clean while a dirty log runs (dirty_log.h). Where a write without dirty_flag has
 * the CPU set it (or fault), a leaf without it is clean. Where there is no such flag (0), a clean leaf has clean_mark
 * and cannot be written; if it could be else, writable_mark says so. Arm's writable_mark may be one on which the CPU
 * itself makes the leaf writable: such a one is dirty, whatever its clean_mark.
 */
struct npt_format {
	const char *name;
	uint8_t levels;
	uint8_t input_bits;  /* width of a GPA */
	uint8_t output_bits; /* width of an HPA: the smaller of the format's and the CPU's */
	uint8_t root_order;  /* log2 of the frames of the root */
	bool break_before_make;
	uint8_t address_shift;     /* 0, but 2 for RISC-V, whose PPN lies lower than the address */
	uint8_t legal_permissions; /* bit n: the permission set n (0 to 7) can be expressed */
	struct npt_level level[NPT_MAX_LEVELS];
	uint64_t address_mask;    /* HPA = (entry & address_mask) << address_shift */
	uint64_t table_bits;      /* all that a table's entry has outside address_mask */
	uint64_t valid_mask;      /* an entry with none of these is a hole to the CPU */
	uint64_t hidden_mark;     /* a bit that the CPU ignores in such a hole */
	uint64_t permission_mask; /* bits that follow from the permissions alone; holds the two above */
	uint64_t dirty_flag;
	uint64_t clean_mark;
	uint64_t writable_mark;
	uint64_t write_mask; /* without dirty_flag: what changes when a leaf becomes, or ceases to be, writable */
	uint64_t read_only;  /* what a leaf that cannot be written has under write_mask */
	/* Never called with empty permissions. */
	uint64_t (*make_leaf)(unsigned level, hpa_t address, struct npt_attributes attributes);
	/* The permissions of a hidden leaf are not asked for, its type is. */
	struct npt_attributes (*attributes)(uint64_t entry);
};

struct npt_statistics {
	uint64_t leaves[NPT_MAX_LEVELS]; /* leaves by level; bytes = leaves << level.shift */
	uint64_t tables;                 /* frames of tables, the root's included */
	uint64_t splits;
	uint64_t flushes;
};

struct npt {
	struct npt_format format; /* a copy: one machine's */
	struct mm_hal *hal;       /* not owned */
	hpa_t root;
	struct gpa_range range;   /* nothing outside can be mapped */
	struct gpa_range watched; /* by the dirty log; ends at 0: none runs */
	/*
	 * Where every walk starts: the root, or a table below it that covers the whole range. Such a one is
	 * made with the root and stays as long. Its level, the shift of that level, its entries less one.
	 */
	uint64_t *table;
	uint8_t top;
	uint8_t shift;
	uint64_t index_mask;
	/*
	 * The table of level 2 for the addresses from 0 on, made with the root too, and for how many GiB: walks there
	 * go by steps from it. 0: the format or the range is not made for that.
	 */
	uint64_t *gib_table;
	uint64_t gib_count;
	uint64_t flag_mask;       /* all that is not in address_mask */
	uint64_t page_flags;      /* what the leaf of a page of ordinary memory has there: all rights, write-back */
	uintptr_t table_bias;     /* from a table's entry to a pointer: npt_child in npt_private.h */
	uintptr_t virtual_offset; /* the hal's, as is clean */
	void (*clean)(const void *memory, uint64_t bytes);
	struct npt_statistics statistics;
};

/*
 * An answer of npt_lookup: NPT_HOLE or NPT_LEAF, and the level at which the walk ended. A leaf may have
 * empty permissions: a guard, which the CPU takes for a hole.
 */
struct npt_entry {
	enum npt_kind kind;
	uint8_t level;
	struct npt_attributes attributes;
	hpa_t address; /* of the byte asked for */
	uint64_t raw;
};

/* Takes a zeroed root from `hal`. MM_ENOMEM. */
int npt_init(struct npt *npt, const struct npt_format *format, struct mm_hal *hal);

/* The same for a table in which only `range` (not empty, within input_bits) will ever be mapped: walks are shorter. */
int npt_init_range(struct npt *npt, const struct npt_format *format, struct mm_hal *hal, struct gpa_range range);

/* Frees every table; leaves' frames stay their owners'. The npt must not be in use by any CPU. */
void npt_destroy(struct npt *npt);

/*
 * Maps [start, start + size) to [address, …) with the largest leaves that alignment, format and
 * `largest_level` allow. Everything in the range must be a hole (MM_EEXIST). MM_EALIGN, MM_EINVAL, MM_ERANGE,
 * MM_EPERM, MM_ENOMEM. No flush: holes are not cached.
 */
int npt_map(struct npt *npt, gpa_t start, hpa_t address, uint64_t size, struct npt_attributes attributes,
            unsigned largest_level);

/*
 * Makes [start, start + size) a hole: leaves partly covered are split, empty tables freed. Each leaf removed
 * is told to `release` (may be NULL) after the flush, so that its owner can free the frame; `gpa` is where
 * it was. Holes in the range are fine. MM_EALIGN, MM_ERANGE, MM_ENOMEM (a split needs a table).
 */
typedef void npt_release(void *context, gpa_t gpa, hpa_t address, unsigned level);
int npt_unmap(struct npt *npt, gpa_t start, uint64_t size, npt_release *release, void *context);

/*
 * Changes the permissions of all leaves in the range, keeping each one's type; splits those partly covered.
 * Empty permissions make guards, and another npt_protect brings those back. MM_EALIGN, MM_EINVAL, MM_ERANGE,
 * MM_EPERM, MM_ENOMEM.
 */
int npt_protect(struct npt *npt, gpa_t start, uint64_t size, uint8_t permissions);

/* Where `address` leads. Lock-free: may run beside npt_map, and beside changes elsewhere in the tree. */
struct npt_entry npt_lookup(const struct npt *npt, gpa_t address);
