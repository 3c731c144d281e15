/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An intrusive red-black tree after Cormen et al., with NULL for the leaves. Used by mm/area_set.c. The two
 * mirror cases of each step are one, by `side`. Never allocates.
 */
#include "lib/rbtree.h"

#include <stdbool.h>

static bool is_red(const struct rb_node *node)
{
	return node != NULL && node->red;
}

static int side_of(const struct rb_node *node)
{
	return node->parent->child[1] == node;
}

static struct rb_node *leftmost(struct rb_node *node)
{
	while (node != NULL && node->child[0] != NULL) {
		node = node->child[0];
	}
	return node;
}

/* Puts `to` (may be NULL) where `from` hangs. */
static void replace(struct rb_tree *tree, const struct rb_node *from, struct rb_node *to)
{
	if (from->parent == NULL) {
		tree->root = to;
	} else {
		from->parent->child[side_of(from)] = to;
	}
	if (to != NULL) {
		to->parent = from->parent;
	}
}

/* `node` goes down to `side`; its child on the other side takes its place. */
static void rotate(struct rb_tree *tree, struct rb_node *node, int side)
{
	struct rb_node *up = node->child[!side];

	node->child[!side] = up->child[side];
	if (up->child[side] != NULL) {
		up->child[side]->parent = node;
	}
	replace(tree, node, up);
	up->child[side] = node;
	node->parent = up;
}

void rb_insert(struct rb_tree *tree, struct rb_node *node, struct rb_node *parent, int side)
{
	node->child[0] = NULL;
	node->child[1] = NULL;
	node->parent = parent;
	node->red = true;
	if (parent == NULL) {
		tree->root = node;
	} else {
		parent->child[side] = node;
	}
	/* Invariant: `node` is red, and the only fault may be that its parent is red too. */
	while (is_red(node->parent)) {
		struct rb_node *grandparent = node->parent->parent;
		int parent_side = side_of(node->parent);
		struct rb_node *uncle = grandparent->child[!parent_side];

		if (is_red(uncle)) {
			node->parent->red = false;
			uncle->red = false;
			grandparent->red = true;
			node = grandparent;
			continue;
		}
		if (side_of(node) != parent_side) {
			node = node->parent;
			rotate(tree, node, parent_side);
		}
		node->parent->red = false;
		grandparent->red = true;
		rotate(tree, grandparent, !parent_side);
	}
	tree->root->red = false;
}

/* Paths through `node` (may be NULL), a child of `parent`, lack one black node: mends that. */
static void mend_black(struct rb_tree *tree, struct rb_node *node, struct rb_node *parent)
{
	while (parent != NULL && !is_red(node)) {
		/* The lack itself proves that there is a sibling. */
		int side = parent->child[1] == node;
		struct rb_node *sibling = parent->child[!side];

		if (sibling->red) {
			sibling->red = false;
			parent->red = true;
			rotate(tree, parent, side);
			sibling = parent->child[!side];
		}
		if (!is_red(sibling->child[0]) && !is_red(sibling->child[1])) {
			sibling->red = true;
			node = parent;
			parent = node->parent;
			continue;
		}
		if (!is_red(sibling->child[!side])) {
			sibling->child[side]->red = false;
			sibling->red = true;
			rotate(tree, sibling, !side);
			sibling = parent->child[!side];
		}
		sibling->red = parent->red;
		parent->red = false;
		sibling->child[!side]->red = false;
		rotate(tree, parent, side);
		return;
	}
	if (node != NULL) {
		node->red = false;
	}
}

void rb_erase(struct rb_tree *tree, struct rb_node *node)
{
	struct rb_node *orphan = node->child[node->child[0] == NULL];
	struct rb_node *parent = node->parent;
	int lost_red = node->red;

	if (node->child[0] == NULL || node->child[1] == NULL) {
		replace(tree, node, orphan);
	} else {
		/* The successor takes the place and the colour of `node`; its own place is what gets lost. */
		struct rb_node *next = leftmost(node->child[1]);

		orphan = next->child[1];
		parent = next->parent == node ? next : next->parent;
		lost_red = next->red;
		replace(tree, next, orphan);
		replace(tree, node, next);
		next->red = node->red;
		for (int side = 0; side < 2; side++) {
			next->child[side] = node->child[side];
			if (next->child[side] != NULL) {
				next->child[side]->parent = next;
			}
		}
	}
	if (!lost_red) {
		mend_black(tree, orphan, parent);
	}
}

struct rb_node *rb_first(const struct rb_tree *tree)
{
	return leftmost(tree->root);
}

struct rb_node *rb_next(const struct rb_node *node)
{
	if (node->child[1] != NULL) {
		return leftmost(node->child[1]);
	}
	while (node->parent != NULL && side_of(node) == 1) {
		node = node->parent;
	}
	return node->parent;
}
