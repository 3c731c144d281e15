/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See acpi.h. Called by the x86 loaders. Numbers of sections are those of ACPI 6.4; AML is written byte by byte, for a
 * compiler would be larger than all that is said in it.
 */
#include "hv/loaders/acpi.h"

#include "hv/devices/acpi_power.h"
#include "lib/string.h"
#include "lib/util.h"

#define OEM_ID       "CAISSN"
#define OEM_TABLE_ID "CAISSON "
#define CREATOR_ID   "CAIS"

/* 5.2.6: every table but the RSDP begins like this. */
enum { HEADER_LENGTH = 4, HEADER_CHECKSUM = 9, HEADER_BYTES = 36 };

/* 5.2.5.3 */
enum { RSDP_CHECKSUM = 8, RSDP_REVISION = 15, RSDP_LENGTH = 20, RSDP_XSDT = 24, RSDP_EXTENDED_CHECKSUM = 32 };
#define RSDP_BYTES    36
#define RSDP_V1_BYTES 20

/* 5.2.9 */
enum {
	FADT_BOOT_ARCH = 109,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_MINOR = 131,
	FADT_X_DSDT = 140,
	FADT_SLEEP_CONTROL = 244,
	FADT_SLEEP_STATUS = 256,
	FADT_BYTES = 276,
};
#define BOOT_ARCH_LEGACY_DEVICES BIT(0)
#define BOOT_ARCH_NO_VGA         BIT(2)
#define BOOT_ARCH_NO_MSI         BIT(3)
#define FLAG_WBINVD              BIT(0)
#define FLAG_POWER_BUTTON        BIT(4) /* is no fixed hardware */
#define FLAG_SLEEP_BUTTON        BIT(5)
#define FLAG_RESET_REG           BIT(10)
#define FLAG_HW_REDUCED          BIT(20)

/* 5.2.3.2: generic address structure */
#define GAS_SYSTEM_IO 1
#define GAS_BYTE      1

/* 5.2.12 */
#define MADT_LAPIC     0
#define MADT_IOAPIC    1
#define MADT_LAPIC_NMI 4
#define LAPIC_ENABLED  1
#define EVERY_CPU      0xff
#define LINT_NMI       1

/* 20.2: AML */
#define AML_NAME       0x08
#define AML_BYTE       0x0a
#define AML_STRING     0x0d
#define AML_DWORD      0x0c
#define AML_SCOPE      0x10
#define AML_BUFFER     0x11
#define AML_PACKAGE    0x12
#define AML_EXTENDED   0x5b
#define AML_DEVICE     0x82
#define PKG_TWO_BYTES  0x40 /* of a length in two bytes: 4 bits in the first, 8 in the second */
#define PKG_LOW_BITS   4
#define ARGUMENTS_NONE 0

/* 6.4: resource descriptors */
#define RESOURCE_IRQ                0x22
#define RESOURCE_IO                 0x47
#define IO_DECODE_16                1
#define RESOURCE_MEMORY32_FIXED     0x86
#define MEMORY32_FIXED_BYTES        9
#define MEMORY_WRITABLE             1
#define RESOURCE_INTERRUPT          0x89
#define INTERRUPT_BYTES             6
#define INTERRUPT_CONSUMER_LEVEL_HI 1
#define RESOURCE_END                0x79

/* The writer: where it writes, and how far it is. Nothing is written past ACPI_MAX. */
struct writer {
	uint8_t *to;
	size_t used;
};

static void put(struct writer *w, uint64_t value, unsigned bytes)
{
	if (w->used + bytes <= ACPI_MAX) {
		memcpy(w->to + w->used, &value, bytes);
	}
	w->used += bytes;
}

static void put_at(struct writer *w, size_t at, uint64_t value, unsigned bytes)
{
	if (at + bytes <= ACPI_MAX) {
		memcpy(w->to + at, &value, bytes);
	}
}

static void put_text(struct writer *w, const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		put(w, (uint8_t)text[i], 1);
	}
}

static void set_checksum(struct writer *w, size_t from, size_t bytes, size_t at)
{
	uint8_t sum = 0;
	for (size_t i = from; i < from + bytes && i < ACPI_MAX; i++) {
		sum = (uint8_t)(sum + w->to[i]);
	}
	put_at(w, at, (uint8_t)-sum, 1);
}

static size_t open_table(struct writer *w, const char *signature, uint8_t revision)
{
	w->used = align_up(w->used, 8);
	size_t start = w->used;
	put_text(w, signature, 4);
	put(w, 0, 4); /* length */
	put(w, revision, 1);
	put(w, 0, 1); /* checksum */
	put_text(w, OEM_ID, 6);
	put_text(w, OEM_TABLE_ID, 8);
	put(w, 1, 4);
	put_text(w, CREATOR_ID, 4);
	put(w, 1, 4);
	return start;
}

