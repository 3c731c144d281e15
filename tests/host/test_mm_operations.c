/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mapping over what is there, finding room, and emptying a space: what each does, what it flushes, and that a call
 * whose n-th allocation fails leaves no trace. For every format.
 */
#include "tests/host/mm_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "mm/guest_memory.h"
#include "mm/npt_private.h"

#define ALL ((struct gpa_range){0, GIB(4)})

static uint64_t fixed; /* tables of the empty space */

static void start(const struct npt_format *format)
{
	assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
	fixed = space.npt.statistics.tables;
	arena.flush_calls = 0;
}

/* 8 MiB: linear, filled, lazy, linear, by 2 MiB; `shift` is HPA - GPA of the linear ones. */
static void map_some(gpa_t at, uint64_t shift)
{
	assert_status(addr_space_map_linear(&space, at, MIB(2), -(int64_t)shift, RWX), MM_OK);
	assert_status(addr_space_map_alloc(&space, at + MIB(2), MIB(2), RW, true, AREA_PAGES_AUTO), MM_OK);
	assert_status(addr_space_map_alloc(&space, at + MIB(4), MIB(2), RWX, false, AREA_PAGES_AUTO), MM_OK);
	assert_status(addr_space_map_linear(&space, at + MIB(6), MIB(2), -(int64_t)shift, RX), MM_OK);
}

/* ---- replace ---- */

static void replace_maps_where_nothing_is_like_map(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, MIB(2), GIB(1), (int64_t)FRAME_SIZE, RX), MM_OK);
		assert_status(addr_space_map_alloc(&space, GIB(2), MIB(4), RW, false, AREA_PAGES_AUTO), MM_OK);
		char *mapped = mm_dump(&space);
		uint64_t held = mm_arena_held(&arena);

		addr_space_destroy(&space);
		start(format);
		assert_status(addr_space_replace_linear(&space, MIB(2), GIB(1), (int64_t)FRAME_SIZE, RX), MM_OK);
		assert_status(addr_space_replace_alloc(&space, GIB(2), MIB(4), RW, false, AREA_PAGES_AUTO), MM_OK);
		char *replaced = mm_dump(&space);

		assert_string_equal(mapped, replaced);
		assert_int_equal(mm_arena_held(&arena), held);
		assert_int_equal(arena.flush_calls, 0);
		free(mapped);
		free(replaced);
		addr_space_destroy(&space);
	}
}

static void replace_takes_the_place_of_what_the_range_held_and_of_no_more(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		gpa_t from = MIB(17) + FRAME_SIZE;
		gpa_t to = MIB(23) - FRAME_SIZE;

		map_some(MIB(16), GIB(1));
		hpa_t page = where(MIB(18));

		assert_true(page != HPA_NONE);
		assert_status(addr_space_replace_linear(&space, from, to - from, -(int64_t)GIB(2), RWX), MM_OK);
		for (gpa_t at = MIB(16); at < MIB(24); at += FRAME_SIZE) {
			assert_int_equal(where(at), at + (at >= from && at < to ? GIB(2) : GIB(1)));
		}
		assert_int_equal(arena.flush_calls, 1);
		assert_int_equal(arena.held[FRAME_GUEST], 0); /* the filled area's frames came back */
		assert_int_equal(space.statistics.frames_owned, 0);
		assert_int_equal(space.areas.count, 3);
		addr_space_destroy(&space);
	}
}

static void replaced_frames_come_back_and_new_ones_are_zeroed(void **state)
{
	uint64_t value = 1;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(8), RW, true, AREA_PAGES_AUTO), MM_OK);
		assert_int_equal(guest_fill(&space, 0, 0xee, MIB(8), 0), MIB(8));
		assert_status(addr_space_replace_alloc(&space, MIB(1), MIB(4), RWX, true, AREA_PAGES_AUTO), MM_OK);
		assert_int_equal(arena.held[FRAME_GUEST], 2048);
		assert_int_equal(space.statistics.frames_owned, 2048);
		for (gpa_t at = 0; at < MIB(8); at += FRAME_SIZE) {
			assert_true(guest_load(&space, at, 8, &value));
			assert_int_equal(value, at >= MIB(1) && at < MIB(5) ? 0 : 0xeeeeeeeeeeeeeeee);
		}
		assert_status(addr_space_replace_alloc(&space, 0, MIB(8), RWX, false, AREA_PAGES_4K), MM_OK);
		assert_int_equal(arena.held[FRAME_GUEST], 0);
		assert_int_equal(space.areas.count, 1);
		assert_int_equal(space.npt.statistics.tables, fixed);
		assert_int_equal(arena.flush_calls, 2);
		addr_space_destroy(&space);
	}
}

