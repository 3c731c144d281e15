/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/devices/rtc_cmos.c hv/devices/rtc_pl031.c hv/devices/acpi_power.c lib/calendar.c
/*
 * The guest's clock, a PC's and an Arm machine's, as its kernel reads and sets it, the calendar behind it against the C
 * library's, and the registers that turn a guest off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "hv/devices/acpi_power.h"
#include "hv/devices/rtc_cmos.h"
#include "hv/devices/rtc_pl031.h"
#include "lib/calendar.h"

#define LEAP_DAY_NOON 1709208000 /* 2024-02-29 12:00:00, a Thursday */

static struct rtc_cmos_device rtc;
static uint64_t clock_now;

static uint64_t nanoseconds(void)
{
	return clock_now;
}

static int at_noon(void **state)
{
	(void)state;
	clock_now = LEAP_DAY_NOON * UINT64_C(1000000000);
	rtc_cmos_device_init(&rtc, nanoseconds);
	return 0;
}

static unsigned cmos(unsigned index)
{
	uint64_t value = 0;
	assert_true(rtc.device.ops->write(&rtc.device, 0, 1, index));
	assert_true(rtc.device.ops->read(&rtc.device, 1, 1, &value));
	return (unsigned)value;
}

static void set_cmos(unsigned index, unsigned value)
{
	assert_true(rtc.device.ops->write(&rtc.device, 0, 1, index));
	assert_true(rtc.device.ops->write(&rtc.device, 1, 1, value));
}

static void the_calendar_agrees_with_the_library(void **state)
{
	(void)state;
	for (int64_t time = -5000000000; time < 20000000000; time += 86399 * 37) {
		time_t value = (time_t)time;
		struct tm tm;
		assert_non_null(gmtime_r(&value, &tm));
		struct calendar c = calendar_of(time);
		assert_int_equal(c.year, tm.tm_year + 1900);
		assert_int_equal(c.month, tm.tm_mon + 1);
		assert_int_equal(c.day, tm.tm_mday);
		assert_int_equal(c.weekday, tm.tm_wday);
		assert_int_equal(c.hours * 3600 + c.minutes * 60 + c.seconds,
		                 tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec);
		assert_int_equal(calendar_time(&c), time);
	}
}

static void it_tells_the_time_in_bcd_and_24_hours(void **state)
{
	(void)state;
	clock_now += 61 * UINT64_C(1000000000);
	assert_int_equal(cmos(0x00), 0x01);
	assert_int_equal(cmos(0x02), 0x01);
	assert_int_equal(cmos(0x04), 0x12);
	assert_int_equal(cmos(0x06), 5);
	assert_int_equal(cmos(0x07), 0x29);
	assert_int_equal(cmos(0x08), 0x02);
	assert_int_equal(cmos(0x09), 0x24);
	assert_int_equal(cmos(0x32), 0x20);
	assert_int_equal(cmos(0x0d), 0x80);
}

static void it_tells_it_in_binary_and_12_hours_too(void **state)
{
	(void)state;
	set_cmos(0x0b, 0x04);
	assert_int_equal(cmos(0x04), 0x80 | 12); /* 12 p.m. is noon */
	clock_now -= 12 * UINT64_C(3600000000000);
	assert_int_equal(cmos(0x04), 12);
	clock_now += 23 * UINT64_C(3600000000000);
	assert_int_equal(cmos(0x04), 0x80 | 11);
	assert_int_equal(cmos(0x07), 29);
}

static void an_update_is_announced_before_it_comes(void **state)
{
	(void)state;
	assert_int_equal(cmos(0x0a), 0x26);
	clock_now += 999800000;
	assert_int_equal(cmos(0x0a), 0xa6);
	clock_now += 200000;
	assert_int_equal(cmos(0x0a), 0x26);
	assert_int_equal(cmos(0x00), 0x01);
}

static void a_guest_sets_it_as_a_whole(void **state)
{
	(void)state;
	set_cmos(0x0b, 0x82);
	set_cmos(0x00, 0x58);
	set_cmos(0x02, 0x59);
	set_cmos(0x04, 0x23);
	set_cmos(0x07, 0x31);
	set_cmos(0x08, 0x12);
	set_cmos(0x09, 0x99);
	set_cmos(0x32, 0x19);
	clock_now += UINT64_C(5000000000); /* it stands still meanwhile */
	assert_int_equal(cmos(0x00), 0x58);
	set_cmos(0x0b, 0x02);
	clock_now += UINT64_C(3000000000);
	assert_int_equal(cmos(0x00), 0x01);
	assert_int_equal(cmos(0x04), 0x00);
	assert_int_equal(cmos(0x07), 0x01);
	assert_int_equal(cmos(0x08), 0x01);
	assert_int_equal(cmos(0x09), 0x00);
	assert_int_equal(cmos(0x32), 0x20);
}

