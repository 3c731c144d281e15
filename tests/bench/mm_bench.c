/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the operations of mm/ cost in user-mode instructions: the rows of tools/bench_mm.py, which runs this
 * program and judges. The image's own objects, on an arena that gives frames in a few instructions. It counts by
 * perf_event_open where the machine has that, else it is run under callgrind, which writes one part per row. Each
 * row is prepared and undone outside of the count and fails loudly; nothing in mm/ may know that it is measured.
 */
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#include "lib/util.h"
#include "mm/addr_space.h"
#include "mm/formats.h"
#include "mm/frames.h"

#define ARENA_BYTES  GIB(2)
#define ARENA_FRAMES (ARENA_BYTES >> FRAME_SHIFT)
#define SPACE_BYTES  BIT(48) /* as hv makes it for a VM: all that EPT translates */
#define LAZY_BYTES   GIB(64)
#define PAGES_BYTES  MIB(256) /* what is touched page by page */
#define PAGES        (PAGES_BYTES >> FRAME_SHIFT)
#define FEW_AREAS    1024U
#define MANY_AREAS   16384U
#define FRAMES       4096U /* taken and given back in the allocators' rows */
#define BLOCKS       128U

#define RWX ((struct npt_attributes){MM_RWX, MM_WRITE_BACK})

/* The image's objects ask for it; here it guards nothing. */
uintptr_t __stack_chk_guard = 1; /* NOLINT(bugprone-reserved-identifier) */

/* ---- the arena: pages from a stack in its upper half, larger frames from its lower half one after the other ---- */

static struct {
	struct mm_hal hal;
	char *memory;
	hpa_t next; /* the first byte of the lower half never given out */
	uint64_t page_count;
	hpa_t pages[ARENA_FRAMES / 2];
	bool pages_only; /* memory in pieces: nothing larger is to be had */
} arena;

static void check(bool fine, const char *what)
{
	if (!fine) {
		fprintf(stderr, "mm_bench: %s\n", what);
		exit(1);
	}
}

static hpa_t alloc_frames(struct mm_hal *hal, unsigned order, enum frame_use use)
{
	(void)hal;
	(void)use;
	if (order == 0) {
		return arena.page_count != 0 ? arena.pages[--arena.page_count] : HPA_NONE;
	}
	hpa_t frames = align_up(arena.next, FRAME_SIZE << order);

	if (arena.pages_only || frames + (FRAME_SIZE << order) > ARENA_BYTES / 2) {
		return HPA_NONE;
	}
	arena.next = frames + (FRAME_SIZE << order);
	return frames;
}

static void free_frames(struct mm_hal *hal, hpa_t frames, unsigned order, enum frame_use use)
{
	(void)hal;
	(void)order;
	(void)use;
	if (frames >= ARENA_BYTES / 2) { /* what is below comes back with the space's end */
		arena.pages[arena.page_count++] = frames;
	}
}

static void init_arena(void)
{
	char *memory = mmap(NULL, ARENA_BYTES + MIB(2), PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	check(memory != MAP_FAILED, "no address space for the arena");
	arena.memory = memory + (align_up((uintptr_t)memory, MIB(2)) - (uintptr_t)memory);
	arena.hal.alloc_frames = alloc_frames;
	arena.hal.free_frames = free_frames;
	arena.hal.virtual_offset = (uintptr_t)arena.memory;
	arena.next = FRAME_SIZE; /* frame 0 is never given out */
	for (; arena.page_count < ARRAY_SIZE(arena.pages); arena.page_count++) {
		arena.pages[arena.page_count] = ARENA_BYTES - ((arena.page_count + 1) << FRAME_SHIFT);
	}
}

/* ---- what the rows work on ---- */

static struct npt_format format;
static struct addr_space space;
static struct frame_bitmap bitmap;
static gpa_t order[PAGES]; /* every page once, in an order of chance */
static hpa_t taken[FRAMES];
static volatile uint64_t sink;
static void *(*volatile image_memset)(void *to, int value, size_t bytes) = memset; /* so that it is called */

static void shuffle(void)
{
	uint64_t state = UINT64_C(88172645463325252); /* of a xorshift generator: any but 0 */

	for (uint64_t i = 0; i < PAGES; i++) {
		order[i] = i << FRAME_SHIFT;
	}
	for (uint64_t i = PAGES - 1; i > 0; i--) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		uint64_t j = state % (i + 1);
		gpa_t other = order[j];

		order[j] = order[i];
		order[i] = other;
	}
}

static void make_space(void)
{
	check(addr_space_init(&space, 0, SPACE_BYTES, &format, &arena.hal) == MM_OK, "no space");
}

static void end_space(void)
{
	addr_space_destroy(&space);
	check(arena.page_count == ARRAY_SIZE(arena.pages), "a page was not given back");
	arena.next = FRAME_SIZE; /* frame 0 is never given out */
}

static void map_linear(gpa_t start, uint64_t size, uint64_t above)
{
	check(addr_space_map_linear(&space, start, size, -(int64_t)above, RWX) == MM_OK, "a linear map failed");
}

