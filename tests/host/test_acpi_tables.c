/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI reader against tables built here in a small physical memory, through an access function that knows its
 * bounds. Run by make host-tests.
 */
// sources: drivers/acpi_tables.c
#include "drivers/acpi_tables.h"
#include "lib/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BASE         UINT64_C(0x7f0000000) /* above 4 GiB: XSDT entries must be read whole */
#define LOW_BASE     UINT64_C(0x10000000)  /* what an RSDT can name */
#define MEMORY_BYTES 8192

/* Physical memory [base, base + MEMORY_BYTES), filled from its start. */
struct memory {
	uint64_t base;
	size_t used;
	uint8_t *bytes;
};

static const void *map_memory(void *context, uint64_t address, size_t bytes)
{
	const struct memory *memory = context;

	if (address < memory->base || address - memory->base > MEMORY_BYTES ||
	    bytes > MEMORY_BYTES - (address - memory->base)) {
		return NULL;
	}
	return memory->bytes + (address - memory->base);
}

static void store(uint8_t *p, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++) {
		p[i] = (uint8_t)(value >> (8 * i));
	}
}

static void fix_sum(uint8_t *p, size_t bytes, size_t at)
{
	uint8_t sum = 0;

	p[at] = 0;
	for (size_t i = 0; i < bytes; i++) {
		sum = (uint8_t)(sum + p[i]);
	}
	p[at] = (uint8_t)(0 - sum);
}

#define CHECKSUM_AT 9

/* Puts a table of `length` bytes with a header there; the caller fills it and calls fix_sum. */
static uint8_t *place(struct memory *memory, const char *signature, size_t length, uint8_t revision, uint64_t *address)
{
	uint8_t *p = memory->bytes + memory->used;

	*address = memory->base + memory->used;
	memory->used += (length + 7) & ~(size_t)7;
	assert_true(memory->used <= MEMORY_BYTES);
	memcpy(p, signature, 4);
	store(p + 4, length, 4);
	p[8] = revision;
	fix_sum(p, length, CHECKSUM_AT);
	return p;
}

static uint64_t place_madt(struct memory *memory, const uint8_t *structures, size_t bytes)
{
	uint64_t address;
	uint8_t *p = place(memory, "APIC", 44 + bytes, 4, &address);

	store(p + 36, 0xfee00000, 4);
	store(p + 40, 1, 4);
	memcpy(p + 44, structures, bytes);
	fix_sum(p, 44 + bytes, CHECKSUM_AT);
	return address;
}

/* XSDT (or RSDT, entry_bytes 4) over `tables`, and an RSDP; returns the RSDP's address. */
static uint64_t place_root(struct memory *memory, unsigned entry_bytes, const uint64_t *tables, unsigned count)
{
	uint64_t root;
	uint8_t *p = place(memory, entry_bytes == 8 ? "XSDT" : "RSDT", 36 + (size_t)entry_bytes * count, 1, &root);

	for (unsigned i = 0; i < count; i++) {
		store(p + 36 + i * entry_bytes, tables[i], entry_bytes);
	}
	fix_sum(p, 36 + (size_t)entry_bytes * count, CHECKSUM_AT);
	p = memory->bytes + memory->used;
	memcpy(p, "RSD PTR ", 8);
	p[15] = entry_bytes == 8 ? 2 : 0;
	store(p + 16, entry_bytes == 8 ? 0 : root, 4);
	fix_sum(p, 20, 8);
	if (entry_bytes == 8) {
		store(p + 20, 36, 4);
		store(p + 24, root, 8);
		fix_sum(p, 36, 32);
	}
	memory->used += 40;
	return memory->base + memory->used - 40;
}

static struct memory memory_at(uint64_t base)
{
	return (struct memory){.base = base, .bytes = calloc(1, MEMORY_BYTES)};
}

/* ---- MADT structures ---- */

