/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The address space, first half: arguments, mapping, translation, what a call leaves behind. For every format.
 */
#include "tests/host/mm_fixture.h"

#include <stdlib.h>

static uint64_t fixed; /* tables of the empty space */

static bool has_1g(const struct npt_format *format)
{
	return format->levels > 2 && format->level[2].leaf;
}

static void start(const struct npt_format *format, uint64_t size)
{
	assert_status(addr_space_init(&space, 0, size, format, &arena.hal), MM_OK);
	fixed = space.npt.statistics.tables;
}

static void an_empty_space_gives_its_root_back(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format, GIB(4));
		assert_int_equal(arena.held[FRAME_TABLE], space.npt.statistics.tables);
		assert_true(arena.held[FRAME_TABLE] <= (UINT64_C(1) << format->root_order) + 2);
		addr_space_destroy(&space);
		assert_int_equal(mm_arena_held(&arena), 0);
	}
}

static void layout_grows_with_every_change_of_the_areas_and_with_no_fault(void **state)
{
	const struct nested_fault fault = {.gpa = MIB(2), .access = MM_WRITE};

	(void)state;
	start(mm_format(0), GIB(1));
	uint64_t before = space.layout;

	assert_status(addr_space_map_alloc(&space, MIB(2), MIB(2), RWX, false, AREA_PAGES_4K), MM_OK);
	assert_true(space.layout > before);
	before = space.layout;
	assert_status(addr_space_handle_fault(&space, &fault), MM_OK);
	assert_int_equal(space.layout, before);
	assert_status(addr_space_protect(&space, MIB(2), FRAME_SIZE, MM_READ), MM_OK);
	assert_true(space.layout > before);
	before = space.layout;
	assert_status(addr_space_discard(&space, MIB(2), MIB(2)), MM_OK);
	assert_true(space.layout > before);
	before = space.layout;
	assert_status(addr_space_unmap(&space, MIB(2), MIB(2)), MM_OK);
	assert_true(space.layout > before);
	before = space.layout;
	assert_status(addr_space_map_linear(&space, MIB(2), FRAME_SIZE, 0, RWX), MM_OK);
	assert_true(space.layout > before);
	addr_space_destroy(&space);
}

static void init_refuses_a_bad_range(void **state)
{
	const struct npt_format *format = mm_format(0);
	uint64_t limit = UINT64_C(1) << format->input_bits;

	(void)state;
	assert_status(addr_space_init(&space, 1, FRAME_SIZE, format, &arena.hal), MM_EALIGN);
	assert_status(addr_space_init(&space, 0, 1, format, &arena.hal), MM_EALIGN);
	assert_status(addr_space_init(&space, 0, 0, format, &arena.hal), MM_EINVAL);
	assert_status(addr_space_init(&space, FRAME_SIZE, limit, format, &arena.hal), MM_ERANGE);
	assert_status(addr_space_init(&space, -FRAME_SIZE, 2 * FRAME_SIZE, format, &arena.hal), MM_ERANGE);
	arena.fail_at = 1;
	assert_status(addr_space_init(&space, 0, limit, format, &arena.hal), MM_ENOMEM);
}

