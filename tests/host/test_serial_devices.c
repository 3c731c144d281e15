/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/devices/uart16550.c hv/devices/pl011.c hv/bus.c
/*
 * The guests' UART models against a backend that is a string.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/devices/serial.h"

static char sent[64];
static size_t sent_bytes;
static const char *input;
static bool line_level;

static void backend_write(struct serial_backend *backend, uint8_t byte)
{
	(void)backend;
	sent[sent_bytes++] = (char)byte;
}

static int backend_read(struct serial_backend *backend)
{
	(void)backend;
	return input && *input ? *input++ : -1;
}

static void set_line(struct irq_line *line, bool level)
{
	(void)line;
	line_level = level;
}

static struct serial_backend backend = {.write = backend_write, .read = backend_read};
static struct irq_line irq = {.set = set_line};
static struct uart16550_device uart;
static struct pl011_device pl011;

static int setup(void **state)
{
	(void)state;
	memset(sent, 0, sizeof(sent));
	sent_bytes = 0;
	input = NULL;
	line_level = false;
	uart16550_device_init(&uart, &backend, &irq);
	pl011_device_init(&pl011, &backend, &irq);
	return 0;
}

static uint64_t get(struct device *device, uint64_t offset, unsigned width)
{
	uint64_t value = 0;
	assert_true(device->ops->read(device, offset, width, &value));
	return value;
}

static void put(struct device *device, uint64_t offset, unsigned width, uint64_t value)
{
	assert_true(device->ops->write(device, offset, width, value));
}

static void the_16550_sends_what_is_written(void **state)
{
	(void)state;
	assert_int_equal(get(&uart.device, 5, 1), 0x60); /* THRE, TEMT */
	put(&uart.device, 0, 1, 'A');
	put(&uart.device, 0, 1, 'B');
	assert_string_equal(sent, "AB");
}

static void the_16550_divisor_is_no_data(void **state)
{
	(void)state;
	put(&uart.device, 3, 1, 0x83);
	put(&uart.device, 0, 1, 'A');
	put(&uart.device, 1, 1, 2);
	assert_int_equal(get(&uart.device, 0, 1), 'A');
	assert_int_equal(get(&uart.device, 1, 1), 2);
	put(&uart.device, 3, 1, 3);
	assert_int_equal(sent_bytes, 0);
	assert_int_equal(get(&uart.device, 1, 1), 0);
}

static void the_16550_receives_and_interrupts(void **state)
{
	(void)state;
	input = "xy";
	put(&uart.device, 2, 1, 1);
	put(&uart.device, 1, 1, 1);
	assert_false(line_level);
	uart16550_device_poll(&uart);
	assert_true(line_level);
	assert_int_equal(get(&uart.device, 2, 1), 0xc4);
	assert_int_equal(get(&uart.device, 5, 1) & 1, 1);
	assert_int_equal(get(&uart.device, 0, 1), 'x');
	assert_int_equal(get(&uart.device, 0, 1), 'y');
	assert_false(line_level);
	assert_int_equal(get(&uart.device, 5, 1) & 1, 0);
}

static void the_16550_transmitter_interrupt_is_cleared_by_reading_iir(void **state)
{
	(void)state;
	put(&uart.device, 1, 1, 2);
	assert_true(line_level);
	assert_int_equal(get(&uart.device, 2, 1), 2);
	assert_false(line_level);
	put(&uart.device, 0, 1, 'z');
	assert_true(line_level);
}

static void the_16550_loops_back(void **state)
{
	(void)state;
	put(&uart.device, 4, 1, 0x1f);
	put(&uart.device, 0, 1, 'Q');
	assert_int_equal(sent_bytes, 0);
	assert_int_equal(get(&uart.device, 0, 1), 'Q');
	assert_int_equal(get(&uart.device, 6, 1), 0xf0);
	put(&uart.device, 4, 1, 0x1a); /* RTS, OUT2: as Linux probes */
	assert_int_equal(get(&uart.device, 6, 1), 0x90);
}

