/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's clock for guests that read the TSC themselves: all that has to be told is its rate, once per vCPU. Guest time
 * is the host's counter, so nothing of it ever changes while a guest runs. And KVM's way to end interrupts without an
 * exit. Called on the MSRs' exits, and by SVM around an interrupt. Addresses are the guest's to choose: what they lead
 * to goes through the accessor.
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

/* ---- the end of interrupts ---- */

#define EOI_ENABLED BIT(0)
#define EOI_ODD     BIT(1)

/* Read-only memory is none of it, and a word that is moved away may say what it likes when it is back. */
static __attribute__((noinline)) bool find_word(struct kvm_eoi *eoi, struct addr_space *space)
{
	uint64_t value;
	eoi->word = NULL;
	eoi->generation = __atomic_load_n(&space->generation, __ATOMIC_ACQUIRE);
	if (guest_load(space, eoi->address, sizeof(uint32_t), &value) &&
	    guest_store(space, eoi->address, sizeof(uint32_t), value)) {
		eoi->word = (uint32_t *)(uintptr_t)guest_peek(space, eoi->address, sizeof(uint32_t));
	}
	return eoi->word != NULL;
}

static inline bool has_word(struct arch_vcpu *vcpu)
{
	struct kvm_eoi *eoi = &vcpu->eoi;
	struct addr_space *space = vcpu->vm->space;
	return likely(eoi->word != NULL && eoi->generation == space->generation) || find_word(eoi, space);
}

bool kvm_eoi_write(struct arch_vcpu *vcpu, uint64_t value)
{
	if (value & EOI_ODD) {
		return false;
	}
	if (vcpu->eoi.vector != 0) {
		kvm_eoi_settle(vcpu);
	}
	vcpu->eoi = (struct kvm_eoi){.address = value & EOI_ENABLED ? value & ~EOI_ENABLED : 0};
	return true;
}

void kvm_eoi_offer(struct arch_vcpu *vcpu, unsigned vector)
{
	if (vcpu->eoi.address != 0 && lapic_is_alone(&vcpu->lapic, vector) && has_word(vcpu)) {
		__atomic_store_n(vcpu->eoi.word, KVM_EOI_PENDING, __ATOMIC_RELAXED);
		vcpu->eoi.vector = (uint8_t)vector;
	}
}

void kvm_eoi_settle(struct arch_vcpu *vcpu)
{
	unsigned vector = vcpu->eoi.vector;
	vcpu->eoi.vector = 0;
	if (has_word(vcpu) &&
	    !(__atomic_fetch_and(vcpu->eoi.word, ~KVM_EOI_PENDING, __ATOMIC_ACQ_REL) & KVM_EOI_PENDING)) {
		lapic_end(&vcpu->lapic, vector);
	}
}
