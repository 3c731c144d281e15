/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest part of KVM's paravirtual interface that tells a kernel what no CPUID leaf of its own vendor does: how
 * fast the TSC is, what time it is, and that x2APIC mode may be used. Linux Documentation/virt/kvm/x86/{cpuid,msr}.rst.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct arch_vcpu;

#define KVM_CPUID_BASE UINT32_C(0x40000100)
#define KVM_SIGNATURE  "KVMKVMKVM\0\0" /* 12 bytes with the terminating one */
/* EAX of KVM_CPUID_BASE + 1. */
#define KVM_FEATURE_NOP_IO_DELAY (UINT32_C(1) << 1)  /* writing to port 0x80 delays nothing */
#define KVM_FEATURE_CLOCK        (UINT32_C(1) << 3)  /* the two MSRs below */
#define KVM_FEATURE_CLOCK_STABLE (UINT32_C(1) << 24) /* and their time is the same on all vCPUs, for good */
#define KVM_FEATURES             (KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCK | KVM_FEATURE_CLOCK_STABLE)

#define MSR_KVM_WALL_CLOCK  0x4b564d00
#define MSR_KVM_SYSTEM_TIME 0x4b564d01

/* Takes the time of day, nanoseconds since 1970-01-01 UTC, as it is now. Part of arch_init. */
void kvm_clock_init(uint64_t time_of_day);
/* The MSRs' writes: a guest-physical address to fill in. Always true: one that is no memory is the guest's own loss. */
bool kvm_wall_clock_write(struct arch_vcpu *vcpu, uint64_t value);
bool kvm_system_time_write(struct arch_vcpu *vcpu, uint64_t value);
