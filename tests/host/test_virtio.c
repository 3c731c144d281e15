/* SPDX-License-Identifier: Apache-2.0 */
// sources: tests/host/mm_arena.c mm/*.c mm/formats/*.c lib/rbtree.c lib/random.c hv/devices/virt*.c hv/net_switch.c
/*
 * The virtio-mmio transport and the queues, by a device that answers each request with the bytes it was asked with.
 */
#include "virtio_driver.h"

#define SLICE 1000

static struct virtio_device echo;
static struct driver driver;
static struct driver_queue *const queue = &driver.queue[0];
static const uint8_t configuration[6] = {1, 2, 3, 4, 5, 6};

static bool serve(struct virtio_device *device)
{
	uint8_t bytes[SLICE];
	struct virtqueue *requests = virtio_requests(device);
	size_t count = virtq_read(requests, &device->chain, bytes, device->budget);
	virtq_write(requests, &device->chain, bytes, count);
	device->budget -= (uint32_t)count;
	device->started = true;
	return device->chain.read.segment == device->chain.readable;
}

static const struct virtio_type type = {.id = 42, .queues = 1, .slice = SLICE, .serve = serve};

static int setup(void **state)
{
	(void)state;
	machine_start();
	memset(&echo, 0, sizeof(echo));
	memset(&driver, 0, sizeof(driver));
	struct virtio_place place = driver_place(&driver, "echo 0");
	virtio_init(&echo, &type, &place);
	echo.config = configuration;
	echo.config_bytes = sizeof(configuration);
	driver.device = &echo;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	machine_end();
	return 0;
}

static int setup_running(void **state)
{
	setup(state);
	driver_start(&driver, &echo, F_INDIRECT, 0);
	return 0;
}

static int setup_events(void **state)
{
	setup(state);
	driver_start(&driver, &echo, F_INDIRECT | F_EVENT, 0);
	return 0;
}

/* A request of 4 bytes, answered into 4. */
static const struct descriptor simple[] = {{BUFFERS, 4, 0, 0}, {BUFFERS + 0x100, 4, WRITE, 0}};

static void add_simple(void)
{
	add_chain(queue, simple, ARRAY_SIZE(simple));
}

static void request(void)
{
	uint16_t head = queue->free;
	add_simple();
	notify(&driver, 0);
	assert_used(queue, head, 4);
}

/* ---- registers ---- */

static void the_device_says_what_it_is(void **state)
{
	(void)state;
	assert_int_equal(get(&driver, 0x000), 0x74726976);
	assert_int_equal(get(&driver, 0x004), 2);
	assert_int_equal(get(&driver, 0x008), 42);
	assert_int_equal(get(&driver, 0x034), VIRTQ_SIZE_MAX);
	put(&driver, 0x030, 1);
	assert_int_equal(get(&driver, 0x034), 0);
	assert_int_equal(get(&driver, 0x044), 0);
	assert_int_equal(get(&driver, 0x0b0), UINT32_MAX); /* no shared memory */
	assert_int_equal(get(&driver, 0x0fc), 0);
}

static void features_come_in_two_halves(void **state)
{
	(void)state;
	put(&driver, 0x014, 0);
	assert_int_equal(get(&driver, 0x010), F_INDIRECT | F_EVENT);
	put(&driver, 0x014, 1);
	assert_int_equal(get(&driver, 0x010), 1);
	put(&driver, 0x014, 2);
	assert_int_equal(get(&driver, 0x010), 0);
}

static void features_that_were_not_offered_are_refused(void **state)
{
	(void)state;
	negotiate(&driver, BIT(5));
	assert_int_equal(get(&driver, 0x070), 3);
	negotiate(&driver, BIT(35));
	assert_int_equal(get(&driver, 0x070), 3);
	put(&driver, 0x070, 0);
	put(&driver, 0x024, 1);
	put(&driver, 0x020, 0); /* no VERSION_1 */
	put(&driver, 0x070, 11);
	assert_int_equal(get(&driver, 0x070), 3);
	negotiate(&driver, F_EVENT);
	assert_int_equal(get(&driver, 0x070), 11);
	put(&driver, 0x020, 0); /* too late: they stay */
	assert_int_equal(echo.driver_features, F_EVENT | F_VERSION_1);
}

