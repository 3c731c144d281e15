/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The address space, second half: unmap and protect, splits, flushes, break-before-make. For every format.
 */
#include "tests/host/mm_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "mm/npt_private.h"

static uint64_t fixed; /* tables of the empty space */

static void start(const struct npt_format *format)
{
	assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
	fixed = space.npt.statistics.tables;
	arena.flush_calls = 0;
}

static uint8_t permissions_at(gpa_t gpa)
{
	struct translation result;

	return addr_space_translate(&space, gpa, &result) == MM_OK ? result.attributes.permissions : MM_NONE;
}

static void unmap_of_part_touches_nothing_outside_the_range(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		gpa_t from = MIB(6) + 3 * FRAME_SIZE;
		gpa_t to = MIB(10) + FRAME_SIZE;

		assert_status(addr_space_map_linear(&space, 0, GIB(2), -(int64_t)GIB(1), RWX), MM_OK);
		assert_status(addr_space_unmap(&space, from, to - from), MM_OK);
		for (gpa_t at = 0; at < MIB(16); at += FRAME_SIZE) {
			assert_int_equal(where(at), at >= from && at < to ? HPA_NONE : at + GIB(1));
		}
		for (gpa_t at = 0; at < GIB(2); at += MIB(2)) {
			assert_int_equal(where(at), at >= from && at < to ? HPA_NONE : at + GIB(1));
		}
		assert_int_equal(space.areas.count, 2);
		assert_int_equal(arena.flush_calls, 1);
		addr_space_destroy(&space);
	}
}

static void protect_of_part_touches_nothing_outside_the_range(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		gpa_t from = MIB(6) + 3 * FRAME_SIZE;
		gpa_t to = MIB(10) + FRAME_SIZE;

		assert_status(addr_space_map_linear(&space, 0, GIB(2), -(int64_t)GIB(1), RWX), MM_OK);
		assert_status(addr_space_protect(&space, from, to - from, MM_RX), MM_OK);
		for (gpa_t at = 0; at < GIB(2); at += at < MIB(16) ? FRAME_SIZE : MIB(2)) {
			assert_int_equal(where(at), at + GIB(1));
			assert_int_equal(permissions_at(at), at >= from && at < to ? MM_RX : MM_RWX);
		}
		assert_int_equal(space.areas.count, 3);
		assert_int_equal(arena.flush_calls, 1);
		addr_space_destroy(&space);
	}
}

static void protect_with_the_same_permissions_does_nothing(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, 0, GIB(1), 0, RWX), MM_OK);
		char *before = mm_dump(&space);
		uint64_t held = mm_arena_held(&arena);

		assert_status(addr_space_protect(&space, FRAME_SIZE, FRAME_SIZE, MM_RWX), MM_OK);
		char *after = mm_dump(&space);

		assert_string_equal(before, after);
		assert_int_equal(arena.flush_calls, 0);
		assert_int_equal(mm_arena_held(&arena), held);
		free(before);
		free(after);
		addr_space_destroy(&space);
	}
}

static void protect_needs_every_page_mapped_and_changes_none_else(void **state)
{
	(void)state;
	start(mm_format(0));
	assert_status(addr_space_map_linear(&space, 0, MIB(2), 0, RWX), MM_OK);
	assert_status(addr_space_map_linear(&space, MIB(4), MIB(2), 0, RWX), MM_OK);
	assert_status(addr_space_protect(&space, 0, MIB(6), MM_RX), MM_EFAULT);
	assert_status(addr_space_protect(&space, MIB(4), MIB(4), MM_RX), MM_EFAULT);
	assert_status(addr_space_protect(&space, MIB(3), MIB(2), MM_RX), MM_EFAULT);
	assert_int_equal(permissions_at(0), MM_RWX);
	assert_int_equal(permissions_at(MIB(4)), MM_RWX);
	addr_space_destroy(&space);
}

