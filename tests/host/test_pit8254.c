/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/devices/pit8254.c hv/bus.c
/*
 * The guests' 8254 against a clock that the test sets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/devices/pit8254.h"

static uint64_t now;
static struct pit8254_device pit;

static uint64_t nanoseconds(void)
{
	return now;
}

static int setup(void **state)
{
	(void)state;
	now = 12345;
	pit8254_device_init(&pit, nanoseconds);
	return 0;
}

static void pass_ticks(uint64_t ticks)
{
	now += (ticks * 1000000000 + PIT_HZ - 1) / PIT_HZ;
}

static void out(unsigned port, uint8_t value)
{
	struct device *device = port == 0x61 ? &pit.port61 : &pit.device;
	assert_true(device->ops->write(device, port == 0x61 ? 0 : port - 0x40, 1, value));
}

static uint8_t in(unsigned port)
{
	struct device *device = port == 0x61 ? &pit.port61 : &pit.device;
	uint64_t value = 0;
	assert_true(device->ops->read(device, port == 0x61 ? 0 : port - 0x40, 1, &value));
	return (uint8_t)value;
}

/* How memtest86+ and Linux measure the TSC: channel 2, mode 0, output read at port 0x61. */
static void channel_2_tells_by_port_61_when_its_time_is_up(void **state)
{
	(void)state;
	out(0x61, (uint8_t)((in(0x61) & ~2) | 1));
	out(0x43, 0xb0);
	out(0x42, 59659 & 0xff);
	out(0x42, 59659 >> 8);
	assert_int_equal(in(0x61) & 0x21, 0x01);
	pass_ticks(59658);
	assert_int_equal(in(0x61) & 0x20, 0);
	pass_ticks(2);
	assert_int_equal(in(0x61) & 0x20, 0x20);
}

static void a_closed_gate_stops_the_count_and_an_opening_one_starts_it(void **state)
{
	(void)state;
	out(0x61, 0);
	out(0x43, 0xb0);
	out(0x42, 100);
	out(0x42, 0);
	pass_ticks(1000);
	assert_int_equal(in(0x61) & 0x20, 0);
	out(0x61, 1);
	pass_ticks(99);
	assert_int_equal(in(0x61) & 0x20, 0);
	pass_ticks(2);
	assert_int_equal(in(0x61) & 0x20, 0x20);
}

static void a_latched_count_stays_until_it_is_read(void **state)
{
	(void)state;
	out(0x43, 0x34); /* channel 0, both bytes, mode 2 */
	out(0x40, 0xe8);
	out(0x40, 0x03);
	pass_ticks(10);
	out(0x43, 0x00);
	pass_ticks(500);
	assert_int_equal(in(0x40), 0xde); /* 990 */
	assert_int_equal(in(0x40), 0x03);
	unsigned low = in(0x40);
	unsigned high = in(0x40);
	assert_int_equal((high << 8) | low, 490);
}

static void mode_2_counts_round_and_round(void **state)
{
	(void)state;
	out(0x43, 0x34);
	out(0x40, 100);
	out(0x40, 0);
	pass_ticks(250);
	unsigned low = in(0x40);
	assert_int_equal(low, 50);
	assert_int_equal(in(0x40), 0);
}

static void a_reload_of_zero_stands_for_65536(void **state)
{
	(void)state;
	out(0x43, 0x34);
	out(0x40, 0);
	out(0x40, 0);
	pass_ticks(1);
	assert_int_equal(in(0x40), 0xff);
	assert_int_equal(in(0x40), 0xff);
	pass_ticks(UINT64_C(65536) * 3);
	assert_int_equal(in(0x40), 0xff);
}

static void the_read_back_command_latches_status_then_count(void **state)
{
	(void)state;
	out(0x43, 0x16); /* channel 0, low byte, mode 3 */
	out(0x40, 200);
	pass_ticks(10);
	out(0x43, 0xc2);
	assert_int_equal(in(0x40), 0x96); /* OUT high, low-byte access, mode 3 */
	assert_int_equal(in(0x40), 180);
}

static void nothing_a_guest_writes_divides_by_zero(void **state)
{
	(void)state;
	for (unsigned control = 0; control < 256; control++) {
		out(0x43, (uint8_t)control);
		for (unsigned port = 0x40; port < 0x43; port++) {
			out(port, 0);
			out(port, 1);
			pass_ticks(3);
			(void)in(port);
			(void)in(0x61);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(channel_2_tells_by_port_61_when_its_time_is_up, setup),
		cmocka_unit_test_setup(a_closed_gate_stops_the_count_and_an_opening_one_starts_it, setup),
		cmocka_unit_test_setup(a_latched_count_stays_until_it_is_read, setup),
		cmocka_unit_test_setup(mode_2_counts_round_and_round, setup),
		cmocka_unit_test_setup(a_reload_of_zero_stands_for_65536, setup),
		cmocka_unit_test_setup(the_read_back_command_latches_status_then_count, setup),
		cmocka_unit_test_setup(nothing_a_guest_writes_divides_by_zero, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
