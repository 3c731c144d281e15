/* SPDX-License-Identifier: Apache-2.0 */
// sources: tests/host/mm_arena.c mm/*.c mm/formats/*.c lib/rbtree.c lib/random.c hv/devices/virt*.c hv/net_switch.c
/*
 * The block device: images that are never written, the guest's own copies of blocks, and requests that are none.
 */
#include "virtio_driver.h"

#include <sys/mman.h>

#include "mm/frame_quota.h"

#define SECTOR 512
#define BLOCK  4096

/* Not a whole number of sectors, with a last block that is cut off; more than one table of blocks. */
#define IMAGE_BYTES (MIB(2) + 3 * BLOCK + 1000)
#define CAPACITY    ((IMAGE_BYTES + SECTOR - 1) / SECTOR)

enum { TYPE_IN = 0, TYPE_OUT = 1, TYPE_FLUSH = 4, TYPE_GET_ID = 8, TYPE_DISCARD = 11 };
enum { OK, IOERR, UNSUPP };

#define HEADER BUFFERS
#define STATUS (BUFFERS + 0x800)
#define DATA   (BUFFERS + 0x1000)

static struct virtio_blk disk;
static struct blk_overlay overlay;
static struct driver driver;
static struct driver_queue *const queue = &driver.queue[0];
static uint8_t image[IMAGE_BYTES], original[IMAGE_BYTES];

static void start(bool readonly)
{
	machine_start();
	memset(&driver, 0, sizeof(driver));
	for (size_t i = 0; i < sizeof(image); i++) {
		image[i] = original[i] = (uint8_t)(i * 7 + i / BLOCK + 1);
	}
	struct virtio_place place = driver_place(&driver, "virtio-blk 0");
	blk_overlay_init(&overlay, sizeof(image), &arena.hal);
	virtio_blk_init(&disk, &place, image, sizeof(image), readonly ? NULL : &overlay);
	driver_start(&driver, &disk.virtio, F_INDIRECT, 0);
}

static int setup(void **state)
{
	(void)state;
	start(false);
	return 0;
}

static int setup_readonly(void **state)
{
	(void)state;
	start(true);
	return 0;
}

/* The image is as it was, and every frame comes back. */
static int teardown(void **state)
{
	(void)state;
	assert_memory_equal(image, original, sizeof(image));
	blk_overlay_destroy(&overlay);
	assert_int_equal(overlay.frames, 0);
	machine_end();
	return 0;
}

static void put_header(uint32_t type, uint64_t sector)
{
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header = {type, 0, sector};
	poke(HEADER, &header, sizeof(header));
	poke(STATUS, "\xee", 1);
}

/* A request with `bytes` of data at DATA; answers its status. */
static uint8_t request(uint32_t type, uint64_t sector, uint32_t bytes)
{
	uint16_t data_flags = type == TYPE_OUT ? 0 : WRITE;
	const struct descriptor with_data[] = {{HEADER, 16, 0, 0}, {DATA, bytes, data_flags, 0}, {STATUS, 1, WRITE, 0}};
	const struct descriptor without[] = {{HEADER, 16, 0, 0}, {STATUS, 1, WRITE, 0}};
	uint32_t head, written;
	put_header(type, sector);
	if (bytes > 0) {
		add_chain(queue, with_data, ARRAY_SIZE(with_data));
	} else {
		add_chain(queue, without, ARRAY_SIZE(without));
	}
	notify(&driver, 0);
	assert_true(take_used(queue, &head, &written));
	uint8_t status = peek_8(STATUS);
	assert_int_equal(written, status != OK ? 0 : data_flags ? bytes + 1 : 1);
	return status;
}

static void fill_data(uint8_t value, size_t bytes)
{
	assert_int_equal(guest_fill(&space, DATA, value, bytes, 0), bytes);
}

static void assert_data(const uint8_t *expected, size_t bytes)
{
	static uint8_t data[MIB(3)];
	peek(DATA, data, bytes);
	assert_memory_equal(data, expected, bytes);
}

static void assert_data_is(uint8_t value, size_t from, size_t bytes)
{
	for (size_t i = from; i < from + bytes; i++) {
		assert_int_equal(peek_8(DATA + i), value);
	}
}

static void the_configuration_tells_size_and_limits(void **state)
{
	(void)state;
	assert_int_equal(get(&driver, 0x008), 2);
	assert_int_equal(get(&driver, 0x100), CAPACITY);
	assert_int_equal(get(&driver, 0x10c), 126);
	assert_int_equal(get(&driver, 0x114), SECTOR);
	put(&driver, 0x014, 0);
	assert_int_equal(get(&driver, 0x010), F_INDIRECT | F_EVENT | BIT(2) | BIT(6) | BIT(9));
}

