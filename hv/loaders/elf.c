/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF64 kernels with a PVH note (Xen's "x86/HVM direct boot ABI"): segments go to their physical addresses, the
 * vCPU starts in flat 32-bit protected mode with EBX at the start info.
 */
#include "hv/loaders/loader.h"

#include "lib/string.h"
#include "lib/util.h"

struct elf_header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct elf_note {
	uint32_t namesz, descsz, type;
};

#define IDENT_CLASS       4
#define CLASS_64          2
#define PT_LOAD           1
#define PT_NOTE           4
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
#define MEMORY_RAM 1

/* Where the start info and what it points to go: below 1 MiB, where no kernel loads. */
#define START_INFO_AT 0x7000
struct pvh_block {
	struct pvh_start_info info;
	struct pvh_module module;
	struct pvh_memory memory[2];
	char cmdline[CONFIG_CMDLINE_MAX];
};

static bool read_at(const struct loader *loader, uint64_t offset, void *to, uint64_t bytes)
{
	const struct boot_file *file = &loader->kernel;
	if (offset > file->bytes || bytes > file->bytes - offset) {
		return false;
	}
	memcpy(to, (const char *)file->data + offset, bytes);
	return true;
}

/* The 32-bit entry from one PT_NOTE segment; false: the note is not in it. */
static bool find_entry(const struct loader *loader, const struct elf_segment *segment, uint64_t *entry)
{
	uint64_t at = segment->offset;
	uint64_t end;
	if (__builtin_add_overflow(at, segment->filesz, &end)) {
		return false;
	}
	struct elf_note note;
	while (at < end && end - at >= sizeof(note) && read_at(loader, at, &note, sizeof(note))) {
		char name[sizeof(NOTE_NAME)] = "";
		uint64_t name_at = at + sizeof(note);
		uint64_t desc_at = name_at + align_up(note.namesz, 4);
		if (note.type == NOTE_PHYS32_ENTRY && note.namesz == sizeof(name) &&
		    read_at(loader, name_at, name, sizeof(name)) && memcmp(name, NOTE_NAME, sizeof(name)) == 0) {
			*entry = 0;
			return (note.descsz == 4 || note.descsz == 8) && read_at(loader, desc_at, entry, note.descsz);
		}
		at = desc_at + align_up(note.descsz, 4);
	}
	return false;
}

static bool load_segment(struct loader *loader, const struct elf_segment *segment, gpa_t *top)
{
	const struct boot_file *file = &loader->kernel;
	if (segment->memsz == 0) {
		return true;
	}
	if (segment->filesz > segment->memsz || segment->offset > file->bytes ||
	    segment->filesz > file->bytes - segment->offset) {
		return loader_fail(loader, "ELF segment at 0x%llx is cut off: the file has %llu bytes",
		                   (unsigned long long)segment->paddr, (unsigned long long)file->bytes);
	}
	if (!loader_in_ram(loader, segment->paddr, segment->memsz) || segment->paddr < MIB(1)) {
		return loader_fail(loader,
		                   "ELF segment of %llu bytes at 0x%llx is outside the VM's memory from 1 MiB on",
		                   (unsigned long long)segment->memsz, (unsigned long long)segment->paddr);
	}
	*top = MAX(*top, segment->paddr + segment->memsz);
	/* Memory beyond the file's bytes is zero already: fresh frames are. */
	return loader_write(loader, segment->paddr, (const char *)file->data + segment->offset, segment->filesz,
	                    "kernel");
}

static bool write_start_info(struct loader *loader, gpa_t initrd)
{
	struct pvh_block block = {0};
	const struct vm *vm = loader->vm;
	unsigned entries = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(vm->ram); i++) {
		if (vm->ram[i].bytes > 0) {
			block.memory[entries++] =
				(struct pvh_memory){vm->ram[i].start, vm->ram[i].bytes, MEMORY_RAM, 0};
		}
	}
	block.module = (struct pvh_module){.address = initrd, .bytes = loader->initrd.bytes};
	memcpy(block.cmdline, loader->cmdline, strnlen(loader->cmdline, sizeof(block.cmdline) - 1));
	block.info = (struct pvh_start_info){
		.magic = PVH_MAGIC,
		.version = 1,
		.nr_modules = initrd ? 1 : 0,
		.modlist = START_INFO_AT + offsetof(struct pvh_block, module),
		.cmdline = START_INFO_AT + offsetof(struct pvh_block, cmdline),
		.memmap = START_INFO_AT + offsetof(struct pvh_block, memory),
		.memmap_entries = entries,
	};
	return loader_write(loader, START_INFO_AT, &block, sizeof(block), "start info");
}

bool load_elf_pvh(struct loader *loader)
{
	struct elf_header header;
	uint64_t entry = 0;
	bool have_entry = false;
	gpa_t top = 0;
	gpa_t initrd;

	if (!read_at(loader, 0, &header, sizeof(header)) || header.ident[IDENT_CLASS] != CLASS_64 ||
	    header.machine != arch_platform.elf_machine || header.phentsize != sizeof(struct elf_segment)) {
		return loader_fail(loader, "kernel is not an ELF64 file for %s", arch_platform.isa);
	}
	for (unsigned i = 0; i < header.phnum; i++) {
		struct elf_segment segment;
		uint64_t at;
		if (__builtin_add_overflow(header.phoff, i * sizeof(segment), &at) ||
		    !read_at(loader, at, &segment, sizeof(segment))) {
			return loader_fail(loader, "ELF program header %u is cut off", i);
		}
		if (segment.type == PT_LOAD && !load_segment(loader, &segment, &top)) {
			return false;
		}
		if (segment.type == PT_NOTE && !have_entry) {
			have_entry = find_entry(loader, &segment, &entry);
		}
	}
	if (!have_entry || entry > UINT32_MAX) {
		return loader_fail(loader, "ELF kernel has no PVH note (XEN_ELFNOTE_PHYS32_ENTRY)");
	}
	if (!load_guest_acpi(loader) || !loader_place_initrd(loader, top, GIB(4), &initrd) ||
	    !write_start_info(loader, initrd)) {
		return false;
	}
	loader->entry = (struct arch_entry){
		.mode = ENTRY_PROTECTED_32,
		.pc = entry,
		.argument = {0, START_INFO_AT},
	};
	return true;
}
