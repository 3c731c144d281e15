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

/*
 * A guest's console. Several can be attached at once: one of them has the input, and each line tells whose it is. So
 * that no other line comes between, a line is then held until it is whole, or its guest leaves it as it is.
 */
#define CONSOLE_LINE_MAX 256
struct console {
	struct serial_backend backend; /* for the guest's UART model */
	const char *name;              /* the VM's */
	void (*poll)(void *context);   /* called when input waits for it */
	void *context;
	/* console.c's own */
	struct console *next; /* a ring of those that are attached */
	char line[CONSOLE_LINE_MAX];
	unsigned held; /* bytes of it */
	bool grew;     /* in this slice of its VM's */
};

/* The first one gets the input; three times Ctrl-A gives it to the next one. */
void console_attach(struct console *console, const char *name, void (*poll)(void *context), void *context);
/* Does nothing for one that is not attached. */
void console_detach(struct console *console);

/* Its VM has left the CPU to others, and `waits` for something: a prompt is shown then, or when it stays as it is. */
void console_slice_over(struct console *console, bool waits);

/* Looks for input and tells the model of the VM that has it. */
void console_poll(void);
