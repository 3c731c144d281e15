/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the firmware's ACPI tables: finds them from the RSDP and takes out of MADT, SPCR, GTDT and FADT what the
 * hypervisor needs. boot/, hv/ and arch/ call it. It trusts no length, count or checksum before checking it, and
 * reads memory through the caller's function only. ACPI specification 6.5, chapter 5.
 */
#pragma once

#include "drivers/arm_platform.h"
#include "drivers/host_uart.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A pointer to `bytes` readable bytes at the physical `address`, valid as long as the tables are used, or NULL. */
typedef const void *acpi_map(void *context, uint64_t address, size_t bytes);

struct acpi_tables {
	acpi_map *map; /* NULL: virtual = physical, and whatever the tables name can be read */
	void *context;
	const uint8_t *entries; /* of the XSDT or RSDT */
	unsigned count;
	uint8_t entry_bytes; /* 8 or 4 */
	uint8_t revision;    /* of the RSDP: 0 is ACPI 1.0 */
};

/* The header of every table; all fields little-endian, none aligned. 5.2.6. */
struct __attribute__((packed)) acpi_header {
	char signature[4];
	uint32_t length; /* bytes, this header included */
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
};

/* False: no RSDP at `rsdp`, or no XSDT or RSDT with the right checksum. */
bool acpi_open(struct acpi_tables *tables, uint64_t rsdp, acpi_map *map, void *context);

/*
 * The `index`-th table (from 0) with this signature of four letters, whole, its length and checksum verified; or
 * NULL. A table with a wrong checksum is passed over.
 */
const struct acpi_header *acpi_find(const struct acpi_tables *tables, const char *signature, unsigned index);

/* ---- MADT ---- */

/*
 * The CPUs that can be used now: APIC IDs or MPIDR affinities in the MADT's order, the first `count` of them in
 * `ids`. Returns how many there are, 0 without MADT.
 */
unsigned acpi_cpus(const struct acpi_tables *tables, uint64_t *ids, unsigned count);

/* From the MADT's GICC, GICD and GICR structures. False: none. */
bool acpi_gic(const struct acpi_tables *tables, struct gic_description *gic);

/* ---- SPCR, GTDT, FADT ---- */

/* The console that SPCR names. False: no SPCR, or a kind of port that there is no driver for. */
bool acpi_console(const struct acpi_tables *tables, struct uart_description *uart);

/* False: no GTDT. */
bool acpi_timers(const struct acpi_tables *tables, struct timer_description *timers);

/* How to call PSCI, by the FADT's ARM boot architecture flags; PSCI_NONE also without FADT. */
enum psci_conduit acpi_psci(const struct acpi_tables *tables);
