/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame allocators: the bump allocator, the handover without loss, and the bitmap's promises.
 */
#include "tests/host/mm_arena.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Physical memory from 0 to 4 GiB, of which only the allocators' own bytes are ever touched. */
#define MEMORY GIB(4)
#define BLOCK  512

static char *memory;
static struct frame_bump bump;
static struct frame_bitmap frames;

static const struct memory_region regions[] = {
	{0x0, 0x9f, MEMORY_CONVENTIONAL},
	{0xf0000, 0x10, MEMORY_RESERVED},
	{MIB(1), 0x300, MEMORY_CONVENTIONAL},
	{MIB(4), 0x80, MEMORY_LOADED},
	{MIB(4) + 0x80000, 0x7f80, MEMORY_CONVENTIONAL},
	{MIB(132), 0x10, MEMORY_ACPI},
	{MIB(133), 0x101, MEMORY_CONVENTIONAL},
	{GIB(1) - MIB(2), 2 * 0x40000 + 512, MEMORY_CONVENTIONAL},
	{GIB(3) + MIB(8), 0x10, MEMORY_FIRMWARE},
};

static uint64_t accounted_frames(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(regions); i++) {
		bool counts = regions[i].kind == MEMORY_CONVENTIONAL || regions[i].kind == MEMORY_LOADED;

		sum += counts ? regions[i].frames : 0;
	}
	return sum;
}

static int setup(void **state)
{
	(void)state;
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(memory != MAP_FAILED);
	frame_bump_init(&bump, regions, ARRAY_SIZE(regions));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(memory, MEMORY);
	return 0;
}

static struct frame_counts counts_now(void)
{
	struct frame_counts counts;

	assert_true(frame_counts(&frames, &counts));
	return counts;
}

static void take_over(void)
{
	assert_status(frame_bitmap_init(&frames, &bump, (uintptr_t)memory), MM_OK);
	assert_int_equal(counts_now().total, accounted_frames());
}

static uint64_t take_all(unsigned order, enum frame_use use)
{
	uint64_t taken = 0;

	while (frame_alloc(&frames, order, use) != HPA_NONE) {
		taken += UINT64_C(1) << order;
	}
	return taken;
}

static bool is_conventional(hpa_t base, uint64_t count)
{
	for (unsigned i = 0; i < ARRAY_SIZE(regions); i++) {
		if (regions[i].kind == MEMORY_CONVENTIONAL && base >= regions[i].base &&
		    base + count * FRAME_SIZE <= regions[i].base + regions[i].frames * FRAME_SIZE) {
			return true;
		}
	}
	return false;
}

/* ---- bump ---- */

static void bump_gives_disjoint_aligned_conventional_frames(void **state)
{
	static const uint64_t alignments[] = {1, 512, 2, 16, 1, 4};
	struct frame_run given[64];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(given); i++) {
		uint64_t alignment = alignments[i % ARRAY_SIZE(alignments)];

		given[i].frames = 1 + i % 7;
		given[i].base = frame_bump_alloc(&bump, given[i].frames, alignment);
		assert_int_not_equal(given[i].base, HPA_NONE);
		assert_int_not_equal(given[i].base, 0);
		assert_true(is_aligned(given[i].base, alignment * FRAME_SIZE));
		assert_true(is_conventional(given[i].base, given[i].frames));
		for (unsigned j = 0; j < i; j++) {
			assert_true(given[i].base >= given[j].base + given[j].frames * FRAME_SIZE ||
			            given[j].base >= given[i].base + given[i].frames * FRAME_SIZE);
		}
	}
}

