/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest accessor: across pages, areas and frames, into lazy memory, up to the first byte that cannot be had;
 * and beside changes of the space on other CPUs.
 */
#include "tests/host/mm_fixture.h"

#include <string.h>

#include "mm/guest_memory.h"

#define CHANGES 2000

static void start(const struct npt_format *format)
{
	assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
}

static void map(gpa_t at, uint64_t size, struct npt_attributes attributes)
{
	assert_status(addr_space_map_alloc(&space, at, size, attributes, false, AREA_PAGES_AUTO), MM_OK);
}

static void what_was_written_is_read_back_at_any_alignment(void **state)
{
	static char out[10000];
	static char in[10000];

	(void)state;
	for (unsigned i = 0; i < sizeof(out); i++) {
		out[i] = (char)(i * 7);
	}
	FOR_EACH_FORMAT (format) {
		start(format);
		map(0, MIB(2) + 5 * FRAME_SIZE, RW);
		map(MIB(2) + 5 * FRAME_SIZE, MIB(2), RW);
		for (gpa_t at = MIB(2) - 5000; at < MIB(2) + 4 * FRAME_SIZE; at += 1237) {
			memset(in, 0, sizeof(in));
			assert_int_equal(guest_write(&space, at, out, sizeof(out), 0), sizeof(out));
			assert_int_equal(guest_read(&space, at, in, sizeof(in), 0), sizeof(in));
			assert_memory_equal(in, out, sizeof(in));
		}
		addr_space_destroy(&space);
	}
}

static void lazy_memory_reads_as_zeros(void **state)
{
	char in[64];

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map(MIB(1), MIB(4), RX);
		memset(in, 1, sizeof(in));
		assert_int_equal(guest_read(&space, MIB(3) - 7, in, sizeof(in), 0), sizeof(in));
		for (unsigned i = 0; i < sizeof(in); i++) {
			assert_int_equal(in[i], 0);
		}
		assert_true(space.statistics.faults_filled > 0);
		addr_space_destroy(&space);
	}
}

static void access_stops_at_the_first_byte_that_cannot_be_had(void **state)
{
	static char bytes[2 * FRAME_SIZE];

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map(MIB(2), FRAME_SIZE, RW);
		map(MIB(2) + FRAME_SIZE, FRAME_SIZE, RX);
		map(GIB(4) - FRAME_SIZE, FRAME_SIZE, RW);
		gpa_t at = MIB(2) + FRAME_SIZE - 10;

		assert_int_equal(guest_write(&space, at, bytes, 100, 0), 10);
		assert_int_equal(guest_fill(&space, at, 5, 100, 0), 10);
		assert_int_equal(guest_read(&space, at, bytes, 2 * FRAME_SIZE, 0), 10 + FRAME_SIZE);
		assert_int_equal(bytes[9], 5);
		assert_int_equal(guest_read(&space, MIB(2) - 1, bytes, 2, 0), 0);
		assert_int_equal(guest_read(&space, GIB(4) - 5, bytes, 100, 0), 5);
		assert_int_equal(guest_read(&space, GIB(4), bytes, 1, 0), 0);
		assert_int_equal(guest_read(&space, UINT64_MAX - 3, bytes, 100, 0), 0);
		assert_int_equal(guest_write(&space, UINT64_MAX, bytes, SIZE_MAX, 0), 0);
		assert_int_equal(guest_read(&space, MIB(2), bytes, 0, 0), 0);
		addr_space_destroy(&space);
	}
}

static void force_writes_where_the_guest_may_not(void **state)
{
	uint64_t value = 0;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map(0, MIB(2), RX);
		map(MIB(2), MIB(2), (struct npt_attributes){MM_NONE, MM_WRITE_BACK});
		assert_int_equal(guest_write(&space, 0, "firmware", 8, 0), 0);
		assert_int_equal(guest_write(&space, 0, "firmware", 8, GUEST_ACCESS_FORCE), 8);
		assert_true(guest_load(&space, 0, 8, &value));
		assert_memory_equal(&value, "firmware", 8);
		assert_int_equal(guest_read(&space, MIB(2), &value, 8, 0), 0);
		assert_int_equal(guest_fill(&space, MIB(2), 0x11, 8, GUEST_ACCESS_FORCE), 8);
		assert_int_equal(guest_read(&space, MIB(2), &value, 8, GUEST_ACCESS_FORCE), 8);
		assert_int_equal(value, 0x1111111111111111);
		addr_space_destroy(&space);
	}
}

static void device_memory_is_never_touched(void **state)
{
	struct npt_attributes device = {MM_RW, MM_DEVICE};
	struct npt_attributes uncached = {MM_RW, MM_UNCACHED};
	uint64_t value = 0;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		/* No such memory: a touch would be a crash here. */
		assert_status(addr_space_map_linear(&space, 0, MIB(2), -(int64_t)GIB(64), device), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(2), MIB(2), -(int64_t)GIB(64), uncached), MM_OK);
		assert_int_equal(guest_read(&space, 0, &value, 8, 0), 0);
		assert_int_equal(guest_write(&space, 0, &value, 8, GUEST_ACCESS_FORCE), 0);
		assert_false(guest_load(&space, MIB(2), 4, &value));
		assert_false(guest_store(&space, MIB(2), 4, value));
		assert_null(guest_peek(&space, 0, 4));
		addr_space_destroy(&space);
	}
}

