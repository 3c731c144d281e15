/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/bus.c
/*
 * The device bus: which accesses reach which device, and which reach none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/bus.h"

struct recorder {
	struct device device;
	uint64_t offset, value;
	unsigned width;
	enum bus_result result; /* of writes */
};

static bool record_read(struct device *device, uint64_t offset, unsigned width, uint64_t *value)
{
	struct recorder *recorder = (struct recorder *)device;
	recorder->offset = offset;
	recorder->width = width;
	*value = 0;
	return true;
}

static enum bus_result record_write(struct device *device, uint64_t offset, unsigned width, uint64_t value)
{
	struct recorder *recorder = (struct recorder *)device;
	recorder->offset = offset;
	recorder->width = width;
	recorder->value = value;
	return recorder->result;
}

static const struct device_ops record_ops = {.read = record_read, .write = record_write};

static struct recorder recorder(void)
{
	return (struct recorder){.device = {.name = "recorder", .ops = &record_ops}, .result = BUS_DONE};
}

static void a_device_gets_the_offset_in_its_range(void **state)
{
	(void)state;
	struct recorder low = recorder(), high = recorder();
	struct bus bus = {0};
	assert_true(bus_add(&bus, 0x2000, 0x10, &high.device));
	assert_true(bus_add(&bus, 0x1000, 0x10, &low.device));
	assert_true(bus_write(&bus, 0x1004, 2, 0x1234));
	assert_int_equal(low.offset, 4);
	assert_int_equal(low.width, 2);
	assert_int_equal(low.value, 0x1234);
	assert_true(bus_write(&bus, 0x200f, 1, 7));
	assert_int_equal(high.offset, 0xf);
}

static void a_bus_without_devices_answers_nothing(void **state)
{
	(void)state;
	struct bus bus = {0};
	uint64_t value;
	assert_false(bus_read(&bus, 0, 1, &value));
	assert_false(bus_write(&bus, UINT64_MAX, 8, 0));
}

static void an_access_over_the_edge_reaches_nobody(void **state)
{
	(void)state;
	struct recorder one = recorder();
	struct bus bus = {0};
	uint64_t value;
	assert_false(bus_read(&bus, 0x1000, 1, &value));
	assert_true(bus_add(&bus, 0x1000, 6, &one.device));
	assert_false(bus_read(&bus, 0x1004, 4, &value));
	assert_false(bus_read(&bus, 0x0fff, 2, &value));
	assert_false(bus_read(&bus, 0x1006, 1, &value));
	assert_false(bus_read(&bus, UINT64_MAX, 8, &value));
	assert_true(bus_read(&bus, 0x1004, 2, &value));
}

static void overlapping_empty_and_wrapping_ranges_are_refused(void **state)
{
	(void)state;
	struct recorder one = recorder();
	struct bus bus = {0};
	assert_true(bus_add(&bus, 0x1000, 0x1000, &one.device));
	assert_false(bus_add(&bus, 0x1fff, 1, &one.device));
	assert_false(bus_add(&bus, 0x0fff, 2, &one.device));
	assert_false(bus_add(&bus, 0x1000, 0x1000, &one.device));
	assert_false(bus_add(&bus, 0x5000, 0, &one.device));
	assert_false(bus_add(&bus, UINT64_MAX, 2, &one.device));
	assert_true(bus_add(&bus, 0x0fff, 1, &one.device));
	assert_true(bus_add(&bus, 0x2000, 1, &one.device));
	assert_true(bus_add(&bus, UINT64_MAX, 1, &one.device));
	assert_int_equal(bus.count, 4);
}

static void a_full_bus_refuses_more(void **state)
{
	(void)state;
	struct recorder one = recorder();
	struct bus bus = {0};
	for (uint64_t i = 0; i < BUS_RANGES_MAX; i++) {
		assert_true(bus_add(&bus, 0x100 * i, 1, &one.device));
	}
	assert_false(bus_add(&bus, 0x100000, 1, &one.device));
	for (uint64_t i = 0; i < BUS_RANGES_MAX; i++) {
		assert_int_equal(bus_write(&bus, 0x100 * i, 1, 0), BUS_DONE);
		assert_int_equal(bus.last.start, 0x100 * i);
	}
}

static void what_a_device_says_of_a_write_is_passed_on(void **state)
{
	(void)state;
	struct recorder device = recorder(), other = recorder();
	struct bus bus = {0};
	uint64_t value;
	assert_true(bus_add(&bus, 0x1000, 0x10, &device.device));
	assert_true(bus_add(&bus, 0x2000, 0x10, &other.device));
	assert_int_equal(bus_write(&bus, 0x1000, 1, 7), BUS_DONE);
	device.result = BUS_BUSY;
	assert_int_equal(bus_write(&bus, 0x2000, 1, 7), BUS_DONE);
	assert_int_equal(bus_write(&bus, 0x1000, 1, 7), BUS_BUSY);
	device.result = BUS_WAITS;
	assert_int_equal(bus_write(&bus, 0x1000, 1, 7), BUS_WAITS);
	assert_true(bus_read(&bus, 0x1000, 1, &value));
	assert_int_equal(bus_write(&bus, 0x3000, 1, 7), BUS_NOBODY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_gets_the_offset_in_its_range),
		cmocka_unit_test(a_bus_without_devices_answers_nothing),
		cmocka_unit_test(an_access_over_the_edge_reaches_nobody),
		cmocka_unit_test(overlapping_empty_and_wrapping_ranges_are_refused),
		cmocka_unit_test(a_full_bus_refuses_more),
		cmocka_unit_test(what_a_device_says_of_a_write_is_passed_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