static void bump_respects_its_limit_and_comes_back_to_low_memory(void **state)
{
	(void)state;
	assert_int_equal(frame_bump_alloc(&bump, 0x1000, 1), MIB(4) + 0x80000);
	bump.limit = MIB(1);
	hpa_t low = frame_bump_alloc(&bump, 1, 1);

	assert_true(low != 0 && low < MIB(1));
	assert_int_equal(frame_bump_alloc(&bump, 0x9f, 1), HPA_NONE);
	bump.limit = 0;
	assert_true(frame_bump_alloc(&bump, 0x40000, 0x40000) == GIB(1));
	assert_int_equal(frame_bump_alloc(&bump, GIB(4) / FRAME_SIZE, 1), HPA_NONE);
	assert_int_equal(frame_bump_alloc(&bump, 0, 1), HPA_NONE);
}

static void bump_ends_when_all_is_given(void **state)
{
	uint64_t given = 0;

	(void)state;
	while (frame_bump_alloc(&bump, 1, 1) != HPA_NONE) {
		given++;
	}
	assert_int_equal(given, accounted_frames() - 0x80 - 1); /* not the loaded ones, not frame 0 */
}

/* ---- handover ---- */

static void the_handover_loses_no_frame(void **state)
{
	(void)state;
	uint64_t given = 0;

	for (unsigned i = 0; i < 20; i++) {
		assert_int_not_equal(frame_bump_alloc(&bump, 3, i % 2 == 0 ? 1 : 64), HPA_NONE);
		given += 3;
	}
	take_over();
	struct frame_counts counts = counts_now();
	uint64_t singles = 0;
	uint64_t not_given = 0;

	/* Only now is it known what the bitmap took for itself. */
	while (frame_bump_alloc(&bump, 1, 1) != HPA_NONE) {
		not_given++;
	}
	assert_int_equal(counts.free, not_given);
	/* Held: what was given out, what was loaded, frame 0, and the bitmap's own frames. */
	assert_true(counts.held[FRAME_KERNEL] >= given + 0x80 + 1);
	assert_true(counts.held[FRAME_KERNEL] < given + 0x80 + 1 + 256);
	while (frame_alloc(&frames, 0, FRAME_GUEST) != HPA_NONE) {
		singles++;
	}
	assert_int_equal(singles, counts.free);
	counts = counts_now();
	assert_int_equal(counts.free, 0);
	assert_int_equal(counts.held[FRAME_GUEST], singles);
}

static void what_bump_gave_out_is_not_given_again(void **state)
{
	hpa_t given[32];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(given); i++) {
		given[i] = frame_bump_alloc(&bump, 1, i % 3 == 0 ? 512 : 1);
	}
	take_over();
	hpa_t frame = frame_alloc(&frames, 0, FRAME_GUEST);

	for (; frame != HPA_NONE; frame = frame_alloc(&frames, 0, FRAME_GUEST)) {
		assert_int_not_equal(frame, 0);
		assert_true(is_conventional(frame, 1));
		for (unsigned i = 0; i < ARRAY_SIZE(given); i++) {
			assert_int_not_equal(frame, given[i]);
		}
	}
	/* They can be freed, and are then like any other. */
	assert_status(frame_free(&frames, given[0], 1, FRAME_KERNEL), MM_OK);
	assert_int_equal(frame_alloc(&frames, 0, FRAME_TABLE), given[0]);
}

static void loaded_frames_can_be_freed_later(void **state)
{
	(void)state;
	take_over();
	struct frame_counts before = counts_now();

	assert_status(frame_free(&frames, MIB(4), 0x80, FRAME_KERNEL), MM_OK);
	assert_int_equal(counts_now().free, before.free + 0x80);
}

static void without_memory_for_itself_the_bitmap_says_so(void **state)
{
	static const struct memory_region tiny[] = {{MIB(1), 1, MEMORY_CONVENTIONAL}, {GIB(1), 0x40000, MEMORY_LOADED}};

	(void)state;
	frame_bump_init(&bump, tiny, 2);
	assert_status(frame_bitmap_init(&frames, &bump, (uintptr_t)memory), MM_ENOMEM);
	frame_bump_init(&bump, tiny, 0);
	assert_status(frame_bitmap_init(&frames, &bump, (uintptr_t)memory), MM_ENOMEM);
}