static void close_table(struct writer *w, size_t start)
{
	put_at(w, start + HEADER_LENGTH, w->used - start, 4);
	set_checksum(w, start, w->used - start, start + HEADER_CHECKSUM);
}

/* ---- AML ---- */

/* What has a length in front: 20.2.4. Closed by close_package. */
static size_t open_package(struct writer *w)
{
	put(w, 0, 2);
	return w->used - 2;
}

static void close_package(struct writer *w, size_t start)
{
	size_t bytes = w->used - start;
	put_at(w, start, PKG_TWO_BYTES | (bytes & BITS(PKG_LOW_BITS - 1, 0)), 1);
	put_at(w, start + 1, bytes >> PKG_LOW_BITS, 1);
}

static void put_name(struct writer *w, const char *name)
{
	put(w, AML_NAME, 1);
	put_text(w, name, 4);
}

static size_t open_device(struct writer *w, const char *name, unsigned unit)
{
	put(w, AML_EXTENDED, 1);
	put(w, AML_DEVICE, 1);
	size_t device = open_package(w);
	put_text(w, name, 3);
	put(w, '0' + unit, 1);
	put_name(w, "_UID");
	put(w, AML_BYTE, 1);
	put(w, unit, 1);
	return device;
}

/* _HID as a number: three letters of five bits and four hexadecimal digits, 19.3.4 "EISAID". */
static void put_pnp_id(struct writer *w, uint16_t number)
{
	put_name(w, "_HID");
	put(w, AML_DWORD, 1);
	put(w, 0xd041, 2); /* PNP */
	put(w, number >> 8, 1);
	put(w, number & UINT8_MAX, 1);
}

struct resources {
	size_t package, size_at, start;
};

static struct resources open_resources(struct writer *w)
{
	struct resources resources;
	put_name(w, "_CRS");
	put(w, AML_BUFFER, 1);
	resources.package = open_package(w);
	put(w, AML_BYTE, 1);
	resources.size_at = w->used;
	put(w, 0, 1);
	resources.start = w->used;
	return resources;
}

static void close_resources(struct writer *w, const struct resources *resources)
{
	put(w, RESOURCE_END, 1);
	put(w, 0, 1);
	put_at(w, resources->size_at, w->used - resources->start, 1);
	close_package(w, resources->package);
}

static void put_ports(struct writer *w, uint16_t first, uint8_t count)
{
	put(w, RESOURCE_IO, 1);
	put(w, IO_DECODE_16, 1);
	put(w, first, 2);
	put(w, first, 2);
	put(w, 1, 1); /* alignment */
	put(w, count, 1);
}

static void put_isa_devices(struct writer *w, const struct acpi_machine *machine)
{
	size_t device = open_device(w, "COM", 0);
	put_pnp_id(w, 0x0501); /* 16550A-compatible */
	struct resources resources = open_resources(w);
	put_ports(w, machine->console_port, 8);
	put(w, RESOURCE_IRQ, 1);
	put(w, BIT(machine->console_irq), 2);
	close_resources(w, &resources);
	close_package(w, device);

	device = open_device(w, "RTC", 0);
	put_pnp_id(w, 0x0b00);
	resources = open_resources(w);
	put_ports(w, machine->rtc_port, 2);
	close_resources(w, &resources);
	close_package(w, device);
}

static void put_virtio_device(struct writer *w, const struct acpi_virtio *virtio, unsigned unit)
{
	size_t device = open_device(w, "VIO", unit);
	put_name(w, "_HID");
	put(w, AML_STRING, 1);
	put_text(w, "LNRO0005", sizeof("LNRO0005")); /* as Linux and QEMU call virtio-mmio */
	struct resources resources = open_resources(w);
	put(w, RESOURCE_MEMORY32_FIXED, 1);
	put(w, MEMORY32_FIXED_BYTES, 2);
	put(w, MEMORY_WRITABLE, 1);
	put(w, virtio->base, 4);
	put(w, virtio->bytes, 4);
	put(w, RESOURCE_INTERRUPT, 1);
	put(w, INTERRUPT_BYTES, 2);
	put(w, INTERRUPT_CONSUMER_LEVEL_HI, 1);
	put(w, 1, 1);
	put(w, virtio->gsi, 4);
	close_resources(w, &resources);
	close_package(w, device);
}