static void arguments_are_checked_in_one_order(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		assert_status(addr_space_init(&space, MIB(4), GIB(1), format, &arena.hal), MM_OK);
		uint64_t end = MIB(4) + GIB(1);

		assert_status(addr_space_map_linear(&space, MIB(4) + 1, FRAME_SIZE, 0, RWX), MM_EALIGN);
		assert_status(addr_space_map_linear(&space, MIB(4), 1, 0, RWX), MM_EALIGN);
		assert_status(addr_space_map_linear(&space, MIB(4), FRAME_SIZE, 1, RWX), MM_EALIGN);
		assert_status(addr_space_map_linear(&space, MIB(4), 0, 0, RWX), MM_EINVAL);
		assert_status(addr_space_map_linear(&space, 0, FRAME_SIZE, 0, RWX), MM_ERANGE);
		assert_status(addr_space_map_linear(&space, end, FRAME_SIZE, 0, RWX), MM_ERANGE);
		assert_status(addr_space_map_linear(&space, end - FRAME_SIZE, 2 * FRAME_SIZE, 0, RWX), MM_ERANGE);
		assert_status(addr_space_map_linear(&space, MIB(4), -FRAME_SIZE, 0, RWX), MM_ERANGE);
		assert_status(addr_space_map_linear(&space, -FRAME_SIZE, 2 * FRAME_SIZE, 0, RWX), MM_ERANGE);
		assert_status(addr_space_map_linear(&space, MIB(4), FRAME_SIZE, (int64_t)MIB(5), RWX), MM_ERANGE);
		assert_status(addr_space_map_linear(&space, MIB(4), FRAME_SIZE, INT64_MIN, RWX), MM_ERANGE);
		int64_t to_top = (int64_t)(MIB(4) - (UINT64_C(1) << format->output_bits));

		assert_status(addr_space_map_linear(&space, MIB(4), FRAME_SIZE, to_top, RWX), MM_ERANGE);
		assert_status(addr_space_map_linear(&space, MIB(4), FRAME_SIZE, to_top + (int64_t)FRAME_SIZE, RWX),
		              MM_OK);
		struct npt_attributes odd = {MM_RWX, MM_DEVICE + 1};

		assert_status(addr_space_map_linear(&space, MIB(5), FRAME_SIZE, 0, odd), MM_EINVAL);
		odd = (struct npt_attributes){MM_RWX + 1, MM_WRITE_BACK};
		assert_status(addr_space_map_linear(&space, MIB(5), FRAME_SIZE, 0, odd), MM_EPERM);
		assert_status(addr_space_map_alloc(&space, MIB(5), FRAME_SIZE, RWX, false, AREA_PAGES_2M + 1),
		              MM_EINVAL);
		assert_status(addr_space_map_alloc(&space, MIB(5), 0, RWX, false, AREA_PAGES_AUTO), MM_EINVAL);
		assert_status(addr_space_unmap(&space, MIB(5), 0), MM_OK);
		assert_status(addr_space_unmap(&space, MIB(5) + 1, 0), MM_EALIGN);
		assert_status(addr_space_unmap(&space, 0, FRAME_SIZE), MM_ERANGE);
		assert_status(addr_space_protect(&space, MIB(4), 0, MM_RX), MM_EINVAL);
		assert_status(addr_space_protect(&space, MIB(5), FRAME_SIZE, MM_RX), MM_EFAULT);
		assert_status(addr_space_protect(&space, end, FRAME_SIZE, MM_RX), MM_ERANGE);
		addr_space_destroy(&space);
	}
}

static void every_operation_wants_multiples_of_4k(void **state)
{
	static const struct {
		gpa_t start;
		uint64_t size;
	} odd[] = {{1, FRAME_SIZE}, {FRAME_SIZE - 1, FRAME_SIZE}, {0, 1}, {0, FRAME_SIZE + 8}, {2, FRAME_SIZE - 2}};

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format, GIB(1));
		assert_status(addr_space_map_alloc(&space, 0, MIB(2), RWX, true, AREA_PAGES_AUTO), MM_OK);
		char *before = mm_dump(&space);

		for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
			gpa_t at = odd[i].start;
			uint64_t size = odd[i].size;

			assert_status(addr_space_map_linear(&space, MIB(4) + at, size, 0, RWX), MM_EALIGN);
			assert_status(addr_space_map_alloc(&space, MIB(4) + at, size, RWX, true, AREA_PAGES_4K),
			              MM_EALIGN);
			assert_status(addr_space_unmap(&space, at, size), MM_EALIGN);
			assert_status(addr_space_protect(&space, at, size, MM_RX), MM_EALIGN);
			assert_status(addr_space_discard(&space, at, size), MM_EALIGN);
		}
		assert_status(addr_space_discard(&space, 0, 0), MM_EINVAL);
		assert_status(addr_space_discard(&space, 0, GIB(1) + FRAME_SIZE), MM_ERANGE);
		char *after = mm_dump(&space);

		assert_string_equal(before, after);
		free(before);
		free(after);
		addr_space_destroy(&space);
	}
}

