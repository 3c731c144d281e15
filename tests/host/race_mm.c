/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One address space and many threads, under ThreadSanitizer: `make race-mm`. Faults, maps and the guest accessor run
 * beside everything; translate beside all but what removes or restricts, as addr_space.h has it, for which a
 * reader-writer lock stands in here. Each thread has bytes of its own in every page: what guests do to each other's
 * bytes is their affair.
 */
#include "tests/host/mm_arena.h"

#include <string.h>

#include "mm/guest_memory.h"
#include "mm/npt_private.h"

#define THREADS    4
#define ROUNDS     1500
#define SHARED     (GIB(1) - MIB(4)) /* lazy, across a GiB, all threads fault in it */
#define SHARED_END (GIB(1) + MIB(4))
#define PAGES      ((SHARED_END - SHARED) / FRAME_SIZE)
#define OWN(i)     (GIB(2) + MIB(8) * (i)) /* each thread maps and unmaps its own */
#define OWN_SIZE   MIB(8)
#define SLOT       64 /* bytes in each page for each thread */

static struct mm_arena arena;
static struct addr_space space;
static pthread_rwlock_t changes;

struct racer {
	pthread_t thread;
	unsigned number;
	uint64_t seed;
	const char *failure;
};

#define EXPECT(condition)                                                                                              \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			racer->failure = #condition;                                                                   \
			return NULL;                                                                                   \
		}                                                                                                      \
	} while (0)

