/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine part of arch.h for x86-64: whether this CPU will do, taking it, and what hv/ wants of the host
 * afterwards. Everything with more than a few lines to it lives in the file of its subject.
 */
#include "arch/arch.h"

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/kvm_clock.h"
#include "arch/x86_64/mtrr.h"
#include "arch/x86_64/vcpu.h"
#include "lib/log.h"
#include "lib/panic.h"
#include "lib/printf.h"

#define ELF_MACHINE_X86_64 62 /* EM_X86_64 */

/* The first MTRR of each size of fixed range: SDM vol. 3A 11.11.2.2. */
#define MSR_MTRR_FIX64K_00000 0x250
#define MSR_MTRR_FIX16K_80000 0x258 /* and _A0000 */
#define MSR_MTRR_FIX4K_C0000  0x268 /* to _F8000 */
#define MTRR_FIX4K_COUNT      8

/* SYSCFG: APM vol. 2 7.9.3 "Extensions to the memory type range registers". */
#define SYSCFG_TOM2_ENABLE     BIT(21)
#define SYSCFG_TOM2_WRITE_BACK BIT(22)

const struct arch_platform arch_platform = {
	.isa = "x86_64",
	.elf_machine = ELF_MACHINE_X86_64,
	.ram_base = 0,
	.ram_hole_start = GIB(3),
	.ram_hole_end = GIB(4),
	.console = CONSOLE_16550,
	.console_port = 0x3f8,
	.console_mmio = 0xfe032000, /* the same UART */
	.console_irq = 4,
	.virtio_base = 0xfe000000,
	.virtio_stride = FRAME_SIZE,
	.virtio_irq = 16, /* to 23: the I/O APIC's lines that no ISA device has */
	.host_console_port = 0x3f8,
};

const struct virt_ops *x86_ops;

/* The CPU that the firmware started; the others get theirs when they are started. */
static struct x86_cpu boot_cpu;
static struct mtrrs mtrrs;

/* ---- whether it will do ---- */

bool arch_check(char *message, size_t size)
{
	const struct x86_features *f = &x86_features;
	x86_cpu_probe();
	const struct {
		bool there;
		const char *what;
	} needed[] = {
		{f->no_execute, "no-execute pages (enable \"Execute Disable\" in the firmware's setup)"},
		{f->apic, "a local APIC (enable it in the firmware's setup)"},
		{f->pat, "the page attribute table"},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
		if (!needed[i].there) {
			snprintf(message, size, "%s: missing %s", f->brand, needed[i].what);
			return false;
		}
	}
	if (!f->vmx && !f->svm) {
		snprintf(message, size,
		         "%s: neither VMX nor SVM; if the CPU has it, the firmware's setup can turn it on", f->brand);
		return false;
	}
	x86_ops = f->vmx ? &vmx_ops : &svm_ops;
	if (!x86_ops->check(message, size)) {
		return false;
	}
	x86_time_init();
	return true;
}

/* ---- taking the CPU ---- */

static void read_mtrrs(void)
{
	mtrrs = (struct mtrrs){.physical_bits = x86_features.physical_bits};
	if (!x86_features.mtrr) {
		return;
	}
	uint64_t cap = rdmsr(MSR_IA32_MTRRCAP), syscfg;
	mtrrs.def_type = rdmsr(MSR_IA32_MTRR_DEF_TYPE);
	mtrrs.has_fixed = cap & MTRR_CAP_FIXED;
	if (mtrrs.has_fixed) {
		uint64_t *fixed = mtrrs.fixed;
		*fixed++ = rdmsr(MSR_MTRR_FIX64K_00000);
		*fixed++ = rdmsr(MSR_MTRR_FIX16K_80000);
		*fixed++ = rdmsr(MSR_MTRR_FIX16K_80000 + 1);
		for (unsigned i = 0; i < MTRR_FIX4K_COUNT; i++) {
			*fixed++ = rdmsr(MSR_MTRR_FIX4K_C0000 + i);
		}
	}
	mtrrs.variable_count = MIN(MTRR_CAP_VARIABLES(cap), MTRR_VARIABLE_MAX);
	for (unsigned i = 0; i < mtrrs.variable_count; i++) {
		mtrrs.variable[i].base = rdmsr(MSR_IA32_MTRR_PHYSBASE0 + 2 * i);
		mtrrs.variable[i].mask = rdmsr(MSR_IA32_MTRR_PHYSMASK0 + 2 * i);
	}
	const uint64_t both = SYSCFG_TOM2_ENABLE | SYSCFG_TOM2_WRITE_BACK;
	if (x86_features.svm && rdmsr_safe(MSR_AMD_SYSCFG, &syscfg) && (syscfg & both) == both) {
		mtrrs.top_mem2 = rdmsr(MSR_AMD_TOP_MEM2);
	}
}

