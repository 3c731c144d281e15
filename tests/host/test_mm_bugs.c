/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What users of the address space that mm/ is modelled on ran into, a test each under its own name. For every format.
 */
#include "tests/host/mm_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "mm/guest_memory.h"
#include "mm/npt_private.h"

static void start(const struct npt_format *format)
{
	assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
	arena.flush_calls = 0;
}

static struct translation translate(gpa_t gpa)
{
	struct translation result;

	assert_status(addr_space_translate(&space, gpa, &result), MM_OK);
	return result;
}

static void assert_hole(gpa_t gpa)
{
	struct translation result;

	assert_status(addr_space_translate(&space, gpa, &result), MM_EFAULT);
}

static void second_fault_on_a_filled_page_keeps_the_data(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(8), RWX, false, AREA_PAGES_AUTO), MM_OK);
		assert_status(fault_at(MIB(3), MM_WRITE), MM_OK);
		hpa_t first = translate(MIB(3)).address;

		memset(mm_pointer(&arena.hal, first), 7, FRAME_SIZE);
		assert_status(fault_at(MIB(3), MM_WRITE), MM_OK);
		assert_int_equal(translate(MIB(3)).address, first);
		assert_int_equal(*(char *)mm_pointer(&arena.hal, first), 7);
		assert_int_equal(space.statistics.faults_filled, 1);
		assert_int_equal(space.statistics.faults_raced, 1);
		addr_space_destroy(&space);
	}
}

static void a_failed_populate_gives_everything_back(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		uint64_t held = mm_arena_held(&arena);
		char *before = mm_dump(&space);

		/* More than there is: it fails when nearly everything has been taken. */
		for (enum area_pages pages = AREA_PAGES_AUTO; pages <= AREA_PAGES_2M; pages++) {
			assert_status(addr_space_map_alloc(&space, MIB(1), MIB(66), RWX, true, pages), MM_ENOMEM);
			char *after = mm_dump(&space);

			assert_int_equal(mm_arena_held(&arena), held);
			assert_string_equal(before, after);
			free(after);
		}
		assert_status(addr_space_map_alloc(&space, MIB(1), MIB(60), RWX, true, AREA_PAGES_AUTO), MM_OK);
		free(before);
		addr_space_destroy(&space);
	}
}

static void hole_in_a_huge_leaf(void **state)
{
	gpa_t hole = MIB(514) + 7 * FRAME_SIZE;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, 0, GIB(1), -(int64_t)GIB(1), RWX), MM_OK);
		unsigned largest = translate(hole).leaf_shift;

		assert_status(addr_space_unmap(&space, hole, FRAME_SIZE), MM_OK);
		assert_hole(hole);
		assert_hole(hole + FRAME_SIZE - 1);
		for (gpa_t at = 0; at < GIB(1); at += at / MIB(2) == hole / MIB(2) ? FRAME_SIZE : MIB(2)) {
			if (at != hole) {
				assert_int_equal(translate(at).address, GIB(1) + at);
				assert_int_equal(translate(at).attributes.permissions, MM_RWX);
			}
		}
		assert_int_equal(translate(hole - FRAME_SIZE).leaf_shift, FRAME_SHIFT);
		/* The hole costs no more splits than it must. */
		assert_int_equal(translate(0).leaf_shift, MIN(largest, 21));
		assert_int_equal(space.npt.statistics.splits, (largest - FRAME_SHIFT) / NPT_INDEX_BITS);
		addr_space_destroy(&space);
	}
}

static void partial_protect_of_device_memory_keeps_its_type(void **state)
{
	struct npt_attributes device = {MM_RW, MM_DEVICE};

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, 0, MIB(4), -(int64_t)GIB(3), device), MM_OK);
		assert_status(addr_space_protect(&space, MIB(2) + FRAME_SIZE, FRAME_SIZE, MM_RX), MM_OK);
		for (gpa_t at = 0; at < MIB(4); at += FRAME_SIZE) {
			struct translation result = translate(at);
			struct npt_entry entry = npt_lookup(&space.npt, at);
			bool changed = at == MIB(2) + FRAME_SIZE;

			assert_int_equal(result.attributes.type, MM_DEVICE);
			assert_int_equal(entry.attributes.type, MM_DEVICE);
			assert_int_equal(entry.attributes.permissions, changed ? MM_RX : MM_RW);
			assert_int_equal(result.address, GIB(3) + at);
		}
		addr_space_destroy(&space);
	}
}

static void mapping_of_1_gib_after_4_kib_ones_were_unmapped(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		uint64_t tables = space.npt.statistics.tables;

		assert_status(addr_space_map_linear(&space, GIB(1), GIB(1), (int64_t)FRAME_SIZE, RWX), MM_OK);
		assert_int_equal(space.npt.statistics.leaves[0], GIB(1) / FRAME_SIZE);
		assert_status(addr_space_unmap(&space, GIB(1), GIB(1)), MM_OK);
		assert_int_equal(space.npt.statistics.tables, tables);
		assert_int_equal(space.npt.statistics.leaves[0], 0);
		assert_status(addr_space_map_linear(&space, GIB(1), GIB(1), 0, RWX), MM_OK);
		if (format->levels > 2 && format->level[2].leaf) {
			assert_int_equal(space.npt.statistics.leaves[2], 1);
		}
		assert_int_equal(translate(GIB(2) - 1).address, GIB(2) - 1);
		addr_space_destroy(&space);
	}
}

