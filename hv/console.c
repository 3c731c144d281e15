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
#include "lib/string.h"
#include "lib/util.h"

static struct host_uart uart;
static bool have_uart;

/* Three of these give the input to the next guest; fewer are handed on with what follows them. */
#define SWITCH_KEY   0x01 /* Ctrl-A */
#define SWITCH_TIMES 3

static struct console *focus;  /* has the input; NULL: none is attached */
static struct console *writer; /* wrote last */
static bool several;           /* there were two at once: lines tell whose they are, to the end */
static unsigned switch_keys;   /* held back */
static int waiting = -1;       /* a byte read ahead, -1: none */

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

static void switch_focus(void)
{
	focus = focus->next;
	log_line("console", "input goes to vm %s; three times Ctrl-A gives it to the next", focus->name);
}

/* The next byte for the guest that has the focus, or -1. */
static int next_byte(void)
{
	int byte = have_uart ? host_uart_read(&uart) : -1;
	if (focus == focus->next || byte < 0) {
		return byte;
	}
	if (byte == SWITCH_KEY && ++switch_keys == SWITCH_TIMES) {
		switch_keys = 0;
		switch_focus();
		return -1;
	}
	return byte == SWITCH_KEY ? -1 : byte;
}

static int take_byte(void)
{
	if (waiting < 0) {
		waiting = next_byte();
	}
	if (waiting >= 0 && switch_keys > 0) {
		switch_keys--;
		return SWITCH_KEY;
	}
	int byte = waiting;
	waiting = -1;
	return byte;
}

/* What is held goes out. Lines of several guests would be one: each begins with its VM's name then. */
static void show(struct console *console)
{
	if (console->held == 0) {
		return;
	}
	if (several && writer != console && log_line_open()) {
		log_raw("\n", 1);
	}
	if (several && !log_line_open()) {
		log_raw(console->name, strlen(console->name));
		log_raw("| ", 2);
	}
	log_raw(console->line, console->held);
	writer = console;
	console->held = 0;
}

static void backend_write(struct serial_backend *backend, uint8_t byte)
{
	struct console *console = container_of(backend, struct console, backend);
	console->line[console->held++] = (char)byte;
	console->grew = true;
	if (byte == '\n' || console->held == sizeof(console->line) || !several) {
		show(console);
	}
}

void console_slice_over(struct console *console, bool waits)
{
	if (waits || !console->grew) {
		show(console);
	}
	console->grew = false;
}

static int backend_read(struct serial_backend *backend)
{
	return focus == container_of(backend, struct console, backend) ? take_byte() : -1;
}

void console_attach(struct console *console, const char *name, void (*poll)(void *context), void *context)
{
	console->backend = (struct serial_backend){.write = backend_write, .read = backend_read};
	console->name = name;
	console->poll = poll;
	console->context = context;
	console->next = focus ? focus->next : console;
	if (focus) {
		focus->next = console;
		several = true;
	} else {
		focus = console;
	}
}

void console_detach(struct console *console)
{
	struct console *before = console;
	if (!console->next) {
		return;
	}
	show(console);
	while (before->next != console) {
		before = before->next;
	}
	before->next = console->next;
	console->next = NULL;
	writer = writer == console ? NULL : writer;
	if (focus == console) {
		focus = before == console ? NULL : before;
		if (focus) {
			switch_focus();
		}
	}
}

void console_poll(void)
{
	if (!focus) {
		return;
	}
	if (waiting < 0) {
		waiting = next_byte();
	}
	if (waiting >= 0) {
		focus->poll(focus->context);
	}
}
