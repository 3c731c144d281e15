/* SPDX-License-Identifier: Apache-2.0 */
// sources: tests/host/mm_arena.c mm/*.c mm/formats/*.c lib/rbtree.c lib/random.c hv/devices/virt*.c hv/net_switch.c
/*
 * The console and the entropy device.
 */
#include "virtio_driver.h"

#define INPUT  0
#define OUTPUT 1

static struct virtio_console console;
static struct virtio_rng rng;
static struct driver driver;
static char sent[4 * FRAME_SIZE];
static size_t sent_bytes;
static const char *input;

static void backend_write(struct serial_backend *backend, uint8_t byte)
{
	(void)backend;
	sent[sent_bytes++] = (char)byte;
}

static int backend_read(struct serial_backend *backend)
{
	(void)backend;
	return *input ? *input++ : -1;
}

static struct serial_backend backend = {.write = backend_write, .read = backend_read};

static int setup(void **state)
{
	(void)state;
	machine_start();
	memset(&driver, 0, sizeof(driver));
	memset(sent, 0, sizeof(sent));
	sent_bytes = 0;
	input = "";
	struct virtio_place place = driver_place(&driver, "virtio-console 0");
	virtio_console_init(&console, &place, &backend);
	driver_start(&driver, &console.virtio, F_EVENT, 0);
	return 0;
}

static int setup_rng(void **state)
{
	(void)state;
	machine_start();
	memset(&driver, 0, sizeof(driver));
	struct virtio_place place = driver_place(&driver, "virtio-rng 0");
	virtio_rng_init(&rng, &place, (const uint8_t[RANDOM_SEED_BYTES]){1, 2, 3});
	driver_start(&driver, &rng.virtio, 0, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	machine_end();
	return 0;
}

static void add_buffer(gpa_t at, uint32_t bytes)
{
	const struct descriptor one = {at, bytes, WRITE, 0};
	add_chain(&driver.queue[INPUT], &one, 1);
}

static void output_is_sent_in_order(void **state)
{
	(void)state;
	const struct descriptor parts[] = {{BUFFERS, 6, 0, 0}, {BUFFERS + 0x100, 5, 0, 0}};
	poke(BUFFERS, "hello ", 6);
	poke(BUFFERS + 0x100, "world", 5);
	add_chain(&driver.queue[OUTPUT], parts, ARRAY_SIZE(parts));
	notify(&driver, OUTPUT);
	assert_string_equal(sent, "hello world");
	assert_used(&driver.queue[OUTPUT], 0, 0);
}

static void much_output_takes_several_goes_and_loses_nothing(void **state)
{
	(void)state;
	char text[3 * FRAME_SIZE];
	const struct descriptor one = {BUFFERS, sizeof(text), 0, 0};
	for (size_t i = 0; i < sizeof(text); i++) {
		text[i] = (char)('a' + i % 26);
	}
	poke(BUFFERS, text, sizeof(text));
	add_chain(&driver.queue[OUTPUT], &one, 1);
	notify(&driver, OUTPUT);
	assert_true(driver.goes >= 48);
	assert_int_equal(sent_bytes, sizeof(text));
	assert_memory_equal(sent, text, sizeof(text));
}

static void input_waits_in_the_backend_until_there_is_a_buffer(void **state)
{
	(void)state;
	char text[8];
	input = "abcdef";
	virtio_console_poll(&console);
	assert_string_equal(input, "abcdef");
	assert_false(driver.level);
	add_buffer(BUFFERS, 4);
	notify(&driver, INPUT); /* which the device has asked for */
	assert_string_equal(input, "ef");
	assert_true(driver.level);
	assert_used(&driver.queue[INPUT], 0, 4);
	add_buffer(BUFFERS + 4, 4);
	notify(&driver, INPUT);
	assert_used(&driver.queue[INPUT], 1, 2);
	peek(BUFFERS, text, 6);
	assert_memory_equal(text, "abcdef", 6);
}

static void buffers_wait_until_there_is_input(void **state)
{
	(void)state;
	add_buffer(BUFFERS, 4);
	add_buffer(BUFFERS + 4, 4);
	notify(&driver, INPUT);
	virtio_console_poll(&console);
	assert_nothing_used(&driver.queue[INPUT]);
	input = "x";
	virtio_console_poll(&console);
	assert_used(&driver.queue[INPUT], 0, 1);
	input = "y";
	virtio_console_poll(&console);
	assert_used(&driver.queue[INPUT], 1, 1);
	assert_nothing_used(&driver.queue[INPUT]);
}

static void input_stays_where_it_is_while_no_driver_runs(void **state)
{
	(void)state;
	add_buffer(BUFFERS, 4);
	put(&driver, 0x070, 0);
	input = "abc";
	virtio_console_poll(&console);
	assert_string_equal(input, "abc");
}

static void a_buffer_that_cannot_be_written_stops_the_console(void **state)
{
	(void)state;
	add_buffer(OUTSIDE, 4);
	input = "abc";
	virtio_console_poll(&console);
	assert_int_equal(get(&driver, 0x070), STATUS_RUNNING | STATUS_NEEDS_RESET);
	assert_non_null(strstr(last_log, "virtio-console 0 needs a reset"));
}

static void random_bytes_fill_the_buffers_and_never_repeat(void **state)
{
	(void)state;
	const struct descriptor one = {BUFFERS, 32, WRITE, 0}, other = {BUFFERS + 32, 32, WRITE, 0};
	uint8_t first[32], second[32], zeros[32] = {0};
	add_chain(&driver.queue[0], &one, 1);
	add_chain(&driver.queue[0], &other, 1);
	notify(&driver, 0);
	assert_used(&driver.queue[0], 0, 32);
	assert_used(&driver.queue[0], 1, 32);
	peek(BUFFERS, first, sizeof(first));
	peek(BUFFERS + 32, second, sizeof(second));
	assert_memory_not_equal(first, second, sizeof(first));
	assert_memory_not_equal(first, zeros, sizeof(first));
	assert_memory_not_equal(second, zeros, sizeof(first));
}

static void another_seed_gives_other_bytes(void **state)
{
	(void)state;
	struct virtio_rng other;
	struct virtio_place place = driver_place(&driver, "virtio-rng 1");
	uint8_t a[16], b[16];
	virtio_rng_init(&other, &place, (const uint8_t[RANDOM_SEED_BYTES]){1, 2, 4});
	random_bytes(&rng.random, a, sizeof(a));
	random_bytes(&other.random, b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
}

static void a_large_request_for_entropy_gets_a_part(void **state)
{
	(void)state;
	const struct descriptor large = {BUFFERS, MIB(1), WRITE, 0};
	add_chain(&driver.queue[0], &large, 1);
	notify(&driver, 0);
	assert_used(&driver.queue[0], 0, 256);
	assert_int_equal(peek_16(BUFFERS + 256), 0);
}

#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(output_is_sent_in_order, setup),
		TEST(much_output_takes_several_goes_and_loses_nothing, setup),
		TEST(input_waits_in_the_backend_until_there_is_a_buffer, setup),
		TEST(buffers_wait_until_there_is_input, setup),
		TEST(input_stays_where_it_is_while_no_driver_runs, setup),
		TEST(a_buffer_that_cannot_be_written_stops_the_console, setup),
		TEST(random_bytes_fill_the_buffers_and_never_repeat, setup_rng),
		TEST(another_seed_gives_other_bytes, setup_rng),
		TEST(a_large_request_for_entropy_gets_a_part, setup_rng),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
