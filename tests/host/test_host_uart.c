/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's serial ports against models of a 16550 and of a PL011: what is sent, in which bursts, and that a port
 * which is missing, dead or blocked never holds anything up. Run by make host-tests.
 */
#include "drivers/host_uart.h"
#include "drivers/pl011.h"
#include "drivers/uart16550.h"
#include "lib/io.h"
#include "lib/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* ---- the models ---- */

#define PORT     0x3f8
#define MMIO     0x9000000
#define SENT_MAX 65536

static struct {
	bool there, blocked, scratch_works;
	unsigned fifo;   /* bytes that fit when it is empty */
	unsigned filled; /* of them in use; a poll that finds it busy lets one go */
	uint8_t lcr, ier, mcr, fcr, scratch, dll, dlm;
	uint32_t cr, lcr_h, imsc;
	const char *input;
	unsigned polls, overruns, control_writes, accesses_32;
	char sent[SENT_MAX];
	size_t sent_bytes;
} model;

static void model_send(uint8_t byte)
{
	if (model.filled == model.fifo) {
		model.overruns++;
		return;
	}
	model.filled++;
	model.sent[model.sent_bytes++ % SENT_MAX] = (char)byte;
}

/* The line's speed: one byte leaves while software polls. */
static void model_poll(void)
{
	model.polls++;
	if (!model.blocked && model.filled > 0) {
		model.filled--;
	}
}

static uint8_t model_input(void)
{
	return model.input != NULL && *model.input != '\0' ? (uint8_t)*model.input++ : 0;
}

static bool model_has_input(void)
{
	return model.input != NULL && *model.input != '\0';
}

static uint8_t read_16550(unsigned name)
{
	if (!model.there) {
		return 0xff;
	}
	switch (name) {
	case 0:
		return model_input();
	case 2:
		return model.fifo > 1 && (model.fcr & 1) != 0 ? 0xc1 : 0x01;
	case 5:
		model_poll();
		return (uint8_t)((model.filled == 0 ? 0x60 : 0) | (model_has_input() ? 1 : 0));
	case 7:
		return model.scratch_works ? model.scratch : 0;
	default:
		return 0;
	}
}

static void write_16550(unsigned name, uint8_t value)
{
	bool divisor = (model.lcr & 0x80) != 0;

	switch (name) {
	case 0:
		if (divisor) {
			model.dll = value;
		} else {
			model_send(value);
		}
		break;
	case 1:
		*(divisor ? &model.dlm : &model.ier) = value;
		break;
	case 2:
		model.fcr = value;
		break;
	case 3:
		model.lcr = value;
		break;
	case 4:
		model.mcr = value;
		break;
	case 7:
		model.scratch = value;
		break;
	default:
		break;
	}
}

static uint8_t fake_port_read8(uint16_t port)
{
	return read_16550(port - PORT);
}

static void fake_port_write8(uint16_t port, uint8_t value)
{
	write_16550(port - PORT, value);
}

static void fake_port_write8_string(uint16_t port, const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		write_16550(port - PORT, ((const uint8_t *)from)[i]);
	}
}

static uint8_t fake_mmio_read8(uintptr_t address)
{
	return read_16550((unsigned)(address - MMIO));
}

static void fake_mmio_write8(uintptr_t address, uint8_t value)
{
	write_16550((unsigned)(address - MMIO), value);
}

static bool model_is_pl011;

static uint32_t fake_mmio_read32(uintptr_t address)
{
	unsigned offset = (unsigned)(address - MMIO);

	model.accesses_32++;
	if (!model_is_pl011) {
		return read_16550(offset / 4);
	}
	if (!model.there) {
		return UINT32_MAX;
	}
	switch (offset) {
	case 0x00:
		return 0x500U | model_input(); /* error bits above the data */
	case 0x18:
		model_poll();
		return (model_has_input() ? 0 : BIT(4)) | (model.filled == model.fifo ? BIT(5) : 0) |
		       (model.filled == 0 ? BIT(7) : BIT(3));
	case 0x2c:
		return model.lcr_h;
	case 0x30:
		return model.cr;
	default:
		return 0;
	}
}

static void fake_mmio_write32(uintptr_t address, uint32_t value)
{
	unsigned offset = (unsigned)(address - MMIO);

	model.accesses_32++;
	if (!model_is_pl011) {
		write_16550(offset / 4, (uint8_t)value);
		return;
	}
	switch (offset) {
	case 0x00:
		model_send((uint8_t)value);
		break;
	case 0x2c:
	case 0x30:
		model.control_writes++;
		*(offset == 0x30 ? &model.cr : &model.lcr_h) = value;
		break;
	case 0x38:
		model.imsc = value;
		break;
	default:
		break;
	}
}

