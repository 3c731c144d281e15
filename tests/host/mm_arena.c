/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arena: see mm_arena.h.
 */
#include "tests/host/mm_arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FREE    UINT8_MAX
#define GARBAGE 0xa5

static bool run_is_free(const struct mm_arena *arena, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++) {
		if (arena->use[i] != FREE) {
			return false;
		}
	}
	return true;
}

static hpa_t find_and_take(struct mm_arena *arena, uint64_t count, enum frame_use use)
{
	uint64_t at = align_up(arena->next, count);

	for (uint64_t tried = 0; tried <= arena->frames; tried += count, at += count) {
		at = at + count > arena->frames ? 0 : at;
		if (run_is_free(arena, at, count)) {
			memset(&arena->use[at], (int)use, count);
			memset(arena->memory + at * FRAME_SIZE, GARBAGE, count * FRAME_SIZE);
			arena->held[use] += count;
			arena->next = at + count;
			return MM_ARENA_BASE + at * FRAME_SIZE;
		}
	}
	return HPA_NONE;
}

static hpa_t alloc_frames(struct mm_hal *hal, unsigned order, enum frame_use use)
{
	struct mm_arena *arena = container_of(hal, struct mm_arena, hal);
	hpa_t frame = HPA_NONE;
	bool fails;

	pthread_mutex_lock(&arena->lock);
	arena->allocations++;
	fails = arena->fail_at != 0 && --arena->fail_at == 0;
	arena->fail_at += fails && arena->fail_on;
	if (!fails && !(arena->fail_large && order == 9)) {
		frame = find_and_take(arena, UINT64_C(1) << order, use);
	}
	if (frame == HPA_NONE) {
		++*(order == 9 ? &arena->refused_large : &arena->refused);
	}
	pthread_mutex_unlock(&arena->lock);
	return frame;
}

static void free_frames(struct mm_hal *hal, hpa_t frames, unsigned order, enum frame_use use)
{
	struct mm_arena *arena = container_of(hal, struct mm_arena, hal);
	uint64_t first = (frames - MM_ARENA_BASE) / FRAME_SIZE;
	uint64_t count = UINT64_C(1) << order;

	pthread_mutex_lock(&arena->lock);
	for (uint64_t i = first; i < first + count; i++) {
		if (i >= arena->frames || arena->use[i] != use) {
			fprintf(stderr, "frame 0x%llx freed that is not held\n", (unsigned long long)frames);
			abort();
		}
		arena->use[i] = FREE;
	}
	memset(arena->memory + first * FRAME_SIZE, GARBAGE, count * FRAME_SIZE);
	arena->held[use] -= count;
	pthread_mutex_unlock(&arena->lock);
}

static void flush(struct mm_hal *hal, struct npt *npt, const struct gpa_range *ranges, unsigned count)
{
	struct mm_arena *arena = container_of(hal, struct mm_arena, hal);

	(void)npt;
	assert_true(count <= MM_ARENA_FLUSHES);
	arena->flush_calls++;
	arena->flushed_count = count;
	memcpy(arena->flushed, ranges, count * sizeof(*ranges));
	if (arena->on_flush != NULL) {
		arena->on_flush(arena);
	}
}

