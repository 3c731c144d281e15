/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A space aside: where replace.c and copy.c build what they are about to add to an address space, with tables and
 * areas of its own and out of every CPU's reach. What fails on the way leaves no trace; what succeeds is adopted,
 * which takes nothing and cannot fail.
 */
#include "mm/addr_space_private.h"

int addr_space_begin_aside(struct addr_space *space, struct addr_space *aside)
{
	int status = addr_space_init(aside, space->base, space->size, &space->npt.format, space->npt.hal);

	aside->areas.nodes = space->areas.nodes;
	aside->npt.watched = space->npt.watched;
	return status;
}

void addr_space_end_aside(struct addr_space *space, struct addr_space *aside)
{
	space->areas.nodes = aside->areas.nodes;
}

void addr_space_drop_aside(struct addr_space *space, struct addr_space *aside)
{
	aside->areas.nodes = space->areas.nodes;
	addr_space_destroy(aside);
	space->areas.nodes = aside->areas.nodes;
}

/*
 * Moves the entries of `from` for [start, end) into `to`, both tables of `level`, in which nothing is mapped there.
 * Where each has a table, that of `from` is freed. Answers how many were. Recurses once per level.
 */
static uint64_t graft(struct npt *npt, uint64_t *to, uint64_t *from, unsigned level, gpa_t start, gpa_t end)
{
	uint64_t freed = 0;
	gpa_t next;

	for (gpa_t at = start; at < end; at = next) {
		size_t index = npt_index(npt, level, at);
		uint64_t entry = from[index];
		uint64_t there = npt_load(&to[index]);

		next = MIN(align_down(at, npt_span(level)) + npt_span(level), end);
		if (entry == 0) {
			continue;
		}
		from[index] = 0;
		if (there == 0) {
			npt_store(&to[index], entry);
			continue;
		}
		freed += 1 + graft(npt, npt_table(npt, there), npt_table(npt, entry), level - 1, at, next);
		npt->hal->free_frames(npt->hal, npt_address(&npt->format, entry), 0, FRAME_TABLE);
	}
	return freed;
}

void addr_space_adopt(struct addr_space *space, struct addr_space *aside, gpa_t start, gpa_t end)
{
	struct npt *npt = &space->npt;
	struct npt_statistics *added = &aside->npt.statistics;
	/* The root, and the tables down to where walks start: those stay behind. */
	uint64_t trunk = BIT(npt->format.root_order) + npt->format.levels - 1U - npt->top;

	uint64_t freed = graft(npt, npt->table, aside->npt.table, npt->top, start, end);

	/* So do the tables down to that of GiB, if nothing was below them. */
	if (aside->npt.gib_count != 0 && npt_load(aside->npt.table) != 0) {
		trunk += npt->top - GIB_LEVEL;
	}
	npt->statistics.tables += added->tables - trunk - freed;
	for (unsigned level = 0; level < NPT_MAX_LEVELS; level++) {
		npt->statistics.leaves[level] += added->leaves[level];
		added->leaves[level] = 0;
	}
	npt_destroy(&aside->npt);
	space->statistics.frames_owned += aside->statistics.frames_owned;
	area_set_move(&space->areas, &aside->areas);
	addr_space_layout_changed(space);
}