static bool take_machine(const struct arch_host *host, char *message, size_t size)
{
	/* On a shadow stack of the firmware's the far return that loads CS would be a #CP. */
	write_cr4(read_cr4() & ~CR4_CET);
	x86_traps_init(&boot_cpu);
	int status = x86_paging_init(host->regions, host->region_count, host->hal);
	if (status != MM_OK) {
		snprintf(message, size, "own page tables: %s", mm_status_name(status));
		return false;
	}
	if (!x86_traps_stacks(&boot_cpu)) {
		snprintf(message, size, "stacks for traps: %s", mm_status_name(MM_ENOMEM));
		return false;
	}
	x86_time_refine(host->acpi_rsdp);
	read_mtrrs();
	return x86_host_lapic_init(message, size);
}

bool arch_init(const struct arch_host *host, char *message, size_t size)
{
	__asm__ volatile("cli" : : : "memory");
	x86_hal = host->hal;
	if (!take_machine(host, message, size)) {
		return false;
	}
	const struct x86_features *f = &x86_features;
	log_line("cpu", "%s, %u-bit physical, %s pages, %s", f->brand, f->physical_bits, f->leaf_1g ? "1 GiB" : "2 MiB",
	         x86_host_lapic_mode());
	log_line("cpu", "TSC at %lu MHz (%s)", (arch_counter_hz() + 500000) / 1000000, x86_time_source());
	log_line("paging", "own tables, %lu frames, W^X", x86_paging_frames());
	x86_cpuid_init();
	x86_cr4_init();
	kvm_clock_init(host->time_of_day);
	if (!x86_ops->enable(x86_hal, message, size)) {
		return false;
	}
	struct npt_format format;
	arch_nested_format(&format, 0);
	log_line("virt", "%s, nested tables %s of %u levels", x86_ops->name, format.name, format.levels);
	return true;
}

/* ---- afterwards ---- */

_Noreturn void arch_run_on_stack(uintptr_t top, void (*function)(void *argument), void *argument)
{
	/* A zero return address and frame pointer end backtraces. */
	__asm__ volatile("movq %[top], %%rsp\n\t"
	                 "xorl %%ebp, %%ebp\n\t"
	                 "pushq $0\n\t"
	                 "jmp *%[function]"
	                 :
	                 : [top] "r"(align_down(top, 16)), [function] "r"(function), "D"(argument)
	                 : "memory");
	__builtin_unreachable();
}

/* Runtime services may use the SSE registers, so no vCPU's state may be in them. */
void arch_call_firmware(void (*function)(void *argument), void *argument)
{
	char message[LOG_LINE_MAX];
	uint64_t flags = x86_interrupts_save();
	if (this_cpu()->loaded != NULL) {
		arch_vcpu_put(this_cpu()->loaded);
	}
	(void)x86_host_timer_set(UINT64_MAX, 0);
	x86_ops->disable();
	if (x86_paging_firmware(true)) {
		function(argument);
	} else {
		log_line("paging", "the firmware's memory cannot be mapped: not called");
	}
	x86_paging_firmware(false);
	if (!x86_ops->enable(x86_hal, message, sizeof(message))) {
		panic("after a call into the firmware: %s", message);
	}
	x86_interrupts_restore(flags);
}

_Noreturn void arch_halt(void)
{
	for (;;) {
		__asm__ volatile("cli; hlt");
	}
}

void arch_idle(uint64_t counter)
{
	uint64_t now = rdtsc();
	if (now >= counter) {
		return;
	}
	(void)x86_host_timer_set(counter, now);
	/* An interrupt is let in only after the instruction that follows STI: it cannot slip in before HLT. */
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

enum mm_memory_type arch_memory_type(hpa_t base, uint64_t bytes)
{
	return mtrr_memory_type(&mtrrs, base, bytes);
}
