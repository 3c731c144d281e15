/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random calls on an address space and, page by page, on a model so plain that it needs no test; after every call the
 * two must agree, and every third call has some allocation fail. For every format.
 */
#include "tests/host/mm_arena.h"

#include <string.h>

#include "mm/npt_private.h"

#define PAGES 4096U /* 16 MiB, across a GiB boundary */
#define BASE  (GIB(1) - MIB(8))
#define CALLS 400

static struct mm_arena arena;
static struct addr_space space;
static uint64_t seed = 1;

/* One page of the model. */
struct page {
	bool mapped;
	bool linear;
	bool filled;
	uint8_t permissions;
	hpa_t address; /* linear */
};

static struct page model[PAGES];
static struct page planned[PAGES];

static int setup(void **state)
{
	(void)state;
	mm_arena_init(&arena, MIB(64));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mm_arena_fini(&arena);
	return 0;
}

static unsigned next_random(unsigned limit)
{
	seed = seed * 6364136223846793005 + 1442695040888963407;
	return (unsigned)(seed >> 33) % limit;
}

/* Sizes and places both odd and round, so that leaves of every size come and go. */
static void pick_range(unsigned *first, unsigned *count)
{
	unsigned round = next_random(3) == 0 ? 1 : 512;

	*first = next_random(PAGES / round) * round;
	*count = 1 + next_random(next_random(2) == 0 ? 16 : PAGES - *first);
	*count = (*count + round - 1) / round * round;
	*count = MIN(*count, PAGES - *first);
}

static uint8_t pick_permissions(void)
{
	uint8_t permissions;

	do {
		permissions = (uint8_t)next_random(8);
	} while (!(space.npt.format.legal_permissions >> permissions & 1));
	return permissions;
}

static int plan_map(unsigned first, unsigned count, bool linear)
{
	bool populate = !linear && next_random(3) == 0;
	uint64_t shift = next_random(2) == 0 ? GIB(2) : GIB(2) + 3 * FRAME_SIZE;
	struct npt_attributes attributes = {pick_permissions(), MM_WRITE_BACK};
	int expected = MM_OK;

	for (unsigned i = first; i < first + count; i++) {
		expected = model[i].mapped ? MM_EEXIST : expected;
		planned[i] = (struct page){true, linear, populate || linear, attributes.permissions,
		                           BASE + i * FRAME_SIZE + shift};
	}
	int status = linear ? addr_space_map_linear(&space, BASE + first * FRAME_SIZE, count * FRAME_SIZE,
	                                            -(int64_t)shift, attributes)
	                    : addr_space_map_alloc(&space, BASE + first * FRAME_SIZE, count * FRAME_SIZE, attributes,
	                                           populate, next_random(2) == 0 ? AREA_PAGES_AUTO : AREA_PAGES_4K);

	assert_true(status == expected || status == MM_ENOMEM);
	return status;
}

static int plan_unmap(unsigned first, unsigned count)
{
	memset(&planned[first], 0, count * sizeof(planned[0]));
	return addr_space_unmap(&space, BASE + first * FRAME_SIZE, count * FRAME_SIZE);
}

static int plan_protect(unsigned first, unsigned count)
{
	uint8_t permissions = pick_permissions();
	int expected = MM_OK;

	for (unsigned i = first; i < first + count; i++) {
		expected = model[i].mapped ? expected : MM_EFAULT;
		planned[i].permissions = permissions;
	}
	int status = addr_space_protect(&space, BASE + first * FRAME_SIZE, count * FRAME_SIZE, permissions);

	assert_true(status == expected || status == MM_ENOMEM);
	return status;
}

static int plan_discard(unsigned first, unsigned count)
{
	int expected = MM_OK;

	for (unsigned i = first; i < first + count; i++) {
		expected = model[i].mapped && !model[i].linear ? expected : MM_EFAULT;
		planned[i].filled = false;
	}
	int status = addr_space_discard(&space, BASE + first * FRAME_SIZE, count * FRAME_SIZE);

	assert_true(status == expected || status == MM_ENOMEM);
	return status;
}

