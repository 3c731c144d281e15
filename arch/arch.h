/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All that hv/ may call of the architecture. Each ISA implements this header in arch/<isa>/ and gives the
 * contents of struct arch_vm and struct arch_vcpu in its arch_types.h. The architecture never calls up: it
 * answers by itself what belongs to the ISA (CPUID, MSRs, system registers, interrupt controllers, timers,
 * lazy faults by way of mm) and returns the rest as a struct vm_exit.
 */
#pragma once

#include "mm/addr_space.h"
#include "mm/formats.h"
#include "mm/frames.h"
#include "mm/guest_memory.h"

/* ---- exits ---- */

enum vm_exit_kind {
	VM_EXIT_NESTED_FAULT, /* mm refused: `fault`, `status`. Goes on by arch_vcpu_resume_at, or not at all. */
	VM_EXIT_MMIO,         /* no area there, decoded: `io` (and `fault` for the report if nobody answers) */
	VM_EXIT_PORT,         /* `io` */
	VM_EXIT_HYPERCALL,    /* `call`; the instruction is already skipped */
	VM_EXIT_HALT,         /* waits for an interrupt */
	VM_EXIT_POWER,        /* `power`: the guest turned itself off or asked for a reset */
	VM_EXIT_DEADLINE,     /* the deadline of arch_vcpu_set_deadline has passed */
	VM_EXIT_INTERRUPT,    /* a host interrupt was taken and served; run on */
	VM_EXIT_SHUTDOWN,     /* triple fault, or the ISA's likeness of it */
	VM_EXIT_FAILED,       /* the CPU refused to enter, or an exit that nothing explains; logged by arch */
};

struct io_access {
	uint64_t address; /* GPA or port */
	uint64_t value;   /* written, or to be filled in for a read (zero-extended from width) */
	uint8_t width;    /* bytes: 1, 2, 4, 8 */
	bool write;
	uint8_t length;  /* the architecture's own: instruction length, 0 unknown */
	uint8_t target;  /* the architecture's own: the register that a read fills */
	uint32_t detail; /* the architecture's own */
};

struct hypercall {
	uint64_t number;
	uint64_t argument[4];
};

enum vm_power { VM_POWER_OFF, VM_POWER_RESET };

struct vm_exit {
	uint64_t raw; /* the manual's number: exit reason, exit code, ESR_EL2; arch_exit_name gives its name */
	int status;   /* enum mm_status, of NESTED_FAULT */
	struct nested_fault fault;
	union {
		struct io_access io;
		struct hypercall call;
		enum vm_power power;
	};
};

/* ---- the machine ---- */

struct arch_host {
	const struct memory_region *regions; /* sorted; all but MEMORY_FIRMWARE and MEMORY_RESERVED get mapped */
	unsigned region_count;
	hpa_t acpi_rsdp; /* 0: none */
	hpa_t fdt;       /* 0: none */
	struct mm_hal *hal;
	uint64_t time_of_day; /* nanoseconds since 1970-01-01, UTC, now */
};

/* Whether this CPU can run us, asked while the firmware still owns the machine. False: one line in message. */
bool arch_check(char *message, size_t size);

/* The free-running counter (TSC, CNTPCT_EL0). hz is known after arch_check. */
uint64_t arch_counter(void);
uint64_t arch_counter_hz(void);

/*
 * Takes this CPU: own page tables (text R-X, constants R--, the rest RW-, guards unmapped), GDT/TSS/IDT or
 * vectors, per-CPU data, the interrupt controller and timer as far as the host needs them, the panic handler;
 * then turns virtualization on. Logs what it found. False: one line in message.
 */
bool arch_init(const struct arch_host *host, char *message, size_t size);

/* Random bytes from the CPU's own generator. False: it has none, or it failed. */
bool arch_entropy(void *to, size_t bytes);

/* A stack of `frames` frames with an unmapped guard page below; returns its top, or 0. */
uintptr_t arch_stack_alloc(unsigned frames);
_Noreturn void arch_run_on_stack(uintptr_t top, void (*function)(void *argument), void *argument);