static void what_lies_above_bumps_limit_is_taken_over_too(void **state)
{
	(void)state;
	bump.limit = MIB(600);
	take_over();
	struct frame_counts counts = counts_now();

	assert_int_equal(counts.held[FRAME_KERNEL] + counts.free, accounted_frames());
	assert_int_equal(frame_alloc_run(&frames, 2 * 0x40000 + 512, 1, FRAME_GUEST), GIB(1) - MIB(2));
}

/* ---- bitmap ---- */

static void a_double_free_is_refused_and_changes_nothing(void **state)
{
	(void)state;
	take_over();
	hpa_t frame = frame_alloc(&frames, 2, FRAME_TABLE);
	struct frame_counts before = counts_now();

	assert_status(frame_free(&frames, frame, 4, FRAME_GUEST), MM_EINVAL); /* not its use */
	assert_status(frame_free(&frames, frame, 0, FRAME_TABLE), MM_EINVAL);
	assert_status(frame_free(&frames, frame + 1, 1, FRAME_TABLE), MM_EALIGN);
	assert_status(frame_free(&frames, frame + FRAME_SIZE, 1, FRAME_TABLE), MM_OK);
	assert_status(frame_free(&frames, frame + FRAME_SIZE, 1, FRAME_TABLE), MM_EINVAL);
	assert_status(frame_free(&frames, frame, 4, FRAME_TABLE), MM_EINVAL); /* one of them is free */
	assert_int_equal(counts_now().held[FRAME_TABLE], before.held[FRAME_TABLE] - 1);
	assert_status(frame_free(&frames, frame, 1, FRAME_TABLE), MM_OK);
	assert_status(frame_free(&frames, frame + 2 * FRAME_SIZE, 2, FRAME_TABLE), MM_OK);
	assert_int_equal(counts_now().held[FRAME_TABLE], 0);
}

static void a_double_free_of_a_block_or_part_of_one_is_refused(void **state)
{
	(void)state;
	take_over();
	hpa_t block = frame_alloc(&frames, 9, FRAME_GUEST);
	hpa_t gib = frame_alloc(&frames, 18, FRAME_TABLE);

	take_all(9, FRAME_KERNEL);
	take_all(0, FRAME_KERNEL);
	struct frame_counts before = counts_now();
	struct frame_counts after;

	assert_status(frame_free(&frames, block, BLOCK + 1, FRAME_GUEST), MM_EINVAL);
	assert_status(frame_free(&frames, block, BLOCK, FRAME_TABLE), MM_EINVAL);
	assert_status(frame_free(&frames, gib, BLOCK * BLOCK + 1, FRAME_TABLE), MM_EINVAL);
	assert_status(frame_free(&frames, block + 7 * FRAME_SIZE, 1, FRAME_GUEST), MM_OK);
	assert_status(frame_free(&frames, block, BLOCK, FRAME_GUEST), MM_EINVAL);
	assert_status(frame_free(&frames, block + 7 * FRAME_SIZE, BLOCK - 7, FRAME_GUEST), MM_EINVAL);
	assert_int_equal(frame_alloc(&frames, 0, FRAME_GUEST), block + 7 * FRAME_SIZE);
	assert_status(frame_free(&frames, gib + MIB(2), BLOCK, FRAME_TABLE), MM_OK);
	assert_status(frame_free(&frames, gib, BLOCK * BLOCK, FRAME_TABLE), MM_EINVAL);
	assert_int_equal(frame_alloc_run(&frames, BLOCK, BLOCK, FRAME_TABLE), gib + MIB(2));
	after = counts_now();
	assert_memory_equal(&after, &before, sizeof(after));
	assert_status(frame_free(&frames, gib, BLOCK * BLOCK, FRAME_TABLE), MM_OK);
	assert_status(frame_free(&frames, gib, BLOCK * BLOCK, FRAME_TABLE), MM_EINVAL);
	assert_status(frame_free(&frames, block, BLOCK, FRAME_GUEST), MM_OK);
	assert_status(frame_free(&frames, block, BLOCK, FRAME_GUEST), MM_EINVAL);
}

