/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way in: takes the machine in the order in which one part needs another, and what is left of arch.h. Called by
 * hv/ once, with the firmware gone.
 */
#include "cpu.h"
#include "firmware.h"
#include "gic_host.h"
#include "lib/log.h"
#include "lib/printf.h"
#include "vm.h"

/* QEMU's virt machine is the layout that firmware and kernels for virtual Arm machines are built for. */
const struct arch_platform arch_platform = {
	.isa = "aarch64",
	.elf_machine = 183,
	.ram_base = UINT64_C(0x40000000),
	.flash_base = 0,
	.flash_bytes = MIB(128),
	.console = CONSOLE_PL011,
	.console_mmio = UINT64_C(0x09000000),
	.console_irq = 33,
	.virtio_base = UINT64_C(0x0a000000),
	.virtio_stride = 0x200,
	.virtio_irq = 48,
};

const char *arch_virtualization(void)
{
	return "EL2";
}

static void mask_exceptions(void)
{
	__asm__ volatile("msr daifset, #0xf" : : : "memory");
}

bool arch_init(const struct arch_host *host, char *message, size_t size)
{
	bool vhe;
	mask_exceptions();
	if (!arch_check(message, size)) {
		return false;
	}
	vhe = sysreg_read(hcr_el2) & HCR_E2H;
	arm_cpu_take_vectors();
	arm_traps_init();
	if (!arm_paging_init(host, message, size)) {
		return false;
	}
	if (!arm_cpu_init()) {
		snprintf(message, size, "no frames for the stack of fatal exceptions");
		return false;
	}
	arm_stage2_init();
	arm_timer_init();
	arm_firmware_init(host);
	if (!gic_host_init(host, message, size)) {
		return false;
	}
	log_line("cpu", "EL2%s, %u-bit physical addresses, %s, counter at %llu kHz",
	         vhe ? " (entered with VHE, now off)" : "", arm_features.physical_bits,
	         arm_features.force_write_back ? "stage 2 forces write-back" : "guest memory cleaned by address",
	         (unsigned long long)(arch_counter_hz() / 1000));
	return true;
}

/* The vCPU that may be loaded is put first: the firmware may use floating point, and its registers are the guest's. */
void arch_call_firmware(void (*function)(void *argument), void *argument)
{
	struct arm_cpu *cpu = this_cpu();
	if (cpu->loaded) {
		arch_vcpu_put(cpu->loaded);
	}
	if (!arm_paging_map_firmware(true)) {
		log_line("cpu", "no frames to map the firmware: not called");
		return;
	}
	function(argument);
	mask_exceptions();
	arm_paging_map_firmware(false);
}

uint64_t arch_nmi_count(void)
{
	return 0; /* FEAT_NMI stays off */
}

_Noreturn void arch_halt(void)
{
	mask_exceptions();
	for (;;) {
		__asm__ volatile("wfi" : : : "memory");
	}
}
