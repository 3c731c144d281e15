/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF kernels with a PVH note (Xen's "x86/HVM direct boot ABI"), such as Linux's vmlinux: the vCPU starts in flat
 * 32-bit protected mode with EBX at the start info. The protocol has no place for a random seed.
 */
#include "hv/loaders/elf.h"
#include "hv/loaders/loader.h"
#include "lib/string.h"
#include "lib/util.h"

struct elf_note {
	uint32_t namesz, descsz, type;
};
#define NOTE_PHYS32_ENTRY 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define NOTE_NAME         "Xen"

struct pvh_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};
#define PVH_MAGIC 0x336ec578

struct pvh_module {
	uint64_t address, bytes, cmdline, reserved;
};

struct pvh_memory {
	uint64_t address, bytes;
	uint32_t type, reserved;
};

/* Where the start info and what it points to go: below 1 MiB, where no kernel loads. */
#define START_INFO_AT 0x7000
struct pvh_block {
	struct pvh_start_info info;
	struct pvh_module module;
	struct pvh_memory memory[LOADER_REGIONS_MAX];
	char cmdline[CONFIG_CMDLINE_MAX];
};

/* The 32-bit entry from one PT_NOTE segment; false: the note is not in it. */
static bool find_note(const struct loader *loader, const struct elf_segment *segment, uint64_t *entry)
{
	uint64_t at = segment->offset;
	uint64_t end;
	if (__builtin_add_overflow(at, segment->filesz, &end)) {
		return false;
	}
	struct elf_note note;
	while (at < end && end - at >= sizeof(note) && elf_read_at(loader, at, &note, sizeof(note))) {
		char name[sizeof(NOTE_NAME)] = "";
		uint64_t name_at = at + sizeof(note);
		uint64_t desc_at = name_at + align_up((uint64_t)note.namesz, 4);
		if (note.type == NOTE_PHYS32_ENTRY && note.namesz == sizeof(name) &&
		    elf_read_at(loader, name_at, name, sizeof(name)) && memcmp(name, NOTE_NAME, sizeof(name)) == 0) {
			*entry = 0;
			return (note.descsz == 4 || note.descsz == 8) &&
			       elf_read_at(loader, desc_at, entry, note.descsz);
		}
		at = desc_at + align_up((uint64_t)note.descsz, 4);
	}
	return false;
}

static bool find_entry(struct loader *loader, struct elf_image *image)
{
	for (unsigned i = 0; i < image->count; i++) {
		if (image->segment[i].type == ELF_PT_NOTE && find_note(loader, &image->segment[i], &image->entry)) {
			return true;
		}
	}
	return loader_fail(loader, "this ELF kernel has no PVH note (XEN_ELFNOTE_PHYS32_ENTRY)%s",
	                   elf_is_32(loader) ? " and no multiboot header"
	                                     : "; a multiboot kernel must be 32-bit: objcopy -O elf32-i386");
}

static bool write_start_info(struct loader *loader, gpa_t initrd)
{
	struct pvh_block block = {0};
	struct loader_region regions[LOADER_REGIONS_MAX];
	unsigned count = loader_pc_memory(loader, regions);
	for (unsigned i = 0; i < count; i++) {
		block.memory[i] = (struct pvh_memory){regions[i].start, regions[i].bytes, regions[i].type, 0};
	}
	block.module = (struct pvh_module){.address = initrd, .bytes = loader->initrd.bytes};
	memcpy(block.cmdline, loader->cmdline, strnlen(loader->cmdline, sizeof(block.cmdline) - 1));
	block.info = (struct pvh_start_info){
		.magic = PVH_MAGIC,
		.version = 1,
		.nr_modules = initrd ? 1 : 0,
		.modlist = START_INFO_AT + offsetof(struct pvh_block, module),
		.cmdline = START_INFO_AT + offsetof(struct pvh_block, cmdline),
		.rsdp = loader->acpi_rsdp,
		.memmap = START_INFO_AT + offsetof(struct pvh_block, memory),
		.memmap_entries = count,
	};
	return loader_write(loader, START_INFO_AT, &block, sizeof(block), "start info");
}

bool load_pvh(struct loader *loader)
{
	struct elf_image image;
	gpa_t top, initrd;

	if (!elf_read(loader, &image) || !find_entry(loader, &image) || !elf_load(loader, &image, &top) ||
	    !load_guest_acpi(loader) || !loader_place_initrd(loader, top, GIB(4), &initrd) ||
	    !write_start_info(loader, initrd)) {
		return false;
	}
	loader->entry = (struct arch_entry){
		.mode = ENTRY_PROTECTED_32,
		.pc = image.entry,
		.argument = {0, START_INFO_AT},
	};
	return true;
}
