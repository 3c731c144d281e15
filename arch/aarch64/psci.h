/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The firmware's interface that a guest finds: PSCI (Arm DEN0022) and what the SMC Calling Convention (DEN0028) asks
 * for, by HVC or SMC. Pure decisions, tested on the host; vcpu.c carries them out.
 */
#pragma once

#include <stdint.h>

#define SMCCC_NOT_SUPPORTED UINT64_MAX /* -1 */

enum psci_action {
	PSCI_RETURN, /* *result goes to x0 */
	PSCI_POWER_OFF,
	PSCI_POWER_RESET,
	PSCI_WAIT, /* *result goes to x0, then the vCPU waits for an interrupt */
};

/* `argument`: x1 to x3. `vcpus`: those of the VM, affinity 0 to vcpus - 1, of which 0 runs. */
enum psci_action psci_call(uint32_t function, const uint64_t *argument, unsigned vcpus, uint64_t *result);
