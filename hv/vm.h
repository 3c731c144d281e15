/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual machine: its address space, devices, vCPU, and its life from the configuration to the report.
 */
#pragma once

#include "arch/arch.h"
#include "hv/boot_info.h"
#include "hv/bus.h"
#include "hv/console.h"
#include "hv/devices/acpi_power.h"
#include "hv/devices/pci_host.h"
#include "hv/devices/pit8254.h"
#include "hv/devices/rtc_cmos.h"
#include "hv/devices/rtc_pl031.h"
#include "hv/devices/serial.h"
#include "hv/vm_virtio.h"
#include "mm/frame_quota.h"

struct vm;

struct vcpu {
	struct arch_vcpu arch;
	struct vm *vm;
	unsigned index;
	uint64_t fault_resume; /* PC of CAISSON_CALL_EXPECT_FAULT; 0: a refused access stops the VM */
};

/* Why a VM does not run on. */
enum vm_outcome {
	VM_ENDED,   /* it turned itself off */
	VM_RESTART, /* it asked for a reset */
	VM_STOPPED, /* for a fault, or for its CPU-time budget: the report is logged */
	VM_PAUSED,  /* its slice is over; it could run on */
	VM_WAITING, /* it is halted until an interrupt */
};

/* A stretch of guest RAM; x86 has two where memory reaches past the hole below 4 GiB. */
struct vm_ram {
	gpa_t start;
	uint64_t bytes; /* 0: unused */
};

struct vm {
	/* What a restart leaves alone. */
	const struct config_vm *config;
	const struct boot_vm_files *files;
	char log_name[CONFIG_NAME_MAX + 4]; /* "vm NAME": the log's subsystem */
	struct frame_quota quota;           /* all frames of the VM; its hal's flush knows which VM */
	bool alone;
	struct frame_counts before; /* the machine's account when it was made */
	uint64_t cpu_ticks_left;    /* of the CPU-time budget; UINT64_MAX: no limit */
	struct blk_overlay overlay[CONFIG_DISKS_MAX];
	/* From here on it is made anew: RESTARTED. */
	struct addr_space space;
	struct arch_vm arch;
	bool arch_ready; /* arch_vm_init is done: flush reaches the hardware */
	bool vcpu_ready;
	struct vm_ram ram[2];
	hpa_t linear_base; /* HPA_NONE unless backing = linear */
	struct bus ports, mmio;
	struct irq_line console_irq;
	struct console console;
	struct serial_backend uart_console; /* what the UART has: the console, without its input if virtio has that */
	union {
		struct uart16550_device uart16550;
		struct pl011_device pl011;
	};
	struct pit8254_device pit;
	union {
		struct rtc_cmos_device rtc;
		struct pl031_device pl031;
	};
	struct pci_host_device pci;
	struct acpi_power_device power;
	struct vm_virtio virtio;
	uint64_t first_entry; /* counter ticks after efi_main */
	struct vcpu vcpu;     /* the only one in this version */
};

/*
 * Makes a VM as configured, and puts its vCPU where it starts. False: what is wrong is told in one line, and nothing is
 * left behind. `vm` is the caller's, zeroed but for `config`, `files` and `cpu_ticks_left`. `alone`: no other VM will
 * exist before it is destroyed, so that the machine's account must come out equal too.
 */
bool vm_start(struct vm *vm, bool alone);

/* After VM_RESTART: the same VM from its start, with its disks as it left them. False: as vm_start's; it is over. */
bool vm_restart(struct vm *vm);

/* Tells how the run ended, gives everything back, and checks that every frame came back. */
void vm_finish(struct vm *vm, enum vm_outcome outcome);

/* ---- exit.c ---- */

/* Runs the loaded vCPU and answers its exits until the VM does not run on, or arch_counter() has passed `slice_end`
 * (UINT64_MAX: never). */
enum vm_outcome vcpu_run(struct vcpu *vcpu, uint64_t slice_end);

/* Charges the ticks since *from, which becomes now, to the VM's CPU-time budget; true: it is used up. */
bool vm_charge(struct vm *vm, uint64_t *from);

/* After something of the host's may have come: input for the consoles, NMIs. */
void host_look_around(void);

/* ---- hypercall.c ---- */

/* Answers a call that is not in caisson_calls; true: the VM goes on with *result, false: it ends with *outcome. */
bool hypercall_psci(const struct hypercall *call, uint64_t *result, enum vm_outcome *outcome);
