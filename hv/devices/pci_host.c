/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See pci_host.h. Called by the port bus. Numbers of sections are those of the PCI Local Bus Specification 3.0. Nothing
 * that a guest writes reaches farther than the address register.
 */
#include "hv/devices/pci_host.h"

#include "lib/util.h"

/* 3.2.2.3.2: the two registers; the address one is read and written in bytes here, as all ports are. */
#define CONFIG_DATA       4
#define CONFIG_ENABLE     BIT(31)
#define FUNCTION_HIGH     30 /* bus, device and function, down to bit 8 */
#define FUNCTION_LOW      8
#define REGISTER_HIGH     7
#define REGISTER_LOW      2
#define HOST_BRIDGE       0          /* bus 0, device 0, function 0 */
#define HOST_BRIDGE_ID    0x00081b36 /* QEMU docs/specs/pci-ids: a host bridge without further registers */
#define REGISTER_ID       0
#define REGISTER_CLASS    2
#define CLASS_HOST_BRIDGE 0x06000000 /* appendix D.7: host bridge */

static uint32_t configuration(uint32_t address)
{
	if (!(address & CONFIG_ENABLE) || field(address, FUNCTION_HIGH, FUNCTION_LOW) != HOST_BRIDGE) {
		return UINT32_MAX;
	}
	switch (field(address, REGISTER_HIGH, REGISTER_LOW)) {
	case REGISTER_ID:
		return HOST_BRIDGE_ID;
	case REGISTER_CLASS:
		return CLASS_HOST_BRIDGE;
	default:
		return 0;
	}
}

static bool pci_read(struct device *device, uint64_t offset, unsigned width, uint64_t *value)
{
	const struct pci_host_device *pci = container_of(device, struct pci_host_device, device);
	uint32_t word = offset < CONFIG_DATA ? pci->address : configuration(pci->address);
	*value = word >> 8 * (offset % CONFIG_DATA) & UINT8_MAX;
	return width == 1;
}

static enum bus_result pci_write(struct device *device, uint64_t offset, unsigned width, uint64_t value)
{
	struct pci_host_device *pci = container_of(device, struct pci_host_device, device);
	if (offset < CONFIG_DATA) {
		unsigned shift = 8 * (unsigned)offset;
		pci->address = (pci->address & ~((uint32_t)UINT8_MAX << shift)) | (uint32_t)(value & UINT8_MAX)
		                                                                          << shift;
	}
	return width == 1 ? BUS_DONE : BUS_NOBODY;
}

static const struct device_ops ops = {.read = pci_read, .write = pci_write};

void pci_host_device_init(struct pci_host_device *pci)
{
	*pci = (struct pci_host_device){.device = {.name = "pci", .ops = &ops}};
}
