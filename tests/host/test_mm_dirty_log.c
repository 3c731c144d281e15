/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dirty log: each page written is told once, whoever wrote it and whatever else was done to the tables meanwhile;
 * nothing else changes. The CPU's part (its dirty bits, its faults) is played here. For every format.
 */
#include "tests/host/mm_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "mm/dirty_log.h"
#include "mm/guest_memory.h"
#include "mm/npt_private.h"

#define PAGES 4096U /* the 16 MiB that the tests watch */
#define SIZE  (PAGES * FRAME_SIZE)

static uint64_t bitmap[PAGES / 64];

static void start(const struct npt_format *format)
{
	assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
	arena.flush_calls = 0;
}

static void map_filled(enum area_pages pages)
{
	assert_status(addr_space_map_alloc(&space, 0, SIZE, RWX, true, pages), MM_OK);
}

static void start_log(void)
{
	assert_status(addr_space_dirty_log_start(&space, 0, SIZE), MM_OK);
	arena.flush_calls = 0;
}

/* What the CPU does for a guest's write where it finds `place`. False: it faults. */
static bool cpu_writes(const struct npt_place *place)
{
	const struct npt_format *format = &space.npt.format;

	if (place->entry == 0 || npt_is_hidden(format, place->entry) ||
	    (npt_leaf_attributes(format, place->entry).permissions & MM_WRITE) == 0) {
		return false;
	}
	if (format->dirty_flag != 0) {
		/* RISC-V as without Svadu: its CPUs may fault instead. */
		bool faults = format->address_shift != 0 && (place->entry & format->dirty_flag) == 0;

		*place->slot |= faults ? 0 : format->dirty_flag;
		return !faults;
	}
	bool writable = ((place->entry ^ format->read_only) & format->write_mask) != 0;
	bool modifier = format->writable_mark == BIT(51) && (place->entry & BIT(51)) != 0; /* Arm's DBM */

	*place->slot ^= !writable && modifier ? format->write_mask : 0;
	return writable || modifier;
}

static int guest_writes(gpa_t gpa)
{
	struct nested_fault fault = {.gpa = gpa, .access = MM_WRITE};
	struct npt_place place = npt_walk(&space.npt, gpa);
	int status = MM_OK;

	for (unsigned tries = 0; status == MM_OK && !cpu_writes(&place); tries++) {
		assert_true(tries < 2); /* one for a hole, one for a clean page */
		status = addr_space_handle_fault(&space, &fault);
		place = npt_walk(&space.npt, gpa);
	}
	return status;
}

static void guest_reads(gpa_t gpa)
{
	struct nested_fault fault = {.gpa = gpa, .access = MM_READ};

	assert_status(addr_space_handle_fault(&space, &fault), MM_OK);
}

/* Collects the 16 MiB and makes sure that the pages of `count` ranges are told and no other ones. */
static void assert_dirty(unsigned count, const struct gpa_range *ranges)
{
	memset(bitmap, 0x5a, sizeof(bitmap));
	assert_status(addr_space_dirty_log_collect(&space, 0, SIZE, bitmap), MM_OK);
	for (unsigned page = 0; page < PAGES; page++) {
		bool dirty = false;

		for (unsigned i = 0; i < count; i++) {
			dirty |= page * FRAME_SIZE >= ranges[i].start && page * FRAME_SIZE < ranges[i].end;
		}
		assert_int_equal(bitmap[page / 64] >> page % 64 & 1, dirty);
	}
}

#define assert_told(...)                                                                                               \
	assert_dirty(sizeof((struct gpa_range[]){__VA_ARGS__}) / sizeof(struct gpa_range),                             \
	             (const struct gpa_range[]){__VA_ARGS__})
#define assert_nothing_told() assert_dirty(0, NULL)
#define PAGE(n)                                                                                                        \
	{                                                                                                              \
		(n) * FRAME_SIZE, ((n) + 1) * FRAME_SIZE                                                               \
	}
#define RANGE(from, to)                                                                                                \
	{                                                                                                              \
		from, to                                                                                               \
	}