static void map_alloc(gpa_t start, uint64_t size, bool populate, enum area_pages pages)
{
	check(addr_space_map_alloc(&space, start, size, RWX, populate, pages) == MM_OK, "a map failed");
}

static void unmap(gpa_t start, uint64_t size)
{
	check(addr_space_unmap(&space, start, size) == MM_OK, "an unmap failed");
}

static void nothing(void)
{
}

static void loop(void)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		gpa_t gpa = order[i];

		__asm__ volatile("" : : "r"(gpa) : "memory");
	}
}

static void zero(void)
{
	image_memset(arena.memory, 0, FRAME_SIZE);
}

/* ---- linear ---- */

#define OFF_BY_4K (GIB(1) + FRAME_SIZE) /* no larger leaf fits */
#define OFF_BY_2M (GIB(1) + MIB(2))

static void map_4k(void)
{
	map_linear(0, GIB(1), OFF_BY_4K);
}

static void map_2m(void)
{
	map_linear(0, GIB(1), OFF_BY_2M);
}

static void unmap_1g(void)
{
	unmap(0, GIB(1));
}

static void unmap_and_end(void)
{
	unmap_1g();
	end_space();
}

static void make_4k(void)
{
	make_space();
	map_4k();
}

/* ---- alloc ---- */

static void make_in_pieces(void)
{
	make_space();
	arena.pages_only = true;
}

static void populate(void)
{
	map_alloc(0, PAGES_BYTES, true, AREA_PAGES_4K);
}

static void end_in_pieces(void)
{
	arena.pages_only = false;
	end_space();
}

static void map_lazy(void)
{
	map_alloc(0, LAZY_BYTES, false, AREA_PAGES_AUTO);
}

static void end_lazy(void)
{
	printf("value mm.lazy64g.tables %llu\n", (unsigned long long)(space.npt.statistics.tables - 2) << FRAME_SHIFT);
	end_space();
}

static void make_lazy_blocks(void)
{
	make_space();
	map_alloc(0, BLOCKS * MIB(2), false, AREA_PAGES_AUTO);
}

static void fault_blocks(void)
{
	struct nested_fault fault = {.access = MM_WRITE};

	for (uint64_t i = 0; i < BLOCKS; i++) {
		fault.gpa = i * MIB(2) + FRAME_SIZE;
		if (addr_space_handle_fault(&space, &fault) != MM_OK) {
			abort();
		}
	}
}

static void make_lazy(void)
{
	make_space();
	map_alloc(0, PAGES_BYTES, false, AREA_PAGES_4K);
}

static void make_lazy_areas(void)
{
	make_space();
	for (unsigned i = 0; i < FEW_AREAS; i++) {
		map_alloc(i * (PAGES_BYTES / FEW_AREAS), PAGES_BYTES / FEW_AREAS, false, AREA_PAGES_4K);
	}
}

static void fault_all(void)
{
	struct nested_fault fault = {.access = MM_WRITE};

	for (uint64_t i = 0; i < PAGES; i++) {
		fault.gpa = order[i];
		if (addr_space_handle_fault(&space, &fault) != MM_OK) {
			abort();
		}
	}
}

static void make_faulted(void)
{
	make_lazy();
	fault_all();
}

static void make_faulted_areas(void)
{
	make_lazy_areas();
	fault_all();
}

static void make_populated(void)
{
	make_space();
	populate();
}

static void translate_all(void)
{
	struct translation to;

	for (uint64_t i = 0; i < PAGES; i++) {
		gpa_t gpa = order[i];

		if (addr_space_translate(&space, gpa, &to) != MM_OK) {
			abort();
		}
	}
	sink = to.address;
}

/* ---- areas ---- */

/* Every other page of the first 128 MiB. */
static void make_areas(void)
{
	make_space();
	for (uint64_t i = 0; i < MANY_AREAS; i++) {
		map_linear(i * 2 * FRAME_SIZE, FRAME_SIZE, 0);
	}
}

static void churn(gpa_t at)
{
	map_linear(at, FRAME_SIZE, 0);
	unmap(at, FRAME_SIZE);
}

static void churn_between(void)
{
	churn(MANY_AREAS * FRAME_SIZE + FRAME_SIZE);
}

static void churn_aside(void)
{
	churn(GIB(3));
}

static void punch(void)
{
	unmap(MIB(3), FRAME_SIZE);
}

static void make_2m(void)
{
	make_space();
	map_2m();
}

static void make_lazy_64g(void)
{
	make_space();
	map_lazy();
}

static void create_destroy(void)
{
	if (addr_space_init(&space, 0, SPACE_BYTES, &format, &arena.hal) != MM_OK) {
		abort();
	}
	addr_space_destroy(&space);
}

/* ---- the frame allocator ---- */

static void init_bitmap(void)
{
	static const struct memory_region memory = {0, ARENA_FRAMES, MEMORY_CONVENTIONAL};
	struct frame_bump bump;

	frame_bump_init(&bump, &memory, 1);
	check(frame_bitmap_init(&bitmap, &bump, (uintptr_t)arena.memory) == MM_OK, "no bitmap");
}

