/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an Arm machine's firmware tells of it, in the same words whether it does so by ACPI (acpi_tables.c) or
 * by device tree (fdt.c). Addresses are host-physical; interrupts are INTIDs (PPIs 16 to 31, SPIs from 32).
 */
#pragma once

#include <stdint.h>

enum psci_conduit { PSCI_NONE, PSCI_SMC, PSCI_HVC };

#define GIC_REDISTRIBUTOR_REGIONS_MAX 8

struct gic_region {
	uint64_t base;
	uint64_t bytes;
};

/* Fields that the firmware does not tell are 0. */
struct gic_description {
	uint8_t version; /* 2, 3 or 4; 0: not told */
	struct gic_region distributor;
	struct gic_region cpu_interface; /* GICC: version 2, or the legacy one of 3 */
	struct gic_region hypervisor;    /* GICH */
	struct gic_region virtual_cpu;   /* GICV */
	struct gic_region redistributor[GIC_REDISTRIBUTOR_REGIONS_MAX];
	unsigned redistributors;
	uint32_t maintenance; /* INTID of the maintenance interrupt */
};

/* INTIDs of the generic timers; 0: not told. */
struct timer_description {
	uint32_t secure_physical;
	uint32_t physical;
	uint32_t virtual;
	uint32_t hypervisor;
	uint32_t hypervisor_virtual;
};
