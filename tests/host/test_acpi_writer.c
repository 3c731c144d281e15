/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/loaders/acpi.c
/*
 * The guest's ACPI tables: every pointer leads to a table, every checksum is right, and the AML's packages close where
 * they say. With a file name as its argument the program writes the DSDT there, for a disassembler.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hv/devices/acpi_power.h"
#include "hv/loaders/acpi.h"

#define HEADER_BYTES 36

static const struct acpi_machine machine = {
	.cpus = 3,
	.lapic_base = 0xfee00000,
	.ioapic_base = 0xfec00000,
	.console_port = 0x3f8,
	.console_irq = 4,
	.rtc_port = 0x70,
	.power_port = 0x600,
	.virtio = {{0xfe000000, 0x200, 16}, {0xfe001000, 0x200, 17}},
	.virtio_count = 2,
};

static uint8_t tables[ACPI_MAX];
static size_t used;

static int write_tables(void **state)
{
	(void)state;
	used = acpi_write_tables(&machine, ACPI_AT, tables);
	assert_in_range(used, HEADER_BYTES, ACPI_MAX);
	return 0;
}

static uint64_t get(const uint8_t *at, unsigned bytes)
{
	uint64_t value = 0;
	memcpy(&value, at, bytes);
	return value;
}

static uint8_t sum(const uint8_t *at, size_t bytes)
{
	uint8_t total = 0;
	for (size_t i = 0; i < bytes; i++) {
		total = (uint8_t)(total + at[i]);
	}
	return total;
}

static const uint8_t *table_at(uint64_t address, const char *signature)
{
	assert_in_range(address, ACPI_AT, ACPI_AT + used - HEADER_BYTES);
	const uint8_t *table = tables + (address - ACPI_AT);
	assert_memory_equal(table, signature, 4);
	assert_in_range(get(table + 4, 4), HEADER_BYTES, used - (size_t)(table - tables));
	assert_int_equal(sum(table, get(table + 4, 4)), 0);
	return table;
}

static const uint8_t *find_table(const char *signature, unsigned index)
{
	const uint8_t *xsdt = table_at(get(tables + 24, 8), "XSDT");
	assert_int_equal(get(xsdt + 4, 4), HEADER_BYTES + 2 * 8);
	return table_at(get(xsdt + HEADER_BYTES + 8 * index, 8), signature);
}

static void the_rsdp_is_first_and_has_both_checksums(void **state)
{
	(void)state;
	assert_memory_equal(tables, "RSD PTR ", 8);
	assert_int_equal(tables[15], 2);
	assert_int_equal(sum(tables, 20), 0);
	assert_int_equal(sum(tables, 36), 0);
}

static void the_fadt_tells_a_reduced_machine_and_its_registers(void **state)
{
	(void)state;
	const uint8_t *fadt = find_table("FACP", 0);
	assert_int_equal(get(fadt + 4, 4), 276);
	assert_true(get(fadt + 112, 4) & 1 << 20); /* HW_REDUCED_ACPI */
	assert_true(get(fadt + 112, 4) & 1 << 10); /* RESET_REG_SUP */
	assert_int_equal(fadt[116], 1);            /* system I/O */
	assert_int_equal(get(fadt + 120, 8), 0x600 + ACPI_POWER_RESET);
	assert_int_equal(fadt[128], ACPI_POWER_RESET_VALUE);
	assert_int_equal(get(fadt + 248, 8), 0x600 + ACPI_POWER_SLEEP_CONTROL);
	assert_int_equal(get(fadt + 260, 8), 0x600 + ACPI_POWER_SLEEP_STATUS);
}

static void the_madt_lists_each_cpu_and_one_ioapic(void **state)
{
	(void)state;
	const uint8_t *madt = find_table("APIC", 1);
	const uint8_t *end = madt + get(madt + 4, 4);
	unsigned cpus = 0, ioapics = 0;
	assert_int_equal(get(madt + 36, 4), 0xfee00000);
	for (const uint8_t *entry = madt + 44; entry < end; entry += entry[1]) {
		assert_true(entry[1] >= 2 && entry[1] <= end - entry);
		if (entry[0] == 0) {
			assert_int_equal(entry[3], cpus++);
			assert_int_equal(get(entry + 4, 4), 1);
		} else if (entry[0] == 1) {
			assert_int_equal(get(entry + 4, 4), 0xfec00000);
			assert_int_equal(get(entry + 8, 4), 0);
			ioapics++;
		}
	}
	assert_int_equal(cpus, 3);
	assert_int_equal(ioapics, 1);
}

/* A PkgLength of two bytes at `at`. */
static size_t package_bytes(const uint8_t *at)
{
	assert_int_equal(at[0] & 0xf0, 0x40);
	return (at[0] & 0xfu) | (size_t)at[1] << 4;
}

static void the_dsdt_names_every_device_with_its_resources(void **state)
{
	(void)state;
	static const char *const names[] = {"COM0", "RTC0", "VIO0", "VIO1"};
	const uint8_t *dsdt = table_at(get(find_table("FACP", 0) + 140, 8), "DSDT");
	const uint8_t *end = dsdt + get(dsdt + 4, 4);
	const uint8_t *at = dsdt + HEADER_BYTES;
	unsigned found = 0;
	assert_memory_equal(at, "\x08_S5_\x12", 6);
	at += 6 + package_bytes(at + 6);
	assert_int_equal(*at++, 0x10); /* Scope */
	assert_ptr_equal(at + package_bytes(at), end);
	assert_memory_equal(at + 2, "\\_SB_", 5);
	for (at += 7; at < end; found++) {
		assert_true(found < sizeof(names) / sizeof(names[0]));
		assert_memory_equal(at, "\x5b\x82", 2);
		assert_memory_equal(at + 4, names[found], 4);
		at += 2 + package_bytes(at + 2);
		assert_memory_equal(at - 2, "\x79\x00", 2); /* _CRS comes last, its end tag at its end */
	}
	assert_ptr_equal(at, end);
	assert_int_equal(found, 4);
}

static void what_does_not_fit_is_told_and_not_written(void **state)
{
	(void)state;
	struct acpi_machine large = machine;
	uint8_t room[ACPI_MAX + 16];
	memset(room, 0xaa, sizeof(room));
	large.cpus = 1000;
	assert_true(acpi_write_tables(&large, ACPI_AT, room) > ACPI_MAX);
	for (size_t i = ACPI_MAX; i < sizeof(room); i++) {
		assert_int_equal(room[i], 0xaa);
	}
}

static int write_dsdt(const char *path)
{
	void *none = NULL;
	write_tables(&none);
	FILE *file = fopen(path, "wb");
	const uint8_t *dsdt = table_at(get(find_table("FACP", 0) + 140, 8), "DSDT");
	if (file == NULL || fwrite(dsdt, get(dsdt + 4, 4), 1, file) != 1 || fclose(file) != 0) {
		perror(path);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_rsdp_is_first_and_has_both_checksums, write_tables),
		cmocka_unit_test_setup(the_fadt_tells_a_reduced_machine_and_its_registers, write_tables),
		cmocka_unit_test_setup(the_madt_lists_each_cpu_and_one_ioapic, write_tables),
		cmocka_unit_test_setup(the_dsdt_names_every_device_with_its_resources, write_tables),
		cmocka_unit_test_setup(what_does_not_fit_is_told_and_not_written, write_tables),
	};
	return argc > 1 ? write_dsdt(argv[1]) : cmocka_run_group_tests(tests, NULL, NULL);
}
