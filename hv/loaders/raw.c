/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw firmware, such as U-Boot: a flat image that runs in place from the start of the flash bank and finds its
 * device tree at the start of RAM.
 */
#include "hv/loaders/loader.h"

bool load_raw(struct loader *loader)
{
	const struct vm_ram *ram = &loader->vm->ram[0];
	gpa_t initrd;
	if (loader->kernel.bytes == 0 || loader->kernel.bytes > arch_platform.flash_bytes) {
		return loader_fail(loader, "raw firmware of %llu bytes: the flash bank holds 1 to %llu",
		                   (unsigned long long)loader->kernel.bytes,
		                   (unsigned long long)arch_platform.flash_bytes);
	}
	if (!loader_write(loader, arch_platform.flash_base, loader->kernel.data, loader->kernel.bytes, "kernel") ||
	    !loader_place_initrd(loader, ram->start + GUEST_FDT_MAX, UINT64_MAX, &initrd) ||
	    !load_guest_fdt(loader, ram->start, initrd)) {
		return false;
	}
	loader->entry = (struct arch_entry){
		.mode = ENTRY_NATIVE,
		.pc = arch_platform.flash_base,
		.argument = {ram->start},
	};
	return true;
}