static const uint8_t pc_structures[] = {
	0,    8,  0,    0, 1,  0, 0,    0,                             /* local APIC 0, enabled */
	0,    8,  1,    2, 1,  0, 0,    0,                             /* local APIC 2, enabled */
	0,    8,  2,    4, 2,  0, 0,    0,                             /* local APIC 4, online capable */
	0x7f, 3,  0xee,                                                /* something new */
	9,    16, 0,    0, 0,  1, 0,    0,    1,  0, 0, 0, 7, 0, 0, 0, /* x2APIC 256, enabled, UID 7 */
	1,    12, 5,    0, 0,  0, 0xc0, 0xfe, 24, 0, 0, 0,             /* IOAPIC 5 */
	2,    10, 0,    9, 20, 0, 0,    0,    13, 0,                   /* IRQ 9 to GSI 20 */
	5,    12, 0,    0, 0,  0, 0xe0, 0xfe, 1,  0, 0, 0,             /* local APICs at 0x1fee00000 */
};

static void add_gicc(uint8_t *p, uint64_t mpidr, uint32_t flags, uint64_t gicc, uint64_t gicr)
{
	memset(p, 0, 80);
	p[0] = 11;
	p[1] = 80;
	store(p + 8, mpidr & 0xff, 4);
	store(p + 12, flags, 4);
	store(p + 32, gicc, 8);
	store(p + 40, gicc == 0 ? 0 : 0x8040000, 8);
	store(p + 48, gicc == 0 ? 0 : 0x8030000, 8);
	store(p + 56, 25, 4);
	store(p + 60, gicr, 8);
	store(p + 68, mpidr, 8);
}

static size_t add_gicd(uint8_t *p, uint64_t base, uint8_t version)
{
	memset(p, 0, 24);
	p[0] = 12;
	p[1] = 24;
	store(p + 8, base, 8);
	p[20] = version;
	return 24;
}

static size_t add_gicr(uint8_t *p, uint64_t base, uint32_t bytes)
{
	p[0] = 14;
	p[1] = 16;
	store(p + 4, base, 8);
	store(p + 12, bytes, 4);
	return 16;
}

/* ---- tests ---- */

static void an_xsdt_above_4_gib_and_an_rsdt_of_acpi_1_0_are_both_walked(void **state)
{
	const unsigned entry_bytes[] = {8, 4};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(entry_bytes); i++) {
		struct memory memory = memory_at(entry_bytes[i] == 8 ? BASE : LOW_BASE);
		struct acpi_tables tables;
		uint64_t addresses[3];
		place(&memory, "SSDT", 40, 1, &addresses[0]);
		addresses[1] = place_madt(&memory, pc_structures, sizeof(pc_structures));
		place(&memory, "SSDT", 48, 1, &addresses[2]);
		assert_true(acpi_open(&tables, place_root(&memory, entry_bytes[i], addresses, 3), map_memory, &memory));
		assert_int_equal(tables.count, 3);
		assert_int_equal(acpi_find(&tables, "SSDT", 0)->length, 40);
		assert_int_equal(acpi_find(&tables, "SSDT", 1)->length, 48);
		assert_null(acpi_find(&tables, "SSDT", 2));
		assert_non_null(acpi_find(&tables, "APIC", 0));
		assert_null(acpi_find(&tables, "SPCR", 0));
		free(memory.bytes);
	}
}

static void wrong_checksums_are_not_believed(void **state)
{
	struct memory memory = memory_at(BASE);
	struct acpi_tables tables;
	uint64_t addresses[2];

	(void)state;
	uint8_t *wrong = place(&memory, "SSDT", 40, 1, &addresses[0]);
	place(&memory, "SSDT", 48, 1, &addresses[1]);
	wrong[39] ^= 1;
	uint64_t rsdp = place_root(&memory, 8, addresses, 2);
	assert_true(acpi_open(&tables, rsdp, map_memory, &memory));
	assert_int_equal(acpi_find(&tables, "SSDT", 0)->length, 48);

	uint8_t *pointer = memory.bytes + (rsdp - memory.base);
	pointer[10] ^= 1;
	assert_false(acpi_open(&tables, rsdp, map_memory, &memory));
	pointer[10] ^= 1;
	pointer[33] ^= 1; /* of the extended part, with no RSDT to fall back on */
	assert_false(acpi_open(&tables, rsdp, map_memory, &memory));
	assert_false(acpi_open(&tables, 0, map_memory, &memory));
	free(memory.bytes);
}

