/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI reader: ACPI specification 6.5, chapter 5 "ACPI software programming model"; SPCR by Microsoft's
 * "Serial Port Console Redirection Table", revision 2 and later. Called by boot/, hv/ and arch/. Every field is
 * read by its offset after its table was found to be that long.
 */
#include "drivers/acpi_tables.h"

#include "lib/string.h"
#include "lib/util.h"

/* RSDP, 5.2.5.3. */
#define RSDP_SIGNATURE    "RSD PTR "
#define RSDP_REVISION     15
#define RSDP_RSDT         16
#define RSDP_LENGTH       20
#define RSDP_XSDT         24
#define RSDP_BYTES_1_0    20
#define RSDP_BYTES        36
#define RSDP_REVISION_2_0 2

/* Larger than any table that makes sense, small enough to add up without a wrap. */
#define TABLE_BYTES_MAX (16 * 1024 * 1024)

/* Generic address structure, 5.2.3.2. */
#define GAS_SPACE        0
#define GAS_BIT_WIDTH    1
#define GAS_ACCESS_SIZE  3
#define GAS_ADDRESS      4
#define GAS_SPACE_MEMORY 0
#define GAS_SPACE_IO     1

static uint16_t load16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t load32(const uint8_t *p)
{
	return load16(p) | (uint32_t)load16(p + 2) << 16;
}

static uint64_t load64(const uint8_t *p)
{
	return load32(p) | (uint64_t)load32(p + 4) << 32;
}

static const void *map(const struct acpi_tables *tables, uint64_t address, size_t bytes)
{
	if (address == 0 || address > UINT64_MAX - bytes) {
		return NULL;
	}
	if (tables->map != NULL) {
		return tables->map(tables->context, address, bytes);
	}
	return (const void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr) */
}

static bool sums_to_zero(const uint8_t *p, size_t bytes)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < bytes; i++) {
		sum = (uint8_t)(sum + p[i]);
	}
	return sum == 0;
}

/* The table at `address`, whole; NULL if its signature is another, its length makes no sense or its sum is wrong. */
static const struct acpi_header *map_table(const struct acpi_tables *tables, uint64_t address, const char *signature)
{
	const struct acpi_header *header = map(tables, address, sizeof(*header));

	if (header == NULL || memcmp(header->signature, signature, sizeof(header->signature)) != 0) {
		return NULL;
	}
	uint32_t length = header->length;
	if (length < sizeof(*header) || length > TABLE_BYTES_MAX) {
		return NULL;
	}
	header = map(tables, address, length);
	return header != NULL && sums_to_zero((const uint8_t *)header, length) ? header : NULL;
}

static bool use_root(struct acpi_tables *tables, uint64_t address, const char *signature, uint8_t entry_bytes)
{
	const struct acpi_header *root = map_table(tables, address, signature);

	if (root == NULL) {
		return false;
	}
	tables->entries = (const uint8_t *)root + sizeof(*root);
	tables->count = (unsigned)((root->length - sizeof(*root)) / entry_bytes);
	tables->entry_bytes = entry_bytes;
	return true;
}

bool acpi_open(struct acpi_tables *tables, uint64_t rsdp, acpi_map *map_function, void *context)
{
	*tables = (struct acpi_tables){.map = map_function, .context = context};

	const uint8_t *pointer = map(tables, rsdp, RSDP_BYTES_1_0);
	if (pointer == NULL || memcmp(pointer, RSDP_SIGNATURE, sizeof(RSDP_SIGNATURE) - 1) != 0 ||
	    !sums_to_zero(pointer, RSDP_BYTES_1_0)) {
		return false;
	}
	tables->revision = pointer[RSDP_REVISION];
	uint32_t rsdt = load32(pointer + RSDP_RSDT);
	if (tables->revision >= RSDP_REVISION_2_0) {
		pointer = map(tables, rsdp, RSDP_BYTES);
		/* An extended checksum that is wrong leaves the RSDT, which the first checksum covers. */
		if (pointer != NULL && load32(pointer + RSDP_LENGTH) >= RSDP_BYTES &&
		    sums_to_zero(pointer, RSDP_BYTES) &&
		    use_root(tables, load64(pointer + RSDP_XSDT), "XSDT", sizeof(uint64_t))) {
			return true;
		}
	}
	return use_root(tables, rsdt, "RSDT", sizeof(uint32_t));
}

