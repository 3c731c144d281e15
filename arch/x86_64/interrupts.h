/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's way to its interrupt controllers, for the exit paths. interrupts.c.
 */
#pragma once

#include "arch/arch.h"

/* Pages from the IOAPIC's to the local APIC's, so that one comparison finds out most faults. */
#define X86_APIC_WINDOW       IOAPIC_BASE
#define X86_APIC_WINDOW_BYTES (LAPIC_BASE + LAPIC_BYTES - IOAPIC_BASE)

/* An access to either page; a read gets its value. False: nothing is there. */
bool x86_apic_mmio(struct arch_vcpu *vcpu, struct io_access *io);
/* x2APIC MSRs and IA32_APIC_BASE. False: #GP(0). */
bool x86_apic_msr_read(struct arch_vcpu *vcpu, uint32_t msr, uint64_t *value);
bool x86_apic_msr_write(struct arch_vcpu *vcpu, uint32_t msr, uint64_t value);
bool x86_apic_base_write(struct arch_vcpu *vcpu, uint64_t value);
/* IA32_TSC_DEADLINE. Always X86_RUN_ON. */
int x86_deadline_write(struct arch_vcpu *vcpu, uint64_t value);

/*
 * A host interrupt has made the guest exit and was served by `now`: X86_RUN_ON, VM_EXIT_DEADLINE, or VM_EXIT_INTERRUPT
 * when hv has not been told of one for a while.
 */
int x86_host_interrupt(struct arch_vcpu *vcpu, uint64_t now);

/* Sets the host's timer for the loaded vCPU's deadline and its guest's timer; `now` is the counter's value. Always
 * X86_RUN_ON. */
int x86_timer_arm(struct arch_vcpu *vcpu, uint64_t now);