#define port_read8         fake_port_read8
#define port_write8        fake_port_write8
#define port_write8_string fake_port_write8_string
#define mmio_read8         fake_mmio_read8
#define mmio_write8        fake_mmio_write8
#define mmio_read32        fake_mmio_read32
#define mmio_write32       fake_mmio_write32
/* One translation unit has both drivers: what each calls its own gets a name of its own. */
#include "drivers/uart16550.c"
#undef FIFO_BYTES
#undef NOTHING_THERE
#define read_register  pl011_read_register
#define write_register pl011_write_register
#include "drivers/pl011.c"

#include "drivers/host_uart.c"

static struct host_uart uart;

static const struct uart_description com1 = {.kind = UART_16550_PORT, .clock_hz = UART_PC_CLOCK_HZ, .address = PORT};
static const struct uart_description pl011 = {.kind = UART_PL011, .address = MMIO};

static int start_anew(void **state)
{
	(void)state;
	memset(&model, 0, sizeof(model));
	model.there = true;
	model.scratch_works = true;
	model.fifo = 16;
	model.imsc = 0xffff;
	model.ier = 0xff;
	model_is_pl011 = false;
	return 0;
}

static void send(const char *text)
{
	uart.sink.write(&uart.sink, text, strlen(text));
}

static void expect_sent(const char *text)
{
	assert_int_equal(model.sent_bytes, strlen(text));
	assert_memory_equal(model.sent, text, strlen(text));
	assert_int_equal(model.overruns, 0);
}

/* ---- tests ---- */

static void a_16550_is_set_to_115200_8n1_without_interrupts(void **state)
{
	(void)state;
	assert_true(host_uart_init(&uart, &com1));
	assert_int_equal(model.lcr, 3);
	assert_int_equal(model.dll, 1);
	assert_int_equal(model.dlm, 0);
	assert_int_equal(model.ier, 0);
	assert_int_equal(model.mcr, 3);
	assert_int_equal(uart.fifo_bytes, 16);
}

static void a_rate_is_not_touched_when_the_clock_is_not_known(void **state)
{
	const struct uart_description description = {.kind = UART_16550_MMIO, .address = MMIO};

	(void)state;
	model.dll = 13;
	assert_true(host_uart_init(&uart, &description));
	assert_int_equal(model.dll, 13);
	send("x");
	expect_sent("x");
	assert_int_equal(model.accesses_32, 0);
}

static void registers_four_bytes_apart_are_accessed_by_32_bits_where_told(void **state)
{
	const struct uart_description description = {
		.kind = UART_16550_MMIO, .stride = 4, .access_width = 4, .clock_hz = 48000000, .address = MMIO};

	(void)state;
	assert_true(host_uart_init(&uart, &description));
	assert_int_equal(model.dll, 26);
	send("abc\n");
	expect_sent("abc\r\n");
	assert_in_range(model.accesses_32, 10, 1000);
}

static void ports_that_are_not_there_are_found_out(void **state)
{
	const struct uart_description none = {.kind = UART_NONE};

	(void)state;
	model.there = false;
	assert_false(host_uart_init(&uart, &com1));
	model_is_pl011 = true;
	assert_false(host_uart_init(&uart, &pl011));
	assert_false(host_uart_init(&uart, &none));
	model_is_pl011 = false;
	model.there = true;
	model.scratch_works = false;
	assert_false(host_uart_init(&uart, &com1));
}

static void a_full_fifo_is_written_per_poll(void **state)
{
	(void)state;
	assert_true(host_uart_init(&uart, &com1));
	model.polls = 0;
	send("0123456789012345");
	expect_sent("0123456789012345");
	assert_int_equal(model.polls, 1);
}

static void a_port_without_fifo_takes_byte_by_byte(void **state)
{
	(void)state;
	model.fifo = 1;
	assert_true(host_uart_init(&uart, &com1));
	assert_int_equal(uart.fifo_bytes, 1);
	send("hello\n");
	expect_sent("hello\r\n");
}

static void line_feeds_get_one_carriage_return(void **state)
{
	(void)state;
	assert_true(host_uart_init(&uart, &com1));
	send("a\nb\r\nc\n\n\r");
	send("\n");
	expect_sent("a\r\nb\r\nc\r\n\r\n\r\n");
}

static void long_text_wraps_round_the_queue(void **state)
{
	static char text[20001];

	(void)state;
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		text[i] = (char)('a' + i % 26);
	}
	assert_true(host_uart_init(&uart, &com1));
	send(text);
	expect_sent(text);
	uart.deferred = true;
	model.sent_bytes = 0;
	send(text);
	uart.sink.flush(&uart.sink);
	expect_sent(text);
}

