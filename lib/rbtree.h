/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An intrusive red-black tree. Users embed struct rb_node, descend by themselves with their own comparison
 * and hand the place found to rb_insert. No allocation.
 */
#pragma once

#include <stddef.h>

struct rb_node {
	struct rb_node *child[2];
	struct rb_node *parent;
	int red;
};

struct rb_tree {
	struct rb_node *root;
};

/* Links `node` as parent->child[side] (parent NULL: the tree was empty) and rebalances. */
void rb_insert(struct rb_tree *tree, struct rb_node *node, struct rb_node *parent, int side);
void rb_erase(struct rb_tree *tree, struct rb_node *node);

struct rb_node *rb_first(const struct rb_tree *tree);
struct rb_node *rb_next(const struct rb_node *node);