static void nonsense_only_makes_another_time_of_it(void **state)
{
	(void)state;
	for (unsigned index = 0; index < RTC_BYTES; index++) {
		set_cmos(index, 0xff);
		set_cmos(0x0b, index % 2 ? 0x02 : 0x80);
		for (unsigned other = 0; other < RTC_BYTES; other++) {
			(void)cmos(other);
		}
	}
	uint64_t value;
	assert_false(rtc.device.ops->read(&rtc.device, 0, 2, &value));
	assert_false(rtc.device.ops->write(&rtc.device, 0, 2, 0));
}

static void other_bytes_are_memory(void **state)
{
	(void)state;
	set_cmos(0x40, 0x5a);
	assert_int_equal(cmos(0x40), 0x5a);
	set_cmos(0xc0, 0xa5); /* bit 7 is not part of the index */
	assert_int_equal(cmos(0x40), 0xa5);
}

static uint64_t pl031(struct pl031_device *device, uint64_t offset)
{
	uint64_t value = UINT64_MAX;
	assert_true(device->device.ops->read(&device->device, offset, 4, &value));
	return value;
}

static void a_pl031_tells_seconds_and_is_set_by_its_load_register(void **state)
{
	(void)state;
	struct pl031_device device;
	const struct device_ops *ops = (pl031_device_init(&device, nanoseconds), device.device.ops);
	assert_int_equal(pl031(&device, 0x00), LEAP_DAY_NOON);
	clock_now += 2999999999;
	assert_int_equal(pl031(&device, 0x00), LEAP_DAY_NOON + 2);
	assert_true(ops->write(&device.device, 0x08, 4, 0xfffffffe));
	assert_int_equal(pl031(&device, 0x08), 0xfffffffe);
	assert_int_equal(pl031(&device, 0x00), 0xfffffffe);
	clock_now += 3000000000;
	assert_int_equal(pl031(&device, 0x00), 1);
	assert_true(ops->write(&device.device, 0x0c, 4, 0));
	assert_int_equal(pl031(&device, 0x0c), 1); /* it cannot be stopped */
}

static void a_pl031_says_what_it_is_and_refuses_other_widths(void **state)
{
	(void)state;
	static const uint8_t identification[8] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};
	struct pl031_device device;
	uint64_t value;
	pl031_device_init(&device, nanoseconds);
	for (unsigned i = 0; i < sizeof(identification); i++) {
		assert_int_equal(pl031(&device, 0xfe0 + 4 * i), identification[i]);
	}
	for (unsigned offset = 0x10; offset < 0xfe0; offset += 4) {
		assert_true(device.device.ops->write(&device.device, offset, 4, UINT32_MAX));
		assert_int_equal(pl031(&device, offset), 0);
	}
	assert_false(device.device.ops->read(&device.device, 0x02, 4, &value));
	assert_false(device.device.ops->read(&device.device, 0x00, 8, &value));
	assert_false(device.device.ops->write(&device.device, 0x08, 1, 0));
}

static void only_s5_and_the_reset_value_end_a_guest(void **state)
{
	(void)state;
	struct acpi_power_device power;
	for (unsigned value = 0; value < 0x100; value++) {
		acpi_power_device_init(&power);
		assert_true(power.device.ops->write(&power.device, ACPI_POWER_SLEEP_CONTROL, 1, value));
		bool off = (value & 0x3c) == (0x20 | 5 << 2);
		assert_int_equal(power.request, off ? ACPI_POWER_OFF_NOW : ACPI_POWER_NONE);
		acpi_power_device_init(&power);
		assert_true(power.device.ops->write(&power.device, ACPI_POWER_RESET, 1, value));
		assert_int_equal(power.request, value == ACPI_POWER_RESET_VALUE ? ACPI_POWER_RESTART : ACPI_POWER_NONE);
		acpi_power_device_init(&power);
		assert_true(power.device.ops->write(&power.device, ACPI_POWER_SLEEP_STATUS, 1, value));
		assert_int_equal(power.request, ACPI_POWER_NONE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_calendar_agrees_with_the_library),
		cmocka_unit_test_setup(it_tells_the_time_in_bcd_and_24_hours, at_noon),
		cmocka_unit_test_setup(it_tells_it_in_binary_and_12_hours_too, at_noon),
		cmocka_unit_test_setup(an_update_is_announced_before_it_comes, at_noon),
		cmocka_unit_test_setup(a_guest_sets_it_as_a_whole, at_noon),
		cmocka_unit_test_setup(nonsense_only_makes_another_time_of_it, at_noon),
		cmocka_unit_test_setup(other_bytes_are_memory, at_noon),
		cmocka_unit_test_setup(a_pl031_tells_seconds_and_is_set_by_its_load_register, at_noon),
		cmocka_unit_test_setup(a_pl031_says_what_it_is_and_refuses_other_widths, at_noon),
		cmocka_unit_test(only_s5_and_the_reset_value_end_a_guest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