static void each_page_written_is_told_once(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map_filled(AREA_PAGES_4K);
		start_log();
		assert_nothing_told();
		assert_status(guest_writes(3 * FRAME_SIZE + 5), MM_OK);
		assert_status(guest_writes(3 * FRAME_SIZE + 9), MM_OK);
		assert_status(guest_writes(64 * FRAME_SIZE), MM_OK);
		assert_status(guest_writes(SIZE - 1), MM_OK);
		assert_told(PAGE(3), PAGE(64), PAGE(PAGES - 1));
		assert_nothing_told();
		assert_status(guest_writes(3 * FRAME_SIZE), MM_OK);
		assert_told(PAGE(3));
		addr_space_destroy(&space);
	}
}

static void a_leaf_is_told_as_a_whole(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		gpa_t end = format->level[1].leaf ? MIB(4) : MIB(2) + FRAME_SIZE;

		start(format);
		map_filled(AREA_PAGES_AUTO);
		start_log();
		assert_status(guest_writes(MIB(2) + 77), MM_OK);
		assert_told(RANGE(MIB(2), end));
		assert_nothing_told();
		addr_space_destroy(&space);
	}
}

static void a_collection_of_part_begins_anew_for_that_part_only(void **state)
{
	uint64_t part[DIRTY_LOG_WORDS(MIB(1) + FRAME_SIZE)];

	(void)state;
	FOR_EACH_FORMAT (format) {
		if (!format->level[1].leaf) {
			continue;
		}
		start(format);
		assert_status(addr_space_map_linear(&space, 0, GIB(2), -(int64_t)GIB(1), RWX), MM_OK);
		assert_status(addr_space_dirty_log_start(&space, 0, SIZE), MM_OK);
		assert_status(guest_writes(MIB(2)), MM_OK);
		assert_status(addr_space_dirty_log_collect(&space, MIB(3), MIB(1) + FRAME_SIZE, part), MM_OK);
		assert_int_equal(ARRAY_SIZE(part), 5);
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(part[i], UINT64_MAX);
		}
		/* The page after the leaf: dirty if a larger one held both. */
		bool larger = format->level[2].leaf && format->levels > 2;

		assert_true(part[4] == 0 || (larger && part[4] == 1));
		assert_status(addr_space_dirty_log_collect(&space, MIB(3), MIB(1) + FRAME_SIZE, part), MM_OK);
		for (unsigned i = 0; i < 5; i++) {
			assert_int_equal(part[i], 0);
		}
		memset(bitmap, 0, sizeof(bitmap));
		assert_status(addr_space_dirty_log_collect(&space, MIB(2), MIB(2), bitmap), MM_OK);
		assert_int_equal(bitmap[0], UINT64_MAX);
		assert_int_equal(bitmap[3], UINT64_MAX);
		assert_int_equal(bitmap[4], 0);
		addr_space_destroy(&space);
	}
}

static void translate_tells_the_leaves_that_the_log_has_cut(void **state)
{
	struct translation result;
	struct gpa_range range;
	uint8_t permissions;
	uint64_t merged;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, 0, GIB(1), 0, RWX), MM_OK);
		assert_status(addr_space_dirty_log_start(&space, MIB(2) + FRAME_SIZE, MIB(4)), MM_OK);
		for (gpa_t at = 0; at < MIB(16); at += FRAME_SIZE) {
			addr_space_find_area(&space, at, &range, &permissions);
			assert_status(addr_space_translate(&space, at, &result), MM_OK);
			assert_int_equal(result.leaf_shift, npt_shift(npt_lookup(&space.npt, at).level));
			assert_int_equal(result.attributes.permissions, MM_RWX);
		}
		addr_space_dirty_log_stop(&space);
		assert_status(addr_space_compact(&space, 0, GIB(1), &merged), MM_OK);
		assert_status(addr_space_translate(&space, MIB(2), &result), MM_OK);
		assert_int_equal(result.leaf_shift, npt_shift(npt_lookup(&space.npt, MIB(2)).level));
		assert_true(format->level[1].leaf || result.leaf_shift == FRAME_SHIFT);
		assert_true(!format->level[1].leaf || result.leaf_shift > FRAME_SHIFT);
		addr_space_destroy(&space);
	}
}