static void the_16550_without_fifo_holds_one_byte_and_loses_none_of_the_rest(void **state)
{
	(void)state;
	input = "abc";
	uart16550_device_poll(&uart);
	assert_string_equal(input, "bc");
	put(&uart.device, 4, 1, 0x10);
	put(&uart.device, 0, 1, '1'); /* no room: overrun */
	assert_int_equal(get(&uart.device, 5, 1) & 2, 2);
	assert_int_equal(get(&uart.device, 5, 1) & 2, 0);
}

static void wide_or_outlying_accesses_are_not_answered(void **state)
{
	(void)state;
	uint64_t value;
	assert_false(uart.device.ops->read(&uart.device, 0, 2, &value));
	assert_false(uart.device.ops->read(&uart.device, 8, 1, &value));
	assert_false(uart.device.ops->write(&uart.device, 8, 1, 0));
	assert_false(uart.device.ops->write(&uart.device, 7, 4, 0));
	assert_false(pl011.device.ops->read(&pl011.device, 0, 8, &value));
	assert_false(pl011.device.ops->read(&pl011.device, 2, 2, &value));
	assert_false(pl011.device.ops->write(&pl011.device, 1, 1, 0));
}

static void the_pl011_sends_and_says_that_it_is_empty(void **state)
{
	(void)state;
	put(&pl011.device, 0, 4, 'h');
	put(&pl011.device, 0, 1, 'i');
	assert_string_equal(sent, "hi");
	assert_int_equal(get(&pl011.device, 0x18, 4), 0x91); /* CTS, RXFE, TXFE */
}

static void the_pl011_keeps_input_until_it_is_read(void **state)
{
	(void)state;
	input = "0123456789abcdefXYZ";
	put(&pl011.device, 0x2c, 4, 0x70);
	assert_int_equal(get(&pl011.device, 0x18, 4) & 0x40, 0x40); /* RXFF */
	assert_string_equal(input, "XYZ");
	for (const char *expected = "0123456789abcdefXYZ"; *expected; expected++) {
		assert_int_equal(get(&pl011.device, 0x18, 4) & 0x10, 0);
		assert_int_equal(get(&pl011.device, 0, 4), *expected);
	}
	assert_int_equal(get(&pl011.device, 0x18, 4) & 0x10, 0x10);
}

static void the_pl011_interrupts_when_asked(void **state)
{
	(void)state;
	input = "k";
	pl011_device_poll(&pl011);
	assert_false(line_level);
	put(&pl011.device, 0x38, 4, 0x50);
	assert_true(line_level);
	assert_int_equal(get(&pl011.device, 0x40, 4), 0x50);
	assert_int_equal(get(&pl011.device, 0, 4), 'k');
	assert_false(line_level);
	put(&pl011.device, 0x38, 4, 0x20);
	put(&pl011.device, 0, 4, 'o');
	assert_true(line_level);
	put(&pl011.device, 0x44, 4, 0x20);
	assert_false(line_level);
}

static void the_pl011_names_itself(void **state)
{
	(void)state;
	static const uint8_t id[] = {0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
	for (unsigned i = 0; i < sizeof(id); i++) {
		assert_int_equal(get(&pl011.device, 0xfe0 + i * 4, 4), id[i]);
	}
	assert_int_equal(get(&pl011.device, 0x800, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_16550_sends_what_is_written, setup),
		cmocka_unit_test_setup(the_16550_divisor_is_no_data, setup),
		cmocka_unit_test_setup(the_16550_receives_and_interrupts, setup),
		cmocka_unit_test_setup(the_16550_transmitter_interrupt_is_cleared_by_reading_iir, setup),
		cmocka_unit_test_setup(the_16550_loops_back, setup),
		cmocka_unit_test_setup(the_16550_without_fifo_holds_one_byte_and_loses_none_of_the_rest, setup),
		cmocka_unit_test_setup(wide_or_outlying_accesses_are_not_answered, setup),
		cmocka_unit_test_setup(the_pl011_sends_and_says_that_it_is_empty, setup),
		cmocka_unit_test_setup(the_pl011_keeps_input_until_it_is_read, setup),
		cmocka_unit_test_setup(the_pl011_interrupts_when_asked, setup),
		cmocka_unit_test_setup(the_pl011_names_itself, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
