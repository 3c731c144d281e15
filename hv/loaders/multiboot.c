/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot kernels (Multiboot Specification 0.6.96): ELF32, or a flat file whose header says where it goes. The vCPU
 * starts in flat 32-bit protected mode with EBX at the information structure; the initrd is the only module.
 */
#include "hv/loaders/elf.h"
#include "hv/loaders/loader.h"
#include "lib/printf.h"
#include "lib/string.h"
#include "lib/util.h"

/* 3.1: somewhere in the file's first 8 KiB, aligned to 4 bytes. The addresses are there with HEADER_ADDRESSES. */
struct multiboot_header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};
#define HEADER_MAGIC     0x1badb002
#define HEADER_SEARCH    8192
#define HEADER_BYTES     12
#define HEADER_KNOWN     (BIT(0) | BIT(1)) /* modules on page boundaries, the memory's size: always so */
#define HEADER_SCREEN    BIT(2)
#define HEADER_REQUIRED  0xffff /* flags that a loader must know or else refuse */
#define HEADER_ADDRESSES BIT(16)

/* 3.2 and 3.3 */
#define BOOT_MAGIC 0x2badb002 /* EAX */
struct multiboot_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
};
#define INFO_MEMORY      BIT(0)
#define INFO_CMDLINE     BIT(2)
#define INFO_MODULES     BIT(3)
#define INFO_MEMORY_MAP  BIT(6)
#define INFO_LOADER_NAME BIT(9)

struct multiboot_module {
	uint32_t start, end, string, reserved;
};

struct __attribute__((packed)) multiboot_memory {
	uint32_t size; /* without this field */
	uint64_t base, bytes;
	uint32_t type;
};

/* Where the information and what it points to go: below 1 MiB, where no kernel loads. */
#define INFO_AT   0x7000
#define AT(field) ((uint32_t)(INFO_AT + offsetof(struct multiboot_block, field)))
#define WORDS_MAX (CONFIG_PATH_MAX + CONFIG_CMDLINE_MAX)
#define OUR_NAME  "caisson"
struct multiboot_block {
	struct multiboot_info info;
	struct multiboot_module module;
	struct multiboot_memory memory[LOADER_REGIONS_MAX];
	char cmdline[WORDS_MAX], module_string[CONFIG_PATH_MAX], loader_name[sizeof(OUR_NAME)];
};

/*
 * Two words of a PC's BIOS data area, for kernels that ask it where low memory ends (Xen puts its trampoline there):
 * the EBDA's segment and the KiB below it.
 */
#define BIOS_EBDA_AT   0x40e
#define BIOS_MEMORY_AT 0x413
#define SEGMENT_SHIFT  4

/* Finds the header; *at is its offset in the file. */
static bool find_header(const struct loader *loader, struct multiboot_header *header, uint32_t *at)
{
	for (*at = 0; *at + HEADER_BYTES <= HEADER_SEARCH; *at += sizeof(uint32_t)) {
		*header = (struct multiboot_header){0};
		if (!elf_read_at(loader, *at, header, HEADER_BYTES)) {
			return false;
		}
		if (header->magic == HEADER_MAGIC && header->magic + header->flags + header->checksum == 0) {
			return !(header->flags & HEADER_ADDRESSES) || elf_read_at(loader, *at, header, sizeof(*header));
		}
	}
	return false;
}

bool is_multiboot(const struct loader *loader)
{
	struct multiboot_header header;
	uint32_t at;
	/* A kernel of 64 bits that has a multiboot header too wants to be started by its other one. */
	return find_header(loader, &header, &at) && (header.flags & HEADER_ADDRESSES || elf_is_32(loader));
}

/* The one segment that the header's addresses make, as if the file were an ELF file of it. */
static bool read_addresses(struct loader *loader, const struct multiboot_header *header, uint32_t at,
                           struct elf_image *image)
{
	uint32_t before = header->header_addr - header->load_addr; /* bytes that are loaded before the header */
	uint64_t bytes = loader->kernel.bytes - at + before;
	if (header->load_end_addr != 0) {
		bytes = header->load_end_addr - header->load_addr;
	}
	uint64_t end = header->bss_end_addr != 0 ? header->bss_end_addr : header->load_addr + bytes;
	if (header->header_addr < header->load_addr || before > at || end < header->load_addr ||
	    (header->load_end_addr != 0 && header->load_end_addr < header->load_addr)) {
		return loader_fail(
			loader,
			"multiboot header at 0x%x: its addresses (header 0x%x, load 0x%x to 0x%x, bss to 0x%x) "
			"contradict each other",
			at, header->header_addr, header->load_addr, header->load_end_addr, header->bss_end_addr);
	}
	*image = (struct elf_image){
		.entry = header->entry_addr,
		.count = 1,
		.segment = {{ELF_PT_LOAD, at - before, header->load_addr, header->load_addr, bytes,
	                     end - header->load_addr}},
	};
	return true;
}

