/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bzImages (Linux Documentation/arch/x86/boot.rst): the 64-bit entry where the kernel has one, else the 32-bit
 * one. Linux itself and memtest86+ come this way.
 */
#include "hv/entropy.h"
#include "hv/loaders/loader.h"
#include "lib/string.h"
#include "lib/util.h"

/* Offsets in the zero page, struct boot_params; the setup header stands at the same offsets in the file. */
enum {
	ZP_ACPI_RSDP = 0x070,
	ZP_E820_ENTRIES = 0x1e8,
	ZP_SETUP_SECTS = 0x1f1,
	ZP_HEADER_END = 0x201, /* its value + 0x202 is where the header ends */
	ZP_MAGIC = 0x202,      /* "HdrS" */
	ZP_VERSION = 0x206,
	ZP_SYSSIZE = 0x1f4,
	ZP_TYPE_OF_LOADER = 0x210,
	ZP_LOADFLAGS = 0x211,
	ZP_CODE32_START = 0x214,
	ZP_RAMDISK_IMAGE = 0x218,
	ZP_RAMDISK_SIZE = 0x21c,
	ZP_CMD_LINE_PTR = 0x228,
	ZP_INITRD_ADDR_MAX = 0x22c,
	ZP_RELOCATABLE = 0x234,
	ZP_XLOADFLAGS = 0x236,
	ZP_CMDLINE_SIZE = 0x238,
	ZP_SETUP_DATA = 0x250,
	ZP_PREF_ADDRESS = 0x258,
	ZP_INIT_SIZE = 0x260,
	ZP_E820_TABLE = 0x2d0,
	ZP_HEADER_LIMIT = 0x290, /* the zero page has room for the header up to here */
	ZP_SIZE = 0x1000,
};
#define SECTOR              512
#define VERSION_2_06        0x0206
#define VERSION_2_09        0x0209 /* setup_data */
#define VERSION_2_10        0x020a /* pref_address, init_size */
#define VERSION_2_12        0x020c /* xloadflags */
#define LOADED_HIGH         BIT(0)
#define XLOADFLAGS_64       BIT(0)
#define ENTRY_64_OFFSET     0x200
#define LOADER_UNDEFINED    0xff
#define DEFAULT_SETUP_SECTS 4

/* struct setup_data: what does not fit into the zero page, as a list. */
#define SETUP_RNG_SEED 9
struct setup_seed {
	uint64_t next; /* 0: the last one */
	uint32_t type, bytes;
	uint8_t data[RANDOM_SEED_BYTES];
};

/* Low memory, below the EBDA's place; all in the guest's first 640 KiB. */
#define GDT_AT        0x8000
#define PAGE_MAP_AT   0x9000 /* PML4, PDPT, four page directories: the first 4 GiB, virtual = physical */
#define ZERO_PAGE_AT  0x10000
#define CMDLINE_AT    0x20000
#define SETUP_DATA_AT 0x22000
#define HIGH_AT       MIB(1)

#define PTE_TABLE (BIT(0) | BIT(1))          /* present, writable */
#define PTE_LARGE (BIT(0) | BIT(1) | BIT(7)) /* and 2 MiB */
#define PD_COUNT  4

static uint64_t get(const uint8_t *page, unsigned offset, unsigned bytes)
{
	uint64_t value = 0;
	memcpy(&value, page + offset, bytes);
	return value;
}

static void put(uint8_t *page, unsigned offset, unsigned bytes, uint64_t value)
{
	memcpy(page + offset, &value, bytes);
}

static void fill_e820(const struct loader *loader, uint8_t *page)
{
	struct loader_region regions[LOADER_REGIONS_MAX];
	unsigned count = loader_pc_memory(loader, regions);
	for (unsigned i = 0; i < count; i++) {
		unsigned at = ZP_E820_TABLE + i * 20;
		put(page, at, 8, regions[i].start);
		put(page, at + 8, 8, regions[i].bytes);
		put(page, at + 16, 4, regions[i].type);
	}
	page[ZP_E820_ENTRIES] = (uint8_t)count;
}