const struct acpi_header *acpi_find(const struct acpi_tables *tables, const char *signature, unsigned index)
{
	for (unsigned i = 0; i < tables->count; i++) {
		const uint8_t *entry = tables->entries + (size_t)i * tables->entry_bytes;
		uint64_t address = tables->entry_bytes == sizeof(uint64_t) ? load64(entry) : load32(entry);
		const struct acpi_header *header = map_table(tables, address, signature);

		if (header != NULL && index-- == 0) {
			return header;
		}
	}
	return NULL;
}

/* The first table with this signature if it has at least `bytes`. */
static const uint8_t *find_of_length(const struct acpi_tables *tables, const char *signature, size_t bytes)
{
	const struct acpi_header *header = acpi_find(tables, signature, 0);

	return header != NULL && header->length >= bytes ? (const uint8_t *)header : NULL;
}

/* ---- MADT, 5.2.12 ---- */

#define MADT_STRUCTURES    44
#define ENTRY_TYPE         0
#define ENTRY_LENGTH       1
#define ENTRY_HEADER_BYTES 2

/* Those that are read, and how long each is at least. */
enum madt_type { MADT_LOCAL_APIC = 0, MADT_LOCAL_X2APIC = 9, MADT_GICC = 11, MADT_GICD = 12, MADT_GICR = 14 };
static const uint8_t madt_minimum[] = {
	[MADT_LOCAL_APIC] = 8,    /* 5.2.12.2 */
	[MADT_LOCAL_X2APIC] = 16, /* 5.2.12.12 */
	[MADT_GICC] = 76,         /* 5.2.12.14; those before ACPI 5.1 are shorter and have no MPIDR */
	[MADT_GICD] = 24,         /* 5.2.12.15 */
	[MADT_GICR] = 16,         /* 5.2.12.17 */
};

#define GICC_INTERFACE   32
#define GICC_VIRTUAL     40
#define GICC_HYPERVISOR  48
#define GICC_MAINTENANCE 56
#define GICC_GICR        60
#define GICC_MPIDR       68
#define GICD_BASE        8
#define GICD_VERSION     20
#define GICR_BASE        4
#define GICR_LENGTH      12

#define CPU_ENABLED BIT(0)
/* Affinity fields of an MPIDR; the bits between (U, MT, RES1) are no part of an address. */
#define MPIDR_AFFINITY (BITS(39, 32) | BITS(23, 0))

struct madt {
	const uint8_t *next, *end;
};

static bool open_madt(const struct acpi_tables *tables, struct madt *madt)
{
	const uint8_t *table = find_of_length(tables, "APIC", MADT_STRUCTURES);

	if (table != NULL) {
		madt->next = table + MADT_STRUCTURES;
		madt->end = table + ((const struct acpi_header *)table)->length;
	}
	return table != NULL;
}

/* The next one of those that are read; NULL at the end, or at a structure whose length makes no sense. */
static const uint8_t *next_structure(struct madt *madt)
{
	while (madt->end - madt->next >= ENTRY_HEADER_BYTES) {
		const uint8_t *p = madt->next;
		uint8_t type = p[ENTRY_TYPE], length = p[ENTRY_LENGTH];

		if (length < ENTRY_HEADER_BYTES || length > madt->end - p) {
			break;
		}
		madt->next += length;
		if (type < ARRAY_SIZE(madt_minimum) && madt_minimum[type] != 0 && length >= madt_minimum[type]) {
			return p;
		}
	}
	madt->next = madt->end;
	return NULL;
}

/* Whether the structure tells of a CPU that can be used now. */
static bool usable_cpu(const uint8_t *p, uint64_t *id)
{
	switch (p[ENTRY_TYPE]) {
	case MADT_LOCAL_APIC:
		*id = p[3];
		return (load32(p + 4) & CPU_ENABLED) != 0;
	case MADT_LOCAL_X2APIC:
		*id = load32(p + 4);
		return (load32(p + 8) & CPU_ENABLED) != 0;
	case MADT_GICC:
		*id = load64(p + GICC_MPIDR) & MPIDR_AFFINITY;
		return (load32(p + 12) & CPU_ENABLED) != 0;
	default:
		return false;
	}
}

