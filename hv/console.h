/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's serial console: the log's sink, and the guests' consoles, output and input. Found by ACPI SPCR,
 * the device tree's stdout-path, or where the ISA's machines have it.
 */
#pragma once

#include "hv/boot_info.h"
#include "hv/devices/serial.h"

/* Finds the UART and lets the log write to it. Its registers' page is entered in info->regions as
 * MEMORY_DEVICE, so that the hypervisor's own tables map it. */
void console_init(struct boot_info *info);

/*
 * Until this is called the log only queues for the serial port, so that the first guest starts without waiting for
 * it. Sends all that waits; from then on every line is out when the call that logged it returns.
 */
void console_log_at_once(void);

/* A guest's console. Several can be attached at once: one of them has the input, and each line tells whose it is. */
struct console {
	struct serial_backend backend; /* for the guest's UART model */
	const char *name;              /* the VM's */
	void (*poll)(void *context);   /* called when input waits for it */
	void *context;
	struct console *next; /* console.c's own: a ring of those that are attached */
};

/* The first one gets the input; three times Ctrl-A gives it to the next one. */
void console_attach(struct console *console, const char *name, void (*poll)(void *context), void *context);
/* Does nothing for one that is not attached. */
void console_detach(struct console *console);

/* Looks for input and tells the model of the VM that has it. */
void console_poll(void);