/* Page tables for the 64-bit entry, and the GDT that the boot protocol asks for in both cases. */
static bool write_tables(struct loader *loader)
{
	static const uint64_t gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff}; /* __BOOT_CS, __BOOT_DS */
	static const uint64_t gdt_32[] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
	uint64_t table[FRAME_SIZE / 8] = {(PAGE_MAP_AT + FRAME_SIZE) | PTE_TABLE};
	bool wide = loader->entry.mode == ENTRY_LONG_64;

	if (!loader_write(loader, GDT_AT, wide ? gdt : gdt_32, sizeof(gdt), "GDT") ||
	    !loader_write(loader, PAGE_MAP_AT, table, sizeof(table), "page tables")) {
		return false;
	}
	for (unsigned i = 0; i < PD_COUNT; i++) {
		table[i] = (PAGE_MAP_AT + (2 + i) * FRAME_SIZE) | PTE_TABLE;
	}
	if (!loader_write(loader, PAGE_MAP_AT + FRAME_SIZE, table, sizeof(table), "page tables")) {
		return false;
	}
	for (unsigned i = 0; i < PD_COUNT; i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(table); j++) {
			table[j] = (i * GIB(1) + j * MIB(2)) | PTE_LARGE;
		}
		if (!loader_write(loader, PAGE_MAP_AT + (2 + i) * FRAME_SIZE, table, sizeof(table), "page tables")) {
			return false;
		}
	}
	loader->entry.page_table = PAGE_MAP_AT;
	loader->entry.gdt = GDT_AT;
	loader->entry.gdt_limit = sizeof(gdt) - 1;
	return true;
}

struct bzimage {
	uint64_t payload_at, payload_bytes;
	gpa_t load_at;
	uint64_t needed; /* bytes of RAM from load_at on */
	unsigned version;
	bool wide; /* it has the 64-bit entry */
};

/* The setup header as far as this protocol's version promises it. */
static bool check_header(struct loader *loader, struct bzimage *image)
{
	const uint8_t *file = loader->kernel.data;
	if (loader->kernel.bytes < ZP_HEADER_LIMIT) {
		return loader_fail(loader, "bzImage of %llu bytes is cut off: copy it again",
		                   (unsigned long long)loader->kernel.bytes);
	}
	image->version = (unsigned)get(file, ZP_VERSION, 2);
	if (image->version < VERSION_2_06) {
		return loader_fail(loader, "bzImage of boot protocol %u.%02u: at least 2.06 is needed",
		                   image->version >> 8, image->version & UINT8_MAX);
	}
	unsigned header_end = ZP_MAGIC + file[ZP_HEADER_END];
	unsigned promised = image->version >= VERSION_2_10 ? ZP_INIT_SIZE + 4 : ZP_CMDLINE_SIZE + 4;
	if (header_end < promised) {
		return loader_fail(loader, "bzImage's setup header ends at 0x%x, that of protocol %u.%02u after 0x%x",
		                   header_end, image->version >> 8, image->version & UINT8_MAX, promised);
	}
	if (!(file[ZP_LOADFLAGS] & LOADED_HIGH)) {
		return loader_fail(loader, "zImage: it loads below 1 MiB; build a bzImage");
	}
	image->wide = image->version >= VERSION_2_12 && (get(file, ZP_XLOADFLAGS, 2) & XLOADFLAGS_64);
	return true;
}

