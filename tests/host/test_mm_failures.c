/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All or nothing: every operation in many states of the space, for every format, with its first allocation failing,
 * then its second, and so on until none is left that could; that one alone, and all after it as well. A call that
 * fails, for whatever reason, must leave no trace in dump, frames and flushes.
 */
#include "tests/host/mm_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mm/dirty_log.h"
#include "mm/guest_memory.h"

#define NODES_PER_FRAME 63

/* Where the states have their areas; the rest up to SPACE is free. */
#define LINEAR    UINT64_C(0) /* with the largest leaves */
#define POPULATED GIB(1)
#define LAZY      (GIB(1) + MIB(64)) /* a page and a block in it are filled */
#define GUARDS    (GIB(1) + MIB(128))
#define FREE      GIB(2)
#define CROWD     GIB(3)
#define SPACE     GIB(4)
#define PART_SIZE MIB(8)

static struct addr_space other;
static const struct npt_format *format;
static uint64_t linear_size;

/* ---- states ---- */

#define HAS_LINEAR    1U
#define HAS_POPULATED 2U
#define HAS_LAZY      4U
#define HAS_GUARDS    8U
#define HAS_ALL       15U
#define IS_CROWDED    16U /* the next node of an area costs a frame */
#define HAS_ONE_NODE  32U /* the one after it does */

static const unsigned states[] = {
	0, HAS_LINEAR, HAS_POPULATED, HAS_LAZY, HAS_GUARDS | IS_CROWDED, HAS_ALL | IS_CROWDED, HAS_ALL | HAS_ONE_NODE,
};

static void fault(gpa_t gpa)
{
	struct nested_fault nested = {.gpa = gpa, .access = MM_READ};

	assert_status(addr_space_handle_fault(&space, &nested), MM_OK);
}

static void map_alloc(gpa_t at, struct npt_attributes attributes, bool populate)
{
	assert_status(addr_space_map_alloc(&space, at, PART_SIZE, attributes, populate, AREA_PAGES_AUTO), MM_OK);
}

static void make_state(unsigned has)
{
	struct npt_attributes guard = {MM_NONE, MM_WRITE_BACK};

	assert_status(addr_space_init(&space, 0, SPACE, format, &arena.hal), MM_OK);
	if ((has & HAS_LINEAR) != 0) {
		assert_status(addr_space_map_linear(&space, LINEAR, linear_size, -(int64_t)GIB(1), RWX), MM_OK);
	}
	if ((has & HAS_POPULATED) != 0) {
		map_alloc(POPULATED, RWX, true);
	}
	if ((has & HAS_LAZY) != 0) {
		map_alloc(LAZY, RWX, false);
		fault(LAZY + MIB(2));
		arena.fail_large = true;
		fault(LAZY + MIB(4));
		arena.fail_large = false;
	}
	if ((has & HAS_GUARDS) != 0) {
		assert_status(addr_space_map_linear(&space, GUARDS, MIB(4), 0, guard), MM_OK);
		map_alloc(GUARDS + PART_SIZE, guard, true);
	}
	uint64_t areas = (has & IS_CROWDED) != 0     ? NODES_PER_FRAME
	                 : (has & HAS_ONE_NODE) != 0 ? NODES_PER_FRAME - 1
	                                             : 0;

	for (gpa_t at = CROWD; space.areas.count < areas; at += MIB(1)) {
		assert_status(addr_space_map_alloc(&space, at, FRAME_SIZE, RWX, false, AREA_PAGES_4K), MM_OK);
	}
}

/* ---- operations ---- */

static int init(void)
{
	/* At the top, where a table comes with the root. */
	int status = addr_space_init(&other, BIT(format->input_bits) - MIB(2), MIB(2), format, &arena.hal);

	if (status == MM_OK) {
		addr_space_destroy(&other);
	}
	return status;
}

static int map_4k(void)
{
	return addr_space_map_linear(&space, FREE, MIB(4) + FRAME_SIZE, (int64_t)FRAME_SIZE, RWX);
}

static int map_large(void)
{
	return addr_space_map_linear(&space, FREE, linear_size - MIB(2) + FRAME_SIZE, 0, RWX);
}

static int map_largest(void)
{
	return addr_space_map_linear(&space, FREE, linear_size, 0, RWX);
}

