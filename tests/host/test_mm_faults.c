/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The alloc backend: populate, lazy faults, the policies of page sizes, what a race may and may not do. For
 * every format.
 */
#include "tests/host/mm_fixture.h"

#include <string.h>

#define THREADS    4
#define RACE_PAGES 1024

static void start(const struct npt_format *format)
{
	assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
}

static bool is_zero(gpa_t gpa, uint64_t bytes)
{
	struct translation result;

	for (gpa_t at = gpa; at < gpa + bytes; at += FRAME_SIZE) {
		assert_status(addr_space_translate(&space, at, &result), MM_OK);
		const char *memory = mm_pointer(&arena.hal, result.address);

		for (unsigned i = 0; i < FRAME_SIZE; i++) {
			if (memory[i] != 0) {
				return false;
			}
		}
	}
	return true;
}

static unsigned leaf_shift(gpa_t gpa)
{
	struct translation result;

	return addr_space_translate(&space, gpa, &result) == MM_OK ? result.leaf_shift : 0;
}

static void a_fault_in_a_lazy_area_fills_a_zeroed_frame(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(8), RWX, false, AREA_PAGES_4K), MM_OK);
		assert_int_equal(arena.held[FRAME_GUEST], 0);
		assert_status(fault_at(MIB(1) + 77, MM_WRITE), MM_OK);
		assert_int_equal(arena.held[FRAME_GUEST], 1);
		assert_true(is_zero(MIB(1), FRAME_SIZE));
		assert_int_equal(leaf_shift(MIB(1) + FRAME_SIZE), 0);
		assert_int_equal(space.statistics.faults_filled, 1);
		assert_int_equal(space.statistics.frames_owned, 1);
		assert_int_equal(arena.flush_calls, 0);
		addr_space_destroy(&space);
		assert_int_equal(mm_arena_held(&arena), 0);
	}
}

static void faults_are_refused_each_with_its_cause(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(2), RX, false, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(2), MIB(2), 0, RWX), MM_OK);
		assert_status(fault_at(0, MM_WRITE), MM_EACCES);
		assert_status(fault_at(0, MM_RW), MM_EACCES);
		assert_status(fault_at(MIB(4), MM_READ), MM_EFAULT);
		assert_status(fault_at(GIB(4), MM_READ), MM_EFAULT);
		assert_status(fault_at(UINT64_MAX, MM_READ), MM_EFAULT);
		assert_int_equal(space.statistics.faults_refused, 5);
		assert_status(fault_at(MIB(2), MM_WRITE), MM_OK); /* present: nothing was wrong */
		addr_space_destroy(&space);
	}
}

/* There is none, whatever happens; but if there were, the frames behind would not be ours to choose. */
static void a_hole_in_a_linear_area_is_never_filled(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_linear(&space, GIB(1), GIB(1), 0, RWX), MM_OK);
		assert_status(fault_at(GIB(1) + MIB(4), MM_READ), MM_OK);
		assert_status(npt_unmap(&space.npt, GIB(1) + MIB(4), FRAME_SIZE, NULL, NULL), MM_OK);
		assert_status(fault_at(GIB(1) + MIB(4), MM_READ), MM_EFAULT);
		assert_status(npt_unmap(&space.npt, GIB(1), GIB(1), NULL, NULL), MM_OK);
		assert_status(fault_at(GIB(1) + MIB(4), MM_READ), MM_EFAULT);
		assert_int_equal(arena.held[FRAME_GUEST], 0);
		addr_space_destroy(&space);
	}
}

static void a_whole_2m_is_filled_at_once(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, MIB(1), MIB(4), RWX, false, AREA_PAGES_AUTO), MM_OK);
		assert_status(fault_at(MIB(3), MM_WRITE), MM_OK);
		assert_status(fault_at(MIB(1), MM_WRITE), MM_OK);
		assert_status(fault_at(MIB(4), MM_WRITE), MM_OK);
		assert_int_equal(leaf_shift(MIB(1)), 12);
		assert_int_equal(leaf_shift(MIB(4)), 12);
		if (format->level[1].leaf) {
			assert_int_equal(leaf_shift(MIB(2)), 21);
			assert_int_equal(space.statistics.frames_owned, 514);
			assert_true(is_zero(MIB(2), MIB(2)));
		} else {
			assert_int_equal(leaf_shift(MIB(3)), 12);
			assert_int_equal(space.statistics.frames_owned, 3);
		}
		addr_space_destroy(&space);
	}
}

