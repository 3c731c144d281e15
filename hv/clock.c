/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversions between the counter's ticks and the time that logs, models and budgets use. 64-bit arithmetic
 * that cannot overflow while the machine is up: whole seconds and the rest apart.
 */
#include "hv/clock.h"

#include "arch/arch.h"

#define NS_PER_SECOND UINT64_C(1000000000)

static uint64_t start, wall_start;

void clock_init(uint64_t start_counter, uint64_t start_time)
{
	start = start_counter;
	wall_start = start_time;
}

uint64_t clock_since_start(void)
{
	return arch_counter() - start;
}

static uint64_t scaled(uint64_t per_second)
{
	uint64_t hz = arch_counter_hz();
	uint64_t passed = clock_since_start();
	return passed / hz * per_second + passed % hz * per_second / hz;
}

uint64_t clock_microseconds(void)
{
	return scaled(1000000);
}

uint64_t clock_nanoseconds(void)
{
	return scaled(NS_PER_SECOND);
}

uint64_t clock_wall_nanoseconds(void)
{
	return wall_start * NS_PER_SECOND + clock_nanoseconds();
}

uint64_t clock_ticks(uint64_t milliseconds)
{
	uint64_t ticks;
	if (__builtin_mul_overflow(arch_counter_hz() / 1000, milliseconds, &ticks)) {
		return UINT64_MAX;
	}
	return ticks;
}