static void a_linear_gibibyte_is_one_entry(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		if (!has_1g(format)) {
			continue;
		}
		start(format, GIB(4));
		uint64_t before = arena.allocations;

		assert_status(addr_space_map_linear(&space, GIB(1), GIB(1), -(int64_t)GIB(7), RWX), MM_OK);
		assert_int_equal(space.npt.statistics.leaves[2], 1);
		assert_int_equal(space.npt.statistics.leaves[1] + space.npt.statistics.leaves[0], 0);
		/* The area's node, and the tables between the topmost one and that of the entry. */
		assert_int_equal(arena.allocations - before, 1U + space.npt.top - 2U);
		addr_space_destroy(&space);
	}
}

static void translate_tells_bytes_to_the_leafs_end_at_least_and_never_past_the_area(void **state)
{
	struct translation result;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format, GIB(4));
		/* The second area goes on where the first ends, in both spaces. */
		assert_status(addr_space_map_linear(&space, 0, MIB(4) + 2 * FRAME_SIZE, -(int64_t)GIB(1), RWX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(4) + 2 * FRAME_SIZE, MIB(4), -(int64_t)GIB(1), RX),
		              MM_OK);
		for (gpa_t at = 5; at < MIB(4) + 2 * FRAME_SIZE; at += FRAME_SIZE) {
			assert_status(addr_space_translate(&space, at, &result), MM_OK);
			assert_int_equal(result.address, GIB(1) + at);
			assert_true(result.bytes >= BIT(result.leaf_shift) - at % BIT(result.leaf_shift));
			assert_true(result.bytes <= MIB(4) + 2 * FRAME_SIZE - at);
			assert_int_equal(result.attributes.permissions, MM_RWX);
		}
		addr_space_destroy(&space);
	}
}

static void permissions_that_a_format_lacks_are_refused(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format, GIB(4));
		assert_status(addr_space_map_linear(&space, 0, FRAME_SIZE, 0, RWX), MM_OK);
		for (uint8_t permissions = 0; permissions <= MM_RWX; permissions++) {
			bool legal = format->legal_permissions >> permissions & 1;
			struct npt_attributes attributes = {permissions, MM_WRITE_BACK};
			int expected = legal ? MM_OK : MM_EPERM;
			struct translation result;

			assert_status(addr_space_map_linear(&space, MIB(2), FRAME_SIZE, 0, attributes), expected);
			assert_status(
				addr_space_map_alloc(&space, MIB(4), FRAME_SIZE, attributes, false, AREA_PAGES_4K),
				expected);
			assert_status(addr_space_protect(&space, 0, FRAME_SIZE, permissions), expected);
			if (legal && permissions != MM_NONE) {
				assert_status(addr_space_translate(&space, 0, &result), MM_OK);
				assert_int_equal(result.attributes.permissions, permissions);
				assert_status(addr_space_translate(&space, MIB(2), &result), MM_OK);
				assert_int_equal(result.attributes.permissions, permissions);
			}
			assert_status(addr_space_unmap(&space, MIB(2), MIB(8)), MM_OK);
		}
		assert_true(format->legal_permissions >> MM_NONE & 1);
		addr_space_destroy(&space);
	}
}

static void a_guard_always_faults_and_can_be_lifted(void **state)
{
	struct npt_attributes guard = {MM_NONE, MM_WRITE_BACK};
	const struct nested_fault nothing = {.gpa = MIB(4), .access = MM_NONE};
	struct nested_fault fault = {.access = MM_READ};
	struct translation result;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format, GIB(4));
		assert_status(addr_space_map_linear(&space, 0, MIB(2), 0, guard), MM_OK);
		assert_status(addr_space_map_alloc(&space, MIB(2), MIB(2), guard, true, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_map_alloc(&space, MIB(4), MIB(2), guard, false, AREA_PAGES_AUTO), MM_OK);
		for (fault.gpa = 0; fault.gpa < MIB(6); fault.gpa += MIB(2)) {
			assert_status(addr_space_handle_fault(&space, &fault), MM_EACCES);
			assert_status(addr_space_translate(&space, fault.gpa, &result), MM_EFAULT);
		}
		assert_status(addr_space_handle_fault(&space, &nothing), MM_EACCES);
		assert_status(addr_space_protect(&space, 0, MIB(6), MM_RWX), MM_OK);
		assert_int_equal(arena.flush_calls, 0);
		assert_status(addr_space_translate(&space, FRAME_SIZE, &result), MM_OK);
		assert_int_equal(result.address, FRAME_SIZE);
		assert_int_equal(result.attributes.permissions, MM_RWX);
		assert_status(addr_space_translate(&space, MIB(2), &result), MM_OK);
		assert_status(addr_space_translate(&space, MIB(4), &result), MM_EFAULT);
		fault.gpa = MIB(4);
		assert_status(addr_space_handle_fault(&space, &fault), MM_OK);
		addr_space_destroy(&space);
	}
}

