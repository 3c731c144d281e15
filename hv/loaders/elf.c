/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF files, see elf.h. Their segments may be anywhere in the VM's memory from 1 MiB on, but not in one another.
 */
#include "hv/loaders/elf.h"

#include "lib/string.h"
#include "lib/util.h"

struct elf_header_64 {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_header_32 {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version, entry, phoff, shoff, flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_segment_64 {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct elf_segment_32 {
	uint32_t type, offset, vaddr, paddr, filesz, memsz, flags, align;
};

#define IDENT_CLASS 4
#define CLASS_32    1
#define CLASS_64    2
#define MACHINE_386 3
#define LOWEST      MIB(1) /* below are the tables that loaders write */

bool elf_read_at(const struct loader *loader, uint64_t offset, void *to, uint64_t bytes)
{
	const struct boot_file *file = &loader->kernel;
	if (offset > file->bytes || bytes > file->bytes - offset) {
		return false;
	}
	memcpy(to, (const char *)file->data + offset, bytes);
	return true;
}

bool elf_is_32(const struct loader *loader)
{
	uint8_t class = 0;
	return elf_read_at(loader, IDENT_CLASS, &class, sizeof(class)) && class == CLASS_32;
}

/* The file's header in the form of the wide one. */
static bool read_header(const struct loader *loader, struct elf_header_64 *header)
{
	if (!elf_is_32(loader)) {
		return elf_read_at(loader, 0, header, sizeof(*header)) && header->ident[IDENT_CLASS] == CLASS_64 &&
		       header->machine == arch_platform.elf_machine &&
		       header->phentsize == sizeof(struct elf_segment_64);
	}
	struct elf_header_32 narrow;
	if (!elf_read_at(loader, 0, &narrow, sizeof(narrow)) || narrow.machine != MACHINE_386 ||
	    narrow.phentsize != sizeof(struct elf_segment_32)) {
		return false;
	}
	*header = (struct elf_header_64){
		.entry = narrow.entry, .phoff = narrow.phoff, .phentsize = narrow.phentsize, .phnum = narrow.phnum};
	return true;
}

static bool read_segment(const struct loader *loader, uint64_t at, struct elf_segment *segment)
{
	struct elf_segment_64 wide;
	struct elf_segment_32 narrow;
	if (!elf_is_32(loader)) {
		bool there = elf_read_at(loader, at, &wide, sizeof(wide));
		*segment =
			(struct elf_segment){wide.type, wide.offset, wide.vaddr, wide.paddr, wide.filesz, wide.memsz};
		return there;
	}
	bool there = elf_read_at(loader, at, &narrow, sizeof(narrow));
	*segment = (struct elf_segment){narrow.type,  narrow.offset, narrow.vaddr,
	                                narrow.paddr, narrow.filesz, narrow.memsz};
	return there;
}

bool elf_read(struct loader *loader, struct elf_image *image)
{
	struct elf_header_64 header;
	if (!read_header(loader, &header)) {
		return loader_fail(loader, "not an ELF file for %s", arch_platform.isa);
	}
	if (header.phnum > ELF_SEGMENTS_MAX) {
		return loader_fail(loader, "ELF file with %u program headers: at most %u are looked at", header.phnum,
		                   ELF_SEGMENTS_MAX);
	}
	*image = (struct elf_image){.entry = header.entry, .count = header.phnum};
	for (unsigned i = 0; i < image->count; i++) {
		uint64_t at;
		if (__builtin_add_overflow(header.phoff, i * (uint64_t)header.phentsize, &at) ||
		    !read_segment(loader, at, &image->segment[i])) {
			return loader_fail(loader, "ELF program header %u is cut off: the file has %llu bytes", i,
			                   (unsigned long long)loader->kernel.bytes);
		}
	}
	return true;
}

static bool is_loaded(const struct elf_segment *segment)
{
	return segment->type == ELF_PT_LOAD && segment->memsz > 0;
}

/* From those before it, which are checked already. */
static bool is_apart(const struct elf_image *image, unsigned index)
{
	const struct elf_segment *segment = &image->segment[index];
	for (unsigned i = 0; i < index; i++) {
		const struct elf_segment *other = &image->segment[i];
		if (is_loaded(other) && segment->paddr < other->paddr + other->memsz &&
		    other->paddr < segment->paddr + segment->memsz) {
			return false;
		}
	}
	return true;
}

static bool check_segment(struct loader *loader, const struct elf_image *image, unsigned index)
{
	const struct elf_segment *segment = &image->segment[index];
	uint64_t file_bytes = loader->kernel.bytes;
	unsigned long long paddr = segment->paddr;
	if (segment->filesz > segment->memsz) {
		return loader_fail(loader, "segment at GPA 0x%llx has %llu bytes in the file and only %llu in memory",
		                   paddr, (unsigned long long)segment->filesz, (unsigned long long)segment->memsz);
	}
	if (segment->offset > file_bytes || segment->filesz > file_bytes - segment->offset) {
		return loader_fail(loader, "segment at GPA 0x%llx is cut off: the file has %llu bytes; copy it again",
		                   paddr, (unsigned long long)file_bytes);
	}
	if (segment->paddr < LOWEST || !loader_in_ram(loader, segment->paddr, segment->memsz)) {
		return loader_fail(loader,
		                   "segment of %llu bytes at GPA 0x%llx is outside the VM's memory from 1 MiB on: "
		                   "give it more",
		                   (unsigned long long)segment->memsz, paddr);
	}
	if (!is_apart(image, index)) {
		return loader_fail(loader, "segment of %llu bytes at GPA 0x%llx overlaps another: link it anew",
		                   (unsigned long long)segment->memsz, paddr);
	}
	return true;
}

static bool contains(const struct elf_image *image, gpa_t address)
{
	for (unsigned i = 0; i < image->count; i++) {
		const struct elf_segment *segment = &image->segment[i];
		if (segment->type == ELF_PT_LOAD && address - segment->paddr < segment->memsz) {
			return true;
		}
	}
	return false;
}

bool elf_load(struct loader *loader, const struct elf_image *image, gpa_t *top)
{
	*top = LOWEST;
	for (unsigned i = 0; i < image->count; i++) {
		const struct elf_segment *segment = &image->segment[i];
		const char *data = (const char *)loader->kernel.data + segment->offset;
		/* Memory beyond the file's bytes is zero already: fresh frames are. */
		if (is_loaded(segment) && (!check_segment(loader, image, i) ||
		                           !loader_write(loader, segment->paddr, data, segment->filesz, "kernel"))) {
			return false;
		}
		*top = is_loaded(segment) ? MAX(*top, segment->paddr + segment->memsz) : *top;
	}
	return image->entry <= UINT32_MAX && contains(image, image->entry)
	               ? true
	               : loader_fail(loader, "the entry 0x%llx is in no segment below 4 GiB: link it anew",
	                             (unsigned long long)image->entry);
}