static void a_free_of_what_is_not_ours_is_refused(void **state)
{
	static const struct frame_run wrong[] = {
		{0, 1},        {0xf0000, 1},     {MIB(132), 1},        {MIB(600), 1}, {GIB(3) + MIB(8), 1},
		{GIB(100), 1}, {-FRAME_SIZE, 1}, {MIB(1), UINT64_MAX}, {0x9e000, 2},
	};

	(void)state;
	take_over();
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_status(frame_free(&frames, wrong[i].base, wrong[i].frames, FRAME_KERNEL), MM_EINVAL);
	}
}

static void runs_of_every_order_are_aligned_and_disjoint(void **state)
{
	(void)state;
	take_over();
	for (unsigned order = 0; order <= 18; order++) {
		struct frame_counts before = counts_now();
		hpa_t first = frame_alloc(&frames, order, FRAME_GUEST);
		hpa_t second = frame_alloc(&frames, order, FRAME_GUEST);
		uint64_t size = FRAME_SIZE << order;

		assert_int_not_equal(first, HPA_NONE);
		assert_true(is_aligned(first, size));
		assert_true(is_conventional(first, UINT64_C(1) << order));
		if (order < 18) {
			assert_int_not_equal(second, HPA_NONE);
			assert_true(second >= first + size || first >= second + size);
			assert_status(frame_free(&frames, second, UINT64_C(1) << order, FRAME_GUEST), MM_OK);
		} else if (second != HPA_NONE) {
			assert_status(frame_free(&frames, second, UINT64_C(1) << order, FRAME_GUEST), MM_OK);
		}
		assert_status(frame_free(&frames, first, UINT64_C(1) << order, FRAME_GUEST), MM_OK);
		assert_int_equal(counts_now().free, before.free);
	}
	assert_int_equal(frame_alloc(&frames, 19, FRAME_GUEST), HPA_NONE);
	assert_int_equal(frame_alloc(&frames, 64, FRAME_GUEST), HPA_NONE);
	assert_int_equal(frame_alloc(&frames, UINT32_MAX, FRAME_GUEST), HPA_NONE);
}

static void single_frames_come_from_broken_blocks_first(void **state)
{
	(void)state;
	take_over();
	uint64_t blocks = 0;

	/* Take every whole block, then free one frame of one and all of another. */
	hpa_t last = HPA_NONE;
	hpa_t before_last = HPA_NONE;

	for (hpa_t block = frame_alloc(&frames, 9, FRAME_GUEST); block != HPA_NONE; blocks++) {
		before_last = last;
		last = block;
		block = frame_alloc(&frames, 9, FRAME_GUEST);
	}
	assert_true(blocks > 1024);
	while (frame_alloc(&frames, 0, FRAME_KERNEL) != HPA_NONE) {
	}
	assert_status(frame_free(&frames, before_last, BLOCK, FRAME_GUEST), MM_OK);
	assert_status(frame_free(&frames, last + 5 * FRAME_SIZE, 1, FRAME_GUEST), MM_OK);
	assert_int_equal(frame_alloc(&frames, 0, FRAME_TABLE), last + 5 * FRAME_SIZE);
	assert_int_equal(frame_alloc(&frames, 9, FRAME_GUEST), before_last);
	assert_int_equal(frame_alloc(&frames, 0, FRAME_TABLE), HPA_NONE);
}