static void without_a_2m_frame_a_page_of_4k_will_do(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		arena.fail_large = true;
		assert_status(addr_space_map_alloc(&space, 0, MIB(4), RWX, false, AREA_PAGES_AUTO), MM_OK);
		assert_status(fault_at(MIB(1), MM_WRITE), MM_OK);
		assert_int_equal(leaf_shift(MIB(1)), 12);
		/* Later there are 2 MiB again, but part of this one is filled. */
		arena.fail_large = false;
		assert_status(fault_at(0, MM_WRITE), MM_OK);
		assert_int_equal(leaf_shift(0), 12);
		assert_int_equal(space.statistics.frames_owned, 2);
		addr_space_destroy(&space);
	}
}

static void the_2m_policy_insists(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		if (!format->level[1].leaf) {
			continue;
		}
		start(format);
		arena.fail_large = true;
		assert_status(addr_space_map_alloc(&space, 0, MIB(4), RWX, true, AREA_PAGES_2M), MM_ENOMEM);
		assert_status(addr_space_map_alloc(&space, 0, MIB(3), RWX, false, AREA_PAGES_2M), MM_OK);
		assert_status(fault_at(0, MM_WRITE), MM_ENOMEM);
		assert_status(fault_at(MIB(2), MM_WRITE), MM_OK); /* not a whole 2 MiB */
		arena.fail_large = false;
		assert_status(fault_at(0, MM_WRITE), MM_OK);
		assert_int_equal(leaf_shift(0), 21);
		addr_space_destroy(&space);
	}
}

static void the_4k_policy_never_maps_2m(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(4), RWX, false, AREA_PAGES_4K), MM_OK);
		assert_status(fault_at(0, MM_READ), MM_OK);
		assert_int_equal(leaf_shift(0), 12);
		assert_status(addr_space_map_alloc(&space, MIB(4), MIB(2), RWX, true, AREA_PAGES_4K), MM_OK);
		assert_int_equal(leaf_shift(MIB(4)), 12);
		addr_space_destroy(&space);
	}
}

static void populate_fills_everything_with_zeros(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		gpa_t from = MIB(2) - 3 * FRAME_SIZE;
		uint64_t size = MIB(4) + 5 * FRAME_SIZE;

		assert_status(addr_space_map_alloc(&space, from, size, RWX, true, AREA_PAGES_AUTO), MM_OK);
		assert_true(is_zero(from, size));
		assert_int_equal(space.statistics.frames_owned, size / FRAME_SIZE);
		assert_int_equal(arena.held[FRAME_GUEST], size / FRAME_SIZE);
		assert_int_equal(space.npt.statistics.leaves[1], format->level[1].leaf ? 2 : 0);
		assert_int_equal(leaf_shift(from - 1), 0);
		assert_int_equal(leaf_shift(from + size), 0);
		addr_space_destroy(&space);
	}
}

/* Lets the first order-9 allocation pass and no other. */
static hpa_t (*real_alloc)(struct mm_hal *hal, unsigned order, enum frame_use use);

static hpa_t one_large(struct mm_hal *hal, unsigned order, enum frame_use use)
{
	hpa_t frame = real_alloc(hal, order, use);

	arena.fail_large = arena.fail_large || order == 9;
	return frame;
}

static void populate_goes_on_with_4k_where_2m_run_out(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		if (!format->level[1].leaf) {
			continue;
		}
		start(format);
		real_alloc = arena.hal.alloc_frames;
		arena.hal.alloc_frames = one_large;
		assert_status(addr_space_map_alloc(&space, 0, MIB(6), RWX, true, AREA_PAGES_AUTO), MM_OK);
		arena.hal.alloc_frames = real_alloc;
		arena.fail_large = false;
		assert_int_equal(leaf_shift(0), 21);
		assert_int_equal(leaf_shift(MIB(2)), 12);
		assert_int_equal(leaf_shift(MIB(6) - 1), 12);
		assert_true(is_zero(0, MIB(6)));
		assert_int_equal(space.statistics.frames_owned, MIB(6) / FRAME_SIZE);
		addr_space_destroy(&space);
	}
}

static void a_fault_that_finds_no_frame_changes_nothing(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, GIB(1), GIB(1), RWX, false, AREA_PAGES_4K), MM_OK);
		uint64_t held = mm_arena_held(&arena);
		int status = MM_ENOMEM;
		unsigned failures = 0;

		for (uint64_t n = 1; status != MM_OK; n++) {
			arena.fail_at = n;
			status = fault_at(GIB(1) + MIB(3), MM_READ);
			arena.fail_at = 0;
			if (status != MM_OK) {
				failures++;
				assert_status(status, MM_ENOMEM);
				assert_int_equal(mm_arena_held(&arena), held);
				assert_int_equal(space.statistics.frames_owned, 0);
				assert_int_equal(space.npt.statistics.leaves[0], 0);
				assert_int_equal(leaf_shift(GIB(1) + MIB(3)), 0);
			}
		}
		assert_int_equal(failures, space.npt.top + 1); /* the frame, and each table below the topmost */
		assert_int_equal(space.statistics.faults_refused, failures);
		addr_space_destroy(&space);
	}
}

