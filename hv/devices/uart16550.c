/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's 16550A UART (National Semiconductor PC16550D data sheet). Reached by the port bus and, the same
 * eight byte-wide registers, by the MMIO bus. Transmission takes no time: THR is always empty.
 */
#include "hv/devices/serial.h"

#include "lib/util.h"

enum {
	REG_DATA, /* RBR, THR; divisor low with DLAB */
	REG_IER,  /* divisor high with DLAB */
	REG_IIR,  /* FCR when written */
	REG_LCR,
	REG_MCR,
	REG_LSR,
	REG_MSR,
	REG_SCRATCH,
};

#define IER_RECEIVED      0x01
#define IER_THR_EMPTY     0x02
#define IER_LINE_STATUS   0x04
#define IER_MASK          0x0f
#define IIR_NONE          0x01
#define IIR_THR_EMPTY     0x02
#define IIR_RECEIVED      0x04
#define IIR_LINE_STATUS   0x06
#define IIR_FIFOS         0xc0
#define FCR_ENABLE        0x01
#define FCR_CLEAR_RECEIVE 0x02
#define LCR_DLAB          0x80
#define MCR_LOOP          0x10
#define MCR_MASK          0x1f
#define LSR_DATA_READY    0x01
#define LSR_OVERRUN       0x02
#define LSR_THR_EMPTY     0x20
#define LSR_IDLE          0x40
#define MSR_CTS_DSR_DCD   0xb0

static uint8_t interrupt_reason(const struct uart16550_device *uart)
{
	if ((uart->ier & IER_LINE_STATUS) && uart->overrun) {
		return IIR_LINE_STATUS;
	}
	if ((uart->ier & IER_RECEIVED) && uart->fifo_count > 0) {
		return IIR_RECEIVED;
	}
	if ((uart->ier & IER_THR_EMPTY) && uart->thre_pending) {
		return IIR_THR_EMPTY;
	}
	return IIR_NONE;
}

static void update_irq(struct uart16550_device *uart)
{
	uart->irq->set(uart->irq, interrupt_reason(uart) != IIR_NONE);
}

static void receive(struct uart16550_device *uart, uint8_t byte)
{
	unsigned room = (uart->iir_fifo & IIR_FIFOS) ? (unsigned)sizeof(uart->fifo) : 1;
	if (uart->fifo_count >= room) {
		uart->overrun = LSR_OVERRUN;
		return;
	}
	uart->fifo[(uart->fifo_head + uart->fifo_count) % sizeof(uart->fifo)] = byte;
	uart->fifo_count++;
}

void uart16550_device_poll(struct uart16550_device *uart)
{
	unsigned room = (uart->iir_fifo & IIR_FIFOS) ? (unsigned)sizeof(uart->fifo) : 1;
	bool received = false;
	while (uart->fifo_count < room && !(uart->mcr & MCR_LOOP)) {
		int byte = uart->backend->read(uart->backend);
		if (byte < 0) {
			break;
		}
		receive(uart, (uint8_t)byte);
		received = true;
	}
	if (received) {
		update_irq(uart);
	}
}

static uint8_t read_data(struct uart16550_device *uart)
{
	if (uart->fifo_count == 0) {
		return 0;
	}
	uint8_t byte = uart->fifo[uart->fifo_head];
	uart->fifo_head = (uint8_t)((uart->fifo_head + 1) % sizeof(uart->fifo));
	uart->fifo_count--;
	update_irq(uart);
	return byte;
}

static uint8_t read_iir(struct uart16550_device *uart)
{
	uint8_t reason = interrupt_reason(uart);
	if (reason == IIR_THR_EMPTY) {
		uart->thre_pending = false;
		update_irq(uart);
	}
	return reason | (uart->iir_fifo & IIR_FIFOS);
}

static uint8_t read_lsr(struct uart16550_device *uart)
{
	uart16550_device_poll(uart);
	uint8_t status = LSR_THR_EMPTY | LSR_IDLE | uart->overrun;
	if (uart->overrun) {
		uart->overrun = 0;
		update_irq(uart);
	}
	return status | (uart->fifo_count > 0 ? LSR_DATA_READY : 0);
}