static void hpa_above_gpa(void **state)
{
	uint64_t value = 0;

	(void)state;
	FOR_EACH_FORMAT (format) {
		hpa_t top = BIT(format->output_bits);

		start(format);
		assert_status(addr_space_map_linear(&space, 0, MIB(2), -(int64_t)(top - MIB(2)), RW), MM_OK);
		assert_int_equal(translate(MIB(2) - 1).address, top - 1);
		/* And through the accessor, which has to get at it. */
		hpa_t frame = arena.hal.alloc_frames(&arena.hal, 0, FRAME_KERNEL);

		assert_true(frame > MIB(4));
		assert_status(addr_space_map_linear(&space, MIB(4), FRAME_SIZE, (int64_t)(MIB(4) - frame), RW), MM_OK);
		assert_true(guest_store(&space, MIB(4) + 8, 8, 42));
		assert_true(guest_load(&space, MIB(4) + 8, 8, &value));
		assert_int_equal(value, 42);
		assert_int_equal(((uint64_t *)mm_pointer(&arena.hal, frame))[1], 42);
		addr_space_destroy(&space);
		arena.hal.free_frames(&arena.hal, frame, 0, FRAME_KERNEL);
	}
}

static void range_that_wraps(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		uint64_t limit = BIT(format->input_bits);

		assert_status(addr_space_init(&space, 0, limit, format, &arena.hal), MM_OK);
		assert_status(addr_space_map_alloc(&space, 0, FRAME_SIZE, RWX, false, AREA_PAGES_4K), MM_OK);
		for (gpa_t start = FRAME_SIZE; start < limit; start = start * 2 + FRAME_SIZE) {
			/* Ends at 0, and after it. */
			for (uint64_t size = -start; size < -start + 2 * FRAME_SIZE; size += FRAME_SIZE) {
				assert_status(addr_space_map_linear(&space, start, size, 0, RWX), MM_ERANGE);
				assert_status(addr_space_map_alloc(&space, start, size, RWX, false, AREA_PAGES_AUTO),
				              MM_ERANGE);
				assert_status(addr_space_unmap(&space, start, size), MM_ERANGE);
				assert_status(addr_space_protect(&space, start, size, MM_RX), MM_ERANGE);
				assert_status(addr_space_discard(&space, start, size), MM_ERANGE);
			}
		}
		/* An HPA that wraps. */
		assert_status(addr_space_map_linear(&space, MIB(2), MIB(2), (int64_t)MIB(3), RWX), MM_ERANGE);
		assert_status(addr_space_map_linear(&space, MIB(2), MIB(2), (int64_t)(MIB(2) + FRAME_SIZE), RWX),
		              MM_ERANGE);
		assert_int_equal(space.areas.count, 1);
		addr_space_destroy(&space);
	}
}

static void gpa_beyond_the_width(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		uint64_t limit = BIT(format->input_bits);
		char byte;

		assert_status(addr_space_init(&space, 0, limit + FRAME_SIZE, format, &arena.hal), MM_ERANGE);
		assert_status(addr_space_init(&space, limit, FRAME_SIZE, format, &arena.hal), MM_ERANGE);
		assert_status(addr_space_init(&space, 0, limit, format, &arena.hal), MM_OK);
		assert_status(addr_space_map_alloc(&space, 0, limit, RWX, false, AREA_PAGES_4K), MM_OK);
		assert_status(addr_space_map_linear(&space, limit, FRAME_SIZE, 0, RWX), MM_ERANGE);
		/* Each bit above the width: page 0, which is there, does not answer under an alias. */
		assert_status(fault_at(0, MM_READ), MM_OK);
		for (unsigned bit = format->input_bits; bit < 64; bit++) {
			assert_status(fault_at(BIT(bit), MM_READ), MM_EFAULT);
			assert_hole(BIT(bit));
			assert_int_equal(guest_read(&space, BIT(bit), &byte, 1, 0), 0);
		}
		assert_int_equal(space.statistics.faults_filled, 1);
		/* The CPU's physical width. */
		assert_status(addr_space_unmap(&space, 0, limit), MM_OK);
		int64_t above = -(int64_t)BIT(format->output_bits);

		assert_status(addr_space_map_linear(&space, 0, FRAME_SIZE, above, RWX), MM_ERANGE);
		assert_status(addr_space_map_linear(&space, 0, 2 * FRAME_SIZE, above + (int64_t)FRAME_SIZE, RWX),
		              MM_ERANGE);
		addr_space_destroy(&space);
	}
}

