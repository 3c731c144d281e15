/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Describes a VM to acpi.c, and puts the tables where kernels look for them. Called by the loaders of PC kernels.
 */
#include "hv/devices/acpi_power.h"
#include "hv/devices/rtc_cmos.h"
#include "hv/loaders/acpi.h"
#include "hv/loaders/loader.h"
#include "lib/string.h"
#include "lib/util.h"

#define DEVICES_MAX  4
#define RESET_VECTOR 0xffff0

_Static_assert(VM_VIRTIO_MAX <= ACPI_VIRTIO_MAX, "the tables have room for every virtio device");

static uint32_t base_of(const struct arch_vm_device *devices, unsigned count, const char *name)
{
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(devices[i].name, name) == 0) {
			return (uint32_t)devices[i].base;
		}
	}
	return 0;
}

/*
 * Code at the reset vector, F000:FFF0, for a kernel that resets the machine by going there: Linux does with
 * hardware-reduced ACPI and no EFI, whatever the reset register.
 */
static bool load_reset_vector(struct loader *loader)
{
	const uint16_t port = ACPI_POWER_PORT + ACPI_POWER_RESET;
	const uint8_t code[] = {
		0xba, (uint8_t)port,          (uint8_t)(port >> 8), /* mov $port, %dx */
		0xb0, ACPI_POWER_RESET_VALUE,                       /* mov $value, %al */
		0xee,                                               /* out %al, %dx */
	};
	return loader_write(loader, RESET_VECTOR, code, sizeof(code), "reset vector");
}

bool load_guest_acpi(struct loader *loader)
{
	const struct vm *vm = loader->vm;
	struct arch_vm_device devices[DEVICES_MAX];
	unsigned count = MIN(arch_vm_devices(&vm->arch, devices, DEVICES_MAX), (unsigned)DEVICES_MAX);
	struct acpi_machine machine = {
		.cpus = vm->config->vcpus,
		.lapic_base = base_of(devices, count, "lapic"),
		.ioapic_base = base_of(devices, count, "ioapic"),
		.console_port = arch_platform.console_port,
		.console_irq = (uint8_t)arch_platform.console_irq,
		.rtc_port = RTC_PORT,
		.power_port = ACPI_POWER_PORT,
	};
	uint8_t tables[ACPI_MAX];

	for (unsigned i = 0; i < vm->virtio.count; i++) {
		const struct vm_virtio_slot *slot = &vm->virtio.slot[i];
		machine.virtio[machine.virtio_count++] =
			(struct acpi_virtio){(uint32_t)slot->base, VIRTIO_MMIO_BYTES, slot->line};
	}
	if (machine.ioapic_base == 0) {
		return true;
	}
	size_t bytes = acpi_write_tables(&machine, ACPI_AT, tables);
	if (bytes > sizeof(tables)) {
		return loader_fail(loader, "ACPI tables of %zu bytes: there is room for %zu", bytes, sizeof(tables));
	}
	loader->acpi_rsdp = ACPI_AT;
	return loader_write(loader, ACPI_AT, tables, bytes, "ACPI tables") && load_reset_vector(loader);
}
