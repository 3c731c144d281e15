/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The red-black tree, the slab and the set of areas, against a plain model.
 */
#include "tests/host/mm_arena.h"

#include <stdlib.h>

#define PAGES           4096
#define ROUNDS          20000
#define NODES_PER_FRAME 63

static struct mm_arena arena;
static struct area_set set;

static int setup(void **state)
{
	(void)state;
	mm_arena_init(&arena, MIB(8));
	area_set_init(&set, &arena.hal);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	area_set_destroy(&set);
	mm_arena_fini(&arena);
	return 0;
}

static uint64_t next_random(void)
{
	static uint64_t seed = 88172645463325252;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* The number of black nodes on every path below, or a failed assertion. */
static unsigned black_height(const struct rb_node *node, unsigned *count)
{
	if (node == NULL) {
		return 1;
	}
	unsigned heights[2];

	++*count;
	for (int side = 0; side < 2; side++) {
		if (node->child[side] != NULL) {
			assert_ptr_equal(node->child[side]->parent, node);
			assert_false(node->red && node->child[side]->red);
		}
		heights[side] = black_height(node->child[side], count);
	}
	assert_int_equal(heights[0], heights[1]);
	return heights[0] + (node->red ? 0 : 1);
}

static void check_tree(void)
{
	unsigned count = 0;

	black_height(set.tree.root, &count);
	assert_int_equal(count, set.count);
	assert_true(set.tree.root == NULL || !set.tree.root->red);
}

static struct area *insert(gpa_t start, gpa_t end)
{
	struct area *area = area_set_take_node(&set);

	assert_non_null(area);
	struct area_place place;

	area_set_find_place(&set, start, &place);
	*area = (struct area){.range = {start, end}};
	area_set_insert(&set, area, &place);
	return area;
}

static void the_tree_stays_balanced_whatever_is_done_to_it(void **state)
{
	static struct area *model[PAGES];

	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		/* Fills up first, then empties. */
		unsigned at = next_random() % PAGES;
		bool remove = next_random() % 8 < (round < ROUNDS / 2 ? 2U : 6U);

		if (model[at] == NULL && !remove) {
			model[at] = insert(at * FRAME_SIZE, (at + 1) * FRAME_SIZE);
		} else if (model[at] != NULL && remove) {
			area_set_erase(&set, model[at]);
			model[at] = NULL;
		}
		if (round % 16 == 0) {
			check_tree();
		}
		at = next_random() % PAGES;
		assert_ptr_equal(area_set_find(&set, at * FRAME_SIZE + 17), model[at]);
	}
	const struct rb_node *node = rb_first(&set.tree);

	for (unsigned at = 0; at < PAGES; at++) {
		if (model[at] != NULL) {
			assert_ptr_equal(node, &model[at]->node);
			node = rb_next(node);
		}
	}
	assert_null(node);
}

static void an_area_is_found_by_each_of_its_addresses_and_no_other(void **state)
{
	(void)state;
	assert_null(area_set_find(&set, 0));
	struct area *low = insert(MIB(1), MIB(2));
	struct area *high = insert(MIB(3), MIB(4));

	assert_null(area_set_find(&set, MIB(1) - 1));
	assert_ptr_equal(area_set_find(&set, MIB(1)), low);
	assert_ptr_equal(area_set_find(&set, MIB(2) - 1), low);
	assert_null(area_set_find(&set, MIB(2)));
	assert_ptr_equal(area_set_find(&set, MIB(3)), high);
	assert_null(area_set_find(&set, UINT64_MAX));
	assert_ptr_equal(area_set_at_or_after(&set, 0), low);
	assert_ptr_equal(area_set_at_or_after(&set, MIB(2) - 1), low);
	assert_ptr_equal(area_set_at_or_after(&set, MIB(2)), high);
	assert_null(area_set_at_or_after(&set, MIB(4)));
	assert_ptr_equal(area_set_next(low), high);
	assert_null(area_set_next(high));
}

static void the_last_hit_is_forgotten_with_its_area(void **state)
{
	(void)state;
	struct area *area = insert(MIB(1), MIB(2));

	assert_ptr_equal(area_set_find(&set, MIB(1)), area);
	area_set_erase(&set, area);
	assert_null(area_set_find(&set, MIB(1)));
}

static void a_split_area_keeps_all_but_its_range(void **state)
{
	(void)state;
	struct area *area = insert(MIB(1), MIB(3));

	area->attributes = RX;
	area->offset = -4096;
	area_set_split(&set, area, MIB(2), area_set_take_node(&set));
	const struct area *upper = area_set_find(&set, MIB(2));

	assert_int_equal(area->range.end, MIB(2));
	assert_int_equal(upper->range.start, MIB(2));
	assert_int_equal(upper->range.end, MIB(3));
	assert_int_equal(upper->attributes.permissions, MM_RX);
	assert_int_equal(upper->offset, -4096);
	check_tree();
}

static void frames_of_nodes_come_and_go_with_the_nodes(void **state)
{
	struct area *nodes[3 * NODES_PER_FRAME];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(nodes); i++) {
		nodes[i] = area_set_take_node(&set);
		assert_int_equal(arena.held[FRAME_TABLE], i / NODES_PER_FRAME + 1);
	}
	/* One of each frame first: they are full, and must be found again. */
	for (unsigned i = 0; i < 3; i++) {
		area_set_give_back(&set, nodes[i * NODES_PER_FRAME]);
	}
	for (unsigned i = 0; i < 3; i++) {
		nodes[i * NODES_PER_FRAME] = area_set_take_node(&set);
	}
	assert_int_equal(arena.held[FRAME_TABLE], 3);
	for (unsigned i = 0; i < ARRAY_SIZE(nodes); i++) {
		area_set_give_back(&set, nodes[i]);
	}
	assert_int_equal(arena.held[FRAME_TABLE], 0);
	arena.fail_at = 1;
	assert_null(area_set_take_node(&set));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_tree_stays_balanced_whatever_is_done_to_it, setup, teardown),
		cmocka_unit_test_setup_teardown(an_area_is_found_by_each_of_its_addresses_and_no_other, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(the_last_hit_is_forgotten_with_its_area, setup, teardown),
		cmocka_unit_test_setup_teardown(a_split_area_keeps_all_but_its_range, setup, teardown),
		cmocka_unit_test_setup_teardown(frames_of_nodes_come_and_go_with_the_nodes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