static bool check(struct loader *loader, struct bzimage *image)
{
	const uint8_t *file = loader->kernel.data;
	uint64_t file_bytes = loader->kernel.bytes;
	if (!check_header(loader, image)) {
		return false;
	}
	unsigned sectors = file[ZP_SETUP_SECTS] ? file[ZP_SETUP_SECTS] : DEFAULT_SETUP_SECTS;
	image->payload_at = (sectors + 1) * (uint64_t)SECTOR;
	uint64_t bytes = get(file, ZP_SYSSIZE, 4) * 16;
	if (image->payload_at >= file_bytes || bytes > align_up(file_bytes - image->payload_at, 16)) {
		return loader_fail(loader, "bzImage is cut off: it has %llu bytes, its header says %llu; copy it again",
		                   (unsigned long long)file_bytes, (unsigned long long)(image->payload_at + bytes));
	}
	image->payload_bytes = file_bytes - image->payload_at;
	if (image->wide && image->payload_bytes <= ENTRY_64_OFFSET) {
		return loader_fail(loader, "bzImage's 64-bit entry is outside of its %llu bytes",
		                   (unsigned long long)image->payload_bytes);
	}
	bool modern = image->version >= VERSION_2_10;
	image->load_at = modern ? get(file, ZP_PREF_ADDRESS, 8) : HIGH_AT;
	image->needed = MAX(modern ? get(file, ZP_INIT_SIZE, 4) : 0, image->payload_bytes);
	/* Not lower than it prefers, relocatable or not: Linux would move itself up to there. */
	if (image->load_at < HIGH_AT || image->load_at >= GIB(4) ||
	    !loader_in_ram(loader, image->load_at, image->needed)) {
		return loader_fail(loader, "bzImage wants %llu bytes at GPA 0x%llx: give the VM more memory",
		                   (unsigned long long)image->needed, (unsigned long long)image->load_at);
	}
	return true;
}

/* Linux mixes it into its generator, and overwrites it. */
static bool write_seed(struct loader *loader)
{
	struct setup_seed seed = {.type = SETUP_RNG_SEED, .bytes = sizeof(seed.data)};
	entropy_get(seed.data, sizeof(seed.data));
	bool written = loader_write(loader, SETUP_DATA_AT, &seed, sizeof(seed), "setup data");
	random_wipe(&seed, sizeof(seed));
	return written;
}

static bool write_zero_page(struct loader *loader, const struct bzimage *image, gpa_t initrd)
{
	const uint8_t *file = loader->kernel.data;
	uint8_t page[ZP_SIZE] = {0};
	unsigned header_end = MIN(ZP_MAGIC + (unsigned)file[ZP_HEADER_END], (unsigned)ZP_HEADER_LIMIT);
	size_t cmdline = strlen(loader->cmdline);
	uint64_t cmdline_max = get(file, ZP_CMDLINE_SIZE, 4);

	if (cmdline > cmdline_max) {
		return loader_fail(loader, "cmdline of %zu bytes: this kernel takes %llu; make it shorter", cmdline,
		                   (unsigned long long)cmdline_max);
	}
	memcpy(page + ZP_SETUP_SECTS, file + ZP_SETUP_SECTS, header_end - ZP_SETUP_SECTS);
	page[ZP_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	put(page, ZP_CODE32_START, 4, image->load_at);
	put(page, ZP_CMD_LINE_PTR, 4, CMDLINE_AT);
	put(page, ZP_SETUP_DATA, 8, image->version >= VERSION_2_09 ? SETUP_DATA_AT : 0);
	put(page, ZP_ACPI_RSDP, 8, loader->acpi_rsdp);
	put(page, ZP_RAMDISK_IMAGE, 4, initrd);
	put(page, ZP_RAMDISK_SIZE, 4, initrd ? loader->initrd.bytes : 0);
	fill_e820(loader, page);
	return loader_write(loader, ZERO_PAGE_AT, page, sizeof(page), "zero page") && write_seed(loader) &&
	       loader_write(loader, CMDLINE_AT, loader->cmdline, cmdline + 1, "cmdline");
}

bool load_linux_x86(struct loader *loader)
{
	const uint8_t *file = loader->kernel.data;
	struct bzimage image = {0};
	gpa_t initrd;

	if (!check(loader, &image)) {
		return false;
	}
	loader->entry = (struct arch_entry){
		.mode = image.wide ? ENTRY_LONG_64 : ENTRY_PROTECTED_32,
		.pc = image.load_at + (image.wide ? ENTRY_64_OFFSET : 0),
		.argument = {ZERO_PAGE_AT},
	};
	gpa_t limit = get(file, ZP_INITRD_ADDR_MAX, 4) + 1;
	return load_guest_acpi(loader) &&
	       loader_write(loader, image.load_at, file + image.payload_at, image.payload_bytes, "kernel") &&
	       loader_place_initrd(loader, image.load_at + image.needed, limit, &initrd) &&
	       write_zero_page(loader, &image, initrd) && write_tables(loader);
}