static void tables_that_reach_out_of_memory_are_not_read(void **state)
{
	struct memory memory = memory_at(BASE);
	struct acpi_tables tables;
	uint64_t addresses[] = {0, BASE + MEMORY_BYTES - 8, UINT64_MAX - 4, 0};

	(void)state;
	uint8_t *p = place(&memory, "SSDT", 40, 1, &addresses[3]);
	uint64_t rsdp = place_root(&memory, 8, addresses, 4);
	assert_true(acpi_open(&tables, rsdp, map_memory, &memory));
	assert_non_null(acpi_find(&tables, "SSDT", 0));
	store(p + 4, MEMORY_BYTES + 1, 4);
	assert_null(acpi_find(&tables, "SSDT", 0));
	store(p + 4, UINT32_MAX, 4);
	assert_null(acpi_find(&tables, "SSDT", 0));
	store(p + 4, 35, 4);
	assert_null(acpi_find(&tables, "SSDT", 0));
	free(memory.bytes);
}

static void the_cpus_of_a_pc_are_told_by_its_madt(void **state)
{
	struct memory memory = memory_at(BASE);
	struct acpi_tables tables;
	uint64_t ids[4] = {99, 99, 99, 99}, madt = place_madt(&memory, pc_structures, sizeof(pc_structures));

	(void)state;
	assert_true(acpi_open(&tables, place_root(&memory, 8, &madt, 1), map_memory, &memory));
	assert_int_equal(acpi_cpus(&tables, ids, 2), 3);
	assert_int_equal(ids[0], 0);
	assert_int_equal(ids[1], 2);
	assert_int_equal(ids[2], 99);
	assert_int_equal(acpi_cpus(&tables, ids, 4), 3);
	assert_int_equal(ids[2], 256);
	assert_int_equal(ids[3], 99);
	struct gic_description gic;
	assert_false(acpi_gic(&tables, &gic));
	free(memory.bytes);
}

static void madt_structures_without_sense_end_the_walk(void **state)
{
	/* Local APIC 1, something, local APIC 2; all enabled. */
	static const uint8_t lengths[] = {0, 1, 255}; /* of the something */
	uint8_t structures[19] = {0, 8, 0, 1, 1, 0, 0, 0, 0x7f, 3, 0, 0, 8, 0, 2, 1};

	(void)state;
	for (unsigned i = 0; i <= ARRAY_SIZE(lengths) + 1; i++) {
		struct memory memory = memory_at(BASE);
		struct acpi_tables tables;
		uint64_t ids[2];
		bool whole = i == 0, cut = i > ARRAY_SIZE(lengths); /* half a header: the table ends there */
		structures[9] = whole || cut ? 3 : lengths[i - 1];
		uint64_t madt = place_madt(&memory, structures, cut ? 9 : sizeof(structures));
		assert_true(acpi_open(&tables, place_root(&memory, 8, &madt, 1), map_memory, &memory));
		assert_int_equal(acpi_cpus(&tables, ids, 2), whole ? 2 : 1);
		assert_int_equal(ids[0], 1);
		free(memory.bytes);
	}
}

static void a_structure_too_short_for_its_type_is_passed_over(void **state)
{
	static const uint8_t structures[] = {11, 40, [41] = 8, 0, 3, 1, 0, 0, 0};
	uint8_t bytes[48] = {0};
	struct memory memory = memory_at(BASE);
	struct acpi_tables tables;
	uint64_t ids[1];

	(void)state;
	memcpy(bytes, structures, sizeof(structures));
	uint64_t madt = place_madt(&memory, bytes, sizeof(bytes)); /* GICC of ACPI 5.0, then local APIC 3 */
	assert_true(acpi_open(&tables, place_root(&memory, 8, &madt, 1), map_memory, &memory));
	assert_int_equal(acpi_cpus(&tables, ids, 1), 1);
	assert_int_equal(ids[0], 3);
	free(memory.bytes);
}

