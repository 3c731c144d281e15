/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest part of KVM's paravirtual interface that tells a kernel what no CPUID leaf of its own vendor does: how
 * fast the TSC is, what time it is, and that x2APIC mode may be used. Linux Documentation/virt/kvm/x86/{cpuid,msr}.rst.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "mm/addr_space.h"

struct arch_vcpu;

#define KVM_CPUID_BASE UINT32_C(0x40000100)
#define KVM_SIGNATURE  "KVMKVMKVM\0\0" /* 12 bytes with the terminating one */
/* EAX of KVM_CPUID_BASE + 1. */
#define KVM_FEATURE_NOP_IO_DELAY (UINT32_C(1) << 1)  /* writing to port 0x80 delays nothing */
#define KVM_FEATURE_CLOCK        (UINT32_C(1) << 3)  /* the two MSRs below */
#define KVM_FEATURE_PV_EOI       (UINT32_C(1) << 6)  /* MSR_KVM_PV_EOI */
#define KVM_FEATURE_CLOCK_STABLE (UINT32_C(1) << 24) /* and their time is the same on all vCPUs, for good */
#define KVM_FEATURES             (KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCK | KVM_FEATURE_CLOCK_STABLE)

#define MSR_KVM_WALL_CLOCK  0x4b564d00
#define MSR_KVM_SYSTEM_TIME 0x4b564d01
#define MSR_KVM_PV_EOI      0x4b564d04

#define KVM_EOI_PENDING UINT32_C(1)

/*
 * A word of the guest's memory in place of EOIs: while its bit 0 is set, clearing that ends the interrupt, without an
 * exit. The host sets it with an interrupt whose end it need not know of at once, and takes it back before it looks.
 */
struct kvm_eoi {
	uint64_t address;    /* of the word; 0: not in use */
	uint32_t *word;      /* in the host, while the space's generation is this: */
	uint64_t generation; /* else it is to be found anew */
	uint8_t vector;      /* the interrupt that the bit stands for; 0: none */
};

/* Takes the time of day, nanoseconds since 1970-01-01 UTC, as it is now. Part of arch_init. */
void kvm_clock_init(uint64_t time_of_day);
/* The MSRs' writes: a guest-physical address to fill in. Always true: one that is no memory is the guest's own loss. */
bool kvm_wall_clock_write(struct arch_vcpu *vcpu, uint64_t value);
bool kvm_system_time_write(struct arch_vcpu *vcpu, uint64_t value);

/* False: #GP(0), the address is odd. */
bool kvm_eoi_write(struct arch_vcpu *vcpu, uint64_t value);
/* The guest is about to take `vector`, which still waits. Sets the bit if it may. */
void kvm_eoi_offer(struct arch_vcpu *vcpu, unsigned vector);
/* Whether the interrupt that the bit stood for has ended; sets the bit for the same one once more. `vector` is not 0.
 */
static inline bool kvm_eoi_again(struct kvm_eoi *eoi, const struct addr_space *space)
{
	uint32_t *word = eoi->word;
	if (eoi->generation != space->generation || (__atomic_load_n(word, __ATOMIC_ACQUIRE) & KVM_EOI_PENDING)) {
		return false;
	}
	__atomic_store_n(word, KVM_EOI_PENDING, __ATOMIC_RELAXED);
	return true;
}
/* Before anyone looks at the local APIC, while eoi.vector is not 0: the interrupt has ended, or will by an EOI. */
void kvm_eoi_settle(struct arch_vcpu *vcpu);