unsigned acpi_cpus(const struct acpi_tables *tables, uint64_t *ids, unsigned count)
{
	struct madt madt;
	const uint8_t *p;
	unsigned found = 0;
	uint64_t id;

	if (!open_madt(tables, &madt)) {
		return 0;
	}
	while ((p = next_structure(&madt)) != NULL) {
		if (!usable_cpu(p, &id)) {
			continue;
		}
		if (found < count) {
			ids[found] = id;
		}
		found++;
	}
	return found;
}

/* A region that continues the one before makes that one longer: CPUs' frames mostly lie side by side. */
static void add_redistributor(struct gic_description *gic, struct gic_region region)
{
	struct gic_region *last = gic->redistributors == 0 ? NULL : &gic->redistributor[gic->redistributors - 1];

	if (region.base == 0) {
		return;
	}
	if (last != NULL && last->base + last->bytes == region.base) {
		last->bytes += region.bytes;
	} else if (gic->redistributors < GIC_REDISTRIBUTOR_REGIONS_MAX) {
		gic->redistributor[gic->redistributors++] = region;
	}
}

/* What all CPUs share: the first one that tells it is believed. Without GICR structures each has a frame of its own. */
static void read_gicc(struct gic_description *gic, const uint8_t *p)
{
	uint64_t id;

	gic->cpu_interface.base = gic->cpu_interface.base != 0 ? gic->cpu_interface.base : load64(p + GICC_INTERFACE);
	gic->virtual_cpu.base = gic->virtual_cpu.base != 0 ? gic->virtual_cpu.base : load64(p + GICC_VIRTUAL);
	gic->hypervisor.base = gic->hypervisor.base != 0 ? gic->hypervisor.base : load64(p + GICC_HYPERVISOR);
	gic->maintenance = gic->maintenance != 0 ? gic->maintenance : load32(p + GICC_MAINTENANCE);
	if (usable_cpu(p, &id)) {
		add_redistributor(gic, (struct gic_region){load64(p + GICC_GICR), KIB(128)});
	}
}

/* Sizes that ACPI leaves to the architecture specification: IHI 0069 12.10, IHI 0048 4.4 and 5.3. */
static void gic_sizes(struct gic_description *gic)
{
	gic->distributor.bytes = gic->version == 2 ? KIB(4) : KIB(64);
	gic->cpu_interface.bytes = gic->cpu_interface.base != 0 ? KIB(8) : 0;
	gic->virtual_cpu.bytes = gic->virtual_cpu.base != 0 ? KIB(8) : 0;
	gic->hypervisor.bytes = gic->hypervisor.base != 0 ? KIB(4) : 0;
}

bool acpi_gic(const struct acpi_tables *tables, struct gic_description *gic)
{
	struct madt madt;
	const uint8_t *p;

	memset(gic, 0, sizeof(*gic));
	if (!open_madt(tables, &madt)) {
		return false;
	}
	while ((p = next_structure(&madt)) != NULL) {
		if (p[ENTRY_TYPE] == MADT_GICD) {
			gic->distributor.base = load64(p + GICD_BASE);
			gic->version = p[GICD_VERSION];
		} else if (p[ENTRY_TYPE] == MADT_GICR) {
			add_redistributor(gic, (struct gic_region){load64(p + GICR_BASE), load32(p + GICR_LENGTH)});
		} else if (p[ENTRY_TYPE] == MADT_GICC) {
			read_gicc(gic, p);
		}
	}
	if (gic->version == 0 && gic->redistributors != 0) {
		gic->version = 3;
	}
	gic_sizes(gic);
	return gic->distributor.base != 0;
}

/* ---- SPCR ---- */

#define SPCR_INTERFACE   36
#define SPCR_ADDRESS     40
#define SPCR_BYTES       52
#define SPCR_CLOCK       76 /* revision 3 and later; 0: not told */
#define SPCR_CLOCK_BYTES 80

/* DBG2's serial subtypes. */
enum spcr_interface {
	SPCR_16550 = 0x00,
	SPCR_16550_DBGP = 0x01,
	SPCR_PL011 = 0x03,
	SPCR_SBSA_32 = 0x0d,
	SPCR_SBSA = 0x0e,
	SPCR_16550_GAS = 0x12,
};