static void the_configuration_is_read_at_every_width_and_never_written(void **state)
{
	(void)state;
	struct device *bus_device = &echo.device;
	uint64_t value;
	assert_true(bus_device->ops->read(bus_device, 0x102, 1, &value));
	assert_int_equal(value, 3);
	assert_true(bus_device->ops->read(bus_device, 0x101, 2, &value));
	assert_int_equal(value, 0x0302);
	assert_true(bus_device->ops->read(bus_device, 0x104, 4, &value));
	assert_int_equal(value, 0x0605);
	assert_true(bus_device->ops->read(bus_device, 0x100, 8, &value));
	assert_int_equal(value, UINT64_C(0x060504030201));
	assert_true(bus_device->ops->read(bus_device, 0x1f8, 8, &value));
	assert_int_equal(value, 0);
	assert_true(bus_device->ops->write(bus_device, 0x100, 4, UINT32_MAX));
	assert_true(bus_device->ops->read(bus_device, 0x100, 1, &value));
	assert_int_equal(value, 1);
}

static void registers_are_answered_as_32_bits_only(void **state)
{
	(void)state;
	struct device *bus_device = &echo.device;
	uint64_t value;
	assert_false(bus_device->ops->read(bus_device, 0x000, 1, &value));
	assert_false(bus_device->ops->read(bus_device, 0x000, 8, &value));
	assert_false(bus_device->ops->read(bus_device, 0x002, 4, &value));
	assert_false(bus_device->ops->write(bus_device, 0x070, 2, 0));
	assert_false(bus_device->ops->write(bus_device, 0x071, 4, 0));
}

static void a_reset_forgets_everything(void **state)
{
	(void)state;
	request();
	assert_true(driver.level);
	put(&driver, 0x070, 0);
	assert_false(driver.level);
	assert_int_equal(get(&driver, 0x070), 0);
	assert_int_equal(get(&driver, 0x044), 0);
	assert_int_equal(get(&driver, 0x060), 0);
	assert_int_equal(echo.driver_features, 0);
	add_simple();
	notify(&driver, 0);
	assert_nothing_used(queue);
	driver_start(&driver, &echo, 0, 0);
	request();
}

static void status_bits_are_not_taken_back_one_by_one(void **state)
{
	(void)state;
	put(&driver, 0x070, 1);
	assert_int_equal(get(&driver, 0x070), STATUS_RUNNING);
	put(&driver, 0x070, STATUS_NEEDS_RESET); /* not the driver's to set */
	assert_int_equal(get(&driver, 0x070), STATUS_RUNNING);
}

static void a_queue_in_use_does_not_change(void **state)
{
	(void)state;
	put(&driver, 0x038, 4);
	put_address(&driver, 0x080, OUTSIDE);
	put(&driver, 0x044, 1);
	request();
	put(&driver, 0x044, 0);
	assert_int_equal(get(&driver, 0x044), 0);
	add_simple();
	notify(&driver, 0);
	assert_nothing_used(queue);
}

static void nothing_is_served_before_driver_ok_but_then_all(void **state)
{
	(void)state;
	negotiate(&driver, 0);
	set_queue(&driver, 0, QUEUE_SIZE, FIRST_RINGS);
	add_simple();
	notify(&driver, 0);
	assert_nothing_used(queue);
	put(&driver, 0x070, STATUS_RUNNING);
	assert_used(queue, 0, 4);
}

/* ---- requests ---- */

static void a_request_is_answered_in_its_own_buffers(void **state)
{
	(void)state;
	poke(BUFFERS, "ping", 4);
	request();
	char answer[4];
	peek(BUFFERS + 0x100, answer, sizeof(answer));
	assert_memory_equal(answer, "ping", 4);
}

static void the_rings_go_round_and_round(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 70000; i++) {
		request();
	}
}

