/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of one address space in another: the same to the guest, with frames of its own, or nothing at all. For every
 * format.
 */
#include "tests/host/mm_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "mm/guest_memory.h"
#include "mm/npt_private.h"

static struct addr_space source;

/* Linear, filled by 2 MiB, lazy with two pages filled, filled by 4 KiB, a guard with data. */
static void start(const struct npt_format *format)
{
	struct npt_attributes device = {MM_RW, MM_DEVICE};

	assert_status(addr_space_init(&source, 0, GIB(4), format, &arena.hal), MM_OK);
	assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
	assert_status(addr_space_map_linear(&source, 0, MIB(4), -(int64_t)GIB(1), device), MM_OK);
	assert_status(addr_space_map_alloc(&source, MIB(4), MIB(4), RWX, true, AREA_PAGES_AUTO), MM_OK);
	assert_status(addr_space_map_alloc(&source, MIB(8), MIB(2), RW, false, AREA_PAGES_4K), MM_OK);
	assert_status(addr_space_map_alloc(&source, MIB(10), MIB(1), RX, true, AREA_PAGES_4K), MM_OK);
	assert_status(addr_space_map_alloc(&source, MIB(16), MIB(2), RW, true, AREA_PAGES_AUTO), MM_OK);
	for (gpa_t at = MIB(4); at < MIB(8); at += FRAME_SIZE / 2) {
		assert_true(guest_store(&source, at, 8, at));
	}
	assert_true(guest_store(&source, MIB(9), 8, 9));
	assert_true(guest_store(&source, MIB(10) - 8, 8, 10));
	assert_true(guest_store(&source, MIB(17), 8, 17));
	assert_status(addr_space_protect(&source, MIB(16), MIB(2), MM_NONE), MM_OK);
	arena.flush_calls = 0;
}

static void finish(void)
{
	addr_space_destroy(&space);
	addr_space_destroy(&source);
	assert_int_equal(mm_arena_held(&arena), 0);
}

/* Page by page the same but for the frames of alloc areas, which are other ones with the same contents. */
static void assert_copied(gpa_t from, gpa_t to)
{
	for (gpa_t at = from; at < to; at += FRAME_SIZE) {
		struct npt_entry theirs = npt_lookup(&source.npt, at);
		struct npt_entry ours = npt_lookup(&space.npt, at);

		assert_int_equal(ours.kind, theirs.kind);
		if (theirs.kind == NPT_HOLE) {
			continue;
		}
		assert_int_equal(ours.attributes.permissions, theirs.attributes.permissions);
		assert_int_equal(ours.attributes.type, theirs.attributes.type);
		if (at < MIB(4)) {
			assert_int_equal(ours.address, theirs.address);
		} else {
			assert_true(ours.address != theirs.address);
			assert_memory_equal(mm_pointer(&arena.hal, ours.address),
			                    mm_pointer(&arena.hal, theirs.address), FRAME_SIZE);
		}
	}
}

static void a_copy_of_a_whole_space_dumps_like_it_but_for_the_frames(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		char *before = mm_dump(&source);

		assert_status(addr_space_copy_from(&space, &source, 0, GIB(4)), MM_OK);
		char *after = mm_dump(&source);
		char *copy = mm_dump(&space);

		assert_string_equal(before, after); /* the source is only read */
		*strstr(after, "leaf") = '\0';
		*strstr(copy, "leaf") = '\0';
		assert_string_equal(after, copy); /* the areas */
		assert_copied(0, MIB(20));
		assert_int_equal(space.areas.count, source.areas.count);
		assert_int_equal(space.statistics.frames_owned, source.statistics.frames_owned);
		assert_int_equal(space.statistics.faults_filled, 0);
		assert_memory_equal(space.npt.statistics.leaves, source.npt.statistics.leaves,
		                    sizeof(space.npt.statistics.leaves));
		assert_int_equal(space.npt.statistics.tables, source.npt.statistics.tables);
		assert_int_equal(arena.held[FRAME_GUEST], 2 * space.statistics.frames_owned);
		assert_int_equal(arena.flush_calls, 0);
		free(before);
		free(after);
		free(copy);
		finish();
	}
}

static void a_copy_has_the_areas_policy_and_lives_by_itself(void **state)
{
	struct nested_fault fault = {.gpa = MIB(8), .access = MM_WRITE};
	uint64_t value;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_copy_from(&space, &source, 0, GIB(4)), MM_OK);
		assert_int_equal(npt_lookup(&space.npt, MIB(8)).kind, NPT_HOLE);
		assert_status(addr_space_handle_fault(&space, &fault), MM_OK);
		assert_int_equal(npt_lookup(&space.npt, MIB(8)).level, 0); /* 4 KiB only, as there */
		assert_int_equal(npt_lookup(&source.npt, MIB(8)).kind, NPT_HOLE);
		assert_true(guest_store(&space, MIB(4), 8, 1));
		assert_true(guest_load(&source, MIB(4), 8, &value));
		assert_int_equal(value, MIB(4));
		assert_int_equal(guest_write(&space, MIB(10), "x", 1, 0), 0); /* read-only, as there */
		addr_space_clear(&source);
		assert_true(guest_load(&space, MIB(9), 8, &value));
		assert_int_equal(value, 9);
		assert_status(addr_space_protect(&space, MIB(16), MIB(2), MM_RW), MM_OK);
		assert_true(guest_load(&space, MIB(17), 8, &value));
		assert_int_equal(value, 17);
		finish();
	}
}