static void a_block_freed_page_by_page_is_whole_again(void **state)
{
	(void)state;
	take_over();
	hpa_t gib = frame_alloc(&frames, 18, FRAME_GUEST);

	assert_int_equal(gib, GIB(1));
	assert_int_equal(frame_alloc(&frames, 18, FRAME_GUEST), GIB(2));
	assert_int_equal(frame_alloc(&frames, 18, FRAME_GUEST), HPA_NONE);
	for (uint64_t i = 0; i < BLOCK * BLOCK; i++) {
		assert_status(frame_free(&frames, gib + (i * 7 % (BLOCK * BLOCK)) * FRAME_SIZE, 1, FRAME_GUEST), MM_OK);
	}
	assert_int_equal(frame_alloc(&frames, 18, FRAME_GUEST), gib);
}

static void a_run_of_any_length_is_found_where_there_is_one(void **state)
{
	(void)state;
	take_over();
	/* Longer than a GiB, across everything. */
	hpa_t run = frame_alloc_run(&frames, 0x40000 + 700, 512, FRAME_GUEST);

	assert_int_equal(run, GIB(1) - MIB(2));
	assert_int_equal(frame_alloc_run(&frames, 0x40000 - 188, 1, FRAME_GUEST), run + (0x40000 + 700) * FRAME_SIZE);
	assert_int_equal(frame_alloc_run(&frames, 0x40000 - 188, 1, FRAME_GUEST), HPA_NONE);
	assert_int_equal(frame_alloc_run(&frames, 0, 1, FRAME_GUEST), HPA_NONE);
	assert_int_equal(frame_alloc_run(&frames, UINT64_MAX, 1, FRAME_GUEST), HPA_NONE);
	assert_status(frame_free(&frames, run, 0x40000 + 700, FRAME_GUEST), MM_OK);
	hpa_t odd = frame_alloc_run(&frames, 777, 256, FRAME_GUEST);

	assert_true(odd != HPA_NONE && is_aligned(odd, 256 * FRAME_SIZE));
}

static void a_run_never_leaves_its_region(void **state)
{
	static const uint64_t counts[] = {700, 257, 48, 5, 1};
	static struct frame_run taken[0x10000];
	size_t runs = 0;

	(void)state;
	take_over();
	struct frame_counts before = counts_now();

	/* One huge run is out of the way; the ends that are left are smaller and smaller. */
	assert_int_not_equal(frame_alloc_run(&frames, 0x7f000, 1, FRAME_TABLE), HPA_NONE);
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		for (;;) {
			hpa_t base = frame_alloc_run(&frames, counts[i], 1, FRAME_GUEST);

			if (base == HPA_NONE) {
				break;
			}
			assert_true(is_conventional(base, counts[i]));
			taken[runs++] = (struct frame_run){base, counts[i]};
		}
	}
	assert_int_equal(counts_now().free, 0);
	while (runs > 0) {
		runs--;
		assert_status(frame_free(&frames, taken[runs].base, taken[runs].frames, FRAME_GUEST), MM_OK);
	}
	assert_int_equal(counts_now().free, before.free - 0x7f000);
}

static char *owners(void)
{
	char *map = calloc(MEMORY / FRAME_SIZE, 1);

	assert_non_null(map);
	return map;
}

/* Notes that the run goes from `from` to `to` in the map: every frame of it was `from`. */
static void change_owner(char *map, hpa_t base, uint64_t count, char from, char to)
{
	for (uint64_t i = base / FRAME_SIZE; i < base / FRAME_SIZE + count; i++) {
		assert_int_equal(map[i], from);
		map[i] = to;
	}
}