static void sectors_are_read_from_anywhere(void **state)
{
	(void)state;
	assert_int_equal(request(TYPE_IN, 0, SECTOR), OK);
	assert_data(original, SECTOR);
	assert_int_equal(request(TYPE_IN, 7, 5 * BLOCK), OK);
	assert_data(original + 7 * SECTOR, 5 * BLOCK);
}

static void a_long_read_takes_several_goes(void **state)
{
	(void)state;
	assert_int_equal(request(TYPE_IN, 1, MIB(2)), OK);
	assert_true(driver.goes >= 8);
	assert_data(original + SECTOR, MIB(2));
}

static void the_last_sector_is_filled_up_with_zeros(void **state)
{
	(void)state;
	fill_data(0xee, 2 * SECTOR);
	assert_int_equal(request(TYPE_IN, CAPACITY - 2, 2 * SECTOR), OK);
	size_t rest = IMAGE_BYTES - (CAPACITY - 2) * SECTOR;
	assert_data(original + (CAPACITY - 2) * SECTOR, rest);
	assert_data_is(0, rest, 2 * SECTOR - rest);
	/* Also where the guest has its own copy of the block. */
	fill_data(0x11, SECTOR);
	assert_int_equal(request(TYPE_OUT, CAPACITY - 2, SECTOR), OK);
	assert_int_equal(request(TYPE_IN, CAPACITY - 1, SECTOR), OK);
	assert_data(original + (CAPACITY - 1) * SECTOR, rest - SECTOR);
	assert_data_is(0, rest - SECTOR, 2 * SECTOR - rest);
}

static void what_is_written_is_read_back_and_nothing_else_changes(void **state)
{
	(void)state;
	fill_data(0x55, 3 * BLOCK);
	assert_int_equal(request(TYPE_OUT, 9, 2 * BLOCK + SECTOR), OK); /* parts of two blocks and one whole */
	fill_data(0, MIB(2));
	assert_int_equal(request(TYPE_IN, 0, 8 * BLOCK), OK);
	assert_data(original, 9 * SECTOR);
	assert_data_is(0x55, 9 * SECTOR, 2 * BLOCK + SECTOR);
	uint8_t after[SECTOR];
	peek(DATA + 26 * SECTOR, after, sizeof(after));
	assert_memory_equal(after, original + 26 * SECTOR, sizeof(after));
}

static void blocks_are_taken_as_they_are_written(void **state)
{
	(void)state;
	uint64_t before = mm_arena_held(&arena);
	fill_data(0x55, 2 * BLOCK);
	assert_int_equal(request(TYPE_IN, 0, BLOCK), OK);
	uint64_t read = mm_arena_held(&arena);
	assert_true(read - before <= 4); /* only the guest's buffers */
	assert_int_equal(request(TYPE_OUT, 8, BLOCK), OK);
	assert_int_equal(mm_arena_held(&arena), read + 3); /* the block and two tables */
	assert_int_equal(request(TYPE_OUT, 9, SECTOR), OK);
	assert_int_equal(mm_arena_held(&arena), read + 3);
	assert_int_equal(request(TYPE_OUT, MIB(2) / SECTOR, BLOCK), OK); /* in another table */
	assert_int_equal(mm_arena_held(&arena), read + 5);
}

static void without_frames_a_write_fails_and_the_disk_lives_on(void **state)
{
	(void)state;
	/* The map fails; then its table, with the map there; then the block itself. */
	static const uint64_t fails[] = {1, 2, 2};
	fill_data(0x55, BLOCK);
	put_header(TYPE_OUT, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(fails); i++) {
		arena.fail_at = fails[i];
		assert_int_equal(request(TYPE_OUT, 0, BLOCK), IOERR);
		assert_int_equal(arena.fail_at, 0);
	}
	assert_int_equal(get(&driver, 0x070), STATUS_RUNNING);
	assert_int_equal(request(TYPE_OUT, 0, BLOCK), OK);
	assert_int_equal(request(TYPE_IN, 0, BLOCK), OK);
	assert_data_is(0x55, 0, BLOCK);
}

static void no_bad_free(hpa_t base, uint64_t count)
{
	(void)base, (void)count;
	fail();
}

#define HOST_BASE  GIB(3) /* no pointer */
#define HOST_BYTES MIB(4)

