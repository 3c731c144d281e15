/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hv_main is the list of what happens, in order: the console and the log, the machine's memory, the CPU, the
 * configured VMs one after the other, the end. boot/ calls it once; it never returns.
 */
#include "arch/arch.h"
#include "hv/boot_info.h"
#include "hv/clock.h"
#include "hv/console.h"
#include "hv/entropy.h"
#include "hv/host_memory.h"
#include "hv/sched.h"
#include "lib/image.h"
#include "lib/log.h"
#include "lib/panic.h"
#include "lib/stack_protector.h"

#define VERSION      "0.1"
#define MESSAGE_MAX  160
#define STACK_FRAMES 8

bool hv_check(char *message, size_t size)
{
	return arch_check(message, size);
}

uint64_t hv_counter(void)
{
	return arch_counter();
}

static void log_machine(const struct boot_info *info)
{
	log_line("caisson", "version %s for %s, image at 0x%llx, %u CPU%s, RSDP 0x%llx, device tree 0x%llx", VERSION,
	         arch_platform.isa, (unsigned long long)(uintptr_t)image_start, info->cpu_count,
	         info->cpu_count == 1 ? "" : "s", (unsigned long long)info->acpi_rsdp, (unsigned long long)info->fdt);
}

static void take_machine(struct boot_info *info)
{
	char message[MESSAGE_MAX];
	if (!host_memory_init(info)) {
		panic("mm: too little memory for the frame allocator");
	}
	const struct arch_host host = {
		.regions = info->regions,
		.region_count = info->region_count,
		.acpi_rsdp = info->acpi_rsdp,
		.fdt = info->fdt,
		.hal = host_memory_hal(),
		.time_of_day = clock_wall_nanoseconds(),
	};
	if (!arch_init(&host, message, sizeof(message))) {
		panic("%s: %s", arch_platform.isa, message);
	}
}

/* The rest, on a stack whose overflow the CPU notices. */
static void run(void *argument)
{
	struct boot_info *info = argument;
	host_memory_reclaim(info);
	host_memory_log("mm");
	entropy_init(info);

	unsigned ended = sched_run(info);

	console_log_at_once();
	uint64_t nmis = arch_nmi_count();
	if (nmis > 0) {
		log_line("cpu", "%llu NMI%s came in all", (unsigned long long)nmis, nmis == 1 ? "" : "s");
	}
	unsigned count = info->config.vm_count;
	log_line("caisson", "%u guest%s ended: %u by themselves, %u stopped", count, count == 1 ? "" : "s", ended,
	         count - ended);
	log_flush(); /* what the port still has to send would be lost with its power */
	if (info->firmware_reset) {
		static bool power_off = true;
		arch_call_firmware(info->firmware_reset, &power_off);
	}
	log_line("caisson", "halted: the firmware did not power the machine off");
	arch_halt();
}

_Noreturn void hv_main(struct boot_info *info)
{
	stack_protector_seed(arch_counter());
	clock_init(info->start_counter, info->start_time);
	log_set_clock(clock_microseconds);
	console_init(info);
	log_machine(info);
	take_machine(info);
	uintptr_t stack = arch_stack_alloc(STACK_FRAMES);
	if (stack == 0) {
		panic("mm: no frames for a stack");
	}
	arch_run_on_stack(stack, run, info);
}
