/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See acpi_power.h. Only remembers what the guest asked for: ending a VM is its vCPU loop's business.
 */
#include "hv/devices/acpi_power.h"

#include "lib/util.h"

/* 4.8.3.7.1: SLEEP_CONTROL_REG. */
#define SLP_ENABLE    BIT(5)
#define SLP_TYPE_HIGH 4
#define SLP_TYPE_LOW  2

static bool power_read(struct device *device, uint64_t offset, unsigned width, uint64_t *value)
{
	(void)device;
	(void)offset;
	*value = 0; /* SLEEP_STATUS_REG: it never slept */
	return width == 1;
}

static enum bus_result power_write(struct device *device, uint64_t offset, unsigned width, uint64_t value)
{
	struct acpi_power_device *power = container_of(device, struct acpi_power_device, device);
	if (width != 1) {
		return BUS_NOBODY;
	}
	if (offset == ACPI_POWER_SLEEP_CONTROL && (value & SLP_ENABLE) &&
	    field(value, SLP_TYPE_HIGH, SLP_TYPE_LOW) == ACPI_POWER_S5) {
		power->request = ACPI_POWER_OFF_NOW;
	} else if (offset == ACPI_POWER_RESET && value == ACPI_POWER_RESET_VALUE) {
		power->request = ACPI_POWER_RESTART;
	}
	return BUS_DONE;
}

static const struct device_ops ops = {.read = power_read, .write = power_write};

void acpi_power_device_init(struct acpi_power_device *power)
{
	*power = (struct acpi_power_device){.device = {.name = "acpi-power", .ops = &ops}};
}