static void buffers_are_cut_as_the_driver_likes(void **state)
{
	(void)state;
	static const struct descriptor cut[] = {
		{BUFFERS, 1, 0, 0},
		{BUFFERS + FRAME_SIZE - 2, 5, 0, 0}, /* across pages */
		{BUFFERS + 0x4000, 2, WRITE, 0},
		{BUFFERS + 0x5000 - 1, 4, WRITE, 0},
	};
	char answer[6];
	poke(BUFFERS, "a", 1);
	poke(BUFFERS + FRAME_SIZE - 2, "bcdef", 5);
	add_chain(queue, cut, ARRAY_SIZE(cut));
	notify(&driver, 0);
	assert_used(queue, 0, 6);
	peek(BUFFERS + 0x4000, answer, 2);
	peek(BUFFERS + 0x5000 - 1, answer + 2, 4);
	assert_memory_equal(answer, "abcdef", 6);
}

static void indirect_tables_stand_alone_or_at_the_end(void **state)
{
	(void)state;
	add_indirect(queue, TABLES, simple, ARRAY_SIZE(simple));
	notify(&driver, 0);
	assert_used(queue, 0, 4);
	/* One direct descriptor, then a table that lies across pages. */
	gpa_t table = TABLES + FRAME_SIZE - 24;
	add_indirect(queue, table, simple, ARRAY_SIZE(simple));
	queue->available--;
	const struct descriptor both[] = {{BUFFERS, 3, 0, 0}, {table, 32, INDIRECT, 0}};
	add_chain(queue, both, ARRAY_SIZE(both));
	notify(&driver, 0);
	assert_used(queue, 2, 4); /* 7 bytes to read, 4 to write */
}

static void a_large_request_takes_several_goes(void **state)
{
	(void)state;
	const struct descriptor large[] = {{BUFFERS, 10 * SLICE, 0, 0}, {BUFFERS + MIB(1), 10 * SLICE, WRITE, 0}};
	add_chain(queue, large, ARRAY_SIZE(large));
	add_simple();
	notify(&driver, 0);
	assert_true(driver.goes >= 10 && driver.goes <= 13);
	assert_used(queue, 0, 10 * SLICE);
	assert_used(queue, 2, 4);
}

static void a_busy_device_can_be_reset(void **state)
{
	(void)state;
	const struct descriptor large[] = {{BUFFERS, 10 * SLICE, 0, 0}, {BUFFERS + MIB(1), 10 * SLICE, WRITE, 0}};
	add_chain(queue, large, ARRAY_SIZE(large));
	assert_int_equal(echo.device.ops->write(&echo.device, 0x050, 4, 0), BUS_BUSY);
	assert_true(echo.busy);
	put(&driver, 0x070, 0);
	assert_int_equal(driver.goes, 1);
	driver_start(&driver, &echo, 0, 0);
	request();
}

static void any_write_waits_for_a_busy_device(void **state)
{
	(void)state;
	const struct descriptor large[] = {{BUFFERS, 3 * SLICE, 0, 0}, {BUFFERS + MIB(1), 3 * SLICE, WRITE, 0}};
	add_chain(queue, large, ARRAY_SIZE(large));
	assert_int_equal(echo.device.ops->write(&echo.device, 0x050, 4, 0), BUS_BUSY);
	assert_true(echo.busy);
	put(&driver, 0x064, 1);
	assert_used(queue, 0, 3 * SLICE);
}

static void pages_of_the_rings_may_move(void **state)
{
	(void)state;
	request();
	gpa_t page = align_down(queue->rings, FRAME_SIZE);
	uint8_t rings[FRAME_SIZE];
	peek(page, rings, sizeof(rings));
	/* Another frame comes in its place: what the device remembers of the old one is void. */
	assert_status(addr_space_unmap(&space, page, FRAME_SIZE), MM_OK);
	hpa_t other = arena.hal.alloc_frames(&arena.hal, 0, FRAME_GUEST);
	assert_status(addr_space_map_linear(&space, page, FRAME_SIZE, (int64_t)(page - other), RW), MM_OK);
	poke(page, rings, sizeof(rings));
	request();
	request();
	assert_status(addr_space_unmap(&space, page, FRAME_SIZE), MM_OK);
	arena.hal.free_frames(&arena.hal, other, 0, FRAME_GUEST);
	notify(&driver, 0);
	assert_int_equal(get(&driver, 0x070), STATUS_RUNNING | STATUS_NEEDS_RESET);
}

