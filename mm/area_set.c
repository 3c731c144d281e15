/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of areas: see area_set.h. Called by the files of struct addr_space, under its lock.
 */
#include "mm/area_set.h"

_Static_assert(sizeof(struct area) == 64, "63 nodes and a header make a frame");

struct area area_nowhere = {.range = {UINT64_MAX, 0}};

static struct area *area_of(const struct rb_node *node)
{
	return node == NULL ? NULL : container_of(node, struct area, node);
}

void area_set_init(struct area_set *set, struct mm_hal *hal)
{
	set->tree.root = NULL;
	set->last = &area_nowhere;
	set->count = 0;
	slab_init(&set->nodes, hal, sizeof(struct area));
}

void area_set_destroy(struct area_set *set)
{
	struct area *area = area_of(rb_first(&set->tree));

	while (area != NULL) {
		area_set_erase(set, area);
		area = area_of(rb_first(&set->tree));
	}
}

struct area *area_set_take_node(struct area_set *set)
{
	return slab_alloc(&set->nodes);
}

void area_set_give_back(struct area_set *set, struct area *node)
{
	slab_free(&set->nodes, node);
}

struct area *area_set_search(struct area_set *set, gpa_t address)
{
	struct area *area = area_of(set->tree.root);

	while (area != NULL) {
		while (address >= area->range.start) {
			if (address < area->range.end) {
				__atomic_store_n(&set->last, area, __ATOMIC_RELEASE);
				return area;
			}
			area = area_of(area->node.child[1]);
			if (area == NULL) {
				return NULL;
			}
		}
		area = area_of(area->node.child[0]);
	}
	return NULL;
}

struct area *area_set_find_place(const struct area_set *set, gpa_t address, struct area_place *place)
{
	struct area *area = area_of(set->tree.root);
	struct area *parent = NULL;
	struct area *best = NULL;

	while (area != NULL) {
		parent = area;
		if (address < area->range.end) {
			best = area;
			area = area_of(area->node.child[0]);
		} else {
			area = area_of(area->node.child[1]);
		}
	}
	/* The last step went left if it was from the best one. */
	*place = (struct area_place){parent == NULL ? NULL : &parent->node, parent != best};
	return best;
}

struct area *area_set_at_or_after(const struct area_set *set, gpa_t address)
{
	struct area_place place;

	return area_set_find_place(set, address, &place);
}

struct area *area_set_find_between(const struct area_set *set, gpa_t address, struct area **below, struct area **above)
{
	struct area *area = area_of(set->tree.root);
	struct area *left = NULL;
	struct area *best = NULL;
	struct area *right = NULL;

	while (area != NULL) {
		if (address < area->range.end) {
			right = best;
			best = area;
			area = area_of(area->node.child[0]);
		} else {
			left = area;
			area = area_of(area->node.child[1]);
		}
	}
	*below = left;
	*above = best != NULL && best->node.child[1] != NULL ? area_set_next(best) : right;
	return best;
}

struct area *area_set_next(const struct area *area)
{
	return area_of(rb_next(&area->node));
}

void area_set_insert(struct area_set *set, struct area *area, const struct area_place *place)
{
	rb_insert(&set->tree, &area->node, place->parent, place->side);
	set->count++;
	__atomic_store_n(&set->last, area, __ATOMIC_RELEASE);
}

void area_set_erase(struct area_set *set, struct area *area)
{
	if (set->last == area) {
		set->last = &area_nowhere;
	}
	rb_erase(&set->tree, &area->node);
	set->count--;
	slab_free(&set->nodes, area);
}

void area_set_split(struct area_set *set, struct area *area, gpa_t at, struct area *node)
{
	/* The place right after `area`: on its right if that is free, else on the left of its successor. */
	struct area_place place = {&area->node, 1};

	if (area->node.child[1] != NULL) {
		place = (struct area_place){rb_next(&area->node), 0};
	}
	area_copy(node, area);
	node->range.start = at;
	area->range.end = at;
	area_set_insert(set, node, &place);
}

void area_set_move(struct area_set *to, struct area_set *from)
{
	struct area *area = area_of(rb_first(&from->tree));

	while (area != NULL) {
		struct area_place place;

		rb_erase(&from->tree, &area->node);
		area_set_find_place(to, area->range.start, &place);
		area_set_insert(to, area, &place);
		area = area_of(rb_first(&from->tree));
	}
	from->last = &area_nowhere;
	from->count = 0;
}
