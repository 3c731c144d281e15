/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of small numbers as a tree of bit words, for frame_bitmap: adding, removing, and finding the first member cost a
 * step per level. The words are the owner's, who lays them out (frame_takeover.c) and locks. Private to mm/.
 */
#pragma once

#include "lib/util.h"

#define WORD_BITS  64U
#define SET_LEVELS 5
#define NOTHING    UINT64_MAX /* no such member */

/* A set of numbers below 64^SET_LEVELS: bit n of words[k + 1] is set when word n of words[k] is not 0. */
struct index_set {
	uint64_t *words[SET_LEVELS];
	unsigned levels;
};

static inline void set_add(struct index_set *set, uint64_t index)
{
	for (unsigned level = 0; level < set->levels; level++) {
		uint64_t *word = &set->words[level][index / WORD_BITS];
		bool was_empty = *word == 0;

		*word |= BIT(index % WORD_BITS);
		if (!was_empty) {
			return;
		}
		index /= WORD_BITS;
	}
}

static inline void set_remove(struct index_set *set, uint64_t index)
{
	for (unsigned level = 0; level < set->levels; level++) {
		uint64_t *word = &set->words[level][index / WORD_BITS];

		*word &= ~BIT(index % WORD_BITS);
		if (*word != 0) {
			return;
		}
		index /= WORD_BITS;
	}
}

/* The first member of those below word `index` of `level`, which is not 0. */
static inline uint64_t set_descend(const struct index_set *set, unsigned level, uint64_t index, uint64_t word)
{
	for (;;) {
		index = index * WORD_BITS + (unsigned)__builtin_ctzll(word);
		if (level == 0) {
			return index;
		}
		level--;
		word = set->words[level][index];
	}
}

static inline uint64_t set_first(const struct index_set *set)
{
	uint64_t word = set->words[set->levels - 1][0];

	return word == 0 ? NOTHING : set_descend(set, set->levels - 1, 0, word);
}

/* The first member above `index`. */
static inline uint64_t set_after(const struct index_set *set, uint64_t index)
{
	for (unsigned level = 0; level < set->levels; level++) {
		uint64_t above = ~UINT64_C(1) << index % WORD_BITS;
		uint64_t word = set->words[level][index / WORD_BITS] & above;

		index /= WORD_BITS;
		if (word != 0) {
			return set_descend(set, level, index, word);
		}
	}
	return NOTHING;
}