static void a_hole_cut_by_replace_leaves_an_area_on_each_side(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, 0, GIB(2), 0, RWX), MM_OK);
		assert_status(
			addr_space_replace_alloc(&space, MIB(4) + FRAME_SIZE, FRAME_SIZE, RW, true, AREA_PAGES_4K),
			MM_OK);
		assert_int_equal(space.areas.count, 3);
		assert_int_equal(where(MIB(4)), MIB(4));
		assert_int_equal(where(MIB(4) + 2 * FRAME_SIZE), MIB(4) + 2 * FRAME_SIZE);
		assert_true(where(MIB(4) + FRAME_SIZE) >= MM_ARENA_BASE);
		assert_int_equal(arena.flush_calls, 1);
		addr_space_destroy(&space);
	}
}

/* At the flush the new is not there yet, and the old not any more; nothing of it has come back. */
static void look_during_replace(struct mm_arena *at)
{
	uint64_t *seen = at->flush_context;

	seen[0] = npt_lookup(&space.npt, MIB(2)).raw & space.npt.format.valid_mask;
	seen[1] = at->held[FRAME_GUEST];
}

static void replace_breaks_before_it_makes(void **state)
{
	uint64_t seen[2];

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(4), RW, true, AREA_PAGES_AUTO), MM_OK);
		arena.on_flush = look_during_replace;
		arena.flush_context = seen;
		assert_status(addr_space_replace_alloc(&space, MIB(2), MIB(2), RW, true, AREA_PAGES_AUTO), MM_OK);
		arena.on_flush = NULL;
		assert_int_equal(seen[0], 0);
		assert_int_equal(seen[1], 1536);
		assert_int_equal(arena.held[FRAME_GUEST], 1024);
		addr_space_destroy(&space);
	}
}

static void replace_refuses_what_map_refuses(void **state)
{
	struct npt_attributes write_only = {MM_WRITE, MM_WRITE_BACK};

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map_some(0, GIB(1));
		char *before = mm_dump(&space);
		uint64_t generation = space.generation;
		hpa_t far = BIT(format->output_bits);

		assert_status(addr_space_replace_linear(&space, 1, FRAME_SIZE, 0, RW), MM_EALIGN);
		assert_status(addr_space_replace_linear(&space, 0, FRAME_SIZE, 1, RW), MM_EALIGN);
		assert_status(addr_space_replace_linear(&space, 0, 0, 0, RW), MM_EINVAL);
		assert_status(addr_space_replace_linear(&space, 0, GIB(5), 0, RW), MM_ERANGE);
		assert_status(addr_space_replace_linear(&space, 0, FRAME_SIZE, -(int64_t)far, RW), MM_ERANGE);
		assert_status(addr_space_replace_alloc(&space, 0, FRAME_SIZE, RW, true, AREA_PAGES_2M + 1), MM_EINVAL);
		if (!(format->legal_permissions >> MM_WRITE & 1)) {
			assert_status(addr_space_replace_linear(&space, 0, FRAME_SIZE, 0, write_only), MM_EPERM);
		}
		char *after = mm_dump(&space);

		assert_string_equal(before, after);
		assert_int_equal(space.generation, generation);
		free(before);
		free(after);
		addr_space_destroy(&space);
	}
}

static void replace_tells_the_caches_of_pointers_and_of_places(void **state)
{
	(void)state;
	start(mm_format(0));
	uint64_t generation = space.generation;
	uint64_t layout = space.layout;

	assert_status(addr_space_replace_linear(&space, 0, MIB(2), 0, RW), MM_OK);
	assert_true(space.generation > generation);
	assert_true(space.layout > layout);
	addr_space_destroy(&space);
}

/* ---- find_free ---- */

static gpa_t find(gpa_t hint, uint64_t size, uint64_t alignment, struct gpa_range limit)
{
	gpa_t found = 1;
	int status = addr_space_find_free(&space, hint, size, alignment, limit, &found);

	assert_true(status == MM_OK || status == MM_ENOSPC);
	assert_true(status == MM_OK || found == 1);
	return status == MM_OK ? found : HPA_NONE;
}