static void access_that_runs_over_an_areas_end(void **state)
{
	static char bytes[3 * FRAME_SIZE];

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, MIB(2), MIB(2), RW, false, AREA_PAGES_AUTO), MM_OK);
		gpa_t at = MIB(4) - 100;

		/* Into nothing: what is there is done, and told. */
		assert_int_equal(guest_write(&space, at, bytes, 200, 0), 100);
		assert_int_equal(guest_read(&space, at, bytes, 200, 0), 100);
		assert_int_equal(guest_fill(&space, at, 1, 200, 0), 100);
		assert_false(guest_load(&space, MIB(4), 8, &(uint64_t){0}));
		assert_null(guest_peek(&space, MIB(4) - 4, 8));
		/* Into a neighbour of another kind, which goes on. */
		assert_status(addr_space_map_alloc(&space, MIB(4), FRAME_SIZE, RW, true, AREA_PAGES_4K), MM_OK);
		memset(bytes, 9, sizeof(bytes));
		assert_int_equal(guest_write(&space, at, bytes, 200, 0), 200);
		assert_int_equal(guest_read(&space, at, bytes, 3 * FRAME_SIZE, 0), 100 + FRAME_SIZE);
		assert_int_equal(bytes[199], 9);
		assert_int_equal(bytes[200], 0);
		addr_space_destroy(&space);
	}
}

static void execute_only_without_the_capability(void **state)
{
	struct ept_capabilities capabilities = {.leaf_2m = true, .leaf_1g = true, .physical_bits = 46};
	struct npt_attributes execute_only = {MM_EXECUTE, MM_WRITE_BACK};
	struct npt_format format;

	(void)state;
	for (unsigned capable = 0; capable < 2; capable++) {
		int expected = capable != 0 ? MM_OK : MM_EPERM;

		capabilities.execute_only = capable != 0;
		npt_format_ept(&format, &capabilities);
		start(&format);
		assert_status(addr_space_map_linear(&space, 0, MIB(2), 0, execute_only), expected);
		assert_status(addr_space_map_alloc(&space, MIB(2), MIB(2), execute_only, false, AREA_PAGES_AUTO),
		              expected);
		assert_status(addr_space_map_alloc(&space, MIB(4), MIB(2), RWX, false, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_protect(&space, MIB(4), FRAME_SIZE, MM_EXECUTE), expected);
		if (capable != 0) {
			assert_int_equal(npt_lookup(&space.npt, 0).raw & 7, MM_EXECUTE);
			assert_status(fault_at(MIB(2), MM_READ), MM_EACCES);
			assert_status(fault_at(MIB(2), MM_EXECUTE), MM_OK);
		} else {
			assert_int_equal(space.areas.count, 1);
		}
		addr_space_destroy(&space);
	}
}

static void write_only(void **state)
{
	struct npt_attributes attributes = {MM_WRITE, MM_WRITE_BACK};
	char byte = 1;

	(void)state;
	FOR_EACH_FORMAT (format) {
		bool legal = strcmp(format->name, "stage2") == 0; /* alone: S2AP has a bit for each */
		int expected = legal ? MM_OK : MM_EPERM;

		start(format);
		assert_status(addr_space_map_linear(&space, MIB(2), FRAME_SIZE, 0, attributes), expected);
		assert_status(addr_space_map_alloc(&space, 0, FRAME_SIZE, attributes, false, AREA_PAGES_4K), expected);
		attributes.permissions = MM_WRITE | MM_EXECUTE;
		assert_status(addr_space_map_alloc(&space, MIB(4), FRAME_SIZE, attributes, false, AREA_PAGES_4K),
		              expected);
		attributes.permissions = MM_WRITE;
		assert_int_equal(space.areas.count, legal ? 3 : 0);
		assert_int_equal(guest_write(&space, 0, &byte, 1, 0), legal);
		assert_int_equal(guest_read(&space, 0, &byte, 1, 0), 0);
		assert_status(fault_at(0, MM_READ), legal ? MM_EACCES : MM_EFAULT);
		addr_space_destroy(&space);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(second_fault_on_a_filled_page_keeps_the_data, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failed_populate_gives_everything_back, setup, teardown),
		cmocka_unit_test_setup_teardown(hole_in_a_huge_leaf, setup, teardown),
		cmocka_unit_test_setup_teardown(partial_protect_of_device_memory_keeps_its_type, setup, teardown),
		cmocka_unit_test_setup_teardown(mapping_of_1_gib_after_4_kib_ones_were_unmapped, setup, teardown),
		cmocka_unit_test_setup_teardown(hpa_above_gpa, setup, teardown),
		cmocka_unit_test_setup_teardown(range_that_wraps, setup, teardown),
		cmocka_unit_test_setup_teardown(gpa_beyond_the_width, setup, teardown),
		cmocka_unit_test_setup_teardown(access_that_runs_over_an_areas_end, setup, teardown),
		cmocka_unit_test_setup_teardown(execute_only_without_the_capability, setup, teardown),
		cmocka_unit_test_setup_teardown(write_only, setup, teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
