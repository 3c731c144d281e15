/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compacting: what was cut up becomes large again where everything fits, and nowhere else. For every format.
 */
#include "tests/host/mm_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "mm/guest_memory.h"
#include "mm/npt_private.h"

static uint64_t merged;

static void start(const struct npt_format *format)
{
	assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
	arena.flush_calls = 0;
}

/* Needs no frame, flushes at most once, and the areas and the tables tell the same. */
static void compact(gpa_t from, uint64_t size)
{
	unsigned flush_calls = arena.flush_calls;
	uint64_t held = arena.held[FRAME_GUEST];

	arena.fail_at = 1;
	assert_status(addr_space_compact(&space, from, size, &merged), MM_OK);
	assert_int_equal(arena.fail_at, 1);
	arena.fail_at = 0;
	assert_int_equal(arena.flush_calls, flush_calls + (merged != 0));
	assert_int_equal(arena.held[FRAME_GUEST], held);
	for (gpa_t at = 0; at < MIB(16); at += FRAME_SIZE) {
		struct npt_entry entry = npt_lookup(&space.npt, at);
		struct translation result;
		struct gpa_range range;
		uint8_t permissions;

		addr_space_find_area(&space, at, &range, &permissions);
		if (addr_space_translate(&space, at, &result) == MM_OK) {
			assert_int_equal(result.address, entry.address);
			assert_int_equal(result.leaf_shift, npt_shift(entry.level));
			assert_int_equal(result.attributes.permissions, entry.attributes.permissions);
		}
	}
}

/* The level of the leaf there. */
static unsigned level_at(gpa_t gpa)
{
	struct npt_entry entry = npt_lookup(&space.npt, gpa);

	assert_int_equal(entry.kind, NPT_LEAF);
	return entry.level;
}

/* Away from what the rest of the area has, and back. */
static void protect_and_back(gpa_t at, uint64_t size)
{
	assert_status(addr_space_protect(&space, at, size, MM_RX), MM_OK);
	assert_status(addr_space_protect(&space, at, size, MM_RWX), MM_OK);
	arena.flush_calls = 0;
}

static void what_protect_has_cut_becomes_whole_again(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, 0, GIB(2), -(int64_t)GIB(1), RWX), MM_OK);
		unsigned level = level_at(GIB(1));
		struct npt_statistics before = space.npt.statistics;

		protect_and_back(GIB(1) + MIB(3), FRAME_SIZE);
		assert_int_equal(level_at(GIB(1) + MIB(3)), 0);
		assert_int_equal(space.areas.count, 3);
		struct nested_fault fault = {.gpa = GIB(1), .access = MM_READ};

		assert_status(addr_space_handle_fault(&space, &fault), MM_OK);
		compact(0, GIB(4));
		assert_int_equal(merged, level > 0); /* one leaf, at once */
		assert_int_equal(level_at(GIB(1) + MIB(3)), level);
		assert_int_equal(space.areas.count, 1);
		assert_memory_equal(space.npt.statistics.leaves, before.leaves, sizeof(before.leaves));
		assert_int_equal(space.npt.statistics.tables, before.tables);
		assert_int_equal(npt_lookup(&space.npt, GIB(1) + MIB(3) + 5).address, GIB(2) + MIB(3) + 5);
		addr_space_destroy(&space);
	}
}

static void pages_mapped_one_by_one_become_one_area_and_large_leaves(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		for (gpa_t at = MIB(2) - FRAME_SIZE; at < MIB(6) + FRAME_SIZE; at += FRAME_SIZE) {
			assert_status(addr_space_map_linear(&space, at, FRAME_SIZE, -(int64_t)GIB(1), RWX), MM_OK);
		}
		compact(0, GIB(4));
		assert_int_equal(space.areas.count, 1);
		assert_int_equal(merged, format->level[1].leaf ? 2 : 0);
		assert_int_equal(level_at(MIB(2)), format->level[1].leaf);
		assert_int_equal(level_at(MIB(2) - FRAME_SIZE), 0);
		assert_int_equal(level_at(MIB(6)), 0);
		addr_space_destroy(&space);
	}
}

