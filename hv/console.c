/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial console. Called by hv_main for the log, by VMs for their output and input; polled, because input
 * matters only when a guest looks for it or idles.
 */
#include "hv/console.h"

#include "arch/arch.h"
#include "drivers/acpi_tables.h"
#include "drivers/fdt.h"
#include "drivers/host_uart.h"
#include "lib/log.h"
#include "lib/util.h"

static struct host_uart uart;
static bool have_uart;
static int waiting = -1; /* a byte read ahead, -1: none */

static struct {
	void (*poll)(void *context);
	void *context;
} attached;

static bool find_uart(const struct boot_info *info, struct uart_description *description)
{
	struct acpi_tables tables;
	struct fdt fdt;
	if (info->acpi_rsdp && acpi_open(&tables, info->acpi_rsdp, NULL, NULL) && acpi_console(&tables, description)) {
		return true;
	}
	if (info->fdt && fdt_open(&fdt, (const void *)(uintptr_t)info->fdt, SIZE_MAX) &&
	    fdt_console(&fdt, description)) {
		return true;
	}
	*description = (struct uart_description){
		.kind = UART_16550_PORT,
		.clock_hz = UART_PC_CLOCK_HZ,
		.address = arch_platform.host_console_port,
	};
	return arch_platform.host_console_port != 0;
}

/* The registers' page, so that the hypervisor's own tables map it. */
static void add_region(struct boot_info *info, hpa_t base)
{
	unsigned place = 0;
	while (place < info->region_count && info->regions[place].base <= base) {
		place++;
	}
	const struct memory_region *below = place > 0 ? &info->regions[place - 1] : NULL;
	if ((below && base - below->base < below->frames << FRAME_SHIFT) || info->region_count == FRAME_REGIONS_MAX) {
		return;
	}
	for (unsigned i = info->region_count; i > place; i--) {
		info->regions[i] = info->regions[i - 1];
	}
	info->regions[place] = (struct memory_region){base, HOST_UART_MMIO_BYTES >> FRAME_SHIFT, MEMORY_DEVICE};
	info->region_count++;
}

void console_init(struct boot_info *info)
{
	struct uart_description description;
	if (!find_uart(info, &description) || !host_uart_init(&uart, &description)) {
		return; /* a machine without a serial port: the log stays in its ring */
	}
	have_uart = true;
	if (description.kind != UART_16550_PORT) {
		add_region(info, align_down(description.address, FRAME_SIZE));
	}
	uart.deferred = true; /* sending takes milliseconds: the first guest does not wait for it */
	log_add_sink(&uart.sink);
}

void console_log_at_once(void)
{
	uart.deferred = false;
	log_flush();
}

static int next_byte(void)
{
	if (waiting >= 0) {
		int byte = waiting;
		waiting = -1;
		return byte;
	}
	return have_uart ? host_uart_read(&uart) : -1;
}

static void backend_write(struct serial_backend *backend, uint8_t byte)
{
	(void)backend;
	log_raw((const char *)&byte, 1);
}

static int backend_read(struct serial_backend *backend)
{
	(void)backend;
	return next_byte();
}

void console_attach(struct serial_backend *backend, void (*poll)(void *context), void *context)
{
	*backend = (struct serial_backend){.write = backend_write, .read = backend_read};
	attached.poll = poll;
	attached.context = context;
}

void console_detach(void)
{
	attached.poll = NULL;
}

void console_poll(void)
{
	if (!attached.poll) {
		return;
	}
	if (waiting < 0) {
		waiting = next_byte();
	}
	if (waiting >= 0) {
		attached.poll(attached.context);
	}
}