/* In loop mode the outputs DTR, RTS, OUT1, OUT2 appear as DSR, CTS, RI, DCD. */
static uint8_t read_msr(const struct uart16550_device *uart)
{
	if (!(uart->mcr & MCR_LOOP)) {
		return MSR_CTS_DSR_DCD;
	}
	unsigned mcr = uart->mcr;
	return (uint8_t)(((mcr & 1) << 5) | ((mcr & 2) << 3) | ((mcr & 4) << 4) | ((mcr & 8) << 4));
}

static bool uart_read(struct device *device, uint64_t offset, unsigned width, uint64_t *value)
{
	struct uart16550_device *uart = container_of(device, struct uart16550_device, device);
	if (width != 1) {
		return false;
	}
	switch (offset) {
	case REG_DATA:
		*value = (uart->lcr & LCR_DLAB) ? uart->divisor_low : read_data(uart);
		return true;
	case REG_IER:
		*value = (uart->lcr & LCR_DLAB) ? uart->divisor_high : uart->ier;
		return true;
	case REG_IIR:
		*value = read_iir(uart);
		return true;
	case REG_LCR:
		*value = uart->lcr;
		return true;
	case REG_MCR:
		*value = uart->mcr;
		return true;
	case REG_LSR:
		*value = read_lsr(uart);
		return true;
	case REG_MSR:
		*value = read_msr(uart);
		return true;
	case REG_SCRATCH:
		*value = uart->scratch;
		return true;
	default:
		return false;
	}
}

static void write_data(struct uart16550_device *uart, uint8_t byte)
{
	if (uart->lcr & LCR_DLAB) {
		uart->divisor_low = byte;
		return;
	}
	if (uart->mcr & MCR_LOOP) {
		receive(uart, byte);
	} else {
		uart->backend->write(uart->backend, byte);
	}
	uart->thre_pending = true;
	update_irq(uart);
}

static void write_ier(struct uart16550_device *uart, uint8_t value)
{
	if (uart->lcr & LCR_DLAB) {
		uart->divisor_high = value;
		return;
	}
	/* Enabling the transmitter interrupt while THR is empty raises it at once. */
	if ((value & IER_THR_EMPTY) && !(uart->ier & IER_THR_EMPTY)) {
		uart->thre_pending = true;
	}
	uart->ier = value & IER_MASK;
	update_irq(uart);
}

static void write_fcr(struct uart16550_device *uart, uint8_t value)
{
	uint8_t fifos = (value & FCR_ENABLE) ? IIR_FIFOS : 0;
	if ((value & FCR_CLEAR_RECEIVE) || fifos != uart->iir_fifo) {
		uart->fifo_count = 0;
	}
	uart->iir_fifo = fifos;
	update_irq(uart);
}

static enum bus_result uart_write(struct device *device, uint64_t offset, unsigned width, uint64_t wide)
{
	struct uart16550_device *uart = container_of(device, struct uart16550_device, device);
	uint8_t value = (uint8_t)wide;
	if (width != 1) {
		return BUS_NOBODY;
	}
	switch (offset) {
	case REG_DATA:
		write_data(uart, value);
		return BUS_DONE;
	case REG_IER:
		write_ier(uart, value);
		return BUS_DONE;
	case REG_IIR:
		write_fcr(uart, value);
		return BUS_DONE;
	case REG_LCR:
		uart->lcr = value;
		return BUS_DONE;
	case REG_MCR:
		uart->mcr = value & MCR_MASK;
		return BUS_DONE;
	case REG_SCRATCH:
		uart->scratch = value;
		return BUS_DONE;
	case REG_LSR: /* factory test only */
	case REG_MSR:
		return BUS_DONE;
	default:
		return BUS_NOBODY;
	}
}

static const struct device_ops uart_ops = {.read = uart_read, .write = uart_write};

void uart16550_device_init(struct uart16550_device *uart, struct serial_backend *backend, struct irq_line *irq)
{
	*uart = (struct uart16550_device){
		.device = {.name = "uart16550", .ops = &uart_ops},
		.backend = backend,
		.irq = irq,
	};
}