static void the_gic_is_gathered_from_its_madt_structures(void **state)
{
	struct memory memory = memory_at(BASE);
	struct acpi_tables tables;
	struct gic_description gic;
	uint8_t structures[400];
	uint64_t ids[4];
	size_t used = 0;

	(void)state;
	add_gicc(structures, 0x81000001, 1, 0, 0); /* bit 31 and U are no affinity */
	add_gicc(structures + 80, 0x100000102, 1, 0, 0);
	add_gicc(structures + 160, 0x3, 0, 0, 0);
	used = 240;
	used += add_gicd(structures + used, 0x8000000, 3);
	used += add_gicr(structures + used, 0x80a0000, 0x40000);
	used += add_gicr(structures + used, 0x80e0000, 0x20000);
	used += add_gicr(structures + used, 0x4000000000, 0x4000000);
	uint64_t madt = place_madt(&memory, structures, used);
	assert_true(acpi_open(&tables, place_root(&memory, 8, &madt, 1), map_memory, &memory));
	assert_int_equal(acpi_cpus(&tables, ids, 4), 2);
	assert_int_equal(ids[0], 1);
	assert_int_equal(ids[1], 0x100000102);
	assert_true(acpi_gic(&tables, &gic));
	assert_int_equal(gic.version, 3);
	assert_int_equal(gic.distributor.base, 0x8000000);
	assert_int_equal(gic.distributor.bytes, 0x10000);
	assert_int_equal(gic.redistributors, 2);
	assert_int_equal(gic.redistributor[0].bytes, 0x60000);
	assert_int_equal(gic.redistributor[1].base, 0x4000000000);
	assert_int_equal(gic.maintenance, 25);
	free(memory.bytes);
}

static void a_gic_without_gicr_structures_takes_its_cpus_frames(void **state)
{
	struct memory memory = memory_at(BASE);
	struct acpi_tables tables;
	struct gic_description gic;
	uint8_t structures[184];

	(void)state;
	add_gicc(structures, 0, 1, 0, 0x80a0000);
	add_gicc(structures + 80, 1, 1, 0, 0x80c0000);
	add_gicd(structures + 160, 0x8000000, 0);
	uint64_t madt = place_madt(&memory, structures, sizeof(structures));
	assert_true(acpi_open(&tables, place_root(&memory, 8, &madt, 1), map_memory, &memory));
	assert_true(acpi_gic(&tables, &gic));
	assert_int_equal(gic.version, 3);
	assert_int_equal(gic.redistributors, 1);
	assert_int_equal(gic.redistributor[0].base, 0x80a0000);
	assert_int_equal(gic.redistributor[0].bytes, 0x40000);
	free(memory.bytes);
}

static void a_gicv2_has_its_cpu_and_virtual_interfaces(void **state)
{
	struct memory memory = memory_at(BASE);
	struct acpi_tables tables;
	struct gic_description gic;
	uint8_t structures[104];

	(void)state;
	add_gicc(structures, 0, 1, 0x8010000, 0);
	add_gicd(structures + 80, 0x8000000, 2);
	uint64_t madt = place_madt(&memory, structures, sizeof(structures));
	assert_true(acpi_open(&tables, place_root(&memory, 8, &madt, 1), map_memory, &memory));
	assert_true(acpi_gic(&tables, &gic));
	assert_int_equal(gic.version, 2);
	assert_int_equal(gic.cpu_interface.base, 0x8010000);
	assert_int_equal(gic.hypervisor.base, 0x8030000);
	assert_int_equal(gic.virtual_cpu.base, 0x8040000);
	assert_int_equal(gic.redistributors, 0);
	free(memory.bytes);
}

static bool console_of(uint8_t interface, uint8_t space, uint8_t bit_width, uint8_t access, uint64_t address,
                       struct uart_description *uart)
{
	struct memory memory = memory_at(BASE);
	struct acpi_tables tables;
	uint64_t spcr;
	uint8_t *p = place(&memory, "SPCR", 80, 2, &spcr);

	p[36] = interface;
	p[40] = space;
	p[41] = bit_width;
	p[43] = access;
	store(p + 44, address, 8);
	fix_sum(p, 80, CHECKSUM_AT);
	assert_true(acpi_open(&tables, place_root(&memory, 8, &spcr, 1), map_memory, &memory));
	bool found = acpi_console(&tables, uart);
	free(memory.bytes);
	return found;
}