static void find_free_answers_the_lowest_hole_that_is_large_enough(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_int_equal(find(0, GIB(4), FRAME_SIZE, ALL), 0);
		assert_int_equal(find(0, GIB(4) + FRAME_SIZE, FRAME_SIZE, ALL), HPA_NONE);
		assert_status(addr_space_map_linear(&space, 0, MIB(1), 0, RW), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(1) + FRAME_SIZE, MIB(1), 0, RW), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(4), GIB(3), 0, RW), MM_OK);
		assert_int_equal(find(0, FRAME_SIZE, FRAME_SIZE, ALL), MIB(1));
		assert_int_equal(find(0, 2 * FRAME_SIZE, FRAME_SIZE, ALL), MIB(2) + FRAME_SIZE);
		assert_int_equal(find(0, MIB(2) - FRAME_SIZE, FRAME_SIZE, ALL), MIB(2) + FRAME_SIZE);
		assert_int_equal(find(0, MIB(2), FRAME_SIZE, ALL), GIB(3) + MIB(4));
		assert_int_equal(find(0, GIB(1), FRAME_SIZE, ALL), HPA_NONE);
		addr_space_destroy(&space);
	}
}

static void find_free_keeps_to_hint_alignment_and_limit(void **state)
{
	(void)state;
	start(mm_format(0));
	assert_status(addr_space_map_linear(&space, MIB(1), MIB(1), 0, RW), MM_OK);
	assert_int_equal(find(0, FRAME_SIZE, FRAME_SIZE, ALL), 0);
	assert_int_equal(find(FRAME_SIZE, FRAME_SIZE, MIB(1), ALL), MIB(2));
	assert_int_equal(find(MIB(1) + 1, FRAME_SIZE, FRAME_SIZE, ALL), MIB(2));
	assert_int_equal(find(MIB(3) + 1, FRAME_SIZE, FRAME_SIZE, ALL), MIB(3) + FRAME_SIZE);
	assert_int_equal(find(0, MIB(1) + FRAME_SIZE, GIB(1), ALL), GIB(1));
	assert_int_equal(find(0, FRAME_SIZE, FRAME_SIZE, (struct gpa_range){MIB(1), MIB(3)}), MIB(2));
	assert_int_equal(find(0, MIB(2), FRAME_SIZE, (struct gpa_range){MIB(1), MIB(3)}), HPA_NONE);
	/* Nothing at or above the hint: the lowest in the limit. */
	assert_int_equal(find(GIB(4), FRAME_SIZE, FRAME_SIZE, ALL), 0);
	assert_int_equal(find(UINT64_MAX, FRAME_SIZE, BIT(63), ALL), 0);
	assert_int_equal(find(GIB(4) - MIB(1), MIB(2), FRAME_SIZE, ALL), MIB(2));
	assert_int_equal(find(0, FRAME_SIZE, FRAME_SIZE, (struct gpa_range){MIB(2), MIB(2)}), HPA_NONE);
	/* No multiple of the alignment lies above: that is no wrapping round to 0, where something is. */
	assert_status(addr_space_map_linear(&space, 0, FRAME_SIZE, 0, RW), MM_OK);
	assert_int_equal(find(UINT64_MAX, FRAME_SIZE, BIT(63), ALL), HPA_NONE);
	addr_space_destroy(&space);
}

static void find_free_refuses_what_makes_no_sense(void **state)
{
	struct gpa_range beyond = {0, GIB(4) + FRAME_SIZE};
	struct gpa_range backwards = {MIB(2), MIB(1)};
	gpa_t found;

	(void)state;
	assert_status(addr_space_init(&space, MIB(1), GIB(1), mm_format(0), &arena.hal), MM_OK);
	struct gpa_range whole = {MIB(1), GIB(1) + MIB(1)};

	assert_status(addr_space_find_free(&space, 0, FRAME_SIZE + 1, FRAME_SIZE, whole, &found), MM_EALIGN);
	assert_status(
		addr_space_find_free(&space, 0, FRAME_SIZE, FRAME_SIZE, (struct gpa_range){MIB(1), MIB(2) + 1}, &found),
		MM_EALIGN);
	assert_status(addr_space_find_free(&space, 0, 0, FRAME_SIZE, whole, &found), MM_EINVAL);
	assert_status(addr_space_find_free(&space, 0, FRAME_SIZE, 3 * FRAME_SIZE, whole, &found), MM_EINVAL);
	assert_status(addr_space_find_free(&space, 0, FRAME_SIZE, 0, whole, &found), MM_EINVAL);
	assert_status(addr_space_find_free(&space, 0, FRAME_SIZE, 8, whole, &found), MM_EINVAL);
	assert_status(addr_space_find_free(&space, 0, FRAME_SIZE, FRAME_SIZE, beyond, &found), MM_ERANGE);
	assert_status(addr_space_find_free(&space, 0, FRAME_SIZE, FRAME_SIZE, ALL, &found), MM_ERANGE);
	assert_status(addr_space_find_free(&space, 0, FRAME_SIZE, FRAME_SIZE, backwards, &found), MM_ERANGE);
	assert_status(addr_space_find_free(&space, 0, FRAME_SIZE, FRAME_SIZE, whole, &found), MM_OK);
	assert_int_equal(found, MIB(1));
	addr_space_destroy(&space);
}