static void a_flush_ends_when_the_last_byte_is_out(void **state)
{
	(void)state;
	assert_true(host_uart_init(&uart, &com1));
	send("good-bye");
	assert_int_not_equal(model.filled, 0); /* in the FIFO: handed over, not sent */
	uart.sink.flush(&uart.sink);
	assert_int_equal(model.filled, 0);
}

static void a_deferred_port_is_sent_by_a_flush(void **state)
{
	(void)state;
	assert_true(host_uart_init(&uart, &com1));
	uart.deferred = true;
	send("0123456789abcdefghij");
	expect_sent("");
	uart.sink.flush(&uart.sink);
	expect_sent("0123456789abcdefghij");
}

static void a_blocked_port_costs_one_bounded_wait_and_comes_back(void **state)
{
	(void)state;
	assert_true(host_uart_init(&uart, &com1));
	model.blocked = true;
	send("0123456789abcdef");
	expect_sent("0123456789abcdef");
	send("lost");
	assert_true(uart.dead);
	assert_in_range(model.polls, 100000, 1000000);
	model.polls = 0;
	for (int i = 0; i < 100; i++) {
		send("lost too");
	}
	assert_int_equal(model.polls, 100);
	model.blocked = false;
	model.filled = 0;
	model.sent_bytes = 0;
	send("back again, in more than one burst");
	expect_sent("back again, in more than one burst");
	assert_false(uart.dead);
}

static void input_is_read_byte_by_byte_and_minus_one_without(void **state)
{
	(void)state;
	assert_true(host_uart_init(&uart, &com1));
	assert_int_equal(host_uart_read(&uart), -1);
	model.input = "ab";
	assert_int_equal(host_uart_read(&uart), 'a');
	assert_int_equal(host_uart_read(&uart), 'b');
	assert_int_equal(host_uart_read(&uart), -1);
	model.there = false; /* pulled out: all ones is no input */
	assert_int_equal(host_uart_read(&uart), -1);
}

static void a_pl011_keeps_its_settings_and_loses_its_interrupts(void **state)
{
	(void)state;
	model_is_pl011 = true;
	model.cr = 0x301;
	model.lcr_h = 0x70;
	assert_true(host_uart_init(&uart, &pl011));
	assert_int_equal(model.control_writes, 0);
	assert_int_equal(model.imsc, 0);
	model.polls = 0;
	send("0123456789012345");
	expect_sent("0123456789012345");
	assert_int_equal(model.polls, 1);
	send("more than the FIFO has room for\n");
	expect_sent("0123456789012345more than the FIFO has room for\r\n");
	model.input = "x";
	assert_int_equal(host_uart_read(&uart), 'x');
	assert_int_equal(host_uart_read(&uart), -1);
}

static void a_pl011_that_is_off_is_turned_on(void **state)
{
	(void)state;
	model_is_pl011 = true;
	model.fifo = 1;
	assert_true(host_uart_init(&uart, &pl011));
	assert_int_equal(model.cr, 0x301);
	assert_int_equal(uart.fifo_bytes, 1);
	send("ab");
	expect_sent("ab");
}

static void an_sbsa_port_has_no_control_registers_to_touch(void **state)
{
	const struct uart_description sbsa = {.kind = UART_SBSA, .address = MMIO};

	(void)state;
	model_is_pl011 = true;
	assert_true(host_uart_init(&uart, &sbsa));
	assert_int_equal(model.control_writes, 0);
	assert_int_equal(uart.fifo_bytes, 16);
}

#define TEST(name) cmocka_unit_test_setup(name, start_anew)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_16550_is_set_to_115200_8n1_without_interrupts),
		TEST(a_rate_is_not_touched_when_the_clock_is_not_known),
		TEST(registers_four_bytes_apart_are_accessed_by_32_bits_where_told),
		TEST(ports_that_are_not_there_are_found_out),
		TEST(a_full_fifo_is_written_per_poll),
		TEST(a_port_without_fifo_takes_byte_by_byte),
		TEST(line_feeds_get_one_carriage_return),
		TEST(long_text_wraps_round_the_queue),
		TEST(a_flush_ends_when_the_last_byte_is_out),
		TEST(a_deferred_port_is_sent_by_a_flush),
		TEST(a_blocked_port_costs_one_bounded_wait_and_comes_back),
		TEST(input_is_read_byte_by_byte_and_minus_one_without),
		TEST(a_pl011_keeps_its_settings_and_loses_its_interrupts),
		TEST(a_pl011_that_is_off_is_turned_on),
		TEST(an_sbsa_port_has_no_control_registers_to_touch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