/* Maps device registers into the hypervisor's own tables (virtual = physical). For drivers found late. */
bool arch_map_device(hpa_t base, uint64_t bytes);

/* Calls into the firmware's runtime services: maps MEMORY_FIRMWARE for it, interrupts off, virtualization off. */
void arch_call_firmware(void (*function)(void *argument), void *argument);

_Noreturn void arch_halt(void);

/* NMIs that have come to the host: nobody here can ask what for. 0 where the ISA has none. */
uint64_t arch_nmi_count(void);

/* ---- what a guest's machine looks like on this ISA ---- */

enum console_kind { CONSOLE_16550, CONSOLE_PL011 };

struct arch_platform {
	const char *isa; /* "x86_64", "aarch64" */
	uint16_t elf_machine;
	gpa_t ram_base;                     /* guest RAM starts here */
	gpa_t ram_hole_start, ram_hole_end; /* RAM that would reach into the hole goes on after it; equal: no hole */
	gpa_t flash_base; /* raw images (firmware) run here, in a bank of flash_bytes; 0 bytes: none */
	uint64_t flash_bytes;
	enum console_kind console;
	uint16_t console_port; /* 0: none; I/O port of the console */
	gpa_t console_mmio;
	unsigned console_irq;
	/* The guest's n-th virtio-mmio device: registers at base + n * stride, line irq + n. */
	gpa_t virtio_base;
	uint64_t virtio_stride;
	unsigned virtio_irq;
	/* The host's console where neither ACPI nor FDT tells: port 0 and address 0 stand for none. */
	uint16_t host_console_port;
};
extern const struct arch_platform arch_platform;

/* Whether this CPU's page tables, a guest's own too, may have pages of so many bytes. */
bool arch_has_pages(uint64_t bytes);

/* ---- virtual machines ---- */

#include "arch_types.h" /* struct arch_vm, struct arch_vcpu */

/* How many bits the guest-physical addresses of a VM may have on this CPU. Valid after arch_init, as is the next. */
unsigned arch_gpa_bits(void);

/*
 * The nested table's format for a VM whose addresses all lie below `end` (at most 1 << arch_gpa_bits()) or below 4 GiB,
 * where the platform's devices are: on Arm a small VM's tables have fewer levels.
 */
void arch_nested_format(struct npt_format *format, gpa_t end);

/* The memory type that the host's own rules (MTRRs) give [base, base + bytes); the strictest where they differ. */
enum mm_memory_type arch_memory_type(hpa_t base, uint64_t bytes);

/* "VMX", "SVM", "EL2": what the log calls the virtualization found. */
const char *arch_virtualization(void);

/* `space` stays the caller's and outlives the VM. MM_ENOMEM. */
int arch_vm_init(struct arch_vm *vm, struct addr_space *space, unsigned vcpus);
void arch_vm_destroy(struct arch_vm *vm);

/* mm's flush: every CPU forgets `vm`'s cached translations of the ranges (count 0: all). */
void arch_vm_flush(struct arch_vm *vm, const struct gpa_range *ranges, unsigned count);

/* Raises or lowers an interrupt line of the VM's controller (x86: GSI; Arm: INTID). Unknown lines are ignored. */
void arch_vm_set_irq(struct arch_vm *vm, unsigned line, bool level);

/* An MMIO range that the architecture answers itself (interrupt controllers); for the FDT writer and ACPI. */
struct arch_vm_device {
	const char *name;
	gpa_t base;
	uint64_t bytes;
};
/* Fills up to `count`; returns how many there are. On Arm: gicd, then gicr (v3) or gicc (v2). */
unsigned arch_vm_devices(const struct arch_vm *vm, struct arch_vm_device *devices, unsigned count);
/* 3 or 2 on Arm, 0 elsewhere. */
unsigned arch_vm_gic_version(const struct arch_vm *vm);