static void a_copy_of_part_cuts_areas_and_leaves(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		gpa_t from = MIB(1) + FRAME_SIZE;
		gpa_t to = MIB(5) + FRAME_SIZE;

		assert_status(addr_space_copy_from(&space, &source, from, to - from), MM_OK);
		assert_copied(from, to);
		assert_int_equal(npt_lookup(&space.npt, from - FRAME_SIZE).kind, NPT_HOLE);
		assert_int_equal(npt_lookup(&space.npt, to).kind, NPT_HOLE);
		assert_int_equal(space.areas.count, 2);
		assert_int_equal(space.statistics.frames_owned, 257);
		/* The rest beside it, in the tables that are there. */
		assert_status(addr_space_copy_from(&space, &source, to, MIB(18) - to), MM_OK);
		assert_copied(from, MIB(18));
		finish();
	}
}

static void a_copy_needs_an_empty_range_in_both_spaces_and_two_of_them(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_copy_from(&space, &space, 0, MIB(2)), MM_EINVAL);
		assert_status(addr_space_copy_from(&space, &source, 0, 0), MM_EINVAL);
		assert_status(addr_space_copy_from(&space, &source, 1, FRAME_SIZE), MM_EALIGN);
		assert_status(addr_space_copy_from(&space, &source, 0, GIB(4) + FRAME_SIZE), MM_ERANGE);
		assert_status(addr_space_map_linear(&space, MIB(1), FRAME_SIZE, 0, RW), MM_OK);
		assert_status(addr_space_copy_from(&space, &source, 0, MIB(2)), MM_EEXIST);
		assert_status(addr_space_copy_from(&space, &source, MIB(30), MIB(2)), MM_OK); /* a hole stays one */
		assert_int_equal(space.areas.count, 1);
		addr_space_destroy(&space);
		assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
		addr_space_destroy(&source);
		assert_status(addr_space_init(&source, 0, GIB(1), format, &arena.hal), MM_OK);
		assert_status(addr_space_copy_from(&space, &source, MIB(512), GIB(1)), MM_ERANGE);
		finish();
	}
}

static void what_the_other_format_cannot_express_is_refused(void **state)
{
	struct arm_stage2_capabilities arm = {.ipa_bits = 40, .physical_bits = 44};
	struct ept_capabilities intel = {.leaf_2m = true, .physical_bits = 39};
	struct npt_attributes write_only = {MM_WRITE, MM_WRITE_BACK};
	struct npt_format stage2;
	struct npt_format ept;

	(void)state;
	npt_format_ept(&ept, &intel);
	assert_status(npt_format_arm_stage2(&stage2, &arm), MM_OK);
	assert_status(addr_space_init(&source, 0, GIB(4), &stage2, &arena.hal), MM_OK);
	assert_status(addr_space_init(&space, 0, GIB(4), &ept, &arena.hal), MM_OK);
	assert_status(addr_space_map_alloc(&source, 0, MIB(2), RW, true, AREA_PAGES_AUTO), MM_OK);
	assert_status(addr_space_map_alloc(&source, MIB(2), MIB(2), write_only, true, AREA_PAGES_AUTO), MM_OK);
	assert_status(addr_space_map_linear(&source, MIB(4), MIB(2), -(int64_t)BIT(40), RW), MM_OK);
	uint64_t held = mm_arena_held(&arena);

	assert_status(addr_space_copy_from(&space, &source, 0, MIB(4)), MM_EPERM);
	assert_status(addr_space_copy_from(&space, &source, MIB(4), MIB(2)), MM_ERANGE);
	assert_int_equal(space.areas.count, 0);
	assert_int_equal(mm_arena_held(&arena), held);
	assert_status(addr_space_copy_from(&space, &source, 0, MIB(2)), MM_OK);
	finish();
}

static void without_large_frames_pages_do_unless_the_policy_says_no(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		arena.fail_large = true;
		assert_status(addr_space_copy_from(&space, &source, 0, GIB(4)), MM_OK);
		assert_copied(0, MIB(20));
		assert_int_equal(space.npt.statistics.leaves[0],
		                 space.statistics.frames_owned + (format->level[1].leaf ? 0 : 1024));
		addr_space_clear(&space);
		addr_space_clear(&source);
		arena.fail_large = false;
		assert_status(addr_space_map_alloc(&source, 0, MIB(2), RW, true, AREA_PAGES_2M), MM_OK);
		arena.fail_large = true;
		assert_status(addr_space_copy_from(&space, &source, 0, MIB(2)),
		              format->level[1].leaf ? MM_ENOMEM : MM_OK);
		arena.fail_large = false;
		finish();
	}
}

static const struct npt_format *swept;

static void begin(void)
{
	start(swept);
	assert_status(addr_space_map_linear(&space, GIB(3), FRAME_SIZE, 0, RW), MM_OK);
}

static int copy_all(void)
{
	return addr_space_copy_from(&space, &source, 0, GIB(3));
}

static int copy_some(void)
{
	return addr_space_copy_from(&space, &source, MIB(1), MIB(9) + FRAME_SIZE);
}

static void a_copy_that_fails_leaves_no_trace(void **state)
{
	static int (*const operations[])(void) = {copy_all, copy_some};

	(void)state;
	FOR_EACH_FORMAT (format) {
		swept = format;
		for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
			mm_fail_each_allocation(&arena, &space, begin, operations[i], finish);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_copy_of_a_whole_space_dumps_like_it_but_for_the_frames, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_copy_has_the_areas_policy_and_lives_by_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(a_copy_of_part_cuts_areas_and_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(a_copy_needs_an_empty_range_in_both_spaces_and_two_of_them, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(what_the_other_format_cannot_express_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(without_large_frames_pages_do_unless_the_policy_says_no, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_copy_that_fails_leaves_no_trace, setup, teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