static void frames_of_2m_become_leaves_of_2m_with_their_data(void **state)
{
	uint64_t value;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, MIB(2), MIB(8), RWX, true, AREA_PAGES_AUTO), MM_OK);
		for (gpa_t at = MIB(2); at < MIB(10); at += FRAME_SIZE) {
			assert_true(guest_store(&space, at, 8, at));
		}
		protect_and_back(MIB(3), MIB(2));
		protect_and_back(MIB(9), FRAME_SIZE);
		compact(0, GIB(4));
		assert_int_equal(merged, format->level[1].leaf ? 3 : 0);
		assert_int_equal(space.npt.statistics.leaves[1], format->level[1].leaf ? 4 : 0);
		for (gpa_t at = MIB(2); at < MIB(10); at += FRAME_SIZE) {
			assert_true(guest_load(&space, at, 8, &value));
			assert_int_equal(value, at);
		}
		/* Even if they happen to follow each other: frames come back as they were taken. */
		assert_int_equal(space.npt.statistics.leaves[2], 0);
		addr_space_destroy(&space);
		assert_int_equal(mm_arena_held(&arena), 0);
	}
}

static void an_area_of_4k_pages_stays_one(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(4), RWX, true, AREA_PAGES_4K), MM_OK);
		protect_and_back(MIB(1), MIB(1));
		compact(0, GIB(4));
		assert_int_equal(merged, 0);
		assert_int_equal(space.areas.count, 1);
		assert_int_equal(space.npt.statistics.leaves[0], 1024);
		addr_space_destroy(&space);
	}
}

static void what_does_not_fit_stays_apart(void **state)
{
	struct npt_attributes device = {MM_RWX, MM_DEVICE};

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		/* A hole, other permissions, another type, another offset, an offset that is not aligned, filled and
		 * lazy. */
		assert_status(addr_space_map_linear(&space, 0, MIB(2) - FRAME_SIZE, 0, RWX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(2), MIB(1), 0, RWX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(3), MIB(1), 0, RX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(4), MIB(1), 0, RWX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(5), MIB(1), 0, device), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(6), MIB(1), 0, RWX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(7), MIB(1), -(int64_t)MIB(2), RWX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(8), MIB(2), (int64_t)FRAME_SIZE, RWX), MM_OK);
		assert_status(addr_space_map_alloc(&space, MIB(10), MIB(1), RWX, true, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_map_alloc(&space, MIB(11), MIB(1), RWX, false, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_map_alloc(&space, MIB(12), MIB(2), RWX, false, AREA_PAGES_AUTO), MM_OK);
		char *before = mm_dump(&space);

		compact(0, GIB(4));
		char *after = mm_dump(&space);

		assert_int_equal(merged, 0);
		/* The two lazy areas are one now, and that is all. */
		assert_int_equal(space.areas.count, 10);
		assert_string_equal(strstr(before, "leaf"), strstr(after, "leaf"));
		free(before);
		free(after);
		addr_space_destroy(&space);
	}
}

static void only_what_lies_in_the_range_is_merged(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		if (!format->level[1].leaf) {
			continue;
		}
		start(format);
		assert_status(addr_space_map_linear(&space, 0, MIB(8), 0, RWX), MM_OK);
		protect_and_back(FRAME_SIZE, MIB(8) - 2 * FRAME_SIZE);
		for (gpa_t at = 0; at < MIB(8); at += MIB(2)) {
			protect_and_back(at + FRAME_SIZE, FRAME_SIZE);
		}
		compact(MIB(2) + FRAME_SIZE, MIB(4) - FRAME_SIZE);
		assert_int_equal(merged, 1);
		assert_int_equal(level_at(0), 0);
		assert_int_equal(level_at(MIB(2)), 0);
		assert_int_equal(level_at(MIB(4)), 1);
		assert_int_equal(level_at(MIB(6)), 0);
		compact(0, MIB(4));
		assert_int_equal(merged, 2);
		compact(0, MIB(8));
		assert_int_equal(merged, 1);
		assert_int_equal(space.areas.count, 1);
		addr_space_destroy(&space);
	}
}

static void a_merged_area_that_is_cut_later_tells_its_leaves(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, 0, MIB(1), 0, RWX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(1), MIB(3), 0, RWX), MM_OK);
		compact(FRAME_SIZE, MIB(4) - FRAME_SIZE); /* one area, but its first 2 MiB stay small */
		assert_int_equal(space.areas.count, 1);
		assert_status(addr_space_unmap(&space, MIB(2), MIB(2)), MM_OK);
		compact(MIB(8), MIB(1));
		assert_int_equal(level_at(0), 0);
		compact(0, MIB(2));
		assert_int_equal(level_at(0), format->level[1].leaf);
		addr_space_destroy(&space);
	}
}