/* The kind for a port of this interface in this address space, or UART_NONE. */
static enum uart_kind spcr_kind(uint8_t interface, uint8_t space)
{
	switch (interface) {
	case SPCR_16550:
	case SPCR_16550_DBGP:
	case SPCR_16550_GAS:
		return space == GAS_SPACE_IO       ? UART_16550_PORT
		       : space == GAS_SPACE_MEMORY ? UART_16550_MMIO
		                                   : UART_NONE;
	case SPCR_PL011:
		return space == GAS_SPACE_MEMORY ? UART_PL011 : UART_NONE;
	case SPCR_SBSA_32:
	case SPCR_SBSA:
		return space == GAS_SPACE_MEMORY ? UART_SBSA : UART_NONE;
	default:
		return UART_NONE;
	}
}

bool acpi_console(const struct acpi_tables *tables, struct uart_description *uart)
{
	const uint8_t *spcr = find_of_length(tables, "SPCR", SPCR_BYTES);

	memset(uart, 0, sizeof(*uart));
	if (spcr == NULL) {
		return false;
	}
	const uint8_t *address = spcr + SPCR_ADDRESS;
	uart->address = load64(address + GAS_ADDRESS);
	if (uart->address == 0) {
		return false; /* redirection is off */
	}
	uart->kind = spcr_kind(spcr[SPCR_INTERFACE], address[GAS_SPACE]);
	if (uart->kind == UART_16550_PORT) {
		uart->clock_hz = UART_PC_CLOCK_HZ;
		uart->stride = 1;
		return uart->address <= UINT16_MAX;
	}
	if (uart->kind == UART_16550_MMIO) {
		/* The register's width is the distance between registers; the access size of 3 stands for 32 bits. */
		uart->stride = address[GAS_BIT_WIDTH] == 32 ? 4 : address[GAS_BIT_WIDTH] == 16 ? 2 : 1;
		uart->access_width = address[GAS_ACCESS_SIZE] == 3 ? 4 : 1;
		if (((const struct acpi_header *)spcr)->length >= SPCR_CLOCK_BYTES) {
			uart->clock_hz = load32(spcr + SPCR_CLOCK);
		}
	}
	return uart->kind != UART_NONE;
}

/* ---- GTDT, 5.2.25; the hypervisor's virtual timer stands there since revision 3 ---- */

#define GTDT_SECURE             48
#define GTDT_PHYSICAL           56
#define GTDT_VIRTUAL            64
#define GTDT_HYPERVISOR         72
#define GTDT_BYTES              80
#define GTDT_HYPERVISOR_VIRTUAL 96
#define GTDT_BYTES_3            104
#define GTDT_REVISION_3         3

bool acpi_timers(const struct acpi_tables *tables, struct timer_description *timers)
{
	const uint8_t *gtdt = find_of_length(tables, "GTDT", GTDT_BYTES);

	memset(timers, 0, sizeof(*timers));
	if (gtdt == NULL) {
		return false;
	}
	const struct acpi_header *header = (const struct acpi_header *)gtdt;
	timers->secure_physical = load32(gtdt + GTDT_SECURE);
	timers->physical = load32(gtdt + GTDT_PHYSICAL);
	timers->virtual = load32(gtdt + GTDT_VIRTUAL);
	timers->hypervisor = load32(gtdt + GTDT_HYPERVISOR);
	if (header->revision >= GTDT_REVISION_3 && header->length >= GTDT_BYTES_3) {
		timers->hypervisor_virtual = load32(gtdt + GTDT_HYPERVISOR_VIRTUAL);
	}
	return true;
}

/* ---- FADT, 5.2.9 ---- */

#define FADT_ARM_BOOT_FLAGS 129
#define FADT_BYTES          131 /* as far as these flags */
#define ARM_PSCI_COMPLIANT  BIT(0)
#define ARM_PSCI_USE_HVC    BIT(1)

enum psci_conduit acpi_psci(const struct acpi_tables *tables)
{
	const uint8_t *fadt = find_of_length(tables, "FACP", FADT_BYTES);
	uint16_t flags = fadt == NULL ? 0 : load16(fadt + FADT_ARM_BOOT_FLAGS);

	if ((flags & ARM_PSCI_COMPLIANT) == 0) {
		return PSCI_NONE;
	}
	return (flags & ARM_PSCI_USE_HVC) != 0 ? PSCI_HVC : PSCI_SMC;
}