/* ---- clear ---- */

static void a_cleared_space_is_as_empty_as_a_new_one(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		uint64_t held = mm_arena_held(&arena);

		map_some(0, GIB(1));
		map_some(GIB(1) - MIB(4), GIB(1));
		assert_status(addr_space_unmap(&space, MIB(3), FRAME_SIZE), MM_OK);
		arena.flush_calls = 0;
		arena.fail_at = 1;
		addr_space_clear(&space);
		assert_int_equal(arena.fail_at, 1); /* nothing was asked for */
		arena.fail_at = 0;
		assert_int_equal(arena.flush_calls, 1);
		assert_int_equal(mm_arena_held(&arena), held);
		assert_int_equal(space.areas.count, 0);
		assert_int_equal(space.statistics.frames_owned, 0);
		assert_int_equal(space.npt.statistics.tables, fixed);
		assert_int_equal(space.npt.statistics.leaves[0] + space.npt.statistics.leaves[1], 0);
		assert_int_equal(where(0), HPA_NONE);
		map_some(0, GIB(2)); /* and it can be used again */
		assert_int_equal(where(0), GIB(2));
		addr_space_clear(&space);
		addr_space_clear(&space);
		assert_int_equal(arena.flush_calls, 2);
		addr_space_destroy(&space);
	}
}

/* ---- all or nothing ---- */

static int replace_by_pages(void)
{
	return addr_space_replace_linear(&space, MIB(1), MIB(12), (int64_t)FRAME_SIZE, RWX);
}

static int replace_inside_a_leaf(void)
{
	return addr_space_replace_linear(&space, GIB(1) + MIB(5), FRAME_SIZE, 0, RWX);
}

static int replace_across_areas(void)
{
	return addr_space_replace_linear(&space, MIB(7), GIB(1) + MIB(1), 0, RX);
}

static int replace_by_frames(void)
{
	return addr_space_replace_alloc(&space, MIB(3), MIB(4), RW, true, AREA_PAGES_AUTO);
}

static int replace_by_large_frames(void)
{
	return addr_space_replace_alloc(&space, MIB(3), MIB(6), RW, true, AREA_PAGES_2M);
}

static int replace_by_lazy(void)
{
	return addr_space_replace_alloc(&space, MIB(1), GIB(2), RW, false, AREA_PAGES_AUTO);
}

static const struct npt_format *swept;

static void begin(void)
{
	start(swept);
	map_some(0, GIB(1));
	assert_status(addr_space_map_linear(&space, GIB(1), MIB(64), -(int64_t)GIB(1), RWX), MM_OK);
	/* Nodes come 63 to a frame: the next takes a new one. */
	for (gpa_t at = GIB(3); space.areas.count < 63; at += MIB(2)) {
		assert_status(addr_space_map_alloc(&space, at, FRAME_SIZE, RWX, false, AREA_PAGES_4K), MM_OK);
	}
}

static void end(void)
{
	addr_space_destroy(&space);
	assert_int_equal(mm_arena_held(&arena), 0);
}

static void a_replace_that_fails_leaves_no_trace(void **state)
{
	static int (*const operations[])(void) = {
		replace_by_pages,  replace_inside_a_leaf,   replace_across_areas,
		replace_by_frames, replace_by_large_frames, replace_by_lazy,
	};

	(void)state;
	FOR_EACH_FORMAT (format) {
		swept = format;
		for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
			mm_fail_each_allocation(&arena, &space, begin, operations[i], end);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(replace_maps_where_nothing_is_like_map, setup, teardown),
		cmocka_unit_test_setup_teardown(replace_takes_the_place_of_what_the_range_held_and_of_no_more, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(replaced_frames_come_back_and_new_ones_are_zeroed, setup, teardown),
		cmocka_unit_test_setup_teardown(a_hole_cut_by_replace_leaves_an_area_on_each_side, setup, teardown),
		cmocka_unit_test_setup_teardown(replace_breaks_before_it_makes, setup, teardown),
		cmocka_unit_test_setup_teardown(replace_refuses_what_map_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(replace_tells_the_caches_of_pointers_and_of_places, setup, teardown),
		cmocka_unit_test_setup_teardown(find_free_answers_the_lowest_hole_that_is_large_enough, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(find_free_keeps_to_hint_alignment_and_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(find_free_refuses_what_makes_no_sense, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cleared_space_is_as_empty_as_a_new_one, setup, teardown),
		cmocka_unit_test_setup_teardown(a_replace_that_fails_leaves_no_trace, setup, teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