static void nothing_outside_the_range_is_touched(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map_filled(AREA_PAGES_AUTO);
		assert_status(addr_space_dirty_log_start(&space, MIB(3), MIB(2)), MM_OK);
		for (gpa_t at = 0; at < SIZE; at += FRAME_SIZE) {
			struct npt_entry entry = npt_lookup(&space.npt, at);

			assert_int_equal(npt_is_clean(format, entry.raw), at >= MIB(3) && at < MIB(5));
			assert_int_equal(entry.attributes.permissions, MM_RWX);
		}
		addr_space_destroy(&space);
	}
}

static void pages_filled_later_are_told_when_they_are_written(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(2), RW, false, AREA_PAGES_4K), MM_OK);
		assert_status(addr_space_map_alloc(&space, MIB(2), MIB(2), RW, false, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_map_alloc(&space, SIZE, MIB(2), RW, false, AREA_PAGES_4K), MM_OK);
		start_log();
		guest_reads(0);
		guest_reads(FRAME_SIZE);
		guest_reads(MIB(3));
		/* Mapping is no writing, whatever comes with it. */
		assert_status(addr_space_map_alloc(&space, MIB(4), MIB(2), RW, true, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(6), MIB(2), -(int64_t)GIB(1), RW), MM_OK);
		assert_status(addr_space_replace_linear(&space, MIB(7), MIB(2), -(int64_t)GIB(1), RW), MM_OK);
		assert_nothing_told();
		assert_status(guest_writes(FRAME_SIZE), MM_OK);
		assert_status(guest_writes(5 * FRAME_SIZE), MM_OK);
		assert_status(guest_writes(MIB(2)), MM_OK);
		assert_status(guest_writes(MIB(4)), MM_OK);
		assert_status(guest_writes(MIB(7)), MM_OK);
		gpa_t large = format->level[1].leaf ? MIB(2) : FRAME_SIZE;

		assert_told(PAGE(1), PAGE(5), RANGE(MIB(2), MIB(2) + large), RANGE(MIB(4), MIB(4) + large),
		            PAGE(MIB(7) / FRAME_SIZE));
		/* Elsewhere a new page is as it is without a log. */
		assert_status(guest_writes(SIZE), MM_OK);
		assert_false(npt_is_clean(format, npt_lookup(&space.npt, SIZE).raw));
		assert_int_equal(npt_lookup(&space.npt, SIZE).raw,
		                 npt_leaf(format, 0, npt_lookup(&space.npt, SIZE).address, RW));
		addr_space_destroy(&space);
	}
}

static void what_the_accessor_writes_is_told(void **state)
{
	static char bytes[3 * FRAME_SIZE];
	uint64_t value;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(4), RW, true, AREA_PAGES_4K), MM_OK);
		assert_status(addr_space_map_alloc(&space, MIB(4), MIB(2), RX, false, AREA_PAGES_4K), MM_OK);
		/* Linear, by pages: one window for the accessor. */
		hpa_t memory = arena.hal.alloc_frames(&arena.hal, 8, FRAME_GUEST);
		gpa_t linear = MIB(6) + FRAME_SIZE;

		assert_status(addr_space_map_linear(&space, linear, MIB(1), (int64_t)(linear - memory), RW), MM_OK);
		start_log();
		assert_true(guest_load(&space, 0, 8, &value));
		assert_int_equal(guest_read(&space, MIB(4), bytes, sizeof(bytes), 0), sizeof(bytes));
		assert_nothing_told();
		assert_true(guest_store(&space, 9 * FRAME_SIZE, 8, 1));
		assert_int_equal(guest_write(&space, 20 * FRAME_SIZE - 1, bytes, FRAME_SIZE + 2, 0), FRAME_SIZE + 2);
		assert_int_equal(guest_fill(&space, 30 * FRAME_SIZE, 1, FRAME_SIZE, 0), FRAME_SIZE);
		assert_int_equal(guest_write(&space, MIB(4), bytes, 1, 0), 0); /* refused: not written */
		assert_int_equal(guest_write(&space, MIB(5), bytes, 1, GUEST_ACCESS_FORCE), 1);
		struct gpa_range range;
		uint8_t permissions;

		assert_true(addr_space_find_area(&space, linear, &range, &permissions));
		assert_int_equal(guest_write(&space, MIB(6) + 2 * FRAME_SIZE - 1, bytes, FRAME_SIZE + 1, 0),
		                 FRAME_SIZE + 1);
		assert_told(PAGE(9), RANGE(19 * FRAME_SIZE, 22 * FRAME_SIZE), PAGE(30), PAGE(MIB(5) / FRAME_SIZE),
		            RANGE(MIB(6) + FRAME_SIZE, MIB(6) + 3 * FRAME_SIZE));
		assert_nothing_told();
		/* The guest's own write after the accessor's. */
		assert_true(guest_store(&space, 9 * FRAME_SIZE, 8, 1));
		assert_status(guest_writes(9 * FRAME_SIZE), MM_OK);
		assert_told(PAGE(9));
		assert_status(guest_writes(9 * FRAME_SIZE), MM_OK);
		assert_told(PAGE(9));
		addr_space_destroy(&space);
		arena.hal.free_frames(&arena.hal, memory, 8, FRAME_GUEST);
	}
}