static void random_work_keeps_the_account(void **state)
{
	char *map = owners();
	enum { SLOTS = 512 };
	static struct {
		hpa_t base;
		uint64_t count;
		enum frame_use use;
	} slots[SLOTS];
	uint64_t held[FRAME_USES] = {0};
	uint64_t seed = 1;

	(void)state;
	take_over();
	struct frame_counts start = counts_now();

	for (unsigned i = 0; i < 100000; i++) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		unsigned slot = (unsigned)(seed >> 40) % SLOTS;
		unsigned order = (unsigned)(seed >> 56) % 8 == 0 ? 9 : (unsigned)(seed >> 33) % 4;

		counts_now();
		if (slots[slot].count != 0) {
			assert_status(frame_free(&frames, slots[slot].base, slots[slot].count, slots[slot].use), MM_OK);
			change_owner(map, slots[slot].base, slots[slot].count, 1, 0);
			held[slots[slot].use] -= slots[slot].count;
			slots[slot].count = 0;
			continue;
		}
		slots[slot].use = (enum frame_use)(seed >> 60) % FRAME_USES;
		slots[slot].base = frame_alloc(&frames, order, slots[slot].use);
		assert_int_not_equal(slots[slot].base, HPA_NONE);
		slots[slot].count = UINT64_C(1) << order;
		held[slots[slot].use] += slots[slot].count;
		assert_true(is_conventional(slots[slot].base, slots[slot].count));
		change_owner(map, slots[slot].base, slots[slot].count, 0, 1);
	}
	struct frame_counts end = counts_now();

	assert_int_equal(end.held[FRAME_GUEST], held[FRAME_GUEST]);
	assert_int_equal(end.held[FRAME_TABLE], held[FRAME_TABLE]);
	assert_int_equal(end.held[FRAME_KERNEL], start.held[FRAME_KERNEL] + held[FRAME_KERNEL]);
	for (unsigned i = 0; i < SLOTS; i++) {
		if (slots[i].count != 0) {
			assert_status(frame_free(&frames, slots[i].base, slots[i].count, slots[i].use), MM_OK);
		}
	}
	free(map);
	assert_int_equal(counts_now().free, start.free);
	assert_int_equal(frame_alloc(&frames, 18, FRAME_GUEST), GIB(1));
}

/* ---- how much is looked at ---- */

/*
 * A map of 256 GiB, whose bitmap alone has thousands of pages. All of its memory is made inaccessible, and each page
 * that a call touches accessible again: so many were looked at.
 */
#define LARGE_GIBS    256
#define TOUCHED_AMONG 1000
#define TOUCHED_MOST  16

static char *watched;
static uint64_t watched_bytes;
static unsigned touched;

static void on_touch(int signal_number, siginfo_t *info, void *context)
{
	uintptr_t offset = (uintptr_t)info->si_addr - (uintptr_t)watched;

	(void)context;
	if (offset >= watched_bytes) {
		signal(signal_number, SIG_DFL); /* a fault of its own: happens again */
		return;
	}
	touched++;
	mprotect(watched + align_down(offset, FRAME_SIZE), FRAME_SIZE, PROT_READ | PROT_WRITE);
}

static unsigned pages_touched_by_alloc(unsigned order, hpa_t expected)
{
	struct sigaction watch = {.sa_sigaction = on_touch, .sa_flags = SA_SIGINFO};
	struct sigaction before;

	touched = 0;
	sigaction(SIGSEGV, &watch, &before);
	mprotect(watched, watched_bytes, PROT_NONE);
	hpa_t got = frame_alloc(&frames, order, FRAME_GUEST);

	mprotect(watched, watched_bytes, PROT_READ | PROT_WRITE);
	sigaction(SIGSEGV, &before, NULL);
	assert_int_equal(got, expected);
	assert_true(touched > 0);
	return touched;
}

static void finding_a_frame_a_block_or_a_gib_does_not_scan(void **state)
{
	static const struct memory_region large[] = {{MIB(1), LARGE_GIBS * BLOCK * BLOCK, MEMORY_CONVENTIONAL}};
	static const unsigned orders[] = {0, 9, 18};
	hpa_t last = GIB(LARGE_GIBS - 1);

	(void)state;
	frame_bump_init(&bump, large, 1);
	assert_status(frame_bitmap_init(&frames, &bump, (uintptr_t)memory), MM_OK);
	watched = memory + MIB(1);
	watched_bytes = counts_now().held[FRAME_KERNEL] * FRAME_SIZE;
	assert_true(watched_bytes / FRAME_SIZE > TOUCHED_AMONG);
	assert_int_not_equal(take_all(18, FRAME_GUEST), 0);
	assert_int_not_equal(take_all(9, FRAME_GUEST), 0);
	assert_int_not_equal(take_all(0, FRAME_GUEST), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(orders); i++) {
		uint64_t count = UINT64_C(1) << orders[i];

		assert_status(frame_free(&frames, last, count, FRAME_GUEST), MM_OK);
		assert_in_range(pages_touched_by_alloc(orders[i], last), 1, TOUCHED_MOST + 2 * (count / BLOCK / 64));
	}
	assert_int_equal(counts_now().free, 0);
}

