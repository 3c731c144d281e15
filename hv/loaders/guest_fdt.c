/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device tree that a guest finds: what Caisson really gives it, and nothing else. The nodes' properties
 * follow Linux's Documentation/devicetree/bindings.
 */
#include "hv/entropy.h"
#include "hv/loaders/fdt_writer.h"
#include "hv/loaders/loader.h"
#include "lib/util.h"

#define PHANDLE_GIC        1
#define PHANDLE_CLOCK      2
#define GIC_SPI            0
#define GIC_PPI            1
#define GIC_SPI_BASE       32
#define IRQ_LEVEL_HIGH     4
#define PPI_SECURE         13
#define PPI_NONSECURE      14
#define PPI_VIRTUAL        11
#define PPI_HYPERVISOR     10
#define UART_CLOCK_HZ      24000000
#define DEVICES_MAX        4
#define HIGH32(value)      ((uint32_t)((value) >> 32))
#define LOW32(value)       ((uint32_t)(value))
#define RANGE(base, bytes) HIGH32(base), LOW32(base), HIGH32(bytes), LOW32(bytes)

/* Linux lays itself out by the first and mixes the second into its generator, and removes both from the tree. */
static void write_seeds(struct fdt_writer *fdt)
{
	uint8_t seed[RANDOM_SEED_BYTES];
	entropy_get(seed, sizeof(uint64_t));
	fdt_write_bytes(fdt, "kaslr-seed", seed, sizeof(uint64_t));
	entropy_get(seed, sizeof(seed));
	fdt_write_bytes(fdt, "rng-seed", seed, sizeof(seed));
	random_wipe(seed, sizeof(seed));
}

static void write_chosen(struct fdt_writer *fdt, const struct loader *loader, gpa_t initrd)
{
	fdt_write_node(fdt, "chosen");
	fdt_write_string(fdt, "stdout-path", "/pl011@9000000");
	fdt_write_string(fdt, "bootargs", loader->cmdline);
	write_seeds(fdt);
	if (initrd) {
		gpa_t end = initrd + loader->initrd.bytes;
		fdt_write_cells(fdt, "linux,initrd-start", (uint32_t[]){HIGH32(initrd), LOW32(initrd)}, 2);
		fdt_write_cells(fdt, "linux,initrd-end", (uint32_t[]){HIGH32(end), LOW32(end)}, 2);
	}
	fdt_write_end_node(fdt);
}

static void write_memory(struct fdt_writer *fdt, const struct vm *vm)
{
	for (unsigned i = 0; i < ARRAY_SIZE(vm->ram); i++) {
		const struct vm_ram *ram = &vm->ram[i];
		if (ram->bytes == 0) {
			continue;
		}
		fdt_write_node_at(fdt, "memory", ram->start);
		fdt_write_string(fdt, "device_type", "memory");
		fdt_write_cells(fdt, "reg", (uint32_t[]){RANGE(ram->start, ram->bytes)}, 4);
		fdt_write_end_node(fdt);
	}
}

static void write_cpus(struct fdt_writer *fdt, const struct vm *vm)
{
	fdt_write_node(fdt, "cpus");
	fdt_write_cell(fdt, "#address-cells", 1);
	fdt_write_cell(fdt, "#size-cells", 0);
	for (unsigned i = 0; i < vm->config->vcpus; i++) {
		fdt_write_node_at(fdt, "cpu", i);
		fdt_write_string(fdt, "device_type", "cpu");
		fdt_write_string(fdt, "compatible", "arm,armv8");
		fdt_write_string(fdt, "enable-method", "psci");
		fdt_write_cell(fdt, "reg", i);
		fdt_write_end_node(fdt);
	}
	fdt_write_end_node(fdt);
	fdt_write_node(fdt, "psci");
	fdt_write_bytes(fdt, "compatible", "arm,psci-1.0\0arm,psci-0.2", sizeof("arm,psci-1.0\0arm,psci-0.2"));
	fdt_write_string(fdt, "method", "hvc");
	fdt_write_end_node(fdt);
}

static void write_gic(struct fdt_writer *fdt, const struct vm *vm)
{
	struct arch_vm_device devices[DEVICES_MAX];
	unsigned count = MIN(arch_vm_devices(&vm->arch, devices, DEVICES_MAX), (unsigned)DEVICES_MAX);
	uint32_t reg[DEVICES_MAX * 4];
	for (unsigned i = 0; i < count; i++) {
		const uint32_t cells[] = {RANGE(devices[i].base, devices[i].bytes)};
		for (unsigned j = 0; j < ARRAY_SIZE(cells); j++) {
			reg[i * 4 + j] = cells[j];
		}
	}
	if (count == 0) {
		return;
	}
	fdt_write_node_at(fdt, "intc", devices[0].base);
	fdt_write_string(fdt, "compatible", arch_vm_gic_version(&vm->arch) == 3 ? "arm,gic-v3" : "arm,cortex-a15-gic");
	fdt_write_empty(fdt, "interrupt-controller");
	fdt_write_cell(fdt, "#interrupt-cells", 3);
	fdt_write_cells(fdt, "reg", reg, count * (size_t)4);
	fdt_write_cell(fdt, "phandle", PHANDLE_GIC);
	fdt_write_end_node(fdt);
}