static void permissions_are_those_of_the_area_while_the_log_runs(void **state)
{
	struct translation result;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map_filled(AREA_PAGES_4K);
		start_log();
		assert_status(guest_writes(FRAME_SIZE), MM_OK);
		assert_status(addr_space_protect(&space, 0, SIZE / 2, MM_RX), MM_OK);
		assert_status(guest_writes(0), MM_EACCES);
		assert_status(guest_writes(FRAME_SIZE), MM_EACCES);
		for (gpa_t at = 0; at < SIZE; at += MIB(1)) {
			assert_status(addr_space_translate(&space, at, &result), MM_OK);
			assert_int_equal(result.attributes.permissions, at < SIZE / 2 ? MM_RX : MM_RWX);
			assert_int_equal(npt_lookup(&space.npt, at).attributes.permissions,
			                 at < SIZE / 2 ? MM_RX : MM_RWX);
		}
		assert_told(PAGE(1)); /* protecting forgets nothing */
		assert_status(addr_space_protect(&space, 0, SIZE / 2, MM_NONE), MM_OK);
		assert_nothing_told();
		assert_status(addr_space_protect(&space, 0, SIZE / 2, MM_RWX), MM_OK);
		assert_nothing_told(); /* and is no writing */
		assert_status(guest_writes(2 * FRAME_SIZE), MM_OK);
		assert_status(addr_space_protect(&space, 0, MIB(1), MM_NONE), MM_OK);
		assert_told(PAGE(2));
		addr_space_destroy(&space);
	}
}

static void protect_with_the_same_permissions_does_nothing_while_the_log_runs(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		hpa_t memory = arena.hal.alloc_frames(&arena.hal, 12, FRAME_GUEST);

		assert_status(addr_space_map_linear(&space, 0, SIZE, -(int64_t)memory, RWX), MM_OK);
		start_log();
		assert_true(guest_store(&space, MIB(2), 8, 1)); /* dirty, though the guest has not written */
		assert_status(guest_writes(MIB(4)), MM_OK);
		char *before = mm_dump(&space);

		assert_status(addr_space_protect(&space, MIB(1) + FRAME_SIZE, MIB(6), MM_RWX), MM_OK);
		char *after = mm_dump(&space);

		assert_string_equal(before, after);
		free(before);
		free(after);
		addr_space_destroy(&space);
		arena.hal.free_frames(&arena.hal, memory, 12, FRAME_GUEST);
	}
}