static void loads_and_stores_are_of_natural_sizes_only(void **state)
{
	uint64_t value;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map(0, MIB(1), RW);
		for (unsigned width = 1; width <= 8; width *= 2) {
			value = 0;
			assert_true(guest_store(&space, 3 * width, width, 0x8877665544332211));
			assert_true(guest_load(&space, 3 * width, width, &value));
			assert_int_equal(value, 0x8877665544332211 & BITS(8 * width - 1, 0));
			assert_false(width > 1 && guest_load(&space, width + 1, width, &value));
			assert_false(width > 1 && guest_store(&space, width + 1, width, 0));
			assert_false(guest_load(&space, MIB(1), width, &value));
			assert_false(guest_store(&space, -(uint64_t)width, width, 0));
		}
		assert_false(guest_load(&space, 0, 0, &value));
		assert_false(guest_load(&space, 0, 3, &value));
		assert_false(guest_load(&space, 0, 16, &value));
		assert_false(guest_store(&space, 0, UINT32_MAX, 0));
		addr_space_destroy(&space);
	}
}

static void a_peek_stays_inside_one_page_and_ages_with_the_generation(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		map(0, MIB(1), RX);
		uint64_t generation = space.generation;
		const char *code = guest_peek(&space, FRAME_SIZE - 4, 4);

		assert_non_null(code);
		assert_int_equal(code[3], 0);
		assert_null(guest_peek(&space, FRAME_SIZE - 4, 5));
		assert_null(guest_peek(&space, FRAME_SIZE, SIZE_MAX));
		assert_null(guest_peek(&space, MIB(1), 1));
		assert_int_equal(space.generation, generation);
		assert_status(addr_space_protect(&space, 0, FRAME_SIZE, MM_NONE), MM_OK);
		assert_int_not_equal(space.generation, generation);
		assert_null(guest_peek(&space, 0, 4));
		generation = space.generation;
		assert_status(addr_space_unmap(&space, 0, FRAME_SIZE), MM_OK);
		assert_int_not_equal(space.generation, generation);
		addr_space_destroy(&space);
	}
}

/* ---- beside changes ---- */

static bool finished;

static void *write_all_the_time(void *context)
{
	char bytes[3 * FRAME_SIZE] = {0};
	uint64_t value;

	(void)context;
	while (!__atomic_load_n(&finished, __ATOMIC_RELAXED)) {
		guest_write(&space, MIB(1) - 100, bytes, sizeof(bytes), 0);
		guest_read(&space, MIB(2) - 100, bytes, sizeof(bytes), 0);
		guest_load(&space, MIB(3), 8, &value);
	}
	return NULL;
}

static void accessors_never_touch_a_frame_that_was_given_back(void **state)
{
	pthread_t threads[2];

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		finished = false;
		map(0, MIB(4), RW);
		for (unsigned i = 0; i < ARRAY_SIZE(threads); i++) {
			assert_int_equal(pthread_create(&threads[i], NULL, write_all_the_time, NULL), 0);
		}
		for (unsigned i = 0; i < CHANGES / 10; i++) {
			gpa_t at = i % 4 * MIB(1);

			assert_status(addr_space_discard(&space, at, MIB(1)), MM_OK);
			/* What was freed is garbage now, and must stay that garbage. */
			hpa_t frame = arena.hal.alloc_frames(&arena.hal, 0, FRAME_KERNEL);
			const unsigned char *bytes = mm_pointer(&arena.hal, frame);

			assert_status(addr_space_protect(&space, at, FRAME_SIZE, MM_RX), MM_OK);
			assert_status(addr_space_protect(&space, at, FRAME_SIZE, MM_RW), MM_OK);
			for (unsigned j = 0; j < FRAME_SIZE; j++) {
				assert_int_equal(bytes[j], 0xa5);
			}
			arena.hal.free_frames(&arena.hal, frame, 0, FRAME_KERNEL);
		}
		__atomic_store_n(&finished, true, __ATOMIC_RELAXED);
		for (unsigned i = 0; i < ARRAY_SIZE(threads); i++) {
			pthread_join(threads[i], NULL);
		}
		addr_space_destroy(&space);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_written_is_read_back_at_any_alignment, setup, teardown),
		cmocka_unit_test_setup_teardown(lazy_memory_reads_as_zeros, setup, teardown),
		cmocka_unit_test_setup_teardown(access_stops_at_the_first_byte_that_cannot_be_had, setup, teardown),
		cmocka_unit_test_setup_teardown(force_writes_where_the_guest_may_not, setup, teardown),
		cmocka_unit_test_setup_teardown(device_memory_is_never_touched, setup, teardown),
		cmocka_unit_test_setup_teardown(loads_and_stores_are_of_natural_sizes_only, setup, teardown),
		cmocka_unit_test_setup_teardown(a_peek_stays_inside_one_page_and_ages_with_the_generation, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(accessors_never_touch_a_frame_that_was_given_back, setup, teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
