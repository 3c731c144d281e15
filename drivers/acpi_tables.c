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

#define MADT_LOCAL_APIC_BASE 36
#define MADT_FLAGS           40
#define MADT_STRUCTURES      44
#define ENTRY_TYPE           0
#define ENTRY_LENGTH         1
#define ENTRY_HEADER_BYTES   2

#define CPU_ENABLED        BIT(0)
#define CPU_ONLINE_CAPABLE BIT(1)
#define GICC_ENABLED       BIT(0)
#define GICC_ONLINE        BIT(3)
/* Affinity fields of an MPIDR; the bits between (U, MT, RES1) are no part of an address. */
#define MPIDR_AFFINITY (BITS(39, 32) | BITS(23, 0))

bool madt_begin(const struct acpi_tables *tables, struct madt_iterator *iterator)
{
	const uint8_t *madt = find_of_length(tables, "APIC", MADT_STRUCTURES);

	if (madt == NULL) {
		return false;
	}
	iterator->next = madt + MADT_STRUCTURES;
	iterator->end = madt + ((const struct acpi_header *)madt)->length;
	iterator->local_apic_address = load32(madt + MADT_LOCAL_APIC_BASE);
	iterator->flags = load32(madt + MADT_FLAGS);
	return true;
}

/* How long a structure of this type is at least; 0: a type that is not taken apart. */
static uint8_t entry_minimum(uint8_t type)
{
	static const uint8_t minimum[] = {
		[MADT_LOCAL_APIC] = 8,
		[MADT_IO_APIC] = 12,
		[MADT_INTERRUPT_OVERRIDE] = 10,
		[MADT_LOCAL_APIC_ADDRESS] = 12,
		[MADT_LOCAL_X2APIC] = 16,
		[MADT_GICC] = 76,
		[MADT_GICD] = 24,
		[MADT_GICR] = 16,
	};

	return type < ARRAY_SIZE(minimum) ? minimum[type] : 0;
}

static void read_cpu(struct madt_cpu *cpu, uint32_t apic_id, uint32_t uid, uint32_t flags)
{
	cpu->apic_id = apic_id;
	cpu->processor_uid = uid;
	cpu->enabled = (flags & CPU_ENABLED) != 0;
	cpu->online_capable = (flags & CPU_ONLINE_CAPABLE) != 0;
}

/* 5.2.12.14; revisions before 6.0 are shorter, of which 76 bytes (5.1) is the first that has the MPIDR. */
static void read_gicc(struct madt_gicc *gicc, const uint8_t *p)
{
	uint32_t flags = load32(p + 12);

	gicc->processor_uid = load32(p + 8);
	gicc->enabled = (flags & GICC_ENABLED) != 0;
	gicc->online_capable = (flags & GICC_ONLINE) != 0;
	gicc->gicc = load64(p + 32);
	gicc->gicv = load64(p + 40);
	gicc->gich = load64(p + 48);
	gicc->maintenance = load32(p + 56);
	gicc->gicr = load64(p + 60);
	gicc->mpidr = load64(p + 68) & MPIDR_AFFINITY;
}

static void read_entry(struct madt_entry *entry, const uint8_t *p)
{
	switch (entry->type) {
	case MADT_LOCAL_APIC: /* 5.2.12.2 */
		read_cpu(&entry->cpu, p[3], p[2], load32(p + 4));
		break;
	case MADT_LOCAL_X2APIC: /* 5.2.12.12 */
		read_cpu(&entry->cpu, load32(p + 4), load32(p + 12), load32(p + 8));
		break;
	case MADT_IO_APIC: /* 5.2.12.3 */
		entry->io_apic = (struct madt_io_apic){p[2], load32(p + 4), load32(p + 8)};
		break;
	case MADT_INTERRUPT_OVERRIDE: /* 5.2.12.5 */
		entry->interrupt_override = (struct madt_interrupt_override){p[3], load32(p + 4), load16(p + 8)};
		break;
	case MADT_LOCAL_APIC_ADDRESS: /* 5.2.12.8 */
		entry->local_apic_address = load64(p + 4);
		break;
	case MADT_GICC:
		read_gicc(&entry->gicc, p);
		break;
	case MADT_GICD: /* 5.2.12.15 */
		entry->gicd = (struct madt_gicd){load64(p + 8), p[20]};
		break;
	case MADT_GICR: /* 5.2.12.17 */
		entry->gicr = (struct gic_region){load64(p + 4), load32(p + 12)};
		break;
	default:
		break;
	}
}

bool madt_next(struct madt_iterator *iterator, struct madt_entry *entry)
{
	size_t left = (size_t)(iterator->end - iterator->next);

	if (left < ENTRY_HEADER_BYTES) {
		return false;
	}
	const uint8_t *p = iterator->next;
	uint8_t type = p[ENTRY_TYPE];
	uint8_t length = p[ENTRY_LENGTH];
	if (length < ENTRY_HEADER_BYTES || length > left) {
		iterator->next = iterator->end;
		return false;
	}
	iterator->next += length;
	memset(entry, 0, sizeof(*entry));
	entry->type = length < entry_minimum(type) ? MADT_UNKNOWN : type;
	read_entry(entry, p);
	return true;
}

unsigned acpi_cpus(const struct acpi_tables *tables, uint64_t *ids, unsigned count)
{
	struct madt_iterator iterator;
	struct madt_entry entry;
	unsigned found = 0;

	if (!madt_begin(tables, &iterator)) {
		return 0;
	}
	while (madt_next(&iterator, &entry)) {
		bool is_cpu = entry.type == MADT_LOCAL_APIC || entry.type == MADT_LOCAL_X2APIC;
		bool usable = (is_cpu && entry.cpu.enabled) || (entry.type == MADT_GICC && entry.gicc.enabled);
		if (!usable) {
			continue;
		}
		if (found < count) {
			ids[found] = is_cpu ? entry.cpu.apic_id : entry.gicc.mpidr;
		}
		found++;
	}
	return found;
}

/* What all CPUs share: the first one that tells it is believed. */
static void gic_from_cpu(struct gic_description *gic, const struct madt_gicc *cpu)
{
	gic->cpu_interface.base = gic->cpu_interface.base != 0 ? gic->cpu_interface.base : cpu->gicc;
	gic->virtual_cpu.base = gic->virtual_cpu.base != 0 ? gic->virtual_cpu.base : cpu->gicv;
	gic->hypervisor.base = gic->hypervisor.base != 0 ? gic->hypervisor.base : cpu->gich;
	gic->maintenance = gic->maintenance != 0 ? gic->maintenance : cpu->maintenance;
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
	struct madt_iterator iterator;
	struct madt_entry entry;

	memset(gic, 0, sizeof(*gic));
	if (!madt_begin(tables, &iterator)) {
		return false;
	}
	while (madt_next(&iterator, &entry)) {
		if (entry.type == MADT_GICD) {
			gic->distributor.base = entry.gicd.base;
			gic->version = entry.gicd.version;
		} else if (entry.type == MADT_GICR) {
			add_redistributor(gic, entry.gicr);
		} else if (entry.type == MADT_GICC) {
			gic_from_cpu(gic, &entry.gicc);
			if (entry.gicc.enabled) {
				/* One frame a CPU, where the machine has no GICR structures. */
				add_redistributor(gic, (struct gic_region){entry.gicc.gicr, KIB(128)});
			}
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