static void splits_unmaps_and_merges_carry_what_was_written_along(void **state)
{
	uint64_t merged;

	(void)state;
	FOR_EACH_FORMAT (format) {
		if (!format->level[1].leaf) {
			continue;
		}
		start(format);
		map_filled(AREA_PAGES_AUTO);
		start_log();
		assert_status(guest_writes(0), MM_OK);
		/* A dirty leaf and a clean one lose a page; of a third and a fourth one is protected. */
		assert_status(addr_space_unmap(&space, FRAME_SIZE, FRAME_SIZE), MM_OK);
		assert_status(addr_space_unmap(&space, MIB(2), FRAME_SIZE), MM_OK);
		assert_status(guest_writes(MIB(4)), MM_OK);
		assert_status(addr_space_protect(&space, MIB(4), FRAME_SIZE, MM_RX), MM_OK);
		assert_status(addr_space_protect(&space, MIB(6), FRAME_SIZE, MM_RX), MM_OK);
		assert_told(PAGE(0), RANGE(2 * FRAME_SIZE, MIB(2)), RANGE(MIB(4), MIB(6)));
		assert_status(guest_writes(MIB(6) + FRAME_SIZE), MM_OK);
		assert_status(addr_space_protect(&space, MIB(4), FRAME_SIZE, MM_RWX), MM_OK);
		assert_status(addr_space_protect(&space, MIB(6), FRAME_SIZE, MM_RWX), MM_OK);
		assert_status(addr_space_compact(&space, 0, SIZE, &merged), MM_OK);
		assert_int_equal(merged, 2);
		assert_told(RANGE(MIB(6), MIB(8))); /* one leaf again, in which one page was written */
		/* What is given back is not there to be told. */
		assert_status(guest_writes(MIB(8)), MM_OK);
		assert_status(addr_space_discard(&space, MIB(8), MIB(2)), MM_OK);
		assert_nothing_told();
		addr_space_destroy(&space);
	}
}

/* A CPU that writes once into the leaf at `target`, each time a bit later after that has appeared. */
static uint64_t *target;
static bool over;
static bool wrote;

static void *write_beside(void *context)
{
	uint64_t flag = space.npt.format.dirty_flag;

	for (unsigned i = 0; !__atomic_load_n(&over, __ATOMIC_SEQ_CST); i++) {
		uint64_t *slot = __atomic_load_n(&target, __ATOMIC_SEQ_CST);

		if (slot == NULL) {
			continue;
		}
		uint64_t entry = npt_load(slot);

		for (unsigned wait = 0; wait < i % 256; wait++) {
			__asm__ volatile("");
		}
		wrote = (entry & flag) == 0 && __atomic_compare_exchange_n(slot, &entry, entry | flag, false,
		                                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		__atomic_store_n(&target, NULL, __ATOMIC_SEQ_CST);
	}
	return context;
}

static void a_write_beside_a_split_is_not_lost(void **state)
{
	struct npt_format format;
	pthread_t cpu;

	(void)state;
	npt_format_amd(&format, &(struct amd_npt_capabilities){.no_execute = true, .physical_bits = 48});
	start(&format);
	over = false;
	assert_int_equal(pthread_create(&cpu, NULL, write_beside, NULL), 0);
	for (unsigned i = 0; i < 4000; i++) {
		assert_status(addr_space_map_linear(&space, 0, MIB(2), 0, RWX), MM_OK);
		assert_status(addr_space_dirty_log_start(&space, 0, MIB(2)), MM_OK);
		__atomic_store_n(&target, npt_walk(&space.npt, 0).slot, __ATOMIC_SEQ_CST);
		assert_status(addr_space_protect(&space, MIB(1), FRAME_SIZE, MM_RX), MM_OK);
		while (__atomic_load_n(&target, __ATOMIC_SEQ_CST) != NULL) {
			spin_pause();
		}
		/* Else it came too late, and found a table. */
		assert_status(addr_space_dirty_log_collect(&space, 0, MIB(2), bitmap), MM_OK);
		assert_int_equal(bitmap[1], wrote ? UINT64_MAX : 0);
		addr_space_dirty_log_stop(&space);
		addr_space_clear(&space);
	}
	__atomic_store_n(&over, true, __ATOMIC_SEQ_CST);
	pthread_join(cpu, NULL);
	addr_space_destroy(&space);
}

static void the_first_write_costs_a_fault_where_the_cpu_keeps_no_dirty_bit(void **state)
{
	struct nested_fault fault = {.gpa = FRAME_SIZE, .access = MM_WRITE};

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map_filled(AREA_PAGES_4K);
		bool protects = format->dirty_flag == 0 && format->writable_mark != BIT(51);

		assert_status(addr_space_handle_fault(&space, &fault), MM_OK);
		assert_int_equal(space.statistics.faults_raced, 1);
		start_log();
		struct npt_place place = npt_walk(&space.npt, FRAME_SIZE);

		assert_int_equal(cpu_writes(&place), !protects && format->address_shift == 0);
		if (protects) {
			assert_int_equal((place.entry ^ format->read_only) & format->write_mask, 0);
			assert_status(addr_space_handle_fault(&space, &fault), MM_OK);
			assert_int_equal(space.statistics.faults_logged, 1);
			assert_int_equal(space.statistics.faults_raced, 1);
			/* A CPU that had cached the leaf without the right is told. */
			assert_int_equal(arena.flush_calls, 1);
			assert_int_equal(arena.flushed[0].start, FRAME_SIZE);
			assert_int_equal(arena.flushed[0].end, 2 * FRAME_SIZE);
			place = npt_walk(&space.npt, FRAME_SIZE);
			assert_true(cpu_writes(&place));
			assert_status(addr_space_handle_fault(&space, &fault), MM_OK); /* another vCPU's */
			assert_int_equal(space.statistics.faults_raced, 2);
			assert_int_equal(arena.flush_calls, 1);
		}
		addr_space_destroy(&space);
	}
}