static size_t put_dsdt(struct writer *w, const struct acpi_machine *machine)
{
	size_t dsdt = open_table(w, "DSDT", 2);
	put_name(w, "_S5_");
	put(w, AML_PACKAGE, 1);
	size_t package = open_package(w);
	put(w, 2, 1);
	for (unsigned i = 0; i < 2; i++) {
		put(w, AML_BYTE, 1);
		put(w, ACPI_POWER_S5, 1);
	}
	close_package(w, package);
	put(w, AML_SCOPE, 1);
	size_t scope = open_package(w);
	put_text(w, "\\_SB_", 5);
	put_isa_devices(w, machine);
	for (unsigned i = 0; i < machine->virtio_count; i++) {
		put_virtio_device(w, &machine->virtio[i], i);
	}
	close_package(w, scope);
	close_table(w, dsdt);
	return dsdt;
}

/* ---- the tables of numbers ---- */

static void put_register(struct writer *w, size_t at, uint16_t port)
{
	put_at(w, at, GAS_SYSTEM_IO, 1);
	put_at(w, at + 1, 8, 1); /* bits */
	put_at(w, at + 3, GAS_BYTE, 1);
	put_at(w, at + 4, port, 8);
}

static size_t put_fadt(struct writer *w, const struct acpi_machine *machine, gpa_t dsdt)
{
	size_t fadt = open_table(w, "FACP", 6);
	for (size_t i = HEADER_BYTES; i < FADT_BYTES; i++) {
		put(w, 0, 1);
	}
	put_at(w, fadt + FADT_BOOT_ARCH, BOOT_ARCH_LEGACY_DEVICES | BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_MSI, 2);
	put_at(w, fadt + FADT_FLAGS,
	       FLAG_WBINVD | FLAG_POWER_BUTTON | FLAG_SLEEP_BUTTON | FLAG_RESET_REG | FLAG_HW_REDUCED, 4);
	put_register(w, fadt + FADT_RESET_REG, machine->power_port + ACPI_POWER_RESET);
	put_at(w, fadt + FADT_RESET_VALUE, ACPI_POWER_RESET_VALUE, 1);
	put_at(w, fadt + FADT_MINOR, 4, 1);
	put_at(w, fadt + FADT_X_DSDT, dsdt, 8);
	put_register(w, fadt + FADT_SLEEP_CONTROL, machine->power_port + ACPI_POWER_SLEEP_CONTROL);
	put_register(w, fadt + FADT_SLEEP_STATUS, machine->power_port + ACPI_POWER_SLEEP_STATUS);
	close_table(w, fadt);
	return fadt;
}

static size_t put_madt(struct writer *w, const struct acpi_machine *machine)
{
	size_t madt = open_table(w, "APIC", 5);
	put(w, machine->lapic_base, 4);
	put(w, 0, 4); /* no 8259s */
	for (unsigned i = 0; i < machine->cpus; i++) {
		put(w, MADT_LAPIC, 1);
		put(w, 8, 1);
		put(w, i, 1); /* processor UID */
		put(w, i, 1); /* APIC ID */
		put(w, LAPIC_ENABLED, 4);
	}
	put(w, MADT_IOAPIC, 1);
	put(w, 12, 1);
	put(w, machine->cpus, 1); /* its APIC ID */
	put(w, 0, 1);
	put(w, machine->ioapic_base, 4);
	put(w, 0, 4); /* its first GSI */
	put(w, MADT_LAPIC_NMI, 1);
	put(w, 6, 1);
	put(w, EVERY_CPU, 1);
	put(w, 0, 2); /* polarity and trigger mode as the bus has it */
	put(w, LINT_NMI, 1);
	close_table(w, madt);
	return madt;
}

static void put_rsdp(struct writer *w, gpa_t xsdt)
{
	put_text(w, "RSD PTR ", 8);
	put(w, 0, 1);
	put_text(w, OEM_ID, 6);
	put(w, 2, 1); /* revision */
	put(w, 0, 4); /* no RSDT */
	put(w, RSDP_BYTES, 4);
	put(w, xsdt, 8);
	put(w, 0, 4);
	set_checksum(w, 0, RSDP_V1_BYTES, RSDP_CHECKSUM);
	set_checksum(w, 0, RSDP_BYTES, RSDP_EXTENDED_CHECKSUM);
}

size_t acpi_write_tables(const struct acpi_machine *machine, gpa_t at, uint8_t *to)
{
	struct writer w = {.to = to, .used = RSDP_BYTES};
	memset(to, 0, ACPI_MAX);
	size_t dsdt = put_dsdt(&w, machine);
	size_t fadt = put_fadt(&w, machine, at + dsdt);
	size_t madt = put_madt(&w, machine);
	size_t xsdt = open_table(&w, "XSDT", 1);
	put(&w, at + fadt, 8);
	put(&w, at + madt, 8);
	close_table(&w, xsdt);
	size_t used = w.used;
	w.used = 0;
	put_rsdp(&w, at + xsdt);
	return used;
}
