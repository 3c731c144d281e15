/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PSCI and SMCCC for a guest of one vCPU. Called by vcpu.c for each HVC and SMC that is not a call to the hypervisor
 * itself; every number and argument is the guest's.
 */
#include "psci.h"

#include <stdbool.h>
#include <stddef.h>

#define PSCI_64                   UINT32_C(0x40000000)
#define PSCI_MIGRATION_NOT_NEEDED UINT64_C(2)
#define PSCI_AFFINITY_ON          UINT64_C(0)
#define PSCI_SUCCESS              UINT64_C(0)
#define PSCI_INVALID_PARAMETERS   ((uint64_t)-2)
#define PSCI_DENIED               ((uint64_t)-3)
#define PSCI_ALREADY_ON           ((uint64_t)-4)
#define PSCI_SUSPEND_POWERDOWN    (UINT64_C(1) << 16) /* power_state: StateType */
#define STORE_BYPASS              1                   /* index of the workaround that has a state */

/* What PSCI_FEATURES knows; those with an affinity or an entry point exist in both conventions. */
static const struct {
	uint32_t function;
	uint32_t also;
} functions[] = {
	{PSCI_VERSION, 0},      {PSCI_CPU_SUSPEND, PSCI_64},   {PSCI_CPU_OFF, 0},
	{PSCI_CPU_ON, PSCI_64}, {PSCI_AFFINITY_INFO, PSCI_64}, {PSCI_MIGRATE_INFO_TYPE, 0},
	{PSCI_SYSTEM_OFF, 0},   {PSCI_SYSTEM_RESET, 0},        {PSCI_FEATURES, 0},
	{SMCCC_VERSION, 0},
};

static uint64_t features(uint32_t function)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		if (function == functions[i].function ||
		    (functions[i].also && function == (functions[i].function | PSCI_64))) {
			return PSCI_SUCCESS;
		}
	}
	return SMCCC_NOT_SUPPORTED;
}

static uint64_t affinity(uint64_t target, const struct psci_machine *machine, uint64_t otherwise)
{
	return target < machine->vcpus ? otherwise : PSCI_INVALID_PARAMETERS;
}

/* ---- the machine's own workarounds ---- */

static const uint32_t workarounds[PSCI_WORKAROUNDS] = {
	UINT32_C(0x80008000), /* CVE-2017-5715 */
	UINT32_C(0x80007fff), /* CVE-2018-3639 */
	UINT32_C(0x80003fff), /* CVE-2017-5715 and CVE-2022-23960 */
};

uint32_t psci_workaround(unsigned index)
{
	return workarounds[index];
}

/*
 * As the machine has them. The one against store bypass can be switched off for a CPU: it stays on, as the firmware has
 * it after reset, and a guest is told that there is nothing to switch. So it is where the firmware itself says that no
 * CPU needs switching.
 */
static uint64_t architecture_features(uint32_t function, const struct psci_machine *machine)
{
	if (function == SMCCC_VERSION || function == SMCCC_ARCH_FEATURES) {
		return PSCI_SUCCESS;
	}
	for (unsigned i = 0; i < PSCI_WORKAROUNDS; i++) {
		int32_t told = machine->workarounds[i];
		if (function != workarounds[i]) {
			continue;
		}
		if (i == STORE_BYPASS && (told >= 0 || told == SMCCC_NOWHERE_REQUIRED)) {
			return SMCCC_NOT_REQUIRED;
		}
		return told >= 0 ? (uint64_t)told : SMCCC_NOT_SUPPORTED;
	}
	return SMCCC_NOT_SUPPORTED;
}

static enum psci_action architecture_call(uint32_t function, const struct psci_machine *machine, uint64_t *result)
{
	bool there = architecture_features(function, machine) != SMCCC_NOT_SUPPORTED;
	*result = there ? PSCI_SUCCESS : SMCCC_NOT_SUPPORTED;
	return there && function != workarounds[STORE_BYPASS] ? PSCI_FIRMWARE : PSCI_RETURN;
}

/* ---- calls ---- */

enum psci_action psci_call(uint32_t function, const uint64_t *argument, const struct psci_machine *machine,
                           uint64_t *result)
{
	uint64_t first = function & PSCI_64 ? argument[0] : (uint32_t)argument[0];
	*result = SMCCC_NOT_SUPPORTED;
	switch (function) {
	case PSCI_VERSION:
		*result = PSCI_VERSION_1_1;
		return PSCI_RETURN;
	case PSCI_CPU_SUSPEND:
	case PSCI_CPU_SUSPEND | PSCI_64:
		if (first & PSCI_SUSPEND_POWERDOWN) {
			*result = PSCI_INVALID_PARAMETERS; /* standby is all there is */
			return PSCI_RETURN;
		}
		*result = PSCI_SUCCESS;
		return PSCI_WAIT;
	case PSCI_CPU_OFF:
		*result = PSCI_DENIED; /* the only one */
		return PSCI_RETURN;
	case PSCI_CPU_ON:
	case PSCI_CPU_ON | PSCI_64:
		*result = affinity(first, machine, PSCI_ALREADY_ON);
		return PSCI_RETURN;
	case PSCI_AFFINITY_INFO:
	case PSCI_AFFINITY_INFO | PSCI_64:
		*result = affinity(first, machine, PSCI_AFFINITY_ON);
		return PSCI_RETURN;
	case PSCI_MIGRATE_INFO_TYPE:
		*result = PSCI_MIGRATION_NOT_NEEDED;
		return PSCI_RETURN;
	case PSCI_SYSTEM_OFF:
		return PSCI_POWER_OFF;
	case PSCI_SYSTEM_RESET:
		return PSCI_POWER_RESET;
	case PSCI_FEATURES:
		*result = features((uint32_t)first);
		return PSCI_RETURN;
	case SMCCC_VERSION:
		*result = SMCCC_VERSION_1_1;
		return PSCI_RETURN;
	case SMCCC_ARCH_FEATURES:
		*result = architecture_features((uint32_t)first, machine);
		return PSCI_RETURN;
	default:
		return architecture_call(function, machine, result);
	}
}
