/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI's configuration mechanism #1 at ports 0xcf8 to 0xcff, with a host bridge and nothing behind it. A kernel looks
 * there whether it was told of PCI or not, and Linux logs an error on a PC that has none. No device of ours is on PCI.
 */
#pragma once

#include "hv/bus.h"

#define PCI_HOST_PORT  0xcf8
#define PCI_HOST_PORTS 8

struct pci_host_device {
	struct device device;
	uint32_t address; /* CONFIG_ADDRESS */
};

void pci_host_device_init(struct pci_host_device *pci);