static void a_collection_flushes_once_and_only_for_what_it_changed(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map_filled(AREA_PAGES_4K);
		assert_status(addr_space_dirty_log_start(&space, 0, SIZE), MM_OK);
		assert_int_equal(arena.flush_calls, 1);
		assert_nothing_told();
		assert_int_equal(arena.flush_calls, 1);
		assert_true(guest_store(&space, FRAME_SIZE, 8, 1));
		assert_true(guest_store(&space, MIB(4), 8, 1));
		assert_told(PAGE(1), PAGE(MIB(4) / FRAME_SIZE));
		assert_int_equal(arena.flush_calls, 2);
		assert_int_equal(arena.flushed_count, 2);
		assert_int_equal(arena.flushed[1].start, MIB(4));
		assert_int_equal(arena.flushed[1].end, MIB(4) + FRAME_SIZE);
		addr_space_destroy(&space);
	}
}

static void a_stopped_log_leaves_the_tables_as_they_would_be_without_it(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map_filled(AREA_PAGES_AUTO);
		assert_status(addr_space_map_linear(&space, SIZE, SIZE, -(int64_t)GIB(1), RX), MM_OK);
		assert_status(addr_space_map_alloc(&space, 2 * SIZE, SIZE, RW, false, AREA_PAGES_4K), MM_OK);
		assert_status(addr_space_dirty_log_start(&space, 0, 2 * SIZE + FRAME_SIZE), MM_OK);
		assert_status(guest_writes(MIB(2)), MM_OK);
		assert_true(guest_store(&space, MIB(4), 8, 1));
		/* Clean and beyond the range, but in an area that it reaches into. */
		guest_reads(2 * SIZE + MIB(2));
		assert_status(addr_space_protect(&space, 0, FRAME_SIZE, MM_NONE), MM_OK);
		arena.flush_calls = 0;
		arena.fail_at = 1;
		addr_space_dirty_log_stop(&space);
		assert_int_equal(arena.fail_at, 1); /* nothing was asked for */
		arena.fail_at = 0;
		assert_int_equal(arena.flush_calls, 1);
		addr_space_dirty_log_stop(&space);
		assert_int_equal(arena.flush_calls, 1);
		guest_reads(2 * SIZE);
		for (gpa_t at = 0; at < 3 * SIZE; at += FRAME_SIZE) {
			struct npt_entry entry = npt_lookup(&space.npt, at);

			if (entry.kind == NPT_LEAF) {
				hpa_t address = align_down(entry.address, npt_span(entry.level));

				assert_int_equal(entry.raw, npt_leaf(format, entry.level, address, entry.attributes));
			}
		}
		assert_int_equal(npt_lookup(&space.npt, 2 * SIZE).kind, NPT_LEAF);
		assert_int_equal(npt_lookup(&space.npt, 2 * SIZE + MIB(2)).kind, NPT_LEAF);
		addr_space_destroy(&space);
	}
}

