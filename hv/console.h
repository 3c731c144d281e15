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

/* Connects a guest's UART model to the console; `poll` is called when input waits. One VM at a time has it. */
void console_attach(struct serial_backend *backend, void (*poll)(void *context), void *context);
void console_detach(void);

/* Looks for input and tells the attached VM's model. */
void console_poll(void);