static void write_timer(struct fdt_writer *fdt)
{
	static const uint32_t interrupts[] = {
		GIC_PPI, PPI_SECURE,  IRQ_LEVEL_HIGH, GIC_PPI, PPI_NONSECURE,  IRQ_LEVEL_HIGH,
		GIC_PPI, PPI_VIRTUAL, IRQ_LEVEL_HIGH, GIC_PPI, PPI_HYPERVISOR, IRQ_LEVEL_HIGH,
	};
	fdt_write_node(fdt, "timer");
	fdt_write_string(fdt, "compatible", "arm,armv8-timer");
	fdt_write_cells(fdt, "interrupts", interrupts, ARRAY_SIZE(interrupts));
	fdt_write_empty(fdt, "always-on");
	fdt_write_end_node(fdt);
}

/* What the bindings of both PrimeCells ask for. */
static void write_clock(struct fdt_writer *fdt)
{
	fdt_write_node(fdt, "apb-pclk");
	fdt_write_string(fdt, "compatible", "fixed-clock");
	fdt_write_cell(fdt, "#clock-cells", 0);
	fdt_write_cell(fdt, "clock-frequency", UART_CLOCK_HZ);
	fdt_write_cell(fdt, "phandle", PHANDLE_CLOCK);
	fdt_write_end_node(fdt);
}

static void write_uart(struct fdt_writer *fdt)
{
	gpa_t base = arch_platform.console_mmio;
	fdt_write_node_at(fdt, "pl011", base);
	fdt_write_bytes(fdt, "compatible", "arm,pl011\0arm,primecell", sizeof("arm,pl011\0arm,primecell"));
	fdt_write_cells(fdt, "reg", (uint32_t[]){RANGE(base, FRAME_SIZE)}, 4);
	fdt_write_cells(fdt, "interrupts",
	                (uint32_t[]){GIC_SPI, arch_platform.console_irq - GIC_SPI_BASE, IRQ_LEVEL_HIGH}, 3);
	fdt_write_cells(fdt, "clocks", (uint32_t[]){PHANDLE_CLOCK, PHANDLE_CLOCK}, 2);
	fdt_write_bytes(fdt, "clock-names", "uartclk\0apb_pclk", sizeof("uartclk\0apb_pclk"));
	fdt_write_end_node(fdt);
}

static void write_rtc(struct fdt_writer *fdt)
{
	fdt_write_node_at(fdt, "pl031", PL031_GPA);
	fdt_write_bytes(fdt, "compatible", "arm,pl031\0arm,primecell", sizeof("arm,pl031\0arm,primecell"));
	fdt_write_cells(fdt, "reg", (uint32_t[]){RANGE(PL031_GPA, PL031_BYTES)}, 4);
	fdt_write_cell(fdt, "clocks", PHANDLE_CLOCK);
	fdt_write_string(fdt, "clock-names", "apb_pclk");
	fdt_write_end_node(fdt);
}

static void write_virtio(struct fdt_writer *fdt, const struct vm_virtio *virtio)
{
	for (unsigned i = 0; i < virtio->count; i++) {
		const struct vm_virtio_slot *slot = &virtio->slot[i];
		fdt_write_node_at(fdt, "virtio_mmio", slot->base);
		fdt_write_string(fdt, "compatible", "virtio,mmio");
		fdt_write_cells(fdt, "reg", (uint32_t[]){RANGE(slot->base, VIRTIO_MMIO_BYTES)}, 4);
		fdt_write_cells(fdt, "interrupts", (uint32_t[]){GIC_SPI, slot->line - GIC_SPI_BASE, IRQ_LEVEL_HIGH}, 3);
		fdt_write_end_node(fdt);
	}
}

bool load_guest_fdt(struct loader *loader, gpa_t address, gpa_t initrd_start)
{
	static uint8_t buffer[FRAME_SIZE * 2];
	static struct fdt_writer writer;
	struct fdt_writer *fdt = &writer;

	fdt_write_start(fdt, buffer, sizeof(buffer));
	fdt_write_node(fdt, "");
	fdt_write_cell(fdt, "#address-cells", 2);
	fdt_write_cell(fdt, "#size-cells", 2);
	fdt_write_string(fdt, "compatible", "linux,dummy-virt");
	fdt_write_string(fdt, "model", "Caisson virtual machine");
	fdt_write_cell(fdt, "interrupt-parent", PHANDLE_GIC);
	/* Of all nodes below: caches are coherent with devices that are software. */
	fdt_write_empty(fdt, "dma-coherent");
	write_chosen(fdt, loader, initrd_start);
	write_memory(fdt, loader->vm);
	write_cpus(fdt, loader->vm);
	write_gic(fdt, loader->vm);
	write_timer(fdt);
	write_clock(fdt);
	write_uart(fdt);
	write_rtc(fdt);
	write_virtio(fdt, &loader->vm->virtio);
	fdt_write_end_node(fdt);
	size_t bytes = fdt_write_finish(fdt);
	if (bytes == 0 || bytes > GUEST_FDT_MAX) {
		return loader_fail(loader, "the device tree does not fit into %zu bytes", sizeof(buffer));
	}
	bool written = loader_write(loader, address, buffer, bytes, "device tree");
	random_wipe(buffer, bytes); /* the seeds are the guest's alone */
	return written;
}
