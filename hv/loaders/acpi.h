/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables of an x86 guest: RSDP, XSDT, FADT, MADT and a DSDT that names the devices which cannot be found
 * otherwise. A hardware-reduced machine (ACPI 6.4, 4.1): no SCI, no PM timer, no fixed buttons; it is turned off by the
 * sleep control register and reset by the reset register. Pure: bytes out of a description, so that it is tested on the
 * host.
 */
#pragma once

#include "mm/types.h"

#define ACPI_VIRTIO_MAX 8

struct acpi_virtio {
	uint32_t base, bytes; /* registers, GPA */
	uint32_t gsi;         /* level, active high */
};

struct acpi_machine {
	unsigned cpus; /* local APIC IDs 0 to cpus - 1 */
	uint32_t lapic_base, ioapic_base;
	uint16_t console_port; /* a 16550 of 8 ports */
	uint8_t console_irq;   /* ISA */
	uint16_t rtc_port;     /* a CMOS clock of 2 ports, without an interrupt */
	uint16_t power_port;   /* acpi_power.h */
	struct acpi_virtio virtio[ACPI_VIRTIO_MAX];
	unsigned virtio_count;
};

/* Where the tables lie in a PC: kernels look for the RSDP from 0xe0000 on, and the loader's map reserves it. */
#define ACPI_AT  0xf0000
#define ACPI_MAX 0x1000 /* bytes, at the most */

/* Writes the tables for the address `at` into `to`, ACPI_MAX bytes, the RSDP first. Returns the bytes used. */
size_t acpi_write_tables(const struct acpi_machine *machine, gpa_t at, uint8_t *to);