static void guards_merge_and_stay_guards(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, 0, MIB(2), 0, RWX), MM_OK);
		assert_status(addr_space_protect(&space, 0, MIB(1), MM_NONE), MM_OK);
		assert_status(addr_space_protect(&space, MIB(1), MIB(1), MM_NONE), MM_OK);
		compact(0, MIB(2));
		assert_int_equal(merged, format->level[1].leaf);
		assert_int_equal(level_at(MIB(1)), format->level[1].leaf);
		assert_true(npt_is_hidden(format, npt_lookup(&space.npt, MIB(1)).raw));
		assert_status(addr_space_protect(&space, 0, MIB(2), MM_RW), MM_OK);
		assert_int_equal(npt_lookup(&space.npt, MIB(1)).address, MIB(1));
		addr_space_destroy(&space);
	}
}

/* Until the flush is over the CPU finds nothing there, and no table has gone. */
static void look_during_compact(struct mm_arena *at)
{
	uint64_t *seen = at->flush_context;

	seen[0] = npt_lookup(&space.npt, MIB(2)).raw & space.npt.format.valid_mask;
	seen[1] = at->held[FRAME_TABLE];
	assert_int_equal(at->flushed_count, 1);
	assert_int_equal(at->flushed[0].start, MIB(2));
	assert_int_equal(at->flushed[0].end, MIB(4));
}

static void a_merge_breaks_before_it_makes(void **state)
{
	uint64_t seen[2];

	(void)state;
	FOR_EACH_FORMAT (format) {
		if (!format->level[1].leaf) {
			continue;
		}
		start(format);
		assert_status(addr_space_map_linear(&space, 0, MIB(6), 0, RWX), MM_OK);
		protect_and_back(MIB(2), FRAME_SIZE);
		uint64_t tables = arena.held[FRAME_TABLE];

		arena.on_flush = look_during_compact;
		arena.flush_context = seen;
		compact(0, MIB(8));
		arena.on_flush = NULL;
		assert_int_equal(merged, 1);
		assert_int_equal(seen[0], 0);
		assert_int_equal(seen[1], tables);
		assert_int_equal(arena.held[FRAME_TABLE], tables - 1);
		assert_int_equal(level_at(MIB(2)), 1);
		addr_space_destroy(&space);
	}
}

static void no_leaf_is_larger_than_the_table_where_walks_start_has_them(void **state)
{
	struct translation result;

	(void)state;
	FOR_EACH_FORMAT (format) {
		if (format->input_bits < 40 || format->output_bits < 40 || !format->level[2].leaf) {
			continue;
		}
		assert_status(addr_space_init(&space, 0, GIB(512), format, &arena.hal), MM_OK);
		assert_status(addr_space_map_linear(&space, 0, GIB(512), 0, RWX), MM_OK);
		assert_status(addr_space_translate(&space, GIB(3), &result), MM_OK);
		assert_int_equal(result.leaf_shift, npt_shift(level_at(GIB(3))));
		compact(0, GIB(512));
		assert_int_equal(merged, 0);
		addr_space_destroy(&space);
	}
}

static void compact_refuses_ranges_that_make_no_sense(void **state)
{
	(void)state;
	start(mm_format(0));
	assert_status(addr_space_compact(&space, 1, FRAME_SIZE, &merged), MM_EALIGN);
	assert_status(addr_space_compact(&space, 0, 0, &merged), MM_EINVAL);
	assert_status(addr_space_compact(&space, 0, GIB(5), &merged), MM_ERANGE);
	compact(0, GIB(4));
	assert_int_equal(merged, 0);
	addr_space_destroy(&space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_protect_has_cut_becomes_whole_again, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_mapped_one_by_one_become_one_area_and_large_leaves, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(frames_of_2m_become_leaves_of_2m_with_their_data, setup, teardown),
		cmocka_unit_test_setup_teardown(an_area_of_4k_pages_stays_one, setup, teardown),
		cmocka_unit_test_setup_teardown(what_does_not_fit_stays_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(only_what_lies_in_the_range_is_merged, setup, teardown),
		cmocka_unit_test_setup_teardown(a_merged_area_that_is_cut_later_tells_its_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(guards_merge_and_stay_guards, setup, teardown),
		cmocka_unit_test_setup_teardown(a_merge_breaks_before_it_makes, setup, teardown),
		cmocka_unit_test_setup_teardown(no_leaf_is_larger_than_the_table_where_walks_start_has_them, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(compact_refuses_ranges_that_make_no_sense, setup, teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
