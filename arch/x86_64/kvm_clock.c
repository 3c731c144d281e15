/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's clock for guests that read the TSC themselves: all that has to be told is its rate, once per vCPU. Guest time
 * is the host's counter, so nothing here ever changes while a guest runs. Called on the MSRs' exits.
 */
#include "kvm_clock.h"

#include "arch/arch.h"
#include "lib/util.h"

#define NANOSECONDS      UINT64_C(1000000000)
#define SYSTEM_ENABLED   BIT(0) /* of the MSR's value */
#define FLAGS_TSC_STABLE 1

/* What the guest reads; an odd version would say that it is being changed. */
struct system_time {
	uint32_t version, padding;
	uint64_t tsc_timestamp;
	uint64_t system_time; /* nanoseconds at that TSC */
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t padding2[2];
};
struct wall_clock {
	uint32_t version, seconds, nanoseconds; /* when system time was 0 */
};
_Static_assert(sizeof(struct system_time) == 32 && sizeof(struct wall_clock) == 12, "the interface");

static uint64_t day_at_start, counter_at_start;

void kvm_clock_init(uint64_t time_of_day)
{
	day_at_start = time_of_day;
	counter_at_start = arch_counter();
}

bool kvm_wall_clock_write(struct arch_vcpu *vcpu, uint64_t value)
{
	struct wall_clock clock = {
		.version = 2,
		.seconds = (uint32_t)(day_at_start / NANOSECONDS),
		.nanoseconds = (uint32_t)(day_at_start % NANOSECONDS),
	};
	(void)guest_write(vcpu->vm->space, value, &clock, sizeof(clock), GUEST_ACCESS_DEFAULT);
	return true;
}

/* Nanoseconds are ((ticks << shift) * mul) >> 32: the shift takes the rate to between 1 and 2 GHz. */
bool kvm_system_time_write(struct arch_vcpu *vcpu, uint64_t value)
{
	struct system_time time = {.version = 2, .tsc_timestamp = counter_at_start, .flags = FLAGS_TSC_STABLE};
	uint64_t rate = arch_counter_hz();
	if (!(value & SYSTEM_ENABLED)) {
		return true;
	}
	for (; rate > 2 * NANOSECONDS; rate >>= 1) {
		time.tsc_shift--;
	}
	for (; rate <= NANOSECONDS; rate <<= 1) {
		time.tsc_shift++;
	}
	time.tsc_to_system_mul = (uint32_t)((NANOSECONDS << 32) / rate);
	(void)guest_write(vcpu->vm->space, value & ~SYSTEM_ENABLED, &time, sizeof(time), GUEST_ACCESS_DEFAULT);
	return true;
}