static void discarded_memory_comes_back_as_zeros(void **state)
{
	struct translation result;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(4), RWX, true, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_map_linear(&space, MIB(4), MIB(2), 0, RWX), MM_OK);
		assert_status(addr_space_translate(&space, MIB(1), &result), MM_OK);
		memset(mm_pointer(&arena.hal, result.address), 9, FRAME_SIZE);
		assert_status(addr_space_discard(&space, MIB(1), FRAME_SIZE), MM_OK);
		assert_int_equal(leaf_shift(MIB(1)), 0);
		assert_int_equal(space.statistics.frames_owned, MIB(4) / FRAME_SIZE - 1);
		assert_int_equal(space.areas.count, 2);
		assert_status(fault_at(MIB(1), MM_READ), MM_OK);
		assert_true(is_zero(MIB(1), FRAME_SIZE));
		assert_status(addr_space_discard(&space, MIB(2), MIB(4)), MM_EFAULT); /* linear */
		assert_status(addr_space_discard(&space, MIB(8), FRAME_SIZE), MM_EFAULT);
		assert_status(addr_space_discard(&space, 0, 0), MM_EINVAL);
		assert_status(addr_space_discard(&space, 0, MIB(4)), MM_OK);
		assert_int_equal(arena.held[FRAME_GUEST], 0);
		addr_space_destroy(&space);
	}
}

static void *fault_everywhere(void *context)
{
	unsigned step = *(const unsigned *)context;

	/* An odd step visits every page, each thread in its own order. */
	for (unsigned i = 0; i < RACE_PAGES; i++) {
		gpa_t gpa = i * step % RACE_PAGES * FRAME_SIZE;
		struct nested_fault fault = {.gpa = gpa, .access = MM_WRITE};
		struct translation result;

		if (addr_space_handle_fault(&space, &fault) != MM_OK ||
		    addr_space_translate(&space, gpa, &result) != MM_OK) {
			return context;
		}
		__atomic_fetch_add((uint64_t *)mm_pointer(&arena.hal, result.address), 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void threads_that_fault_on_one_page_share_one_frame(void **state)
{
	static unsigned steps[THREADS] = {1, 3, 5, 1023};
	pthread_t threads[THREADS];
	struct translation result;

	(void)state;
	start(mm_format(0));
	assert_status(addr_space_map_alloc(&space, 0, RACE_PAGES * FRAME_SIZE, RWX, false, AREA_PAGES_4K), MM_OK);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_create(&threads[i], NULL, fault_everywhere, &steps[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(arena.held[FRAME_GUEST], RACE_PAGES);
	assert_int_equal(space.statistics.faults_filled, RACE_PAGES);
	assert_int_equal(space.statistics.faults_raced, RACE_PAGES * (THREADS - 1));
	for (gpa_t gpa = 0; gpa < RACE_PAGES * FRAME_SIZE; gpa += FRAME_SIZE) {
		assert_status(addr_space_translate(&space, gpa, &result), MM_OK);
		assert_int_equal(*(uint64_t *)mm_pointer(&arena.hal, result.address), THREADS);
	}
	addr_space_destroy(&space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_fault_in_a_lazy_area_fills_a_zeroed_frame, setup, teardown),
		cmocka_unit_test_setup_teardown(faults_are_refused_each_with_its_cause, setup, teardown),
		cmocka_unit_test_setup_teardown(a_hole_in_a_linear_area_is_never_filled, setup, teardown),
		cmocka_unit_test_setup_teardown(a_whole_2m_is_filled_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_2m_frame_a_page_of_4k_will_do, setup, teardown),
		cmocka_unit_test_setup_teardown(the_2m_policy_insists, setup, teardown),
		cmocka_unit_test_setup_teardown(the_4k_policy_never_maps_2m, setup, teardown),
		cmocka_unit_test_setup_teardown(populate_fills_everything_with_zeros, setup, teardown),
		cmocka_unit_test_setup_teardown(populate_goes_on_with_4k_where_2m_run_out, setup, teardown),
		cmocka_unit_test_setup_teardown(a_fault_that_finds_no_frame_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(discarded_memory_comes_back_as_zeros, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_that_fault_on_one_page_share_one_frame, setup, teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
