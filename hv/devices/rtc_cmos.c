/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See rtc_cmos.h. Called by the port bus. Every value that a guest writes is kept as a byte and means no more than its
 * own clock.
 */
#include "hv/devices/rtc_cmos.h"

#include "lib/calendar.h"
#include "lib/util.h"

enum {
	RTC_SECONDS = 0x00,
	RTC_MINUTES = 0x02,
	RTC_HOURS = 0x04,
	RTC_WEEKDAY = 0x06, /* 1 is Sunday */
	RTC_DAY = 0x07,
	RTC_MONTH = 0x08,
	RTC_YEAR = 0x09,
	RTC_A = 0x0a,
	RTC_B = 0x0b,
	RTC_C = 0x0c,
	RTC_D = 0x0d,
	RTC_CENTURY = 0x32, /* a PC's custom */
};

#define A_UPDATE_IN_PROGRESS BIT(7)
#define A_DIVIDER            0x26 /* 32,768 Hz, 1,024 Hz */
#define B_SET                BIT(7)
#define B_BINARY             BIT(2)
#define B_24_HOURS           BIT(1)
#define D_VALID              BIT(7)
#define HOUR_PM              BIT(7)
#define INDEX_MASK           BITS(6, 0) /* bit 7 of the port masks NMIs */

#define NS_PER_SECOND UINT64_C(1000000000)
#define UPDATE_NS     UINT64_C(244000) /* UIP is on this long before the clock changes */

static uint8_t encode(const struct rtc_cmos_device *rtc, unsigned value)
{
	return (uint8_t)(rtc->bytes[RTC_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned decode(const struct rtc_cmos_device *rtc, unsigned value)
{
	return rtc->bytes[RTC_B] & B_BINARY ? value : (value >> 4) * 10 + (value & BITS(3, 0));
}

static uint8_t encode_hours(const struct rtc_cmos_device *rtc, unsigned hours)
{
	if (rtc->bytes[RTC_B] & B_24_HOURS) {
		return encode(rtc, hours);
	}
	return (uint8_t)(encode(rtc, hours % 12 == 0 ? 12 : hours % 12) | (hours >= 12 ? HOUR_PM : 0));
}

static unsigned decode_hours(const struct rtc_cmos_device *rtc, unsigned value)
{
	if (rtc->bytes[RTC_B] & B_24_HOURS) {
		return decode(rtc, value);
	}
	return decode(rtc, value & (unsigned)~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

static int64_t now(const struct rtc_cmos_device *rtc)
{
	return (int64_t)(rtc->nanoseconds() / NS_PER_SECOND) + rtc->offset;
}

/* The clock's registers as they are now. */
static void update(struct rtc_cmos_device *rtc)
{
	struct calendar c = calendar_of(now(rtc));
	uint8_t *bytes = rtc->bytes;
	bytes[RTC_SECONDS] = encode(rtc, c.seconds);
	bytes[RTC_MINUTES] = encode(rtc, c.minutes);
	bytes[RTC_HOURS] = encode_hours(rtc, c.hours);
	bytes[RTC_WEEKDAY] = encode(rtc, c.weekday + 1);
	bytes[RTC_DAY] = encode(rtc, c.day);
	bytes[RTC_MONTH] = encode(rtc, c.month);
	bytes[RTC_YEAR] = encode(rtc, (unsigned)(c.year % 100));
	bytes[RTC_CENTURY] = encode(rtc, (unsigned)(c.year / 100));
}

/* The guest has set the clock's registers: whatever is in them, the clock goes on from there. */
static void set(struct rtc_cmos_device *rtc)
{
	const uint8_t *bytes = rtc->bytes;
	struct calendar c = {
		.year = decode(rtc, bytes[RTC_CENTURY]) * INT64_C(100) + decode(rtc, bytes[RTC_YEAR]),
		.month = MIN(MAX(decode(rtc, bytes[RTC_MONTH]), 1U), 12U),
		.day = MIN(MAX(decode(rtc, bytes[RTC_DAY]), 1U), 31U),
		.hours = decode_hours(rtc, bytes[RTC_HOURS]),
		.minutes = decode(rtc, bytes[RTC_MINUTES]),
		.seconds = decode(rtc, bytes[RTC_SECONDS]),
	};
	rtc->offset += calendar_time(&c) - now(rtc);
}

static bool is_clock(unsigned index)
{
	return (index <= RTC_YEAR && (index % 2 == 0 || index >= RTC_DAY)) || index == RTC_CENTURY;
}

/* SET stops the clock's registers, for the guest to write them, and its end starts the clock from there. */
static void write_b(struct rtc_cmos_device *rtc, uint8_t value)
{
	bool stopped = rtc->bytes[RTC_B] & B_SET;
	rtc->bytes[RTC_B] = value;
	if (!stopped) {
		update(rtc);
	} else if (!(value & B_SET)) {
		set(rtc);
	}
}

static bool rtc_read(struct device *device, uint64_t offset, unsigned width, uint64_t *value)
{
	struct rtc_cmos_device *rtc = container_of(device, struct rtc_cmos_device, device);
	bool running = !(rtc->bytes[RTC_B] & B_SET);
	if (width != 1) {
		return false;
	}
	if (offset == 0) {
		*value = rtc->index;
		return true;
	}
	if (running && is_clock(rtc->index)) {
		update(rtc);
	}
	*value = rtc->bytes[rtc->index];
	if (rtc->index == RTC_A && running && rtc->nanoseconds() % NS_PER_SECOND >= NS_PER_SECOND - UPDATE_NS) {
		*value |= A_UPDATE_IN_PROGRESS;
	}
	return true;
}

static enum bus_result rtc_write(struct device *device, uint64_t offset, unsigned width, uint64_t value)
{
	struct rtc_cmos_device *rtc = container_of(device, struct rtc_cmos_device, device);
	if (width != 1) {
		return BUS_NOBODY;
	}
	if (offset == 0) {
		rtc->index = (uint8_t)(value & INDEX_MASK);
		return BUS_DONE;
	}
	bool stopped = rtc->bytes[RTC_B] & B_SET;
	switch (rtc->index) {
	case RTC_A:
		rtc->bytes[RTC_A] = (uint8_t)(value & ~A_UPDATE_IN_PROGRESS);
		break;
	case RTC_B:
		write_b(rtc, (uint8_t)value);
		break;
	case RTC_C:
	case RTC_D:
		break; /* read-only */
	default:
		if (!stopped && is_clock(rtc->index)) {
			update(rtc); /* what is not written stays as it is now */
		}
		rtc->bytes[rtc->index] = (uint8_t)value;
		if (!stopped && is_clock(rtc->index)) {
			set(rtc);
		}
		break;
	}
	return BUS_DONE;
}

static const struct device_ops ops = {.read = rtc_read, .write = rtc_write};

void rtc_cmos_device_init(struct rtc_cmos_device *rtc, uint64_t (*nanoseconds)(void))
{
	*rtc = (struct rtc_cmos_device){
		.device = {.name = "rtc", .ops = &ops},
		.nanoseconds = nanoseconds,
		.bytes = {[RTC_A] = A_DIVIDER, [RTC_B] = B_24_HOURS, [RTC_D] = D_VALID},
	};
}