static int map_over_something(void)
{
	return addr_space_map_linear(&space, POPULATED - FRAME_SIZE, 2 * FRAME_SIZE, 0, RWX);
}

static int map_lazy(void)
{
	return addr_space_map_alloc(&space, FREE, GIB(1), RWX, false, AREA_PAGES_AUTO);
}

static int populate_auto(void)
{
	return addr_space_map_alloc(&space, FREE - 2 * FRAME_SIZE, MIB(2) + 5 * FRAME_SIZE, RWX, true, AREA_PAGES_AUTO);
}

static int populate_2m(void)
{
	return addr_space_map_alloc(&space, FREE - 2 * FRAME_SIZE, MIB(4) + 5 * FRAME_SIZE, RWX, true, AREA_PAGES_2M);
}

static int populate_4k(void)
{
	return addr_space_map_alloc(&space, FREE + MIB(1), 6 * FRAME_SIZE, RWX, true, AREA_PAGES_4K);
}

static int unmap_in_the_middle(void)
{
	return addr_space_unmap(&space, LINEAR + MIB(4) + FRAME_SIZE, linear_size / 2);
}

static int unmap_a_page(void)
{
	return addr_space_unmap(&space, LINEAR + MIB(4) + FRAME_SIZE, FRAME_SIZE);
}

static int unmap_a_populated_page(void)
{
	return addr_space_unmap(&space, POPULATED + FRAME_SIZE, FRAME_SIZE);
}

static int unmap_across_areas(void)
{
	return addr_space_unmap(&space, LINEAR + MIB(4) + FRAME_SIZE, GIB(1));
}

static int unmap_guards(void)
{
	return addr_space_unmap(&space, GUARDS + FRAME_SIZE, PART_SIZE);
}

static int protect_in_the_middle(void)
{
	return addr_space_protect(&space, LINEAR + MIB(4) + FRAME_SIZE, linear_size / 2, MM_RX);
}

static int protect_across_areas(void)
{
	return addr_space_protect(&space, LINEAR + linear_size - FRAME_SIZE, MIB(3), MM_NONE);
}

static int protect_lazy(void)
{
	return addr_space_protect(&space, LAZY + MIB(3), MIB(1) + 2 * FRAME_SIZE, MM_RX);
}

static int lift_guards(void)
{
	return addr_space_protect(&space, GUARDS + PART_SIZE + FRAME_SIZE, FRAME_SIZE, MM_RWX);
}

static int discard_populated(void)
{
	return addr_space_discard(&space, POPULATED + FRAME_SIZE, MIB(2));
}

static int discard_lazy(void)
{
	return addr_space_discard(&space, LAZY + MIB(2) + FRAME_SIZE, FRAME_SIZE);
}

static int fault_in_lazy_block(void)
{
	struct nested_fault nested = {.gpa = LAZY + 5, .access = MM_WRITE};

	return addr_space_handle_fault(&space, &nested);
}

static int fault_in_crowd(void)
{
	struct nested_fault nested = {.gpa = CROWD, .access = MM_WRITE};

	return addr_space_handle_fault(&space, &nested);
}

static int write_to_lazy_page(void)
{
	return guest_write(&space, LAZY + 9, "byte", 5, 0) == 5 ? MM_OK : MM_EFAULT;
}

static int replace_linear(void)
{
	return addr_space_replace_linear(&space, LINEAR + MIB(4) + FRAME_SIZE, GIB(1), 0, RWX);
}

static int replace_populated(void)
{
	return addr_space_replace_alloc(&space, POPULATED + FRAME_SIZE, MIB(4), RWX, true, AREA_PAGES_AUTO);
}

static int replace_lazy(void)
{
	return addr_space_replace_alloc(&space, LAZY + MIB(2) + FRAME_SIZE, FRAME_SIZE, RWX, false, AREA_PAGES_4K);
}

static int copy_everything(void)
{
	uint64_t fail_at = arena.fail_at;

	arena.fail_at = 0;
	assert_status(addr_space_init(&other, 0, SPACE, format, &arena.hal), MM_OK);
	arena.fail_at = fail_at;
	int status = addr_space_copy_from(&other, &space, 0, SPACE);

	addr_space_destroy(&other);
	return status;
}

static int compact_everything(void)
{
	uint64_t merged;

	return addr_space_compact(&space, 0, SPACE, &merged);
}

