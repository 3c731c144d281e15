/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual machine: its address space, devices, vCPU, and its life from the configuration to the report.
 */
#pragma once

#include "arch/arch.h"
#include "hv/boot_info.h"
#include "hv/bus.h"
#include "hv/devices/acpi_power.h"
#include "hv/devices/pit8254.h"
#include "hv/devices/rtc_cmos.h"
#include "hv/devices/serial.h"
#include "mm/frame_quota.h"

struct vm;

struct vcpu {
	struct arch_vcpu arch;
	struct vm *vm;
	unsigned index;
	uint64_t fault_resume; /* PC of CAISSON_CALL_EXPECT_FAULT; 0: a refused access stops the VM */
};

/* How a VM's run ended. */
enum vm_outcome {
	VM_ENDED,   /* it turned itself off */
	VM_RESTART, /* it asked for a reset */
	VM_STOPPED, /* for a fault, for want of memory or for its CPU-time budget: the report is logged */
};

/* A stretch of guest RAM; x86 has two where memory reaches past the hole below 4 GiB. */
struct vm_ram {
	gpa_t start;
	uint64_t bytes; /* 0: unused */
};

struct vm {
	const struct config_vm *config;
	const struct boot_vm_files *files;
	char log_name[CONFIG_NAME_MAX + 4]; /* "vm NAME": the log's subsystem */
	struct frame_quota quota;           /* all frames of the VM; its hal's flush knows which VM */
	struct addr_space space;
	struct arch_vm arch;
	bool arch_ready; /* arch_vm_init is done: flush reaches the hardware */
	bool vcpu_ready;
	struct vm_ram ram[2];
	hpa_t linear_base; /* HPA_NONE unless backing = linear */
	struct bus ports, mmio;
	struct irq_line console_irq;
	struct serial_backend console;
	union {
		struct uart16550_device uart16550;
		struct pl011_device pl011;
	};
	struct pit8254_device pit;
	struct rtc_cmos_device rtc;
	struct acpi_power_device power;
	uint64_t cpu_ticks_left; /* of the CPU-time budget; UINT64_MAX: no limit */
	uint64_t first_entry;    /* counter ticks after efi_main */
	struct vcpu vcpu;        /* the only one in this version */
};

/*
 * Runs one configured VM from creation to its end, restarts included, and checks that every frame came back.
 * What can't be started is told in one line and counts as VM_STOPPED.
 */
enum vm_outcome vm_run(const struct config_vm *config, const struct boot_vm_files *files);

/* ---- exit.c ---- */

/* The vCPU loop: run, answer, run, until the VM ends. */
enum vm_outcome vcpu_run(struct vcpu *vcpu);

/* ---- hypercall.c ---- */

/* Answers a call that is not in caisson_calls; true: the VM goes on with *result, false: it ends with *outcome. */
bool hypercall_psci(const struct hypercall *call, uint64_t *result, enum vm_outcome *outcome);
