/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seconds since 1970 and the Gregorian calendar, UTC, without leap seconds: for the firmware's clock and the guests'.
 */
#pragma once

#include <stdint.h>

struct calendar {
	int64_t year;
	unsigned month, day; /* from 1 */
	unsigned weekday;    /* from Sunday = 0; calendar_time does not look at it */
	unsigned hours, minutes, seconds;
};

struct calendar calendar_of(int64_t time);
/* Fields beyond their range carry over; but months are 1 to 12. */
int64_t calendar_time(const struct calendar *calendar);
