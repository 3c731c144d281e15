/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See calendar.h. Called by boot/ and by the guests' clocks. Integer arithmetic on eras of 400 years.
 */
#include "lib/calendar.h"

#define SECONDS_PER_DAY 86400
#define DAYS_PER_ERA    146097 /* 400 years of the Gregorian calendar */
#define DAYS_TO_1970    719468 /* from 0000-03-01 */
#define YEARS_PER_ERA   400
#define THURSDAY        4 /* 1970-01-01 */

/* Years that begin in March, so that the leap day comes last: month m of them starts at day (153 m + 2) / 5. */
struct calendar calendar_of(int64_t time)
{
	int64_t days = time / SECONDS_PER_DAY, of_day = time % SECONDS_PER_DAY;
	if (of_day < 0) {
		of_day += SECONDS_PER_DAY;
		days--;
	}
	int64_t shifted = days + DAYS_TO_1970;
	int64_t era = (shifted >= 0 ? shifted : shifted - (DAYS_PER_ERA - 1)) / DAYS_PER_ERA;
	unsigned of_era = (unsigned)(shifted - era * DAYS_PER_ERA);
	unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
	unsigned month = (5 * of_year + 2) / 153;
	return (struct calendar){
		.year = era * YEARS_PER_ERA + year + (month >= 10),
		.month = month < 10 ? month + 3 : month - 9,
		.day = of_year - (153 * month + 2) / 5 + 1,
		.weekday = (unsigned)(((days + THURSDAY) % 7 + 7) % 7),
		.hours = (unsigned)(of_day / 3600),
		.minutes = (unsigned)(of_day / 60 % 60),
		.seconds = (unsigned)(of_day % 60),
	};
}

int64_t calendar_time(const struct calendar *c)
{
	int64_t year = c->year - (c->month <= 2);
	int64_t era = year / YEARS_PER_ERA;
	int64_t of_era = year - era * YEARS_PER_ERA;
	int64_t month = c->month > 2 ? c->month - 3 : c->month + 9;
	int64_t of_year = (153 * month + 2) / 5 + c->day - 1;
	int64_t days = era * DAYS_PER_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_1970;
	return days * SECONDS_PER_DAY + c->hours * INT64_C(3600) + c->minutes * INT64_C(60) + c->seconds;
}