static void protect_spans_areas_of_every_kind(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, 0, MIB(2), 0, RWX), MM_OK);
		assert_status(addr_space_map_alloc(&space, MIB(2), MIB(2), RWX, true, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_map_alloc(&space, MIB(4), MIB(2), RWX, false, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_protect(&space, MIB(1), MIB(4), MM_RX), MM_OK);
		assert_int_equal(permissions_at(0), MM_RWX);
		assert_int_equal(permissions_at(MIB(1)), MM_RX);
		assert_int_equal(permissions_at(MIB(2)), MM_RX);
		struct nested_fault fault = {.gpa = MIB(4), .access = MM_WRITE};

		assert_status(addr_space_handle_fault(&space, &fault), MM_EACCES);
		fault.gpa = MIB(5);
		assert_status(addr_space_handle_fault(&space, &fault), MM_OK);
		assert_int_equal(space.areas.count, 5);
		assert_status(addr_space_protect(&space, 0, MIB(6), MM_RWX), MM_OK);
		assert_int_equal(permissions_at(MIB(1)), MM_RWX);
		addr_space_destroy(&space);
	}
}

static void a_guarded_page_keeps_its_data(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(2), RWX, true, AREA_PAGES_AUTO), MM_OK);
		hpa_t frame = where(FRAME_SIZE);
		hpa_t neighbour = where(2 * FRAME_SIZE);

		memset(mm_pointer(&arena.hal, frame), 3, FRAME_SIZE);
		assert_status(addr_space_protect(&space, FRAME_SIZE, FRAME_SIZE, MM_NONE), MM_OK);
		assert_int_equal(where(FRAME_SIZE), HPA_NONE);
		assert_int_equal(where(2 * FRAME_SIZE), neighbour);
		assert_int_equal(arena.flush_calls, 1);
		assert_status(addr_space_protect(&space, FRAME_SIZE, FRAME_SIZE, MM_RX), MM_OK);
		assert_int_equal(arena.flush_calls, 1); /* it was not present */
		assert_int_equal(where(FRAME_SIZE), frame);
		assert_int_equal(*(char *)mm_pointer(&arena.hal, frame), 3);
		addr_space_destroy(&space);
		arena.flush_calls = 0;
	}
}

static void unmap_drops_shrinks_and_splits_areas(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		for (gpa_t at = 0; at < MIB(10); at += MIB(2)) {
			assert_status(addr_space_map_alloc(&space, at, MIB(1), RWX, at % MIB(4) == 0, AREA_PAGES_4K),
			              MM_OK);
		}
		/* Half of the first, all of the second, half of the third; the holes between do not matter. */
		assert_status(addr_space_unmap(&space, KIB(512), MIB(4)), MM_OK);
		assert_int_equal(space.areas.count, 4);
		assert_int_equal(space.statistics.frames_owned, 128 + 128 + 256);
		assert_int_equal(arena.held[FRAME_GUEST], 512);
		assert_true(where(KIB(512) - FRAME_SIZE) != HPA_NONE);
		assert_int_equal(where(KIB(512)), HPA_NONE);
		assert_true(where(MIB(4) + KIB(512)) != HPA_NONE);
		assert_status(addr_space_unmap(&space, 0, GIB(4)), MM_OK);
		assert_int_equal(space.areas.count, 0);
		assert_int_equal(mm_arena_held(&arena), fixed);
		assert_status(addr_space_unmap(&space, 0, GIB(4)), MM_OK);
		addr_space_destroy(&space);
	}
}

static void part_of_a_2m_frame_is_given_back_page_by_page(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(4), RWX, true, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_unmap(&space, MIB(1), MIB(2)), MM_OK);
		assert_int_equal(arena.held[FRAME_GUEST], 512);
		assert_int_equal(space.statistics.frames_owned, 512);
		assert_status(addr_space_unmap(&space, FRAME_SIZE, MIB(4) - FRAME_SIZE), MM_OK);
		assert_int_equal(arena.held[FRAME_GUEST], 1);
		addr_space_destroy(&space);
	}
}

static uint64_t tables(void)
{
	return space.npt.statistics.tables;
}

