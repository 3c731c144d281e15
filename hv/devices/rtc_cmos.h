/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock of a PC: an MC146818 at ports 0x70 and 0x71 with its 128 bytes. It tells the time of day and can be set,
 * for its own VM alone; alarms and periodic interrupts are left out, for its interrupt line is not connected. The
 * time comes from outside, so the model is tested on the host.
 */
#pragma once

#include "hv/bus.h"

#define RTC_PORT  0x70
#define RTC_PORTS 2
#define RTC_BYTES 128

struct rtc_cmos_device {
	struct device device;
	uint64_t (*nanoseconds)(void); /* since 1970-01-01, UTC */
	int64_t offset;                /* seconds that the guest's clock is ahead */
	uint8_t index;
	uint8_t bytes[RTC_BYTES]; /* while register B's SET is on: the time too */
};

void rtc_cmos_device_init(struct rtc_cmos_device *rtc, uint64_t (*nanoseconds)(void));