static int log_everything(void)
{
	int status = addr_space_dirty_log_start(&space, 0, SPACE);

	addr_space_dirty_log_stop(&space);
	return status;
}

static const struct {
	const char *name;
	int (*call)(void);
} operations[] = {
	{"init", init},
	{"map_4k", map_4k},
	{"map_large", map_large},
	{"map_largest", map_largest},
	{"map_over_something", map_over_something},
	{"map_lazy", map_lazy},
	{"populate_auto", populate_auto},
	{"populate_2m", populate_2m},
	{"populate_4k", populate_4k},
	{"unmap_in_the_middle", unmap_in_the_middle},
	{"unmap_a_page", unmap_a_page},
	{"unmap_a_populated_page", unmap_a_populated_page},
	{"unmap_across_areas", unmap_across_areas},
	{"unmap_guards", unmap_guards},
	{"protect_in_the_middle", protect_in_the_middle},
	{"protect_across_areas", protect_across_areas},
	{"protect_lazy", protect_lazy},
	{"lift_guards", lift_guards},
	{"discard_populated", discard_populated},
	{"discard_lazy", discard_lazy},
	{"fault_in_lazy_block", fault_in_lazy_block},
	{"fault_in_crowd", fault_in_crowd},
	{"write_to_lazy_page", write_to_lazy_page},
	{"replace_linear", replace_linear},
	{"replace_populated", replace_populated},
	{"replace_lazy", replace_lazy},
	{"copy_everything", copy_everything},
	{"compact_everything", compact_everything},
	{"log_everything", log_everything},
};

/* ---- the sweep ---- */

/* The dump, in which a refused fault is counted: that one trace is wanted. */
static char *dump_but_for_refusals(void)
{
	char *dump = mm_dump(&space);
	char *refused = strstr(dump, ", refused ");

	assert_non_null(refused);
	*refused = '\0';
	return dump;
}

/* Has the operation's n-th allocation fail. `failed`: there was an n-th. */
static int try_nth(unsigned operation, uint64_t n, bool and_on, bool *failed)
{
	char *before = dump_but_for_refusals();
	uint64_t held = mm_arena_held(&arena);
	unsigned flushes = arena.flush_calls;

	arena.refused = 0;
	arena.refused_large = 0;
	arena.fail_at = n;
	arena.fail_on = and_on;
	int status = operations[operation].call();

	arena.fail_at = 0;
	*failed = arena.refused + arena.refused_large != 0;
	char *after = dump_but_for_refusals();

	bool trace = strcmp(before, after) != 0 || held != mm_arena_held(&arena) || flushes != arena.flush_calls;
	bool told = status != MM_ENOMEM || *failed;

	if (!told || (trace && status != MM_OK)) {
		fail_msg("%s, %s, allocation %llu%s: %s\n%s\nbecame\n%s", format->name, operations[operation].name,
		         (unsigned long long)n, and_on ? " and on" : "", mm_status_name(status), before, after);
	}
	free(before);
	free(after);
	return status;
}

static void start_over(unsigned has)
{
	addr_space_destroy(&space);
	assert_int_equal(mm_arena_held(&arena), 0);
	make_state(has);
}

static void sweep(unsigned operation, unsigned has, bool and_on)
{
	bool failed = true;
	uint64_t step = 1;

	for (uint64_t n = 1; failed; n += step) {
		if (try_nth(operation, n, and_on, &failed) == MM_OK) {
			start_over(has);
		}
		step = n < 24 ? 1 : 97; /* the formats of 4 KiB leaves take hundreds of tables */
	}
}

static void a_call_that_fails_leaves_no_trace_whichever_of_its_allocations_fails(void **state)
{
	(void)state;
	for (unsigned i = 0; i < mm_format_count(); i++) {
		format = mm_format(i);
		linear_size = format->level[1].leaf ? GIB(1) : MIB(16);
		for (unsigned j = 0; j < ARRAY_SIZE(states); j++) {
			make_state(states[j]);
			for (unsigned operation = 0; operation < ARRAY_SIZE(operations); operation++) {
				sweep(operation, states[j], false);
				sweep(operation, states[j], true);
			}
			addr_space_destroy(&space);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_call_that_fails_leaves_no_trace_whichever_of_its_allocations_fails,
	                                        setup, teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
