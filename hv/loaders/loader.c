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
#define MAGIC_BYTES        4
#define ELF_MACHINE_X86_64 62

bool loader_fail(struct loader *loader, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(loader->message, loader->message_size, format, arguments);
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
		return loader_fail(loader, "%s: %llu bytes at GPA 0x%llx: no memory there, or none left", what,
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
	gpa_t end = MIN(limit, ram->start + ram->bytes);
	if (bytes > end || align_down(end - bytes, FRAME_SIZE) < floor) {
		return loader_fail(loader, "initrd: %llu bytes do not fit above the kernel: give the VM more memory",
		                   (unsigned long long)bytes);
	}
	gpa_t place = align_down(end - bytes, FRAME_SIZE);
	if (!loader_write(loader, place, loader->initrd.data, bytes, "initrd")) {
		return false;
	}
	*address = place;
	return true;
}

static bool magic_at(const struct boot_file *file, size_t offset, const char *magic)
{
	return file->bytes >= offset + MAGIC_BYTES &&
	       memcmp((const char *)file->data + offset, magic, MAGIC_BYTES) == 0;
}

bool load_guest(struct loader *loader)
{
	bool x86 = arch_platform.elf_machine == ELF_MACHINE_X86_64;
	if (magic_at(&loader->kernel, 0, ELF_MAGIC)) {
		return x86 ? load_elf_pvh(loader)
		           : loader_fail(loader, "kernel is an ELF file: %s guests are arm64 Images or raw firmware",
		                         arch_platform.isa);
	}
	if (magic_at(&loader->kernel, BZIMAGE_MAGIC_AT, BZIMAGE_MAGIC)) {
		return x86 ? load_linux_x86(loader)
		           : loader_fail(loader, "kernel is a bzImage for x86, this machine is %s", arch_platform.isa);
	}
	if (magic_at(&loader->kernel, ARM64_MAGIC_AT, ARM64_MAGIC)) {
		return x86 ? loader_fail(loader, "kernel is an arm64 Image, this machine is %s", arch_platform.isa)
		           : load_linux_arm64(loader);
	}
	if (arch_platform.flash_bytes > 0) {
		return load_raw(loader);
	}
	return loader_fail(loader, "kernel is neither a bzImage nor an ELF file with a PVH note");
}
