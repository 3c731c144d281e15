/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds out what kind of image a kernel is, and the helpers that all loaders share.
 */
#include "hv/loaders/loader.h"

#include "lib/printf.h"
#include "lib/string.h"
#include "lib/util.h"

#define ELF_MAGIC          "\177ELF"
#define BZIMAGE_MAGIC      "HdrS"
#define BZIMAGE_MAGIC_AT   0x202
#define ARM64_MAGIC        "ARM\x64"
#define ARM64_MAGIC_AT     0x38
#define ZBOOT_MAGIC        "zimg"
#define ZBOOT_MAGIC_AT     4
#define ZBOOT_PAYLOAD_AT   8              /* offset and bytes, 32 bits each */
#define GZIP_MAGIC         "\x1f\x8b\x08" /* RFC 1952; deflate is its only method */
#define ELF_MACHINE_X86_64 62

/* A PC's first MiB. */
#define EBDA_AT 0x9fc00
#define HIGH_AT MIB(1)

bool loader_fail(struct loader *loader, const char *format, ...)
{
	va_list arguments;
	size_t path = (size_t)snprintf(loader->message, loader->message_size, "%s: ", loader->vm->config->kernel);
	size_t used = MIN(path, loader->message_size);
	va_start(arguments, format);
	vsnprintf(loader->message + used, loader->message_size - used, format, arguments);
	va_end(arguments);
	return false;
}

bool loader_in_ram(const struct loader *loader, gpa_t start, uint64_t bytes)
{
	for (unsigned i = 0; i < ARRAY_SIZE(loader->vm->ram); i++) {
		const struct vm_ram *ram = &loader->vm->ram[i];
		uint64_t offset = start - ram->start;
		if (offset < ram->bytes && bytes <= ram->bytes - offset) {
			return true;
		}
	}
	return false;
}

static void clean(struct addr_space *space, gpa_t at, uint64_t bytes)
{
	while (bytes > 0) {
		uint64_t chunk = MIN(bytes, FRAME_SIZE - (at & (FRAME_SIZE - 1)));
		const void *memory = guest_peek(space, at, chunk);
		if (memory) {
			arch_clean_guest_memory(memory, chunk);
		}
		at += chunk;
		bytes -= chunk;
	}
}

bool loader_write(struct loader *loader, gpa_t to, const void *from, uint64_t bytes, const char *what)
{
	struct addr_space *space = &loader->vm->space;
	if (guest_write(space, to, from, bytes, GUEST_ACCESS_FORCE) != bytes) {
		return loader_fail(loader,
		                   "%s: no frame is left for %llu bytes at GPA 0x%llx; give the VMs less memory", what,
		                   (unsigned long long)bytes, (unsigned long long)to);
	}
	clean(space, to, bytes);
	return true;
}

bool loader_place_initrd(struct loader *loader, gpa_t floor, gpa_t limit, gpa_t *address)
{
	const struct vm_ram *ram = &loader->vm->ram[0];
	uint64_t bytes = loader->initrd.bytes;
	*address = 0;
	if (!loader->initrd.data) {
		return true;
	}
	gpa_t ram_end = ram->start + ram->bytes;
	gpa_t end = MIN(limit, ram_end);
	gpa_t place = bytes > end ? 0 : align_down(end - bytes, FRAME_SIZE);
	if (bytes > end || place < floor) {
		return loader_fail(loader, "initrd %s: %llu bytes do not fit between GPA 0x%llx and 0x%llx: %s",
		                   loader->vm->config->initrd, (unsigned long long)bytes, (unsigned long long)floor,
		                   (unsigned long long)end,
		                   limit < ram_end ? "this kernel takes none above that" : "give the VM more memory");
	}
	if (!loader_write(loader, place, loader->initrd.data, bytes, "initrd")) {
		return false;
	}
	*address = place;
	return true;
}

unsigned loader_pc_memory(const struct loader *loader, struct loader_region regions[LOADER_REGIONS_MAX])
{
	const struct vm_ram *ram = loader->vm->ram;
	unsigned count = 0;
	regions[count++] = (struct loader_region){0, EBDA_AT, LOADER_RAM};
	regions[count++] = (struct loader_region){EBDA_AT, HIGH_AT - EBDA_AT, LOADER_RESERVED};
	if (ram[0].bytes > HIGH_AT) {
		regions[count++] = (struct loader_region){HIGH_AT, ram[0].bytes - HIGH_AT, LOADER_RAM};
	}
	if (ram[1].bytes > 0) {
		regions[count++] = (struct loader_region){ram[1].start, ram[1].bytes, LOADER_RAM};
	}
	return count;
}

static bool magic_at(const struct boot_file *file, size_t offset, const char *magic)
{
	size_t bytes = strlen(magic);
	return file->bytes >= offset + bytes && memcmp((const char *)file->data + offset, magic, bytes) == 0;
}

/* There is no unpacker in here: Debian's kernels unpack themselves, or are not packed. */
static bool refuse_packed(struct loader *loader)
{
	const struct boot_file *file = &loader->kernel;
	if (magic_at(file, 0, GZIP_MAGIC)) {
		return loader_fail(loader, "packed with gzip: unpack it with zcat, and name what comes out");
	}
	uint32_t payload[2] = {0};
	if (file->bytes >= ZBOOT_PAYLOAD_AT + sizeof(payload)) {
		memcpy(payload, (const char *)file->data + ZBOOT_PAYLOAD_AT, sizeof(payload));
	}
	return loader_fail(loader, "an EFI zboot image: unpack its %u bytes from %u on, and name the Image in there",
	                   payload[1], payload[0]);
}

static bool load_x86(struct loader *loader)
{
	const struct boot_file *file = &loader->kernel;
	if (magic_at(file, BZIMAGE_MAGIC_AT, BZIMAGE_MAGIC)) {
		return load_linux_x86(loader);
	}
	if (is_multiboot(loader)) {
		return load_multiboot(loader);
	}
	if (magic_at(file, 0, ELF_MAGIC)) {
		return load_pvh(loader);
	}
	if (magic_at(file, ARM64_MAGIC_AT, ARM64_MAGIC)) {
		return loader_fail(loader, "an arm64 Image, and this machine is x86_64");
	}
	return loader_fail(loader, "neither a bzImage nor an ELF file with a PVH note nor a multiboot kernel");
}

static bool load_arm64(struct loader *loader)
{
	const struct boot_file *file = &loader->kernel;
	if (magic_at(file, ARM64_MAGIC_AT, ARM64_MAGIC)) {
		return load_linux_arm64(loader);
	}
	if (magic_at(file, 0, ELF_MAGIC)) {
		return loader_fail(loader, "an ELF file: aarch64 guests are arm64 Images or raw firmware");
	}
	if (magic_at(file, BZIMAGE_MAGIC_AT, BZIMAGE_MAGIC)) {
		return loader_fail(loader, "a bzImage for x86, and this machine is aarch64");
	}
	return load_raw(loader);
}

bool load_guest(struct loader *loader)
{
	if (magic_at(&loader->kernel, 0, GZIP_MAGIC) || magic_at(&loader->kernel, ZBOOT_MAGIC_AT, ZBOOT_MAGIC)) {
		return refuse_packed(loader);
	}
	return arch_platform.elf_machine == ELF_MACHINE_X86_64 ? load_x86(loader) : load_arm64(loader);
}
