/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's serial port, whatever its kind: found by acpi_tables.c or fdt.c (or by convention), driven by
 * uart16550.c or pl011.c, used by hv/ as a log sink and as the guests' console. Polled, never interrupts. A
 * port that is dead or blocked costs a bounded wait once and is then passed over: it never hangs the machine.
 */
#pragma once

#include "lib/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum uart_kind {
	UART_NONE,
	UART_16550_PORT, /* `address` is an I/O port */
	UART_16550_MMIO,
	UART_PL011,
	UART_SBSA, /* the PL011's subset of the Server Base System Architecture: data and flags only */
};

/* Where firmware or convention say that a serial port is. MMIO must be mapped before host_uart_init. */
struct uart_description {
	enum uart_kind kind;
	uint8_t stride;       /* 16550: bytes from one register to the next, 1, 2 or 4; 0 stands for 1 */
	uint8_t access_width; /* 16550 MMIO: bytes of one access, 1 or 4; 0 stands for 1 */
	uint32_t clock_hz;    /* 16550: what the divisor divides; 0: not known, the rate stays as it is */
	uint64_t address;     /* I/O port or host-physical address */
};

/* The window of registers at uart_description.address of an MMIO kind, for arch_map_device. */
#define HOST_UART_MMIO_BYTES 4096

/* A PC's: 1.8432 MHz / 16 = 115200 baud with divisor 1. */
#define UART_PC_CLOCK_HZ 1843200
#define UART_BAUD        115200

/* Holds the text of a whole boot when `deferred`. A power of two. */
#define HOST_UART_QUEUE_BYTES 8192

struct host_uart {
	struct log_sink sink; /* for log_add_sink */
	struct uart_description description;
	uint8_t fifo_bytes; /* what the transmitter takes at once when it is empty */
	bool cr_sent;       /* the last byte queued was a carriage return */
	bool dead;          /* did not take a byte within the wait: not waited for until it takes one again */
	/* False: write returns when all is sent. True: write only queues, and log_flush sends. */
	bool deferred;
	uint32_t head, tail; /* of the queue; free-running, taken modulo its size */
	/* One driver's part. put: what of `bytes` (more than 0) the port takes now, 0 if it is busy. get: -1 for none.
	 */
	size_t (*put)(struct host_uart *uart, const char *text, size_t bytes);
	int (*get)(struct host_uart *uart);
	/* The last bit is out: the machine may be switched off. */
	bool (*idle)(struct host_uart *uart);
	char queue[HOST_UART_QUEUE_BYTES];
};

/*
 * Probes the port, sets it to 8N1 (and 115200 baud where its clock is known), masks its interrupts. False: no
 * port there that answers; `uart` must not be used then.
 */
bool host_uart_init(struct host_uart *uart, const struct uart_description *description);

/* A byte that has come in, or -1. */
static inline int host_uart_read(struct host_uart *uart)
{
	return uart->get(uart);
}

/* What log_raw and log_line call by way of the sink: "\n" goes out as "\r\n" unless a "\r" went before it. */
void host_uart_write(struct host_uart *uart, const char *text, size_t bytes);
