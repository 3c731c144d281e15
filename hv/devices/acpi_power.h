/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sleep and reset registers of a hardware-reduced ACPI machine (ACPI 6.4, 4.8.3.7 and 4.8.4.6) as three byte-wide
 * ports: how an x86 guest turns itself off or asks for a restart.
 */
#pragma once

#include "hv/bus.h"

#define ACPI_POWER_PORT          0x600 /* where they are in our guests */
#define ACPI_POWER_SLEEP_CONTROL 0
#define ACPI_POWER_SLEEP_STATUS  1
#define ACPI_POWER_RESET         2
#define ACPI_POWER_PORTS         3

#define ACPI_POWER_S5          5    /* SLP_TYP of "soft off", as the DSDT's \_S5 tells */
#define ACPI_POWER_RESET_VALUE 0x06 /* as the FADT's RESET_VALUE tells */

enum acpi_power_request { ACPI_POWER_NONE, ACPI_POWER_OFF_NOW, ACPI_POWER_RESTART };

struct acpi_power_device {
	struct device device;
	enum acpi_power_request request; /* set by the guest's write; its VM looks after each write to a port */
};

void acpi_power_device_init(struct acpi_power_device *power);