static int plan_fault(unsigned page)
{
	struct nested_fault fault = {.gpa = BASE + page * FRAME_SIZE + 5, .access = (uint8_t)(1U << next_random(3))};
	bool allowed = (model[page].permissions & fault.access) != 0;
	int expected = !model[page].mapped ? MM_EFAULT : !allowed ? MM_EACCES : MM_OK;
	uint64_t owned = space.statistics.frames_owned;
	int status = addr_space_handle_fault(&space, &fault);

	assert_true(status == expected || status == MM_ENOMEM);
	if (status == MM_OK) {
		unsigned filled = (unsigned)(space.statistics.frames_owned - owned);
		unsigned first = filled > 1 ? page - page % 512 : page;

		/* A large frame may only come where nothing was and the area went all over it. */
		for (unsigned i = first; i < first + filled; i++) {
			assert_true(planned[i].mapped && !planned[i].linear && !planned[i].filled);
			planned[i].filled = true;
		}
		assert_true(planned[page].filled);
	}
	return status;
}

static void agree(void)
{
	uint64_t owned = 0;

	for (unsigned i = 0; i < PAGES; i++) {
		const struct page *page = &model[i];
		struct npt_entry entry = npt_lookup(&space.npt, BASE + i * FRAME_SIZE);
		struct translation result;
		bool present = page->filled && page->permissions != MM_NONE;

		if (i % 2 == 0) { /* with and without the area at hand */
			struct gpa_range range;
			uint8_t permissions;

			addr_space_find_area(&space, BASE + i * FRAME_SIZE, &range, &permissions);
		}
		assert_int_equal(entry.kind, page->filled ? NPT_LEAF : NPT_HOLE);
		assert_status(addr_space_translate(&space, BASE + i * FRAME_SIZE, &result),
		              present ? MM_OK : MM_EFAULT);
		if (page->filled) {
			assert_int_equal(entry.attributes.permissions, page->permissions);
			assert_true(!page->linear || entry.address == page->address);
			if (present) {
				assert_int_equal(result.address, entry.address);
				assert_int_equal(result.leaf_shift, npt_shift(entry.level));
				assert_int_equal(result.attributes.permissions, page->permissions);
				assert_true(result.bytes >= FRAME_SIZE);
			}
			assert_int_equal(npt_is_hidden(&space.npt.format, entry.raw), !present);
		}
		owned += page->filled && !page->linear;
	}
	assert_int_equal(space.statistics.frames_owned, owned);
	assert_int_equal(arena.held[FRAME_GUEST], owned);
}

static void one_call(unsigned i)
{
	unsigned first;
	unsigned count;
	int status;

	pick_range(&first, &count);
	memcpy(planned, model, sizeof(planned));
	arena.fail_at = i % 3 == 0 ? 1 + next_random(8) : 0;
	switch (next_random(8)) {
	case 0:
	case 1:
		status = plan_map(first, count, true);
		break;
	case 2:
	case 3:
		status = plan_map(first, count, false);
		break;
	case 4:
		status = plan_unmap(first, count);
		break;
	case 5:
		status = plan_protect(first, count);
		break;
	case 6:
		status = plan_discard(first, count);
		break;
	default:
		status = plan_fault(first);
		break;
	}
	arena.fail_at = 0;
	if (status == MM_OK) {
		memcpy(model, planned, sizeof(model));
	}
	assert_true(status != MM_ENOMEM || i % 3 == 0);
}

static void random_calls_agree_with_the_model(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		assert_status(addr_space_init(&space, BASE, PAGES * FRAME_SIZE, format, &arena.hal), MM_OK);
		uint64_t fixed = space.npt.statistics.tables;

		memset(model, 0, sizeof(model));
		for (unsigned i = 0; i < CALLS; i++) {
			one_call(i);
			agree();
		}
		assert_status(addr_space_unmap(&space, BASE, PAGES * FRAME_SIZE), MM_OK);
		assert_int_equal(mm_arena_held(&arena), fixed);
		for (unsigned level = 0; level < NPT_MAX_LEVELS; level++) {
			assert_int_equal(space.npt.statistics.leaves[level], 0);
		}
		addr_space_destroy(&space);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(random_calls_agree_with_the_model, setup, teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