/* ---- interrupts ---- */

static void the_line_is_up_until_the_driver_acknowledges(void **state)
{
	(void)state;
	assert_false(driver.level);
	request();
	assert_true(driver.level);
	assert_int_equal(get(&driver, 0x060), 1);
	put(&driver, 0x064, 2);
	assert_true(driver.level);
	acknowledge(&driver);
	assert_false(driver.level);
	assert_int_equal(get(&driver, 0x060), 0);
}

static void several_requests_give_one_interrupt(void **state)
{
	(void)state;
	add_simple();
	add_simple();
	add_simple();
	notify(&driver, 0);
	assert_int_equal(driver.interrupts, 1);
	acknowledge(&driver);
	notify(&driver, 0); /* nothing to do: no interrupt */
	assert_int_equal(driver.interrupts, 1);
}

static void a_driver_may_refuse_interrupts(void **state)
{
	(void)state;
	poke_16(queue->rings + AVAILABLE, 1);
	request();
	assert_false(driver.level);
	poke_16(queue->rings + AVAILABLE, 0);
	request();
	assert_true(driver.level);
}

static void event_indexes_say_when_to_interrupt(void **state)
{
	(void)state;
	gpa_t used_event = queue->rings + AVAILABLE + 4 + 2 * QUEUE_SIZE;
	poke_16(used_event, 2); /* when the third is used */
	request();
	request();
	assert_false(driver.level);
	request();
	assert_true(driver.level);
	acknowledge(&driver);
	request();
	assert_false(driver.level);
	poke_16(used_event, 5); /* passed over by two at once */
	add_simple();
	add_simple();
	add_simple();
	notify(&driver, 0);
	assert_true(driver.level);
}

static void event_indexes_say_when_to_notify(void **state)
{
	(void)state;
	gpa_t available_event = queue->rings + USED + 4 + 8 * QUEUE_SIZE;
	assert_int_equal(peek_16(available_event), 0);
	add_simple();
	add_simple();
	notify(&driver, 0);
	assert_int_equal(peek_16(available_event), 2);
}

/* ---- broken rings ---- */

static void write_descriptor(unsigned index, uint64_t address, uint32_t bytes, uint16_t flags, uint16_t next)
{
	put_descriptor(queue, index, (struct descriptor){address, bytes, flags, next});
}

static void make_loop(void)
{
	write_descriptor(0, BUFFERS, 4, NEXT, 1);
	write_descriptor(1, BUFFERS, 4, NEXT, 0);
	offer(queue, 0);
}

static void make_next_outside(void)
{
	write_descriptor(0, BUFFERS, 4, NEXT, QUEUE_SIZE);
	offer(queue, 0);
}

static void make_head_outside(void)
{
	offer(queue, QUEUE_SIZE);
}

static void make_empty(void)
{
	write_descriptor(0, BUFFERS, 0, 0, 0);
	offer(queue, 0);
}

static void make_wrapping(void)
{
	write_descriptor(0, UINT64_MAX - 1, 4, 0, 0);
	offer(queue, 0);
}

static void make_unordered(void)
{
	const struct descriptor chain[] = {{BUFFERS, 4, WRITE, 0}, {BUFFERS, 4, 0, 0}};
	add_chain(queue, chain, ARRAY_SIZE(chain));
}

static void make_outside_read(void)
{
	const struct descriptor chain[] = {{OUTSIDE - 2, 4, 0, 0}, {BUFFERS, 4, WRITE, 0}};
	add_chain(queue, chain, ARRAY_SIZE(chain));
}

static void make_outside_write(void)
{
	const struct descriptor chain[] = {{BUFFERS, 4, 0, 0}, {RAM_BASE - 4, 4, WRITE, 0}};
	add_chain(queue, chain, ARRAY_SIZE(chain));
}