/* On frames that the guest's memory does not come from, most of which are kept for tables. */
static void writes_stop_at_the_reserve(void **state)
{
	(void)state;
	static const struct memory_region region = {HOST_BASE, HOST_BYTES / FRAME_SIZE, MEMORY_CONVENTIONAL};
	void *memory = mmap(NULL, HOST_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct frame_bump bump;
	struct frame_bitmap frames;
	struct frame_counts counts, after;
	struct frame_quota quota;
	struct virtio_place place = driver_place(&driver, "virtio-blk 0");
	assert_true(memory != MAP_FAILED);
	frame_bump_init(&bump, &region, 1);
	assert_status(frame_bitmap_init(&frames, &bump, (uintptr_t)memory - HOST_BASE), MM_OK);
	frame_quota_init(&quota, &frames, FRAME_NO_LIMIT, no_bad_free);
	assert_true(frame_counts(&frames, &counts));
	frame_reserve(&frames, counts.free - 10);
	blk_overlay_init(&overlay, sizeof(image), &quota.hal);
	virtio_blk_init(&disk, &place, image, sizeof(image), &overlay);
	driver_start(&driver, &disk.virtio, 0, 0);
	fill_data(0x55, 16 * BLOCK);
	assert_int_equal(request(TYPE_OUT, 0, 8 * BLOCK), OK); /* and two tables */
	assert_int_equal(request(TYPE_OUT, 8 * BLOCK / SECTOR, BLOCK), IOERR);
	assert_int_equal(request(TYPE_OUT, 0, 8 * BLOCK), OK); /* those are there */
	assert_true(frame_counts(&frames, &after));
	assert_int_equal(after.free, counts.free - 10);
	hpa_t table = quota.hal.alloc_frames(&quota.hal, 0, FRAME_TABLE);
	assert_int_not_equal(table, HPA_NONE);
	quota.hal.free_frames(&quota.hal, table, 0, FRAME_TABLE);
	blk_overlay_destroy(&overlay);
	assert_true(frame_counts(&frames, &after));
	assert_memory_equal(&after, &counts, sizeof(after));
	munmap(memory, HOST_BYTES);
}

static void requests_beyond_the_end_fail(void **state)
{
	(void)state;
	fill_data(0xee, 2 * SECTOR);
	assert_int_equal(request(TYPE_IN, CAPACITY, SECTOR), IOERR);
	assert_int_equal(request(TYPE_IN, CAPACITY - 1, 2 * SECTOR), IOERR);
	assert_int_equal(request(TYPE_IN, UINT64_MAX, SECTOR), IOERR);
	assert_int_equal(request(TYPE_IN, UINT64_MAX / SECTOR, 2 * SECTOR), IOERR);
	assert_int_equal(request(TYPE_OUT, CAPACITY - 1, 2 * SECTOR), IOERR);
	assert_int_equal(request(TYPE_IN, 0, SECTOR - 1), IOERR);
	assert_data_is(0xee, 0, 2 * SECTOR);
	assert_int_equal(request(TYPE_IN, CAPACITY - 1, SECTOR), OK);
}

static void a_readonly_disk_refuses_writes(void **state)
{
	(void)state;
	put(&driver, 0x014, 0);
	assert_int_equal(get(&driver, 0x010) & BIT(5), BIT(5));
	assert_int_equal(request(TYPE_OUT, 0, SECTOR), IOERR);
	assert_int_equal(request(TYPE_IN, 0, SECTOR), OK);
	assert_data(original, SECTOR);
	assert_int_equal(overlay.map, HPA_NONE);
}

static void flush_and_identity_are_answered_and_others_are_not_supported(void **state)
{
	(void)state;
	assert_int_equal(request(TYPE_FLUSH, 0, 0), OK);
	assert_int_equal(request(TYPE_GET_ID, 0, 20), OK);
	assert_data((const uint8_t *)"virtio-blk 0\0\0\0\0\0\0\0", 20);
	assert_int_equal(request(TYPE_DISCARD, 0, SECTOR), UNSUPP);
	assert_int_equal(request(UINT32_MAX, 0, 0), UNSUPP);
}

static void header_and_status_may_be_cut_and_joined(void **state)
{
	(void)state;
	/* The header in three parts; data and status in one buffer. */
	const struct descriptor chain[] = {
		{HEADER, 3, 0, 0},
		{HEADER + 3, 8, 0, 0},
		{HEADER + 11, 5, 0, 0},
		{DATA, SECTOR + 1, WRITE, 0},
	};
	put_header(TYPE_IN, 2);
	fill_data(0xee, SECTOR + 1);
	add_chain(queue, chain, ARRAY_SIZE(chain));
	notify(&driver, 0);
	assert_used(queue, 0, SECTOR + 1);
	assert_data(original + 2 * SECTOR, SECTOR);
	assert_int_equal(peek_8(DATA + SECTOR), OK);
}

static void a_request_without_header_or_status_breaks_the_queue(void **state)
{
	(void)state;
	const struct descriptor no_status[] = {{HEADER, 16, 0, 0}};
	const struct descriptor no_header[] = {{HEADER, 15, 0, 0}, {STATUS, 1, WRITE, 0}};
	put_header(TYPE_FLUSH, 0);
	add_chain(queue, no_status, 1);
	notify(&driver, 0);
	assert_int_equal(get(&driver, 0x070), STATUS_RUNNING | STATUS_NEEDS_RESET);
	assert_string_equal(last_log,
	                    "vm test: virtio-blk 0 needs a reset: a request lacks header or status, head 0x0");
	driver_start(&driver, &disk.virtio, 0, 0);
	add_chain(queue, no_header, 2);
	notify(&driver, 0);
	assert_int_equal(get(&driver, 0x070), STATUS_RUNNING | STATUS_NEEDS_RESET);
	driver_start(&driver, &disk.virtio, 0, 0);
	assert_int_equal(request(TYPE_FLUSH, 0, 0), OK);
}

/* The frame that was taken for the block may have been anybody's: nothing of it may show. */
static void a_write_from_outside_of_memory_shows_no_other_frame(void **state)
{
	(void)state;
	const struct descriptor chain[] = {{HEADER, 16, 0, 0}, {OUTSIDE - SECTOR, BLOCK, 0, 0}, {STATUS, 1, WRITE, 0}};
	put_header(TYPE_OUT, 0);
	assert_int_equal(guest_fill(&space, OUTSIDE - SECTOR, 0x55, SECTOR, 0), SECTOR);
	add_chain(queue, chain, ARRAY_SIZE(chain));
	notify(&driver, 0);
	assert_int_equal(get(&driver, 0x070), STATUS_RUNNING | STATUS_NEEDS_RESET);
	driver_start(&driver, &disk.virtio, 0, 0);
	assert_int_equal(request(TYPE_IN, 0, BLOCK), OK);
	assert_data_is(0x55, 0, SECTOR);
	assert_data_is(0, SECTOR, BLOCK - SECTOR);
}

static void a_reset_keeps_what_was_written(void **state)
{
	(void)state;
	fill_data(0x77, SECTOR);
	assert_int_equal(request(TYPE_OUT, 3, SECTOR), OK);
	driver_start(&driver, &disk.virtio, 0, 0);
	fill_data(0, SECTOR);
	assert_int_equal(request(TYPE_IN, 3, SECTOR), OK);
	assert_data_is(0x77, 0, SECTOR);
}

static void what_was_written_outlives_the_device(void **state)
{
	(void)state;
	struct virtio_place place = driver_place(&driver, "virtio-blk 0");
	fill_data(0x66, BLOCK);
	assert_int_equal(request(TYPE_OUT, 5, BLOCK), OK);
	assert_int_equal(overlay.frames, 4); /* two blocks and two tables */
	virtio_blk_init(&disk, &place, image, sizeof(image), &overlay);
	driver_start(&driver, &disk.virtio, 0, 0);
	fill_data(0, 4 * BLOCK);
	assert_int_equal(request(TYPE_IN, 5, BLOCK), OK);
	assert_data_is(0x66, 0, BLOCK);
}

#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_configuration_tells_size_and_limits, setup),
		TEST(sectors_are_read_from_anywhere, setup),
		TEST(a_long_read_takes_several_goes, setup),
		TEST(the_last_sector_is_filled_up_with_zeros, setup),
		TEST(what_is_written_is_read_back_and_nothing_else_changes, setup),
		TEST(blocks_are_taken_as_they_are_written, setup),
		TEST(without_frames_a_write_fails_and_the_disk_lives_on, setup),
		TEST(writes_stop_at_the_reserve, setup),
		TEST(requests_beyond_the_end_fail, setup),
		TEST(a_readonly_disk_refuses_writes, setup_readonly),
		TEST(flush_and_identity_are_answered_and_others_are_not_supported, setup),
		TEST(header_and_status_may_be_cut_and_joined, setup),
		TEST(a_request_without_header_or_status_breaks_the_queue, setup),
		TEST(a_write_from_outside_of_memory_shows_no_other_frame, setup),
		TEST(a_reset_keeps_what_was_written, setup),
		TEST(what_was_written_outlives_the_device, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