static int setup(void **state)
{
	(void)state;
	mm_arena_init(&arena, MIB(96));
	pthread_rwlock_init(&changes, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pthread_rwlock_destroy(&changes);
	mm_arena_fini(&arena);
	return 0;
}

static uint64_t next_random(struct racer *racer, uint64_t limit)
{
	racer->seed = racer->seed * 6364136223846793005 + 1442695040888963407;
	return (racer->seed >> 33) % limit;
}

static void race(void *(*run)(void *), struct racer *racers)
{
	for (unsigned i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){.number = i, .seed = i};
		assert_int_equal(pthread_create(&racers[i].thread, NULL, run, &racers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(racers[i].thread, NULL);
		if (racers[i].failure != NULL) {
			fail_msg("thread %u: %s", i, racers[i].failure);
		}
	}
}

/* ---- one frame a page ---- */

static void *fault_on_every_page(void *context)
{
	struct racer *racer = context;
	/* An odd step visits every page, each thread in its own order, but the first two in the same. */
	uint64_t step = racer->number < 2 ? 1 : racer->number * 2 + 1;

	for (uint64_t i = 0; i < PAGES; i++) {
		struct nested_fault fault = {.gpa = SHARED + i * step % PAGES * FRAME_SIZE, .access = MM_WRITE};
		struct translation result;

		EXPECT(addr_space_handle_fault(&space, &fault) == MM_OK);
		EXPECT(addr_space_translate(&space, fault.gpa, &result) == MM_OK);
		uint64_t *own = mm_pointer(&arena.hal, result.address + racer->number * SLOT);

		EXPECT(*own == 0); /* zeroed before it was to be seen, and never again */
		*own = racer->number + 1;
	}
	return NULL;
}

static void threads_that_fault_on_one_page_share_one_zeroed_frame(void **state)
{
	struct racer racers[THREADS];

	(void)state;
	for (enum area_pages pages = AREA_PAGES_AUTO; pages <= AREA_PAGES_4K; pages++) {
		assert_status(addr_space_init(&space, 0, GIB(4), mm_format(0), &arena.hal), MM_OK);
		assert_status(addr_space_map_alloc(&space, SHARED, SHARED_END - SHARED, RWX, false, pages), MM_OK);
		race(fault_on_every_page, racers);
		uint64_t fills = pages == AREA_PAGES_4K ? PAGES : PAGES / NPT_ENTRIES;

		assert_int_equal(arena.held[FRAME_GUEST], PAGES);
		assert_int_equal(space.statistics.faults_filled, fills);
		assert_int_equal(space.statistics.faults_raced, THREADS * PAGES - fills);
		for (gpa_t gpa = SHARED; gpa < SHARED_END; gpa += FRAME_SIZE) {
			for (unsigned i = 0; i < THREADS; i++) {
				uint64_t value;

				assert_true(guest_load(&space, gpa + (uint64_t)i * SLOT, 8, &value));
				assert_int_equal(value, i + 1);
			}
		}
		addr_space_destroy(&space);
	}
}

/* ---- without the lock ---- */

/* The first thread fills; the others wait for each page to be there, and look at it without ever taking the lock. */
static void *fill_or_look(void *context)
{
	struct racer *racer = context;

	for (gpa_t gpa = SHARED; gpa < SHARED_END; gpa += FRAME_SIZE) {
		struct nested_fault fault = {.gpa = gpa, .access = MM_WRITE};
		struct translation result;
		uint64_t value = 1;

		if (racer->number == 0) {
			EXPECT(addr_space_handle_fault(&space, &fault) == MM_OK);
			continue;
		}
		while (addr_space_translate(&space, gpa, &result) != MM_OK) {
			spin_pause();
		}
		EXPECT(*(uint64_t *)mm_pointer(&arena.hal, result.address) == 0);
		EXPECT(guest_read(&space, gpa + FRAME_SIZE - 8, &value, 8, 0) == 8 && value == 0);
	}
	return NULL;
}

static void whoever_finds_a_page_without_the_lock_finds_it_zeroed(void **state)
{
	struct racer racers[THREADS];

	(void)state;
	FOR_EACH_FORMAT (format) {
		for (enum area_pages pages = AREA_PAGES_AUTO; pages <= AREA_PAGES_4K; pages++) {
			assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
			assert_status(addr_space_map_alloc(&space, SHARED, SHARED_END - SHARED, RWX, false, pages),
			              MM_OK);
			race(fill_or_look, racers);
			addr_space_destroy(&space);
		}
	}
}

/* ---- everything at once ---- */

static gpa_t any_page(struct racer *racer)
{
	return SHARED + next_random(racer, PAGES) * FRAME_SIZE;
}

/* A range in what the thread alone maps and unmaps. */
static gpa_t own_range(struct racer *racer, uint64_t *size)
{
	*size = (1 + next_random(racer, 600)) * FRAME_SIZE;
	return OWN(racer->number) + next_random(racer, (OWN_SIZE - *size) / FRAME_SIZE) * FRAME_SIZE;
}

static bool fault_somewhere(struct racer *racer)
{
	struct nested_fault fault = {.gpa = any_page(racer), .access = MM_READ};

	return addr_space_handle_fault(&space, &fault) == MM_OK;
}

/* The page may be read-only just now. */
static bool write_own_bytes(struct racer *racer)
{
	char bytes[SLOT];
	size_t done;

	memset(bytes, (int)racer->number, SLOT);
	done = guest_write(&space, any_page(racer) + (uint64_t)racer->number * SLOT, bytes, SLOT, 0);
	return done == SLOT || done == 0;
}

static bool read_own_bytes(struct racer *racer)
{
	char bytes[SLOT];

	if (guest_read(&space, any_page(racer) + (uint64_t)racer->number * SLOT, bytes, SLOT, 0) != SLOT) {
		return false;
	}
	for (unsigned i = 0; i < SLOT; i++) { /* its own, or zeros if the page was discarded meanwhile */
		if (bytes[i] != (char)racer->number && bytes[i] != 0) {
			return false;
		}
	}
	return true;
}

/* All threads' word. */
static bool load_and_store(struct racer *racer)
{
	gpa_t gpa = any_page(racer) + FRAME_SIZE - 8;
	uint64_t value = 0;

	guest_store(&space, gpa, 8, racer->number * UINT64_C(0x0101010101010101));
	return guest_load(&space, gpa, 8, &value) && value % 0x0101010101010101 == 0;
}

static bool translate_somewhere(struct racer *racer)
{
	gpa_t page = any_page(racer);
	struct translation result;

	pthread_rwlock_rdlock(&changes);
	int status = addr_space_translate(&space, page, &result);
	bool right = status == MM_EFAULT ||
	             (status == MM_OK && result.bytes >= FRAME_SIZE && (result.attributes.permissions & MM_READ) != 0);

	pthread_rwlock_unlock(&changes);
	return right;
}

static bool find_an_area(struct racer *racer)
{
	gpa_t page = any_page(racer);
	struct gpa_range range;
	uint8_t permissions;

	return addr_space_find_area(&space, page, &range, &permissions) && range.start <= page && page < range.end &&
	       (permissions & MM_READ) != 0;
}

static bool map_own(struct racer *racer)
{
	uint64_t size;
	gpa_t at = own_range(racer, &size);
	bool linear = next_random(racer, 2) == 0;
	int status = linear ? addr_space_map_linear(&space, at, size, 0, RX)
	                    : addr_space_map_alloc(&space, at, size, RW, false, AREA_PAGES_AUTO);

	return status == MM_OK || status == MM_EEXIST;
}

static bool fill_own(struct racer *racer)
{
	uint64_t size;
	gpa_t at = own_range(racer, &size);

	guest_fill(&space, at, 1, 2 * FRAME_SIZE, 0);
	return true;
}

static bool unmap_own(struct racer *racer)
{
	uint64_t size;
	gpa_t at = own_range(racer, &size);

	pthread_rwlock_wrlock(&changes);
	int status = addr_space_unmap(&space, at, size);

	pthread_rwlock_unlock(&changes);
	return status == MM_OK;
}

static bool protect_a_page(struct racer *racer)
{
	uint8_t permissions = next_random(racer, 2) == 0 ? MM_READ : MM_RW;

	pthread_rwlock_wrlock(&changes);
	int status = addr_space_protect(&space, any_page(racer), FRAME_SIZE, permissions);

	pthread_rwlock_unlock(&changes);
	return status == MM_OK;
}

static bool discard_a_page(struct racer *racer)
{
	pthread_rwlock_wrlock(&changes);
	int status = addr_space_discard(&space, any_page(racer), FRAME_SIZE);

	pthread_rwlock_unlock(&changes);
	return status == MM_OK;
}

static void *do_everything(void *context)
{
	static const struct {
		const char *name;
		bool (*step)(struct racer *racer);
	} steps[] = {
		{"fault", fault_somewhere},
		{"write", write_own_bytes},
		{"read", read_own_bytes},
		{"load and store", load_and_store},
		{"translate", translate_somewhere},
		{"find_area", find_an_area},
		{"map", map_own},
		{"fill", fill_own},
		{"unmap", unmap_own},
		{"protect", protect_a_page},
		{"discard", discard_a_page},
	};
	struct racer *racer = context;

	for (unsigned round = 0; round < ROUNDS && racer->failure == NULL; round++) {
		uint64_t i = next_random(racer, ARRAY_SIZE(steps));

		racer->failure = steps[i].step(racer) ? NULL : steps[i].name;
	}
	return NULL;
}

/* Nothing got lost: what the leaves lead to is what is held. */
static void check_space(void)
{
	uint64_t pages = 0;

	for (gpa_t gpa = SHARED; gpa < OWN(THREADS); gpa = gpa + FRAME_SIZE == SHARED_END ? OWN(0) : gpa + FRAME_SIZE) {
		struct npt_entry entry = npt_lookup(&space.npt, gpa);
		const struct area *area = area_set_find(&space.areas, gpa);

		if (entry.kind == NPT_LEAF) {
			assert_non_null(area);
			assert_int_equal(entry.attributes.permissions, area->attributes.permissions);
			pages += area->backend == AREA_ALLOC;
		}
	}
	assert_int_equal(space.statistics.frames_owned, pages);
	assert_int_equal(arena.held[FRAME_GUEST], pages);
}

static void threads_that_do_everything_at_once_leave_a_sound_space(void **state)
{
	struct racer racers[THREADS];

	(void)state;
	FOR_EACH_FORMAT (format) {
		assert_status(addr_space_init(&space, 0, GIB(4), format, &arena.hal), MM_OK);
		assert_status(addr_space_map_alloc(&space, SHARED, SHARED_END - SHARED, RW, false, AREA_PAGES_AUTO),
		              MM_OK);
		race(do_everything, racers);
		check_space();
		assert_status(addr_space_unmap(&space, 0, GIB(4)), MM_OK);
		assert_int_equal(arena.held[FRAME_GUEST], 0);
		assert_int_equal(arena.held[FRAME_TABLE], space.npt.statistics.tables);
		addr_space_destroy(&space);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(threads_that_fault_on_one_page_share_one_zeroed_frame, setup, teardown),
		cmocka_unit_test_setup_teardown(whoever_finds_a_page_without_the_lock_finds_it_zeroed, setup, teardown),
		cmocka_unit_test_setup_teardown(threads_that_do_everything_at_once_leave_a_sound_space, setup,
	                                        teardown),
	};

	mm_format_count();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
