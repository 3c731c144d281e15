/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of boot/ share. Only this floor knows <efi.h>, and it needs nothing of an ISA: whatever it wants to
 * know of the machine, it asks the firmware.
 */
#pragma once

#include <efi.h>

#include "hv/boot_info.h"

/* ---- main.c ---- */

extern EFI_HANDLE boot_image;
extern EFI_SYSTEM_TABLE *boot_system;
extern EFI_BOOT_SERVICES *boot_services;

/* One line on the firmware's console: "caisson: ...". Not after ExitBootServices was tried. */
void boot_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "not found" for EFI_NOT_FOUND and so on. */
const char *boot_status_text(EFI_STATUS status);

/* Memory that stays the hypervisor's (EfiLoaderData), or NULL. Page-aligned; not zeroed. */
void *boot_alloc(uint64_t bytes);
void boot_free(void *memory, uint64_t bytes);

/* ---- files.c: the volume that the image came from ---- */

EFI_STATUS files_open_volume(void);

/*
 * Reads the whole file into memory from boot_alloc; `path` with \ or /. Prints a line each second. What fails is
 * not printed: the status, and in `reason` what to say about the file.
 */
#define REASON_MAX 128
EFI_STATUS files_read(const char *path, struct boot_file *file, char reason[REASON_MAX]);

/* ---- machine.c: the machine that the firmware describes ---- */

/* Tables and CPUs. Nothing of it is indispensable but memory for a copy of the device tree. */
EFI_STATUS machine_describe(struct boot_info *info);

/* The memory map as regions. Prints what makes it unusable. */
EFI_STATUS machine_map_memory(struct boot_info *info);

/* Leaves the firmware; the regions are up to date then. Prints nothing. */
EFI_STATUS machine_leave_firmware(struct boot_info *info);