static void spcr_gives_the_kind_and_place_of_the_console(void **state)
{
	struct uart_description uart;

	(void)state;
	assert_true(console_of(0, 1, 8, 1, 0x3f8, &uart));
	assert_int_equal(uart.kind, UART_16550_PORT);
	assert_int_equal(uart.address, 0x3f8);
	assert_int_equal(uart.clock_hz, UART_PC_CLOCK_HZ);
	assert_true(console_of(0x12, 0, 32, 3, 0xfe215040, &uart));
	assert_int_equal(uart.kind, UART_16550_MMIO);
	assert_int_equal(uart.stride, 4);
	assert_int_equal(uart.access_width, 4);
	assert_int_equal(uart.clock_hz, 0);
	assert_true(console_of(3, 0, 32, 3, 0x9000000, &uart));
	assert_int_equal(uart.kind, UART_PL011);
	assert_true(console_of(0x0e, 0, 32, 3, 0x9000000, &uart));
	assert_int_equal(uart.kind, UART_SBSA);
	assert_false(console_of(3, 0, 32, 3, 0, &uart));
	assert_false(console_of(3, 1, 32, 3, 0x3f8, &uart));
	assert_false(console_of(0, 1, 8, 1, 0x103f8, &uart));
	assert_false(console_of(0x77, 0, 32, 3, 0x9000000, &uart));
}

static void gtdt_and_fadt_give_timers_and_psci(void **state)
{
	struct memory memory = memory_at(BASE);
	struct acpi_tables tables;
	struct timer_description timers;
	uint64_t addresses[2];
	uint8_t *gtdt = place(&memory, "GTDT", 104, 3, &addresses[0]);
	uint8_t *fadt = place(&memory, "FACP", 276, 6, &addresses[1]);

	(void)state;
	store(gtdt + 48, 29, 4);
	store(gtdt + 56, 30, 4);
	store(gtdt + 64, 27, 4);
	store(gtdt + 72, 26, 4);
	store(gtdt + 96, 28, 4);
	fix_sum(gtdt, 104, CHECKSUM_AT);
	assert_true(acpi_open(&tables, place_root(&memory, 8, addresses, 2), map_memory, &memory));
	assert_true(acpi_timers(&tables, &timers));
	assert_int_equal(timers.secure_physical, 29);
	assert_int_equal(timers.physical, 30);
	assert_int_equal(timers.virtual, 27);
	assert_int_equal(timers.hypervisor, 26);
	assert_int_equal(timers.hypervisor_virtual, 28);
	assert_int_equal(acpi_psci(&tables), PSCI_NONE);
	store(fadt + 129, 1, 2);
	fix_sum(fadt, 276, CHECKSUM_AT);
	assert_int_equal(acpi_psci(&tables), PSCI_SMC);
	store(fadt + 129, 3, 2);
	fix_sum(fadt, 276, CHECKSUM_AT);
	assert_int_equal(acpi_psci(&tables), PSCI_HVC);
	gtdt[8] = 2;
	fix_sum(gtdt, 104, CHECKSUM_AT);
	assert_true(acpi_timers(&tables, &timers));
	assert_int_equal(timers.hypervisor_virtual, 0);
	free(memory.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_xsdt_above_4_gib_and_an_rsdt_of_acpi_1_0_are_both_walked),
		cmocka_unit_test(wrong_checksums_are_not_believed),
		cmocka_unit_test(tables_that_reach_out_of_memory_are_not_read),
		cmocka_unit_test(the_cpus_of_a_pc_are_told_by_its_madt),
		cmocka_unit_test(madt_structures_without_sense_end_the_walk),
		cmocka_unit_test(a_structure_too_short_for_its_type_is_passed_over),
		cmocka_unit_test(the_gic_is_gathered_from_its_madt_structures),
		cmocka_unit_test(a_gic_without_gicr_structures_takes_its_cpus_frames),
		cmocka_unit_test(a_gicv2_has_its_cpu_and_virtual_interfaces),
		cmocka_unit_test(spcr_gives_the_kind_and_place_of_the_console),
		cmocka_unit_test(gtdt_and_fadt_give_timers_and_psci),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
