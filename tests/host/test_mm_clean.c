/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests that read past the caches, as Arm's do before they turn them on: what mm writes for them is in the cache alone
 * until it is cleaned. A false RAM behind the arena holds what was cleaned and garbage else; a guest must find the same
 * there as the host finds in the cache, whatever made the page. For every format.
 */
#include "tests/host/mm_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "mm/guest_memory.h"
#include "mm/npt_private.h"

#define GUEST_END MIB(8)
#define GARBAGE   0x5a

static char *ram; /* of the whole arena */
static unsigned cleaned;

/* Whether the guest could reach any of the frames already. */
static bool is_reachable(hpa_t frames, uint64_t bytes)
{
	for (gpa_t at = 0; at < GUEST_END; at += FRAME_SIZE) {
		hpa_t address = where(at);

		if (address != HPA_NONE && address >= frames && address - frames < bytes) {
			return true;
		}
	}
	return false;
}

static void clean(const void *memory, uint64_t bytes)
{
	uint64_t offset = (uint64_t)((const char *)memory - arena.memory);

	assert_false(is_reachable(MM_ARENA_BASE + offset, bytes));
	memcpy(ram + offset, memory, bytes);
	cleaned++;
}

static void start(const struct npt_format *format)
{
	assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
	memset(ram, GARBAGE, MIB(64));
	cleaned = 0;
}

/* All pages that the guest has, at least `least`. */
static void assert_the_same_past_the_caches(unsigned least)
{
	unsigned pages = 0;

	for (gpa_t at = 0; at < GUEST_END; at += FRAME_SIZE) {
		hpa_t address = where(at);

		if (address != HPA_NONE) {
			assert_memory_equal(ram + (address - MM_ARENA_BASE), mm_pointer(&arena.hal, address),
			                    FRAME_SIZE);
			pages++;
		}
	}
	assert_int_equal(pages, space.statistics.frames_owned);
	assert_true(pages >= least);
}

static int setup_ram(void **state)
{
	setup(state);
	arena.hal.clean = clean;
	ram = malloc(MIB(64));
	return ram == NULL;
}

static int teardown_ram(void **state)
{
	free(ram);
	return teardown(state);
}

static void pages_that_faults_fill_are_cleaned_first(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(2), RW, false, AREA_PAGES_4K), MM_OK);
		assert_status(addr_space_map_alloc(&space, MIB(2), MIB(4), RW, false, AREA_PAGES_AUTO), MM_OK);
		assert_status(fault_at(0, MM_WRITE), MM_OK);
		assert_status(fault_at(FRAME_SIZE, MM_READ), MM_OK); /* beside one that is there */
		assert_status(fault_at(MIB(2), MM_WRITE), MM_OK);
		assert_the_same_past_the_caches(3);
		assert_int_equal(cleaned, 3);
		addr_space_destroy(&space);
	}
}

static void pages_that_the_host_fills_by_its_access_are_cleaned_first(void **state)
{
	uint64_t value;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_map_alloc(&space, 0, MIB(4), RW, false, AREA_PAGES_AUTO), MM_OK);
		assert_true(guest_load(&space, MIB(2), 8, &value));
		assert_int_equal(value, 0);
		assert_the_same_past_the_caches(1);
		addr_space_destroy(&space);
	}
}

static void populated_pages_are_cleaned_first(void **state)
{
	static const enum area_pages policies[] = {AREA_PAGES_4K, AREA_PAGES_AUTO};

	(void)state;
	FOR_EACH_FORMAT (format) {
		for (unsigned i = 0; i < ARRAY_SIZE(policies); i++) {
			start(format);
			assert_status(addr_space_map_alloc(&space, MIB(1), MIB(4), RW, true, policies[i]), MM_OK);
			assert_the_same_past_the_caches(1024);
			addr_space_destroy(&space);
		}
	}
}

static void copied_pages_are_cleaned_first(void **state)
{
	static struct addr_space source;

	(void)state;
	FOR_EACH_FORMAT (format) {
		start(format);
		assert_status(addr_space_init(&source, 0, GIB(4), format, &arena.hal), MM_OK);
		assert_status(addr_space_map_alloc(&source, 0, MIB(2), RW, true, AREA_PAGES_AUTO), MM_OK);
		assert_status(addr_space_map_alloc(&source, MIB(2), MIB(2), RW, false, AREA_PAGES_4K), MM_OK);
		assert_true(guest_store(&source, 8, 8, 1));
		assert_true(guest_store(&source, MIB(3), 8, 2));
		assert_status(addr_space_copy_from(&space, &source, 0, MIB(4)), MM_OK);
		assert_the_same_past_the_caches(512 + 1);
		addr_space_destroy(&space);
		addr_space_destroy(&source);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pages_that_faults_fill_are_cleaned_first, setup_ram, teardown_ram),
		cmocka_unit_test_setup_teardown(pages_that_the_host_fills_by_its_access_are_cleaned_first, setup_ram,
	                                        teardown_ram),
		cmocka_unit_test_setup_teardown(populated_pages_are_cleaned_first, setup_ram, teardown_ram),
		cmocka_unit_test_setup_teardown(copied_pages_are_cleaned_first, setup_ram, teardown_ram),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