/* ---- the reserve ---- */

static void the_last_frames_are_kept_from_guests_and_not_from_tables(void **state)
{
	(void)state;
	take_over();
	uint64_t free_frames = counts_now().free;

	frame_reserve(&frames, 100);
	assert_int_equal(take_all(9, FRAME_GUEST) + take_all(0, FRAME_GUEST), free_frames - 100);
	assert_int_equal(frame_alloc_run(&frames, 1, 1, FRAME_GUEST), HPA_NONE);
	assert_int_not_equal(frame_alloc(&frames, 0, FRAME_KERNEL), HPA_NONE);
	assert_int_equal(take_all(0, FRAME_TABLE), 99);
	assert_int_equal(counts_now().free, 0);
	assert_int_equal(counts_now().held[FRAME_GUEST], free_frames - 100);
}

static void a_run_that_would_reach_into_the_reserve_is_refused(void **state)
{
	(void)state;
	take_over();
	uint64_t free_frames = counts_now().free;

	frame_reserve(&frames, free_frames - 511);
	assert_int_equal(frame_alloc(&frames, 9, FRAME_GUEST), HPA_NONE);
	assert_int_equal(frame_alloc_run(&frames, 512, 1, FRAME_GUEST), HPA_NONE);
	assert_int_not_equal(frame_alloc_run(&frames, 510, 1, FRAME_GUEST), HPA_NONE);
	assert_int_not_equal(frame_alloc(&frames, 0, FRAME_GUEST), HPA_NONE);
	assert_int_equal(frame_alloc(&frames, 0, FRAME_GUEST), HPA_NONE);
	assert_int_not_equal(frame_alloc(&frames, 9, FRAME_TABLE), HPA_NONE);
	frame_reserve(&frames, UINT64_MAX);
	assert_int_equal(frame_alloc(&frames, 0, FRAME_GUEST), HPA_NONE);
	frame_reserve(&frames, 0);
	assert_int_not_equal(frame_alloc(&frames, 9, FRAME_GUEST), HPA_NONE);
}

/* ---- poison ---- */

static hpa_t damaged;
static unsigned damages;

static void note_damage(hpa_t frame)
{
	damaged = frame;
	damages++;
}

static void a_write_to_a_freed_frame_is_found_and_the_frame_named(void **state)
{
	(void)state;
	damages = 0;
	take_over();
	frame_on_poison_error(&frames, note_damage);
	hpa_t block = frame_alloc(&frames, 9, FRAME_GUEST);

	memset(memory + block, 1, MIB(2));
	assert_status(frame_free(&frames, block, BLOCK, FRAME_GUEST), MM_OK);
	memory[block + 99 * FRAME_SIZE + 4095] = 1;
	assert_int_equal(frame_alloc(&frames, 9, FRAME_TABLE), block);
	assert_int_equal(damages, 1);
	assert_int_equal(damaged, block + 99 * FRAME_SIZE);

	/* What is held may be written to; what was given back whole is taken by the page. */
	memset(memory + block, 2, MIB(2));
	assert_status(frame_free(&frames, block, BLOCK, FRAME_TABLE), MM_OK);
	memory[block + 5 * FRAME_SIZE] = 0;
	damaged = HPA_NONE;
	take_all(0, FRAME_KERNEL);
	assert_int_equal(damages, 2);
	assert_int_equal(damaged, block + 5 * FRAME_SIZE);
	assert_status(frame_free(&frames, block + 5 * FRAME_SIZE, 1, FRAME_KERNEL), MM_OK);
	assert_int_equal(frame_alloc(&frames, 0, FRAME_GUEST), block + 5 * FRAME_SIZE);
	assert_int_equal(damages, 2);
}

