/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What boot/ gathers from the firmware and hands to hv_main. All addresses are physical; everything that is
 * pointed to lies in memory whose region is MEMORY_LOADED, so that no allocator gives it away.
 */
#pragma once

#include "hv/config.h"
#include "lib/random.h"
#include "mm/frames.h"

#define BOOT_CPUS_MAX 64

struct boot_cpu {
	uint64_t id; /* x86: APIC ID; Arm: MPIDR affinity */
	bool boot_cpu;
};

/*
 * A file from the volume, in page-aligned memory; data NULL where the configuration names none or a built-in guest.
 * VMs that name the same file share it.
 */
struct boot_file {
	const void *data;
	uint64_t bytes;
};

struct boot_vm_files {
	struct boot_file kernel, initrd, disk[CONFIG_DISKS_MAX];
};

struct boot_info {
	struct memory_region regions[FRAME_REGIONS_MAX]; /* sorted, disjoint, neighbours of one kind merged */
	unsigned region_count;
	/*
	 * The parts of MEMORY_LOADED regions that belonged to the firmware's boot services: its page tables, descriptor
	 * tables and stacks lie somewhere in there. Free for use (frame_free, FRAME_KERNEL) once arch_init is done.
	 */
	struct memory_region reclaimable[FRAME_REGIONS_MAX];
	unsigned reclaimable_count;
	hpa_t acpi_rsdp; /* a copy, in the image; 0: none */
	hpa_t fdt;       /* 0: none */
	struct boot_cpu cpus[BOOT_CPUS_MAX];
	unsigned cpu_count;
	uint8_t random_seed[RANDOM_SEED_BYTES]; /* from the firmware's generator */
	bool has_random_seed;
	uint64_t start_counter; /* arch_counter() at efi_main's first statement */
	uint64_t start_time;    /* the firmware's clock then, in seconds since 1970-01-01, UTC; 0: it has none */
	struct config config;
	struct boot_vm_files files[CONFIG_VMS_MAX]; /* beside config.vms */
	/*
	 * EFI runtime services' ResetSystem, to be called by arch_call_firmware: powers the machine off (`power_off`
	 * points to a bool that is true) or resets it. Does not return on working firmware. NULL: none.
	 */
	void (*firmware_reset)(void *power_off);
};

/*
 * Asks whether this machine can run the hypervisor at all, while the firmware is still there to return to.
 * False: `message` holds one line that names what is missing or locked and the remedy.
 */
bool hv_check(char *message, size_t size);

/* Takes over. Called on boot's own stack after ExitBootServices with interrupts off. */
_Noreturn void hv_main(struct boot_info *info);

/* The ISA's free-running counter, for boot_info.start_counter and boot's progress lines. */
uint64_t hv_counter(void);