/* How a vCPU starts: everything not named here is as the ISA's boot protocol wants it. */
enum arch_entry_mode {
	ENTRY_NATIVE,       /* Arm: EL1, MMU off, DAIF masked. x86: real mode reset vector is not offered: PROTECTED */
	ENTRY_PROTECTED_32, /* x86: flat 32-bit protected mode, paging off, interrupts off (Linux, PVH) */
	ENTRY_LONG_64,      /* x86: 64-bit mode on the page tables at `page_table`, flat segments, interrupts off */
};

struct arch_entry {
	enum arch_entry_mode mode;
	uint64_t pc;
	uint64_t argument[4]; /* Arm: x0 to x3. x86: RSI, RBX, RAX, RSP */
	gpa_t page_table;     /* LONG_64: CR3 */
	gpa_t gdt;            /* x86: where the loader put a GDT (0: none) */
	uint16_t gdt_limit;
};

int arch_vcpu_init(struct arch_vcpu *vcpu, struct arch_vm *vm, unsigned index);
void arch_vcpu_destroy(struct arch_vcpu *vcpu);
/* Resets the vCPU (also its FPU and debug state) and puts it at `entry`. */
void arch_vcpu_start(struct arch_vcpu *vcpu, const struct arch_entry *entry);

/* Makes `vcpu` the one whose lazily switched state (FPU, XCR0, debug, syscall MSRs, EL1 registers) this CPU holds. */
void arch_vcpu_load(struct arch_vcpu *vcpu);
void arch_vcpu_put(struct arch_vcpu *vcpu);

/* Runs the loaded vCPU until something is not the architecture's to answer. Returns the kind and fills what it
 * names; the rest of *exit keeps its old contents (hot path). */
enum vm_exit_kind arch_vcpu_run(struct arch_vcpu *vcpu, struct vm_exit *exit);

/* After MMIO or PORT: puts io.value into the register for a read, and skips the instruction. */
void arch_vcpu_finish_io(struct arch_vcpu *vcpu, const struct io_access *io);
/* After HYPERCALL: the result for RAX or x0. */
void arch_vcpu_finish_hypercall(struct arch_vcpu *vcpu, uint64_t result);

/*
 * After NESTED_FAULT, or MMIO that nobody answered: the vCPU goes on at `pc` with `result` in RAX or x0, and not at the
 * instruction that faulted. False: its CPU could not be entered there, and nothing has changed.
 */
bool arch_vcpu_resume_at(struct arch_vcpu *vcpu, uint64_t pc, uint64_t result);

/* The vCPU leaves with VM_EXIT_DEADLINE once arch_counter() has passed `counter`; UINT64_MAX: never. */
void arch_vcpu_set_deadline(struct arch_vcpu *vcpu, uint64_t counter);

/* Whether an interrupt is ready for the vCPU; ends a HALT. */
bool arch_vcpu_interrupt_pending(struct arch_vcpu *vcpu);
/* Whether any interrupt could ever end its HALT (x86: not with RFLAGS.IF clear, or with no controller). */
bool arch_vcpu_wakeable(struct arch_vcpu *vcpu);
/* The arch_counter() value at which the vCPU's own timer is due; UINT64_MAX: none is running. */
uint64_t arch_vcpu_wake_time(struct arch_vcpu *vcpu);
/*
 * The loader has written `bytes` at `memory` (a host pointer into guest memory): makes them visible to a guest
 * whose caches are off. Nothing to do on x86.
 */
void arch_clean_guest_memory(const void *memory, size_t bytes);
/* Sleeps this CPU until a host interrupt or until the counter passes `counter`. */
void arch_idle(uint64_t counter);

/* "EPT violation", "VMEXIT_NPF", "Data Abort from a lower Exception level": the manual's name of vm_exit.raw. */
const char *arch_exit_name(uint64_t raw);

/* Logs the vCPU's registers and the bytes of the code it stopped at, as lines of `subsystem`. */
void arch_vcpu_report(struct arch_vcpu *vcpu, const char *subsystem);

/* How often the vCPU has left its guest for the reason in place `index`; `name` is arch_exit_name's. False: no more. */
struct arch_exit_count {
	const char *name;
	uint64_t count;
};
bool arch_vcpu_exit_count(const struct arch_vcpu *vcpu, unsigned index, struct arch_exit_count *count);