static void a_refused_free_poisons_nothing(void **state)
{
	(void)state;
	damages = 0;
	take_over();
	frame_on_poison_error(&frames, note_damage);
	hpa_t frame = frame_alloc(&frames, 0, FRAME_GUEST);

	memset(memory + frame, 7, FRAME_SIZE);
	assert_status(frame_free(&frames, frame, 1, FRAME_TABLE), MM_EINVAL);
	for (unsigned i = 0; i < FRAME_SIZE; i++) {
		assert_int_equal(memory[frame + i], 7);
	}
}

static void without_a_handler_freed_memory_is_not_touched(void **state)
{
	(void)state;
	damages = 0;
	take_over();
	hpa_t frame = frame_alloc(&frames, 0, FRAME_GUEST);

	memset(memory + frame, 7, FRAME_SIZE);
	assert_status(frame_free(&frames, frame, 1, FRAME_GUEST), MM_OK);
	assert_int_equal(memory[frame + 100], 7);
	frame_on_poison_error(&frames, note_damage); /* what was freed before is not under watch */
	assert_int_equal(frame_alloc(&frames, 0, FRAME_GUEST), frame);
	assert_status(frame_free(&frames, frame, 1, FRAME_GUEST), MM_OK);
	assert_int_not_equal(memory[frame + 100], 7);
	frame_on_poison_error(&frames, NULL);
	memory[frame] = 7;
	assert_int_equal(frame_alloc(&frames, 0, FRAME_GUEST), frame);
	assert_status(frame_free(&frames, frame, 1, FRAME_GUEST), MM_OK);
	memory[frame] = 8;
	frame_on_poison_error(&frames, note_damage);
	assert_int_equal(frame_alloc(&frames, 0, FRAME_GUEST), frame);
	assert_int_equal(damages, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bump_gives_disjoint_aligned_conventional_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(bump_respects_its_limit_and_comes_back_to_low_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(bump_ends_when_all_is_given, setup, teardown),
		cmocka_unit_test_setup_teardown(the_handover_loses_no_frame, setup, teardown),
		cmocka_unit_test_setup_teardown(what_bump_gave_out_is_not_given_again, setup, teardown),
		cmocka_unit_test_setup_teardown(loaded_frames_can_be_freed_later, setup, teardown),
		cmocka_unit_test_setup_teardown(what_lies_above_bumps_limit_is_taken_over_too, setup, teardown),
		cmocka_unit_test_setup_teardown(without_memory_for_itself_the_bitmap_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(a_double_free_is_refused_and_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_double_free_of_a_block_or_part_of_one_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_free_of_what_is_not_ours_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(runs_of_every_order_are_aligned_and_disjoint, setup, teardown),
		cmocka_unit_test_setup_teardown(single_frames_come_from_broken_blocks_first, setup, teardown),
		cmocka_unit_test_setup_teardown(a_block_freed_page_by_page_is_whole_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_run_of_any_length_is_found_where_there_is_one, setup, teardown),
		cmocka_unit_test_setup_teardown(a_run_never_leaves_its_region, setup, teardown),
		cmocka_unit_test_setup_teardown(random_work_keeps_the_account, setup, teardown),
		cmocka_unit_test_setup_teardown(finding_a_frame_a_block_or_a_gib_does_not_scan, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_frames_are_kept_from_guests_and_not_from_tables, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(a_run_that_would_reach_into_the_reserve_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_write_to_a_freed_frame_is_found_and_the_frame_named, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refused_free_poisons_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_handler_freed_memory_is_not_touched, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
