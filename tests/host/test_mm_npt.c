/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page-table walker by itself, as arch uses it for the hypervisor's own tables: without areas, without a release,
 * over the format's whole width. For every format.
 */
#include "tests/host/mm_arena.h"

#include "mm/npt_private.h"

static struct mm_arena arena;
static struct npt npt;

static int setup(void **state)
{
	(void)state;
	mm_arena_init(&arena, MIB(16));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mm_arena_fini(&arena);
	return 0;
}

static void the_whole_width_can_be_mapped_changed_and_destroyed(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		gpa_t last = BIT(format->input_bits) - FRAME_SIZE;

		assert_status(npt_init(&npt, format, &arena.hal), MM_OK);
		assert_int_equal(npt.root % (FRAME_SIZE << format->root_order), 0);
		assert_status(npt_map(&npt, last, GIB(5), FRAME_SIZE, RWX, NPT_MAX_LEVELS), MM_OK);
		assert_status(npt_map(&npt, 0, 0, MIB(4), RWX, 0), MM_OK);
		assert_int_equal(npt.statistics.leaves[0], 1025); /* no larger than asked for */
		assert_status(npt_protect(&npt, last, FRAME_SIZE, MM_RX), MM_OK);
		assert_int_equal(npt_lookup(&npt, last).attributes.permissions, MM_RX);
		assert_int_equal(npt_lookup(&npt, last + 5).address, GIB(5) + 5);
		assert_status(npt_unmap(&npt, FRAME_SIZE, MIB(2), NULL, NULL), MM_OK);
		assert_int_equal(npt_lookup(&npt, FRAME_SIZE).kind, NPT_HOLE);
		assert_int_equal(npt_lookup(&npt, 0).kind, NPT_LEAF);
		assert_int_equal(npt_lookup(&npt, last + FRAME_SIZE).kind, NPT_HOLE);
		npt_destroy(&npt);
		assert_int_equal(mm_arena_held(&arena), 0);
	}
}

static void arguments_are_checked_without_an_address_space_too(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		gpa_t limit = BIT(format->input_bits);
		struct npt_attributes odd = {MM_RWX + 1, MM_WRITE_BACK};

		assert_status(npt_init(&npt, format, &arena.hal), MM_OK);
		assert_status(npt_map(&npt, 1, 0, FRAME_SIZE, RWX, 0), MM_EALIGN);
		assert_status(npt_map(&npt, 0, 1, FRAME_SIZE, RWX, 0), MM_EALIGN);
		assert_status(npt_map(&npt, 0, 0, 0, RWX, 0), MM_EINVAL);
		assert_status(npt_map(&npt, limit, 0, FRAME_SIZE, RWX, 0), MM_ERANGE);
		assert_status(npt_map(&npt, 0, BIT(format->output_bits), FRAME_SIZE, RWX, 0), MM_ERANGE);
		assert_status(npt_map(&npt, 0, 0, FRAME_SIZE, odd, 0), MM_EPERM);
		assert_status(npt_unmap(&npt, 0, 1, NULL, NULL), MM_EALIGN);
		assert_status(npt_unmap(&npt, 0, 0, NULL, NULL), MM_OK);
		assert_status(npt_unmap(&npt, 0, limit + FRAME_SIZE, NULL, NULL), MM_ERANGE);
		assert_status(npt_protect(&npt, 0, 0, MM_RX), MM_EINVAL);
		assert_status(npt_protect(&npt, FRAME_SIZE - 1, FRAME_SIZE, MM_RX), MM_EALIGN);
		assert_status(npt_protect(&npt, 0, FRAME_SIZE, MM_RWX + 1), MM_EPERM);
		npt_destroy(&npt);
	}
}

static void nothing_is_mapped_over_what_is_there_whatever_the_levels(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		uint64_t span = format->levels > 2 ? GIB(1) : MIB(2);

		assert_status(npt_init(&npt, format, &arena.hal), MM_OK);
		/* A page first: neither a page nor a leaf of any size fits over it. */
		assert_status(npt_map(&npt, span + MIB(1), 0, FRAME_SIZE, RWX, 0), MM_OK);
		uint64_t held = mm_arena_held(&arena);

		assert_status(npt_map(&npt, span + MIB(1), 0, FRAME_SIZE, RWX, 0), MM_EEXIST);
		assert_status(npt_map(&npt, span, 0, span, RWX, NPT_MAX_LEVELS), MM_EEXIST);
		assert_status(npt_map(&npt, 0, 0, 2 * span + MIB(4), RWX, NPT_MAX_LEVELS), MM_EEXIST);
		assert_int_equal(mm_arena_held(&arena), held);
		/* Then a large one: neither fits over it. */
		assert_status(npt_unmap(&npt, 0, 2 * span, NULL, NULL), MM_OK);
		assert_status(npt_map(&npt, span, 0, span, RWX, NPT_MAX_LEVELS), MM_OK);
		assert_status(npt_map(&npt, span + MIB(1), 0, FRAME_SIZE, RWX, 0), MM_EEXIST);
		assert_status(npt_map(&npt, span - FRAME_SIZE, 0, MIB(1), RWX, 0), MM_EEXIST);
		assert_status(npt_map(&npt, span, 0, span, RWX, NPT_MAX_LEVELS), MM_EEXIST);
		assert_int_equal(npt_lookup(&npt, span - FRAME_SIZE).kind, NPT_HOLE);
		npt_destroy(&npt);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_whole_width_can_be_mapped_changed_and_destroyed, setup, teardown),
		cmocka_unit_test_setup_teardown(arguments_are_checked_without_an_address_space_too, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_mapped_over_what_is_there_whatever_the_levels, setup,
	                                        teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