static void take_and_give(unsigned count, unsigned frame_order)
{
	for (unsigned i = 0; i < count; i++) {
		taken[i] = frame_alloc(&bitmap, frame_order, FRAME_GUEST);
		if (taken[i] == HPA_NONE) {
			abort();
		}
	}
	for (unsigned i = 0; i < count; i++) {
		if (frame_free(&bitmap, taken[i], BIT(frame_order), FRAME_GUEST) != MM_OK) {
			abort();
		}
	}
}

static void frames_4k(void)
{
	take_and_give(FRAMES, 0);
}

static void frames_2m(void)
{
	take_and_give(BLOCKS, 9);
}

/* ---- rows and counting ---- */

struct row {
	const char *name;
	uint64_t units;
	bool loop;         /* goes through `order`: what that costs is taken off */
	uint64_t zeroings; /* of guest frames, page by page: left out */
	void (*prepare)(void);
	void (*run)(void);
	void (*undo)(void);
};

static const struct row rows[] = {
	{"empty", 1, false, 0, nothing, nothing, nothing},
	{"loop", 1, false, 0, nothing, loop, nothing},
	{"zero", 1, false, 0, nothing, zero, nothing},
	{"mm.linear4k.map", GIB(1) / FRAME_SIZE, false, 0, make_space, map_4k, unmap_and_end},
	{"mm.linear4k.unmap", GIB(1) / FRAME_SIZE, false, 0, make_4k, unmap_1g, end_space},
	{"mm.linear2m.map", GIB(1) / MIB(2), false, 0, make_space, map_2m, unmap_and_end},
	{"mm.populate4k.pieces", PAGES, false, PAGES, make_in_pieces, populate, end_in_pieces},
	{"mm.populate4k", PAGES, false, 0, make_space, populate, end_space},
	{"mm.lazy64g.map", 1, false, 0, make_space, map_lazy, end_lazy},
	{"mm.fault4k", PAGES, true, PAGES, make_lazy, fault_all, end_space},
	{"mm.fault2m", BLOCKS, false, BLOCKS, make_lazy_blocks, fault_blocks, end_space},
	{"mm.fault4k.1024areas", PAGES, true, PAGES, make_lazy_areas, fault_all, end_space},
	{"mm.translate4k", PAGES, true, 0, make_faulted, translate_all, end_space},
	{"mm.translate4k.linear", PAGES, true, 0, make_4k, translate_all, end_space},
	{"mm.translate4k.1024areas", PAGES, true, 0, make_faulted_areas, translate_all, end_space},
	{"mm.translate4k.populated", PAGES, true, 0, make_populated, translate_all, end_space},
	{"mm.churn.16384areas", 1, false, 0, make_areas, churn_between, end_space},
	{"mm.churn.16384areas.tables", 1, false, 0, make_areas, churn_aside, end_space},
	{"mm.hole", 1, false, 0, make_4k, punch, end_space},
	{"mm.hole.lazy", 1, false, 0, make_lazy_64g, punch, end_space},
	{"mm.hole.2m", 1, false, 0, make_2m, punch, end_space},
	{"mm.space.create_destroy", 1, false, 0, nothing, create_destroy, nothing},
	{"mm.frame.alloc_free", FRAMES, false, 0, init_bitmap, frames_4k, nothing},
	{"mm.frame.alloc2m_free", BLOCKS, false, 0, init_bitmap, frames_2m, nothing},
};

static int open_counter(void)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attributes),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.disabled = 1,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	return (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
}

static void count_by_perf(int counter, const struct row *row)
{
	uint64_t instructions = 0;

	ioctl(counter, PERF_EVENT_IOC_RESET, 0);
	ioctl(counter, PERF_EVENT_IOC_ENABLE, 0);
	row->run();
	ioctl(counter, PERF_EVENT_IOC_DISABLE, 0);
	check(read(counter, &instructions, sizeof(instructions)) == sizeof(instructions), "the counter cannot be read");
	printf("count %s %llu\n", row->name, (unsigned long long)instructions);
}

static void count_by_callgrind(const struct row *row)
{
	CALLGRIND_START_INSTRUMENTATION;
	CALLGRIND_ZERO_STATS;
	row->run();
	CALLGRIND_DUMP_STATS_AT(row->name);
	CALLGRIND_STOP_INSTRUMENTATION;
}

int main(void)
{
	const struct ept_capabilities capabilities = {.leaf_2m = true, .leaf_1g = true, .physical_bits = 46};
	int counter = RUNNING_ON_VALGRIND ? -1 : open_counter();

	if (counter < 0 && !RUNNING_ON_VALGRIND) {
		fprintf(stderr, "mm_bench: no instruction counter here: run it under callgrind\n");
		return 2;
	}
	npt_format_ept(&format, &capabilities);
	init_arena();
	shuffle();
	for (const struct row *row = rows; row < rows + ARRAY_SIZE(rows); row++) {
		row->prepare();
		if (counter >= 0) {
			count_by_perf(counter, row);
		} else {
			count_by_callgrind(row);
		}
		row->undo();
		printf("row %s %llu %d %llu\n", row->name, (unsigned long long)row->units, row->loop,
		       (unsigned long long)row->zeroings);
	}
	return 0;
}