static void make_jump(void)
{
	poke_16(queue->rings + AVAILABLE + 2, QUEUE_SIZE + 2); /* one was served */
}

static void make_step_back(void)
{
	poke_16(queue->rings + AVAILABLE + 2, UINT16_MAX);
}

static void make_nested_table(void)
{
	const struct descriptor inner = {TABLES + 0x100, 16, INDIRECT, 0};
	add_indirect(queue, TABLES, &inner, 1);
}

static void make_table_with_next(void)
{
	write_descriptor(0, TABLES, 16, INDIRECT | NEXT, 1);
	offer(queue, 0);
}

static void make_crooked_table(void)
{
	write_descriptor(0, TABLES, 17, INDIRECT, 0);
	offer(queue, 0);
}

static void make_empty_table(void)
{
	write_descriptor(0, TABLES, 0, INDIRECT, 0);
	offer(queue, 0);
}

static void make_table_outside(void)
{
	write_descriptor(0, OUTSIDE, 32, INDIRECT, 0);
	offer(queue, 0);
}

static void make_wrapping_table(void)
{
	write_descriptor(0, UINT64_MAX - 8, 16, INDIRECT, 0);
	offer(queue, 0);
}

static void make_long_table(void)
{
	struct descriptor many[QUEUE_SIZE + 1];
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
		many[i] = (struct descriptor){BUFFERS, 4, 0, 0};
	}
	add_indirect(queue, TABLES, many, ARRAY_SIZE(many));
}

static void make_table_loop(void)
{
	struct descriptor loop = {BUFFERS, 4, NEXT, 0};
	add_indirect(queue, TABLES, &loop, 1);
}

static const struct {
	void (*make)(void);
	const char *cause;
} mistakes[] = {
	{make_loop, "longer than its queue"},
	{make_next_outside, "no descriptor 0x10"},
	{make_head_outside, "no descriptor 0x10"},
	{make_empty, "empty or wraps"},
	{make_wrapping, "empty or wraps"},
	{make_unordered, "readable after writable"},
	{make_outside_read, "no memory to read at 0x40400000"},
	{make_outside_write, "no memory to write at 0x3ffffffc"},
	{make_jump, "jumped to 0x12"},
	{make_step_back, "jumped to 0xffff"},
	{make_nested_table, "indirect inside indirect"},
	{make_table_with_next, "may not be"},
	{make_crooked_table, "indirect table is 0x11"},
	{make_empty_table, "indirect table is 0x0"},
	{make_table_outside, "no memory for the ring"},
	{make_wrapping_table, "indirect table is"},
	{make_long_table, "longer than its queue"},
	{make_table_loop, "longer than its queue"},
};

static void a_broken_ring_stops_its_device_and_says_why(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(mistakes); i++) {
		setup_running(state);
		request();
		acknowledge(&driver);
		mistakes[i].make();
		notify(&driver, 0);
		if (!strstr(last_log, mistakes[i].cause)) {
			fail_msg("\"%s\" lacks \"%s\"", last_log, mistakes[i].cause);
		}
		assert_non_null(strstr(last_log, "vm test: echo 0 needs a reset: "));
		assert_int_equal(log_lines, 1);
		assert_int_equal(get(&driver, 0x070), STATUS_RUNNING | STATUS_NEEDS_RESET);
		assert_int_equal(get(&driver, 0x060), 2); /* a change of the configuration */
		assert_true(driver.level);
		assert_nothing_used(queue);
		add_simple();
		notify(&driver, 0);
		assert_nothing_used(queue);
		driver_start(&driver, &echo, F_INDIRECT, 0);
		request();
		teardown(state);
	}
}

static void indirect_tables_must_be_negotiated(void **state)
{
	(void)state;
	driver_start(&driver, &echo, 0, 0);
	add_indirect(queue, TABLES, simple, ARRAY_SIZE(simple));
	notify(&driver, 0);
	assert_int_equal(get(&driver, 0x070), STATUS_RUNNING | STATUS_NEEDS_RESET);
}

