/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest's UART model is connected to: a byte stream on one side, an interrupt line on the other. The
 * models know nothing else of the VM, so they build and are tested on the host.
 */
#pragma once

#include "hv/bus.h"

struct serial_backend {
	void (*write)(struct serial_backend *backend, uint8_t byte);
	/* The next byte that waits, or -1. */
	int (*read)(struct serial_backend *backend);
};

struct irq_line {
	void (*set)(struct irq_line *line, bool level);
};

/* A 16550A: 8 registers, a 16-byte receive FIFO; transmission takes no time. */
struct uart16550_device {
	struct device device;
	struct serial_backend *backend;
	struct irq_line *irq;
	uint8_t ier, iir_fifo, lcr, mcr, scratch, divisor_low, divisor_high, overrun;
	bool thre_pending; /* the transmitter-empty interrupt, cleared by reading IIR or writing THR */
	uint8_t fifo[16];
	uint8_t fifo_head, fifo_count;
};
void uart16550_device_init(struct uart16550_device *uart, struct serial_backend *backend, struct irq_line *irq);
/* Takes what waits in the backend into the FIFO and raises the interrupt if the guest wants one. */
void uart16550_device_poll(struct uart16550_device *uart);

/* An Arm PL011 (DDI 0183): 4 KiB of registers, a 16-byte receive FIFO; transmission takes no time. */
struct pl011_device {
	struct device device;
	struct serial_backend *backend;
	struct irq_line *irq;
	uint32_t ibrd, fbrd, lcr_h, cr, ifls, imsc, ris, dmacr;
	uint8_t fifo[16];
	uint8_t fifo_head, fifo_count;
};
void pl011_device_init(struct pl011_device *uart, struct serial_backend *backend, struct irq_line *irq);
void pl011_device_poll(struct pl011_device *uart);
