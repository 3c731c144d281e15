/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The firmware's interface that a guest finds: PSCI (Arm DEN0022) and what the SMC Calling Convention (DEN0028) asks
 * for, by HVC or SMC. Pure decisions, tested on the host; vcpu.c carries them out.
 */
#pragma once

#include <stdint.h>

#define SMCCC_NOT_SUPPORTED UINT64_MAX /* -1 */

/* DEN0022 chapter 5; 64-bit variants have bit 30 set */
#define PSCI_VERSION           UINT32_C(0x84000000)
#define PSCI_CPU_SUSPEND       UINT32_C(0x84000001)
#define PSCI_CPU_OFF           UINT32_C(0x84000002)
#define PSCI_CPU_ON            UINT32_C(0x84000003)
#define PSCI_AFFINITY_INFO     UINT32_C(0x84000004)
#define PSCI_MIGRATE_INFO_TYPE UINT32_C(0x84000006)
#define PSCI_SYSTEM_OFF        UINT32_C(0x84000008)
#define PSCI_SYSTEM_RESET      UINT32_C(0x84000009)
#define PSCI_FEATURES          UINT32_C(0x8400000a)
#define PSCI_VERSION_1_0       0x10000
#define PSCI_VERSION_1_1       0x10001
/* DEN0028 7 */
#define SMCCC_VERSION       UINT32_C(0x80000000)
#define SMCCC_ARCH_FEATURES UINT32_C(0x80000001)
#define SMCCC_VERSION_1_1   0x10001
/* What SMCCC_ARCH_FEATURES answers for a workaround: this CPU needs it, or can do without. */
#define SMCCC_REQUIRED         0
#define SMCCC_NOT_REQUIRED     1
#define SMCCC_ABSENT           (-1)
#define SMCCC_NOWHERE_REQUIRED (-2) /* the second one: every CPU is unaffected, or mitigated for good */

/* SMCCC_ARCH_WORKAROUND_1 to 3: branch prediction, store bypass, branch history. */
#define PSCI_WORKAROUNDS 3

struct psci_machine {
	unsigned vcpus;             /* affinity 0 to vcpus - 1, of which 0 runs */
	const int32_t *workarounds; /* PSCI_WORKAROUNDS answers of the machine's firmware */
};

enum psci_action {
	PSCI_RETURN, /* *result goes to x0 */
	PSCI_POWER_OFF,
	PSCI_POWER_RESET,
	PSCI_WAIT,     /* *result goes to x0, then the vCPU waits for an interrupt */
	PSCI_FIRMWARE, /* the machine's firmware is called with the same function, *result goes to x0 */
};

/* `argument`: x1 to x3. */
enum psci_action psci_call(uint32_t function, const uint64_t *argument, const struct psci_machine *machine,
                           uint64_t *result);
/* The function of workaround 0 to PSCI_WORKAROUNDS - 1. */
uint32_t psci_workaround(unsigned index);
