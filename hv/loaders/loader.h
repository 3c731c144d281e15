/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest images. Each loader checks all that it reads from the image (truncated, oversized, overlapping files
 * are told in one line and only that VM is not started), writes the guest's memory through the accessor, and
 * says how the vCPU starts.
 */
#pragma once

#include "hv/vm.h"

struct loader {
	struct vm *vm;
	struct boot_file kernel, initrd;
	const char *cmdline;
	gpa_t acpi_rsdp;         /* 0: the guest has none */
	struct arch_entry entry; /* the result */
	char *message;           /* one line, when a loader returns false */
	size_t message_size;
};

/* Detects the kernel's format and loads it. False: loader->message. */
bool load_guest(struct loader *loader);

/* ---- one function a format ---- */
bool load_pvh(struct loader *loader);       /* ELF with a PVH note (XEN_ELFNOTE_PHYS32_ENTRY) */
bool load_multiboot(struct loader *loader); /* version 1: ELF32, or as the header's addresses say */
bool is_multiboot(const struct loader *loader);
bool load_linux_x86(struct loader *loader);   /* bzImage, Linux x86 boot protocol 2.06 and later */
bool load_linux_arm64(struct loader *loader); /* arm64 Image */
bool load_raw(struct loader *loader);         /* firmware, run in place from the flash bank */

/* ---- helpers ---- */

/* Formats the message, after the kernel's path, and returns false. */
bool loader_fail(struct loader *loader, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Whether [start, start + bytes) is guest RAM as a whole. */
bool loader_in_ram(const struct loader *loader, gpa_t start, uint64_t bytes);
/* Writes into the guest; `what` names it in the message. The guest may read it with its caches off. */
bool loader_write(struct loader *loader, gpa_t to, const void *from, uint64_t bytes, const char *what);
/* Puts the initrd as high as it fits below `limit`, which is the kernel's, and above `floor`; *address 0 where there is
 * none. */
bool loader_place_initrd(struct loader *loader, gpa_t floor, gpa_t limit, gpa_t *address);

/*
 * A PC's memory map in ascending order: RAM but for the stretch below 1 MiB where the ACPI tables are. Returns the
 * number of regions. The types' values are the same in E820, PVH and multiboot.
 */
enum loader_region_type { LOADER_RAM = 1, LOADER_RESERVED = 2 };
struct loader_region {
	uint64_t start, bytes;
	uint32_t type;
};
#define LOADER_REGIONS_MAX 4
unsigned loader_pc_memory(const struct loader *loader, struct loader_region regions[LOADER_REGIONS_MAX]);

/*
 * Writes the guest's device tree (guest_fdt.c) at `address`: memory, CPUs, PSCI, GIC, timer, PL011, chosen with its
 * random seeds.
 * initrd_start 0: none.
 */
#define GUEST_FDT_MAX 0x10000 /* bytes reserved for it */
bool load_guest_fdt(struct loader *loader, gpa_t address, gpa_t initrd_start);

/* Writes the guest's ACPI tables (guest_acpi.c), for machines with an IOAPIC; sets loader->acpi_rsdp. */
bool load_guest_acpi(struct loader *loader);