static void a_log_that_makes_no_sense_is_refused(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map_filled(AREA_PAGES_AUTO);
		assert_status(addr_space_dirty_log_start(&space, 1, FRAME_SIZE), MM_EALIGN);
		assert_status(addr_space_dirty_log_start(&space, 0, 0), MM_EINVAL);
		assert_status(addr_space_dirty_log_start(&space, 0, GIB(5)), MM_ERANGE);
		assert_status(addr_space_dirty_log_collect(&space, 0, FRAME_SIZE, bitmap), MM_EFAULT);
		assert_status(addr_space_dirty_log_start(&space, MIB(2), MIB(2)), MM_OK);
		assert_status(addr_space_dirty_log_start(&space, MIB(8), MIB(2)), MM_EEXIST);
		assert_status(addr_space_dirty_log_collect(&space, MIB(2) - FRAME_SIZE, FRAME_SIZE, bitmap), MM_EFAULT);
		assert_status(addr_space_dirty_log_collect(&space, MIB(2), MIB(2) + FRAME_SIZE, bitmap), MM_EFAULT);
		assert_status(addr_space_dirty_log_collect(&space, MIB(2), 1, bitmap), MM_EALIGN);
		assert_status(addr_space_dirty_log_collect(&space, MIB(2), 0, bitmap), MM_EINVAL);
		assert_status(addr_space_dirty_log_collect(&space, GIB(4), FRAME_SIZE, bitmap), MM_ERANGE);
		addr_space_dirty_log_stop(&space);
		assert_status(addr_space_dirty_log_collect(&space, MIB(2), MIB(2), bitmap), MM_EFAULT);
		assert_status(addr_space_dirty_log_start(&space, MIB(8), MIB(2)), MM_OK);
		addr_space_destroy(&space);
	}
}

/* ---- all or nothing ---- */

static const struct npt_format *swept;

static void begin(void)
{
	start(swept);
	assert_status(addr_space_map_linear(&space, 0, GIB(1), -(int64_t)GIB(1), RWX), MM_OK);
	assert_status(addr_space_map_alloc(&space, GIB(1), SIZE, RWX, true, AREA_PAGES_AUTO), MM_OK);
}

static void begin_with_log(void)
{
	begin();
	assert_status(addr_space_dirty_log_start(&space, 0, GIB(2)), MM_OK);
	assert_status(guest_writes(MIB(4)), MM_OK);
	assert_status(guest_writes(GIB(1) + MIB(4)), MM_OK);
	arena.flush_calls = 0;
}

static int start_in_the_middle(void)
{
	return addr_space_dirty_log_start(&space, MIB(5), GIB(1));
}

static int collect_in_the_middle(void)
{
	static uint64_t words[DIRTY_LOG_WORDS(GIB(1))];

	words[7] = 7;
	int status = addr_space_dirty_log_collect(&space, MIB(5), GIB(1), words);

	assert_true(status == MM_OK || words[7] == 7);
	return status;
}

static void end(void)
{
	addr_space_destroy(&space);
	assert_int_equal(mm_arena_held(&arena), 0);
}

static void a_call_of_the_log_that_fails_leaves_no_trace(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		swept = format;
		mm_fail_each_allocation(&arena, &space, begin, start_in_the_middle, end);
		mm_fail_each_allocation(&arena, &space, begin_with_log, collect_in_the_middle, end);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_page_written_is_told_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_leaf_is_told_as_a_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(a_collection_of_part_begins_anew_for_that_part_only, setup, teardown),
		cmocka_unit_test_setup_teardown(translate_tells_the_leaves_that_the_log_has_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_outside_the_range_is_touched, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_filled_later_are_told_when_they_are_written, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_accessor_writes_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(permissions_are_those_of_the_area_while_the_log_runs, setup, teardown),
		cmocka_unit_test_setup_teardown(protect_with_the_same_permissions_does_nothing_while_the_log_runs,
	                                        setup, teardown),
		cmocka_unit_test_setup_teardown(splits_unmaps_and_merges_carry_what_was_written_along, setup, teardown),
		cmocka_unit_test_setup_teardown(a_write_beside_a_split_is_not_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(the_first_write_costs_a_fault_where_the_cpu_keeps_no_dirty_bit, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_collection_flushes_once_and_only_for_what_it_changed, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_stopped_log_leaves_the_tables_as_they_would_be_without_it, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_log_that_makes_no_sense_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_call_of_the_log_that_fails_leaves_no_trace, setup, teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