static void overlaps_are_refused(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format, GIB(4));
		assert_status(addr_space_map_alloc(&space, MIB(2), MIB(2), RWX, false, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_map_linear(&space, 0, MIB(2) + FRAME_SIZE, 0, RWX), MM_EEXIST);
		assert_status(addr_space_map_linear(&space, MIB(4) - FRAME_SIZE, MIB(2), 0, RWX), MM_EEXIST);
		assert_status(addr_space_map_linear(&space, MIB(3), FRAME_SIZE, 0, RWX), MM_EEXIST);
		assert_status(addr_space_map_linear(&space, 0, MIB(8), 0, RWX), MM_EEXIST);
		assert_status(addr_space_map_linear(&space, 0, MIB(2), 0, RWX), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(4), MIB(2), 0, RWX), MM_OK);
		assert_int_equal(space.areas.count, 3);
		addr_space_destroy(&space);
	}
}

static void linear_uses_the_largest_leaves(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		if (!has_1g(format)) {
			continue;
		}
		start(format, GIB(4));
		gpa_t from = GIB(1) - MIB(2) - FRAME_SIZE;
		gpa_t to = GIB(2) + MIB(2) + FRAME_SIZE;
		struct translation result;

		assert_status(addr_space_map_linear(&space, from, to - from, -(int64_t)GIB(8), RWX), MM_OK);
		assert_int_equal(space.npt.statistics.leaves[0], 2);
		assert_int_equal(space.npt.statistics.leaves[1], 2);
		assert_int_equal(space.npt.statistics.leaves[2], 1);
		assert_status(addr_space_translate(&space, GIB(1) + 123, &result), MM_OK);
		assert_int_equal(result.address, GIB(9) + 123);
		assert_int_equal(result.bytes, GIB(1) - 123);
		assert_int_equal(result.leaf_shift, 30);
		assert_status(addr_space_translate(&space, from, &result), MM_OK);
		assert_int_equal(result.leaf_shift, 12);
		assert_status(addr_space_translate(&space, GIB(2) + FRAME_SIZE, &result), MM_OK);
		assert_int_equal(result.leaf_shift, 21);
		assert_int_equal(result.bytes, MIB(2) - FRAME_SIZE);
		assert_status(addr_space_translate(&space, to, &result), MM_EFAULT);
		assert_status(addr_space_translate(&space, from - 1, &result), MM_EFAULT);
		addr_space_destroy(&space);
	}
}

static void leaf_sizes_follow_what_the_cpu_has_and_both_alignments(void **state)
{
	struct translation result;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format, GIB(4));
		assert_status(addr_space_map_linear(&space, GIB(1), GIB(1), 0, RWX), MM_OK);
		assert_status(addr_space_translate(&space, GIB(1), &result), MM_OK);
		assert_int_equal(result.leaf_shift, has_1g(format) ? 30 : format->level[1].leaf ? 21 : 12);
		assert_status(addr_space_map_linear(&space, GIB(2), MIB(4), -(int64_t)MIB(2), RWX), MM_OK);
		assert_status(addr_space_translate(&space, GIB(2), &result), MM_OK);
		assert_int_equal(result.leaf_shift, format->level[1].leaf ? 21 : 12);
		assert_status(addr_space_map_linear(&space, GIB(3), MIB(4), -(int64_t)FRAME_SIZE, RWX), MM_OK);
		assert_status(addr_space_translate(&space, GIB(3) + 5, &result), MM_OK);
		assert_int_equal(result.leaf_shift, 12);
		assert_int_equal(result.address, GIB(3) + FRAME_SIZE + 5);
		addr_space_destroy(&space);
	}
}