static void a_driver_cannot_flood_the_log(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		make_head_outside();
		notify(&driver, 0);
		assert_int_equal(get(&driver, 0x070), STATUS_RUNNING | STATUS_NEEDS_RESET);
		driver_start(&driver, &echo, 0, 0);
	}
	assert_int_equal(log_lines, 1);
}

static void bad_places_and_sizes_of_rings_are_noticed(void **state)
{
	static const struct {
		uint64_t offset, value;
	} bad[] = {{0x038, 0},          {0x038, 3},          {0x038, 2 * VIRTQ_SIZE_MAX}, {0x038, 0x10010},
	           {0x080, 0x40000008}, {0x090, 0x40000001}, {0x0a0, 0x40000002}};
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		negotiate(&driver, 0);
		put(&driver, 0x030, 0);
		put(&driver, 0x038, QUEUE_SIZE);
		put(&driver, (uint32_t)bad[i].offset, (uint32_t)bad[i].value);
		put(&driver, 0x044, 1);
		assert_int_equal(get(&driver, 0x044), 0);
		assert_int_equal(get(&driver, 0x070), 11 | STATUS_NEEDS_RESET);
		assert_false(driver.level); /* no interrupt before DRIVER_OK */
	}
	negotiate(&driver, 0);
	put(&driver, 0x038, QUEUE_SIZE);
	put_address(&driver, 0x0a0, UINT64_MAX - 3);
	put(&driver, 0x044, 1);
	assert_int_equal(get(&driver, 0x044), 0);
}

static void rings_outside_of_memory_are_noticed_when_used(void **state)
{
	(void)state;
	for (unsigned part = 0; part < 3; part++) {
		static const uint64_t offsets[] = {0x080, 0x090, 0x0a0};
		driver_start(&driver, &echo, 0, 0);
		put(&driver, 0x044, 0);
		put(&driver, 0x038, QUEUE_SIZE);
		put_address(&driver, 0x080, queue->rings);
		put_address(&driver, 0x090, queue->rings + AVAILABLE);
		put_address(&driver, 0x0a0, queue->rings + USED);
		put_address(&driver, offsets[part], OUTSIDE);
		put(&driver, 0x044, 1);
		add_simple();
		notify(&driver, 0);
		assert_int_equal(get(&driver, 0x070), STATUS_RUNNING | STATUS_NEEDS_RESET);
	}
}

#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_device_says_what_it_is, setup),
		TEST(features_come_in_two_halves, setup),
		TEST(features_that_were_not_offered_are_refused, setup),
		TEST(the_configuration_is_read_at_every_width_and_never_written, setup),
		TEST(registers_are_answered_as_32_bits_only, setup),
		TEST(a_reset_forgets_everything, setup_running),
		TEST(status_bits_are_not_taken_back_one_by_one, setup_running),
		TEST(a_queue_in_use_does_not_change, setup_running),
		TEST(nothing_is_served_before_driver_ok_but_then_all, setup),
		TEST(a_request_is_answered_in_its_own_buffers, setup_running),
		TEST(the_rings_go_round_and_round, setup_events),
		TEST(buffers_are_cut_as_the_driver_likes, setup_running),
		TEST(indirect_tables_stand_alone_or_at_the_end, setup_running),
		TEST(a_large_request_takes_several_goes, setup_running),
		TEST(a_busy_device_can_be_reset, setup_running),
		TEST(any_write_waits_for_a_busy_device, setup_running),
		TEST(pages_of_the_rings_may_move, setup_running),
		TEST(the_line_is_up_until_the_driver_acknowledges, setup_running),
		TEST(several_requests_give_one_interrupt, setup_running),
		TEST(a_driver_may_refuse_interrupts, setup_running),
		TEST(event_indexes_say_when_to_interrupt, setup_events),
		TEST(event_indexes_say_when_to_notify, setup_events),
		cmocka_unit_test(a_broken_ring_stops_its_device_and_says_why),
		TEST(indirect_tables_must_be_negotiated, setup),
		TEST(a_driver_cannot_flood_the_log, setup_running),
		TEST(bad_places_and_sizes_of_rings_are_noticed, setup),
		TEST(rings_outside_of_memory_are_noticed_when_used, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