/* An ELF file's entry may be a virtual address, as GRUB takes it. */
static gpa_t physical_entry(const struct elf_image *image)
{
	for (unsigned i = 0; i < image->count; i++) {
		const struct elf_segment *segment = &image->segment[i];
		if (segment->type == ELF_PT_LOAD && image->entry - segment->vaddr < segment->memsz) {
			return image->entry - segment->vaddr + segment->paddr;
		}
	}
	return image->entry;
}

static unsigned fill_memory(const struct loader *loader, struct multiboot_memory memory[LOADER_REGIONS_MAX])
{
	struct loader_region regions[LOADER_REGIONS_MAX];
	unsigned count = loader_pc_memory(loader, regions);
	for (unsigned i = 0; i < count; i++) {
		memory[i] = (struct multiboot_memory){
			.size = sizeof(memory[i]) - sizeof(memory[i].size),
			.base = regions[i].start,
			.bytes = regions[i].bytes,
			.type = regions[i].type,
		};
	}
	return count;
}

static bool write_bios_data(struct loader *loader, uint64_t low_memory)
{
	uint16_t segment = (uint16_t)(low_memory >> SEGMENT_SHIFT);
	uint16_t kib = (uint16_t)(low_memory >> 10);
	return loader_write(loader, BIOS_EBDA_AT, &segment, sizeof(segment), "BIOS data") &&
	       loader_write(loader, BIOS_MEMORY_AT, &kib, sizeof(kib), "BIOS data");
}

static bool write_info(struct loader *loader, gpa_t initrd)
{
	const struct config_vm *config = loader->vm->config;
	struct multiboot_block block = {0};
	unsigned regions = fill_memory(loader, block.memory);

	block.info = (struct multiboot_info){
		.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MEMORY_MAP | INFO_LOADER_NAME,
		.mem_lower = (uint32_t)(block.memory[0].bytes >> 10),
		.mem_upper = (uint32_t)((loader->vm->ram[0].bytes - MIB(1)) >> 10),
		.cmdline = AT(cmdline),
		.mods_count = initrd ? 1 : 0,
		.mods_addr = AT(module),
		.mmap_length = regions * (uint32_t)sizeof(block.memory[0]),
		.mmap_addr = AT(memory),
		.boot_loader_name = AT(loader_name),
	};
	block.module = (struct multiboot_module){
		.start = (uint32_t)initrd,
		.end = (uint32_t)(initrd + loader->initrd.bytes),
		.string = AT(module_string),
	};
	memcpy(block.loader_name, OUR_NAME, sizeof(OUR_NAME));
	(void)snprintf(block.module_string, sizeof(block.module_string), "%s", config->initrd);
	/* The kernel's own name comes first, as with every loader but GRUB 2: Xen for one takes it off. */
	(void)snprintf(block.cmdline, sizeof(block.cmdline), "%s %s", config->kernel, loader->cmdline);
	return write_bios_data(loader, block.memory[0].bytes) &&
	       loader_write(loader, INFO_AT, &block, sizeof(block), "multiboot information");
}

bool load_multiboot(struct loader *loader)
{
	struct multiboot_header header;
	struct elf_image image = {0};
	uint32_t at;
	gpa_t top, initrd;

	if (!find_header(loader, &header, &at)) {
		return loader_fail(loader, "it has no multiboot header in its first 8 KiB");
	}
	uint32_t unknown = header.flags & HEADER_REQUIRED & ~(uint32_t)HEADER_KNOWN;
	if (unknown) {
		return loader_fail(loader,
		                   "multiboot header at 0x%x asks for what no guest here has%s: clear its flags 0x%x",
		                   at, unknown & HEADER_SCREEN ? ", a screen" : "", unknown);
	}
	bool read = header.flags & HEADER_ADDRESSES ? read_addresses(loader, &header, at, &image)
	                                            : elf_read(loader, &image);
	if (!read) {
		return false;
	}
	image.entry = physical_entry(&image);
	if (!elf_load(loader, &image, &top) || !load_guest_acpi(loader) ||
	    !loader_place_initrd(loader, top, GIB(4), &initrd) || !write_info(loader, initrd)) {
		return false;
	}
	loader->entry = (struct arch_entry){
		.mode = ENTRY_PROTECTED_32,
		.pc = image.entry,
		.argument = {0, INFO_AT, BOOT_MAGIC},
	};
	return true;
}