static void the_last_page_of_the_widest_space_works(void **state)
{
	struct translation result;

	(void)state;
	FOR_EACH_FORMAT (format) {
		uint64_t limit = UINT64_C(1) << format->input_bits;

		start(format, limit);
		assert_status(addr_space_map_linear(&space, limit - FRAME_SIZE, FRAME_SIZE,
		                                    (int64_t)(limit - FRAME_SIZE), RWX),
		              MM_OK);
		assert_status(addr_space_translate(&space, limit - 1, &result), MM_OK);
		assert_int_equal(result.address, FRAME_SIZE - 1);
		assert_int_equal(result.bytes, 1);
		assert_status(addr_space_translate(&space, limit, &result), MM_EFAULT);
		assert_status(addr_space_translate(&space, UINT64_MAX, &result), MM_EFAULT);
		assert_status(addr_space_translate(&space, 0, &result), MM_EFAULT);
		assert_status(addr_space_protect(&space, limit - FRAME_SIZE, FRAME_SIZE, MM_RX), MM_OK);
		assert_status(addr_space_unmap(&space, 0, limit), MM_OK);
		assert_int_equal(space.npt.statistics.tables, fixed);
		addr_space_destroy(&space);
	}
}

static void mapping_a_lazy_tebibyte_takes_no_table(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		uint64_t size = MIN(UINT64_C(1) << format->input_bits, GIB(1024));

		start(format, size);
		uint64_t before = arena.allocations;

		assert_status(addr_space_map_alloc(&space, 0, size, RWX, false, AREA_PAGES_AUTO), MM_OK);
		assert_int_equal(arena.allocations - before, 1); /* for the area's node */
		assert_int_equal(space.npt.statistics.tables, fixed);
		addr_space_destroy(&space);
	}
}

static void an_address_outside_the_space_is_no_alias_of_one_inside(void **state)
{
	const struct nested_fault inside = {.gpa = GIB(3) + MIB(5), .access = MM_WRITE};
	struct translation to;

	(void)state;
	FOR_EACH_FORMAT (format) {
		assert_status(addr_space_init(&space, GIB(2), GIB(2), format, &arena.hal), MM_OK);
		assert_status(addr_space_map_alloc(&space, GIB(3), MIB(8), RWX, false, AREA_PAGES_4K), MM_OK);
		assert_status(addr_space_map_linear(&space, GIB(2), MIB(8), -(int64_t)MM_ARENA_BASE, RWX), MM_OK);
		assert_status(addr_space_handle_fault(&space, &inside), MM_OK);
		assert_status(addr_space_translate(&space, inside.gpa, &to), MM_OK);
		assert_status(addr_space_translate(&space, GIB(2), &to), MM_OK);
		for (unsigned bit = 32; bit < 64; bit++) {
			struct nested_fault outside = {.gpa = inside.gpa | BIT(bit), .access = MM_WRITE};

			assert_status(addr_space_translate(&space, outside.gpa, &to), MM_EFAULT);
			assert_status(addr_space_translate(&space, GIB(2) | BIT(bit), &to), MM_EFAULT);
			assert_status(addr_space_handle_fault(&space, &outside), MM_EFAULT);
		}
		assert_status(addr_space_translate(&space, inside.gpa - GIB(2), &to), MM_EFAULT);
		assert_status(addr_space_translate(&space, UINT64_MAX, &to), MM_EFAULT);
		addr_space_destroy(&space);
	}
}

static void memory_types_survive_splits_and_protect(void **state)
{
	struct translation result;

	(void)state;
	FOR_EACH_FORMAT (format) {
		for (uint8_t type = 0; type <= MM_DEVICE; type++) {
			uint8_t kept = type;

			if (format->address_shift != 0 && type == MM_WRITE_THROUGH) {
				kept = MM_WRITE_COMBINING; /* RISC-V has no write-through */
			}
			start(format, GIB(4));
			assert_status(
				addr_space_map_linear(&space, 0, GIB(1), 0, (struct npt_attributes){MM_RWX, type}),
				MM_OK);
			assert_status(addr_space_protect(&space, MIB(4) + FRAME_SIZE, FRAME_SIZE, MM_NONE), MM_OK);
			assert_status(addr_space_protect(&space, MIB(4) + FRAME_SIZE, FRAME_SIZE, MM_RX), MM_OK);
			for (gpa_t at = 0; at < MIB(8); at += FRAME_SIZE) {
				bool changed = at == MIB(4) + FRAME_SIZE;

				assert_status(addr_space_translate(&space, at, &result), MM_OK);
				assert_int_equal(result.address, at);
				assert_int_equal(result.attributes.type, kept);
				assert_int_equal(result.attributes.permissions, changed ? MM_RX : MM_RWX);
			}
			assert_status(addr_space_unmap(&space, MIB(6), FRAME_SIZE), MM_OK);
			assert_status(addr_space_translate(&space, GIB(1) - 1, &result), MM_OK);
			assert_int_equal(result.attributes.type, kept);
			addr_space_destroy(&space);
		}
	}
}

