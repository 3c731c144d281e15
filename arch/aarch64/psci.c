/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PSCI and SMCCC for a guest of one vCPU. Called by vcpu.c for each HVC and SMC that is not a call to the hypervisor
 * itself; every number and argument is the guest's.
 */
#include "psci.h"

#include <stddef.h>

/* DEN0022 chapter 5; 64-bit variants have bit 30 set */
#define PSCI_VERSION              UINT32_C(0x84000000)
#define PSCI_CPU_SUSPEND          UINT32_C(0x84000001)
#define PSCI_CPU_OFF              UINT32_C(0x84000002)
#define PSCI_CPU_ON               UINT32_C(0x84000003)
#define PSCI_AFFINITY_INFO        UINT32_C(0x84000004)
#define PSCI_MIGRATE_INFO_TYPE    UINT32_C(0x84000006)
#define PSCI_SYSTEM_OFF           UINT32_C(0x84000008)
#define PSCI_SYSTEM_RESET         UINT32_C(0x84000009)
#define PSCI_FEATURES             UINT32_C(0x8400000a)
#define PSCI_64                   UINT32_C(0x40000000)
#define PSCI_VERSION_1_1          UINT64_C(0x00010001)
#define PSCI_MIGRATION_NOT_NEEDED UINT64_C(2)
#define PSCI_AFFINITY_ON          UINT64_C(0)
#define PSCI_SUCCESS              UINT64_C(0)
#define PSCI_INVALID_PARAMETERS   ((uint64_t)-2)
#define PSCI_DENIED               ((uint64_t)-3)
#define PSCI_ALREADY_ON           ((uint64_t)-4)
#define PSCI_SUSPEND_POWERDOWN    (UINT64_C(1) << 16) /* power_state: StateType */
/* DEN0028 7 */
#define SMCCC_VERSION       UINT32_C(0x80000000)
#define SMCCC_ARCH_FEATURES UINT32_C(0x80000001)
#define SMCCC_VERSION_1_1   UINT64_C(0x00010001)

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

static uint64_t affinity(uint64_t target, unsigned vcpus, uint64_t otherwise)
{
	return target < vcpus ? otherwise : PSCI_INVALID_PARAMETERS;
}

enum psci_action psci_call(uint32_t function, const uint64_t *argument, unsigned vcpus, uint64_t *result)
{
	*result = SMCCC_NOT_SUPPORTED;
	switch (function) {
	case PSCI_VERSION:
		*result = PSCI_VERSION_1_1;
		return PSCI_RETURN;
	case PSCI_CPU_SUSPEND:
	case PSCI_CPU_SUSPEND | PSCI_64:
		if (argument[0] & PSCI_SUSPEND_POWERDOWN) {
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
		*result = affinity(argument[0], vcpus, PSCI_ALREADY_ON);
		return PSCI_RETURN;
	case PSCI_AFFINITY_INFO:
	case PSCI_AFFINITY_INFO | PSCI_64:
		*result = affinity(argument[0], vcpus, PSCI_AFFINITY_ON);
		return PSCI_RETURN;
	case PSCI_MIGRATE_INFO_TYPE:
		*result = PSCI_MIGRATION_NOT_NEEDED;
		return PSCI_RETURN;
	case PSCI_SYSTEM_OFF:
		return PSCI_POWER_OFF;
	case PSCI_SYSTEM_RESET:
		return PSCI_POWER_RESET;
	case PSCI_FEATURES:
		*result = features((uint32_t)argument[0]);
		return PSCI_RETURN;
	case SMCCC_VERSION:
		*result = SMCCC_VERSION_1_1;
		return PSCI_RETURN;
	case SMCCC_ARCH_FEATURES:
		*result = (uint32_t)argument[0] == SMCCC_VERSION ? PSCI_SUCCESS : SMCCC_NOT_SUPPORTED;
		return PSCI_RETURN;
	default:
		return PSCI_RETURN;
	}
}