/* `bytes` of zeros, aligned to 2 MiB; only what is touched takes memory. */
static char *map_zeros(uint64_t bytes)
{
	uint64_t slack = MIB(2);
	char *memory =
		mmap(NULL, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(memory != MAP_FAILED);
	uint64_t before = align_up((uintptr_t)memory, MIB(2)) - (uintptr_t)memory;

	if (before != 0) {
		munmap(memory, before);
	}
	munmap(memory + before + bytes, slack - before);
	return memory + before;
}

void mm_arena_init(struct mm_arena *arena, uint64_t bytes)
{
	mm_arena_init_windowed(arena, bytes, 0);
}

void mm_arena_init_windowed(struct mm_arena *arena, uint64_t bytes, uint64_t window)
{
	*arena = (struct mm_arena){.hal = {.alloc_frames = alloc_frames, .free_frames = free_frames, .flush = flush}};
	pthread_mutex_init(&arena->lock, NULL);
	arena->mapped = window == 0 ? bytes : MM_ARENA_WINDOW - MM_ARENA_BASE + window;
	arena->memory = map_zeros(arena->mapped);
	arena->frames = bytes / FRAME_SIZE;
	arena->use = malloc(arena->frames);
	assert_non_null(arena->use);
	memset(arena->use, FREE, arena->frames);
	arena->hal.virtual_offset = (uintptr_t)arena->memory - MM_ARENA_BASE;
}

void mm_arena_fini(struct mm_arena *arena)
{
	assert_int_equal(mm_arena_held(arena), 0);
	munmap(arena->memory, arena->mapped);
	free(arena->use);
	pthread_mutex_destroy(&arena->lock);
}

uint64_t mm_arena_held(const struct mm_arena *arena)
{
	return arena->held[FRAME_KERNEL] + arena->held[FRAME_TABLE] + arena->held[FRAME_GUEST];
}

#define FORMATS 13

static struct npt_format formats[FORMATS];

static void make_arm_and_riscv(struct npt_format *to)
{
	struct arm_stage2_capabilities stage2 = {.ipa_bits = 32, .physical_bits = 48};
	struct riscv_gstage_capabilities gstage = {.levels = 3, .physical_bits = 56};

	assert_status(npt_format_arm_stage2(to++, &stage2), MM_OK);
	stage2.ipa_bits = 39;
	assert_status(npt_format_arm_stage2(to++, &stage2), MM_OK);
	stage2.ipa_bits = 42;
	stage2.hardware_dirty = true;
	assert_status(npt_format_arm_stage2(to++, &stage2), MM_OK);
	stage2.ipa_bits = 48;
	stage2.hardware_dirty = false;
	assert_status(npt_format_arm_stage2(to++, &stage2), MM_OK);
	assert_status(npt_format_riscv(to++, &gstage), MM_OK);
	gstage.levels = 4;
	gstage.svpbmt = true;
	assert_status(npt_format_riscv(to++, &gstage), MM_OK);
}

unsigned mm_format_count(void)
{
	struct ept_capabilities ept = {.leaf_2m = true, .leaf_1g = true, .physical_bits = 46};
	struct amd_npt_capabilities amd = {.leaf_1g = true, .no_execute = true, .physical_bits = 48};
	struct x86_host_capabilities x86_host = {.leaf_1g = true, .physical_bits = 46};
	struct arm_el2_capabilities el2 = {.physical_bits = 44};

	if (formats[0].name == NULL) {
		npt_format_ept(&formats[0], &ept);
		ept.five_level = true;
		ept.execute_only = true;
		ept.accessed_dirty = true;
		npt_format_ept(&formats[1], &ept);
		ept = (struct ept_capabilities){.leaf_2m = true, .physical_bits = 39};
		npt_format_ept(&formats[2], &ept);
		npt_format_amd(&formats[3], &amd);
		npt_format_x86_host(&formats[4], &x86_host);
		npt_format_arm_el2(&formats[5], &el2);
		make_arm_and_riscv(&formats[6]);
		ept.leaf_2m = false;
		npt_format_ept(&formats[12], &ept);
	}
	return FORMATS;
}

const struct npt_format *mm_format(unsigned i)
{
	return &formats[i];
}

struct text {
	char *text;
	size_t length;
};

static void append(void *context, const char *line)
{
	struct text *text = context;
	size_t more = strlen(line);

	text->text = realloc(text->text, text->length + more + 2);
	assert_non_null(text->text);
	memcpy(text->text + text->length, line, more);
	memcpy(text->text + text->length + more, "\n", 2);
	text->length += more + 1;
}

char *mm_dump(struct addr_space *space)
{
	struct text text = {NULL, 0};

	addr_space_dump(space, append, &text);
	return text.text;
}

/* True if there was an allocation to fail. */
static bool fail_one(struct mm_arena *arena, struct addr_space *space, uint64_t n, int (*operation)(void))
{
	char *before = mm_dump(space);
	uint64_t held = mm_arena_held(arena);
	unsigned flush_calls = arena->flush_calls;

	arena->fail_at = n;
	int status = operation();
	bool failed = arena->fail_at == 0;

	arena->fail_at = 0;
	/* Where 2 MiB cannot be had 4 KiB may do. */
	assert_true(status == MM_OK || (failed && status == MM_ENOMEM));
	if (status != MM_OK) {
		char *after = mm_dump(space);

		assert_string_equal(before, after);
		assert_int_equal(mm_arena_held(arena), held);
		assert_int_equal(arena->flush_calls, flush_calls);
		free(after);
	}
	free(before);
	return failed;
}

void mm_fail_each_allocation(struct mm_arena *arena, struct addr_space *space, void (*begin)(void),
                             int (*operation)(void), void (*end)(void))
{
	bool failed = true;

	/* After the first ones by larger steps: formats without large leaves take hundreds of tables. */
	for (uint64_t n = 1; failed; n += n < 32 ? 1 : 97) {
		begin();
		failed = fail_one(arena, space, n, operation);
		end();
	}
}