static void tables_go_with_the_last_page_whatever_areas_are_beside_it(void **state)
{
	const gpa_t page = GIB(1) + MIB(4) + 9 * FRAME_SIZE;
	/* Beside the page, in its 2 MiB, in its GiB, in another. */
	const gpa_t others[] = {page - FRAME_SIZE, page + FRAME_SIZE, page & ~(MIB(2) - 1), GIB(1), GIB(2), MIB(2)};

	(void)state;
	FOR_EACH_FORMAT (format) {
		for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
			const struct nested_fault fault = {.gpa = others[i], .access = MM_WRITE};
			struct translation to;

			assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
			uint64_t empty = tables();

			/* An area alone holds no table. */
			assert_status(addr_space_map_alloc(&space, others[i], FRAME_SIZE, RWX, false, AREA_PAGES_4K),
			              MM_OK);
			assert_status(addr_space_map_alloc(&space, page, FRAME_SIZE, RWX, true, AREA_PAGES_4K), MM_OK);
			assert_true(tables() > empty);
			assert_status(addr_space_unmap(&space, page, FRAME_SIZE), MM_OK);
			assert_int_equal(tables(), empty);
			/* What is filled does. */
			assert_status(addr_space_handle_fault(&space, &fault), MM_OK);
			uint64_t held = tables();
			gpa_t from = i > 1 ? page - FRAME_SIZE : page;

			assert_status(addr_space_map_linear(&space, page, FRAME_SIZE, 0, RWX), MM_OK);
			assert_status(addr_space_unmap(&space, from, page + FRAME_SIZE - from), MM_OK);
			assert_int_equal(tables(), held);
			assert_status(addr_space_translate(&space, others[i], &to), MM_OK);
			addr_space_destroy(&space);
		}
	}
}

/* ---- flushes ---- */

static void nothing_is_flushed_for_what_was_not_present(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, 0, MIB(2), 0, RWX), MM_OK);
		assert_status(addr_space_map_alloc(&space, MIB(4), MIB(4), RWX, true, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_map_alloc(&space, GIB(1), GIB(1), RWX, false, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_protect(&space, GIB(1), GIB(1), MM_RX), MM_OK);
		assert_status(addr_space_unmap(&space, GIB(1) + MIB(2), MIB(2)), MM_OK);
		assert_status(addr_space_unmap(&space, GIB(1), GIB(1)), MM_OK);
		assert_int_equal(arena.flush_calls, 0);
		assert_int_equal(space.npt.statistics.flushes, 0);
		addr_space_destroy(&space);
	}
}

static void one_call_flushes_once_and_only_what_was_present(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, 0, MIB(2), 0, RWX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(2), MIB(2), 0, RWX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(64), MIB(2), 0, RWX), MM_OK);
		assert_status(addr_space_unmap(&space, 0, MIB(128)), MM_OK);
		assert_int_equal(arena.flush_calls, 1);
		assert_int_equal(space.npt.statistics.flushes, 1);
		/* Every byte that was present is in some range, and the hole between is in none. */
		for (gpa_t at = 0; at < MIB(128); at += MIB(2)) {
			bool present = at < MIB(4) || at == MIB(64);
			bool flushed = false;

			for (unsigned i = 0; i < arena.flushed_count; i++) {
				flushed |= at >= arena.flushed[i].start && at + MIB(2) <= arena.flushed[i].end;
			}
			assert_true(!present || flushed || arena.flushed[0].end == MIB(128));
		}
		addr_space_destroy(&space);
	}
}

static void many_scattered_pages_need_no_more_ranges_than_there_is_room(void **state)
{
	(void)state;
	start(mm_format(0));
	for (gpa_t at = 0; at < MIB(2); at += 4 * FRAME_SIZE) {
		assert_status(addr_space_map_linear(&space, at, FRAME_SIZE, 0, RWX), MM_OK);
	}
	assert_status(addr_space_map_linear(&space, MIB(2), FRAME_SIZE, 0, RWX), MM_OK);
	/* The table stays, for page 0 does. */
	assert_status(addr_space_unmap(&space, 4 * FRAME_SIZE, MIB(4)), MM_OK);
	assert_int_equal(arena.flush_calls, 1);
	assert_true(arena.flushed_count > 1);
	assert_int_equal(arena.flushed[0].start, 4 * FRAME_SIZE);
	assert_true(arena.flushed[arena.flushed_count - 1].end > MIB(2));
	addr_space_destroy(&space);
}