static void the_dump_tells_areas_leaves_and_counts(void **state)
{
	struct npt_attributes device = {MM_RW, MM_DEVICE};

	(void)state;
	start(mm_format(0), GIB(4));
	assert_status(addr_space_map_linear(&space, 0, MIB(4) + FRAME_SIZE, -(int64_t)GIB(1), RWX), MM_OK);
	assert_status(addr_space_map_linear(&space, GIB(1), FRAME_SIZE, 0, device), MM_OK);
	assert_status(addr_space_map_alloc(&space, GIB(2), GIB(1), RX, false, AREA_PAGES_4K), MM_OK);
	char *dump = mm_dump(&space);

	assert_string_equal(dump, "space 0x0-0x100000000 ept, 3 areas\n"
	                          "area 0x0-0x401000 rwx wb linear 0x40000000\n"
	                          "area 0x40000000-0x40001000 rw- device linear 0x40000000\n"
	                          "area 0x80000000-0xc0000000 r-x wb alloc lazy 4k\n"
	                          "leaf 0x0-0x400000 to 0x40000000 2m rwx wb\n"
	                          "leaf 0x400000-0x401000 to 0x40400000 4k rwx wb\n"
	                          "leaf 0x40000000-0x40001000 to 0x40000000 4k rw- device\n"
	                          "tables 6, leaves 4k 2, 2m 2, 1g 0, splits 0, flushes 0\n"
	                          "frames 0, faults filled 0, raced 0, refused 0\n");
	free(dump);
	addr_space_destroy(&space);
}

static void find_area_reports_range_and_permissions(void **state)
{
	struct gpa_range range;
	uint8_t permissions;

	(void)state;
	start(mm_format(0), GIB(4));
	assert_status(addr_space_map_alloc(&space, MIB(2), MIB(2), RX, false, AREA_PAGES_4K), MM_OK);
	assert_true(addr_space_find_area(&space, MIB(4) - 1, &range, &permissions));
	assert_int_equal(range.start, MIB(2));
	assert_int_equal(range.end, MIB(4));
	assert_int_equal(permissions, MM_RX);
	assert_false(addr_space_find_area(&space, MIB(4), &range, &permissions));
	addr_space_destroy(&space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_empty_space_gives_its_root_back, setup, teardown),
		cmocka_unit_test_setup_teardown(init_refuses_a_bad_range, setup, teardown),
		cmocka_unit_test_setup_teardown(arguments_are_checked_in_one_order, setup, teardown),
		cmocka_unit_test_setup_teardown(every_operation_wants_multiples_of_4k, setup, teardown),
		cmocka_unit_test_setup_teardown(a_linear_gibibyte_is_one_entry, setup, teardown),
		cmocka_unit_test_setup_teardown(translate_tells_bytes_to_the_leafs_end_at_least_and_never_past_the_area,
	                                        setup, teardown),
		cmocka_unit_test_setup_teardown(permissions_that_a_format_lacks_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_guard_always_faults_and_can_be_lifted, setup, teardown),
		cmocka_unit_test_setup_teardown(overlaps_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(linear_uses_the_largest_leaves, setup, teardown),
		cmocka_unit_test_setup_teardown(leaf_sizes_follow_what_the_cpu_has_and_both_alignments, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(the_last_page_of_the_widest_space_works, setup, teardown),
		cmocka_unit_test_setup_teardown(mapping_a_lazy_tebibyte_takes_no_table, setup, teardown),
		cmocka_unit_test_setup_teardown(an_address_outside_the_space_is_no_alias_of_one_inside, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(memory_types_survive_splits_and_protect, setup, teardown),
		cmocka_unit_test_setup_teardown(the_dump_tells_areas_leaves_and_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(layout_grows_with_every_change_of_the_areas_and_with_no_fault, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(find_area_reports_range_and_permissions, setup, teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
