/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See firmware.h. SMC is used only where the firmware's tables say that PSCI is behind it, and newer functions only
 * where it says that it has them (DEN0028 7.1).
 */
#include "firmware.h"

#include "arch/arch.h"
#include "drivers/acpi_tables.h"
#include "drivers/fdt.h"

int32_t arm_workarounds[PSCI_WORKAROUNDS] = {SMCCC_ABSENT, SMCCC_ABSENT, SMCCC_ABSENT};

/* DEN0098 2: 64 bits of entropy come in x3. */
#define TRNG_VERSION     UINT32_C(0x84000050)
#define TRNG_VERSION_1_0 0x10000
#define TRNG_RND64       UINT32_C(0xc4000053)
#define TRNG_NO_ENTROPY  (-3)
#define TRNG_ATTEMPTS    100

static bool has_entropy;

/* SMCCC 1.0 lets the callee change x0 to x17. `third`: x3 afterwards, if it is wanted. */
static int32_t call(uint32_t function, uint64_t argument, uint64_t *third)
{
	register uint64_t x0 __asm__("x0") = function;
	register uint64_t x1 __asm__("x1") = argument;
	register uint64_t x2 __asm__("x2") = 0;
	register uint64_t x3 __asm__("x3") = 0;
	__asm__ volatile("smc #0"
	                 : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
	                 :
	                 : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
	                   "memory");
	if (third) {
		*third = x3;
	}
	return (int32_t)x0;
}

static enum psci_conduit conduit(const struct arch_host *host)
{
	struct acpi_tables tables;
	struct fdt fdt;
	if (host->acpi_rsdp && acpi_open(&tables, host->acpi_rsdp, NULL, NULL)) {
		return acpi_psci(&tables);
	}
	/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
	if (host->fdt && fdt_open(&fdt, (const void *)host->fdt, SIZE_MAX)) {
		return fdt_psci(&fdt);
	}
	return PSCI_NONE;
}

void arm_firmware_init(const struct arch_host *host)
{
	if (conduit(host) != PSCI_SMC || call(PSCI_VERSION, 0, NULL) < PSCI_VERSION_1_0 ||
	    call(PSCI_FEATURES, SMCCC_VERSION, NULL) < 0 || call(SMCCC_VERSION, 0, NULL) < SMCCC_VERSION_1_1) {
		return;
	}
	for (unsigned i = 0; i < PSCI_WORKAROUNDS; i++) {
		arm_workarounds[i] = call(SMCCC_ARCH_FEATURES, psci_workaround(i), NULL);
	}
	has_entropy = call(TRNG_VERSION, 0, NULL) >= TRNG_VERSION_1_0;
}

bool arm_firmware_random(uint64_t *value)
{
	int32_t status = TRNG_NO_ENTROPY;
	for (unsigned i = 0; has_entropy && i < TRNG_ATTEMPTS && status == TRNG_NO_ENTROPY; i++) {
		status = call(TRNG_RND64, 8 * sizeof(*value), value);
	}
	return status == 0;
}

void arm_firmware_call(uint32_t function)
{
	call(function, 0, NULL);
}

/* The third does what the first does, and more. */
void arm_firmware_forget_branches(void)
{
	if (arm_workarounds[2] == SMCCC_REQUIRED) {
		call(psci_workaround(2), 0, NULL);
	} else if (arm_workarounds[0] == SMCCC_REQUIRED) {
		call(psci_workaround(0), 0, NULL);
	}
}
