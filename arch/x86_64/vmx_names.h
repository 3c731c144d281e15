/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMX in words, for the log: exit reasons, VM-instruction errors, control bits. Pure tables; host-tested.
 */
#pragma once

#include <stdint.h>

/* Our own beside the manual's reasons: VMRESUME or VMLAUNCH was refused (VMfail), so there was no exit. */
#define VMX_ENTRY_REFUSED (UINT64_C(1) << 32)

/* "EPT violation" for 48; "unknown exit reason" for what the manual does not list. Takes raw reasons, too. */
const char *vmx_exit_name(uint64_t reason);

/* "VM entry with invalid control field(s)" for 7: SDM vol. 3C 30.4. */
const char *vmx_instruction_error_name(uint64_t error);

enum vmx_control_field { VMX_PIN, VMX_CPU, VMX_CPU2, VMX_EXIT, VMX_ENTRY, VMX_CONTROL_FIELDS };

/* "pin-based VM-execution controls" and so on. */
const char *vmx_control_field_name(enum vmx_control_field control);
/* "NMI exiting" for bit 3 of the pin-based controls; "reserved" for bits without a name. */
const char *vmx_control_name(enum vmx_control_field control, unsigned bit);