/* At the flush: no freed frame yet, and what was removed or is about to change is not reachable. */
static void look_during_flush(struct mm_arena *at)
{
	uint64_t *seen = at->flush_context;

	seen[0] = mm_arena_held(at);
	seen[1] = npt_lookup(&space.npt, MIB(2)).raw;
	seen[2] = npt_lookup(&space.npt, 0).raw;
}

static void frames_and_tables_are_freed_after_the_flush(void **state)
{
	uint64_t seen[3];

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(4), RWX, true, AREA_PAGES_4K), MM_OK);
		uint64_t held = mm_arena_held(&arena);

		arena.on_flush = look_during_flush;
		arena.flush_context = seen;
		assert_status(addr_space_unmap(&space, 0, MIB(4)), MM_OK);
		arena.on_flush = NULL;
		assert_int_equal(seen[0], held);
		assert_int_equal(seen[2] & format->valid_mask, 0);
		assert_int_equal(mm_arena_held(&arena), fixed);
		addr_space_destroy(&space);
	}
}

static void a_split_breaks_before_it_makes_where_the_format_asks(void **state)
{
	uint64_t seen[3];

	(void)state;
	FOR_EACH_FORMAT (format) {
		if (!format->level[1].leaf) {
			continue;
		}
		start(format);
		assert_status(addr_space_map_linear(&space, MIB(2), MIB(2), 0, RWX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(4), MIB(2), 0, RWX), MM_OK);
		arena.on_flush = look_during_flush;
		arena.flush_context = seen;
		assert_status(addr_space_protect(&space, MIB(3), MIB(2), MM_RX), MM_OK);
		arena.on_flush = NULL;
		if (format->break_before_make) {
			assert_int_equal(seen[1], 0);
		} else {
			assert_int_not_equal(seen[1] & format->valid_mask, 0);
		}
		assert_int_equal(arena.flush_calls, 1);
		assert_int_equal(arena.flushed[0].start, MIB(2)); /* the whole leaf was in use */
		assert_int_equal(arena.flushed[arena.flushed_count - 1].end, MIB(6));
		assert_int_equal(permissions_at(MIB(2)), MM_RWX);
		assert_int_equal(permissions_at(MIB(3)), MM_RX);
		assert_int_equal(permissions_at(MIB(5)), MM_RWX);
		assert_int_equal(space.npt.statistics.splits, 2);
		addr_space_destroy(&space);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(unmap_of_part_touches_nothing_outside_the_range, setup, teardown),
		cmocka_unit_test_setup_teardown(protect_of_part_touches_nothing_outside_the_range, setup, teardown),
		cmocka_unit_test_setup_teardown(protect_with_the_same_permissions_does_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(protect_needs_every_page_mapped_and_changes_none_else, setup, teardown),
		cmocka_unit_test_setup_teardown(protect_spans_areas_of_every_kind, setup, teardown),
		cmocka_unit_test_setup_teardown(a_guarded_page_keeps_its_data, setup, teardown),
		cmocka_unit_test_setup_teardown(unmap_drops_shrinks_and_splits_areas, setup, teardown),
		cmocka_unit_test_setup_teardown(part_of_a_2m_frame_is_given_back_page_by_page, setup, teardown),
		cmocka_unit_test_setup_teardown(tables_go_with_the_last_page_whatever_areas_are_beside_it, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(nothing_is_flushed_for_what_was_not_present, setup, teardown),
		cmocka_unit_test_setup_teardown(one_call_flushes_once_and_only_what_was_present, setup, teardown),
		cmocka_unit_test_setup_teardown(many_scattered_pages_need_no_more_ranges_than_there_is_room, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(frames_and_tables_are_freed_after_the_flush, setup, teardown),
		cmocka_unit_test_setup_teardown(a_split_breaks_before_it_makes_where_the_format_asks, setup, teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
