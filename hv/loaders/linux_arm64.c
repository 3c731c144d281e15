/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arm64 Image (Linux Documentation/arch/arm64/booting.rst): a 64-byte header, loaded text_offset bytes above
 * a 2 MiB boundary, entered at its first byte with the device tree in x0.
 */
#include "hv/loaders/loader.h"

#include "lib/string.h"
#include "lib/util.h"

struct arm64_header {
	uint32_t code[2];
	uint64_t text_offset;
	uint64_t image_size; /* effective, with BSS; 0 in kernels before 3.17 */
	uint64_t flags;
	uint64_t reserved[3];
	uint32_t magic;
	uint32_t pe_offset;
};
_Static_assert(sizeof(struct arm64_header) == 64, "booting.rst: the header has 64 bytes");

#define FLAG_BIG_ENDIAN BIT(0)
#define FLAG_PAGES_HIGH 2
#define FLAG_PAGES_LOW  1
#define INITRD_WINDOW   GIB(32) /* from a GiB boundary on, with kernel and initrd in it */

/*
 * Kernels with an EFI stub are PE files too (PE Format, "COFF File Header" and "Section Table"), and only there they
 * say how long the file is: image_size counts the BSS.
 */
#define PE_MAGIC        "PE\0"
#define PE_SECTIONS_MAX 16
struct pe_header {
	char magic[4];
	uint16_t machine, sections;
	uint32_t unused[3];
	uint16_t optional_bytes, characteristics;
};
struct pe_section {
	char name[8];
	uint32_t virtual_bytes, virtual_address, raw_bytes, raw_at;
	uint32_t unused[4];
};
_Static_assert(sizeof(struct pe_header) == 24 && sizeof(struct pe_section) == 40, "PE Format");

/* A kernel whose pages the CPU does not have would end in a loop without a word. 0: it does not say. */
static bool pages_fit(struct loader *loader, uint64_t flags)
{
	static const uint64_t sizes[] = {0, KIB(4), KIB(16), KIB(64)};
	uint64_t bytes = sizes[field(flags, FLAG_PAGES_HIGH, FLAG_PAGES_LOW)];
	return bytes == 0 || arch_has_pages(bytes) ||
	       loader_fail(loader, "the Image has pages of %llu KiB, and this CPU has none: name one of 4 KiB",
	                   (unsigned long long)bytes >> 10);
}

/* The file's bytes as its sections have them; 0: it does not tell. */
static uint64_t told_bytes(const struct boot_file *file, uint64_t pe_offset)
{
	struct pe_header pe;
	struct pe_section section;
	uint64_t bytes = 0;
	if (pe_offset > file->bytes || file->bytes - pe_offset < sizeof(pe)) {
		return 0;
	}
	memcpy(&pe, (const char *)file->data + pe_offset, sizeof(pe));
	uint64_t at = pe_offset + sizeof(pe) + pe.optional_bytes;
	if (memcmp(pe.magic, PE_MAGIC, sizeof(pe.magic)) != 0 || pe.sections > PE_SECTIONS_MAX) {
		return 0;
	}
	for (unsigned i = 0; i < pe.sections && at + sizeof(section) <= file->bytes; i++, at += sizeof(section)) {
		memcpy(&section, (const char *)file->data + at, sizeof(section));
		bytes = MAX(bytes, (uint64_t)section.raw_at + section.raw_bytes);
	}
	return bytes;
}

bool load_linux_arm64(struct loader *loader)
{
	const struct vm_ram *ram = &loader->vm->ram[0];
	struct arm64_header header;
	gpa_t initrd;

	if (loader->kernel.bytes < sizeof(header)) {
		return loader_fail(loader, "Image of %llu bytes is cut off: copy it again",
		                   (unsigned long long)loader->kernel.bytes);
	}
	memcpy(&header, loader->kernel.data, sizeof(header));
	if (header.flags & FLAG_BIG_ENDIAN) {
		return loader_fail(loader, "the Image is big-endian: name a little-endian one");
	}
	if (!pages_fit(loader, header.flags)) {
		return false;
	}
	uint64_t told = told_bytes(&loader->kernel, header.pe_offset);
	if (loader->kernel.bytes < told) {
		return loader_fail(loader, "Image is cut off: it has %llu bytes, its header says %llu; copy it again",
		                   (unsigned long long)loader->kernel.bytes, (unsigned long long)told);
	}
	/* The device tree goes to the start of RAM: below the kernel where text_offset leaves room for it. */
	gpa_t base = ram->start + (header.text_offset >= GUEST_FDT_MAX ? 0 : MIB(2));
	uint64_t needed = MAX(header.image_size, loader->kernel.bytes);
	if (header.text_offset > ram->bytes || !loader_in_ram(loader, base + header.text_offset, needed)) {
		return loader_fail(loader, "Image wants %llu bytes at GPA 0x%llx: give the VM more memory",
		                   (unsigned long long)needed, (unsigned long long)(base + header.text_offset));
	}
	gpa_t start = base + header.text_offset;
	if (!loader_write(loader, start, loader->kernel.data, loader->kernel.bytes, "kernel") ||
	    !loader_place_initrd(loader, start + needed, align_down(start, GIB(1)) + INITRD_WINDOW, &initrd) ||
	    !load_guest_fdt(loader, ram->start, initrd)) {
		return false;
	}
	loader->entry = (struct arch_entry){.mode = ENTRY_NATIVE, .pc = start, .argument = {ram->start}};
	return true;
}
