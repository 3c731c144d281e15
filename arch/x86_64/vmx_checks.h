/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checks that a VM entry makes on the guest's state, SDM vol. 3C 26.3.1, in words: for the report after an
 * entry has failed, which the CPU explains with no more than "invalid guest state". Pure; host-tested.
 */
#pragma once

#include <stdint.h>

/* As enum x86_segment_name counts, which is the VMCS's order. */
#define VMX_GUEST_SEGMENTS 10

struct vmx_guest_segment {
	uint16_t selector;
	uint32_t limit;
	uint32_t rights; /* the VMCS's format: 24.4.1 */
	uint64_t base;
};

struct vmx_guest_state {
	uint64_t cr0, cr3, cr4, efer, pat, dr7, debugctl;
	uint64_t rip, rsp, rflags;
	uint64_t sysenter_esp, sysenter_eip;
	uint64_t interruptibility, activity, pending_debug, link_pointer;
	uint64_t pdpte[4];
	struct vmx_guest_segment segment[VMX_GUEST_SEGMENTS];
	/* What the checks depend on beside the guest's state. */
	uint64_t entry_interruption; /* the VM-entry interruption-information field */
	uint64_t pin_controls, entry_controls;
	uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	uint8_t physical_bits, linear_bits;
};

/* Tells `violated` each rule that the state breaks, as one line of text; returns how many those were. */
unsigned vmx_check_guest_state(const struct vmx_guest_state *state, void (*violated)(void *context, const char *rule),
                               void *context);
