/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's PL011 UART (Arm DDI 0183, chapter 3). Transmission takes no time: the transmit FIFO is always
 * empty. DMA is not offered: its control register only remembers what was written.
 */
#include "hv/devices/serial.h"

#include "lib/util.h"

enum {
	REG_DR = 0x000,
	REG_RSR = 0x004,
	REG_FR = 0x018,
	REG_ILPR = 0x020,
	REG_IBRD = 0x024,
	REG_FBRD = 0x028,
	REG_LCR_H = 0x02c,
	REG_CR = 0x030,
	REG_IFLS = 0x034,
	REG_IMSC = 0x038,
	REG_RIS = 0x03c,
	REG_MIS = 0x040,
	REG_ICR = 0x044,
	REG_DMACR = 0x048,
	REG_PERIPH_ID0 = 0xfe0,
	REG_SIZE = 0x1000,
};

#define FR_CTS     BIT(0)
#define FR_RXFE    BIT(4)
#define FR_RXFF    BIT(6)
#define FR_TXFE    BIT(7)
#define LCR_H_FEN  BIT(4)
#define CR_RESET   0x300 /* RXE, TXE */
#define IFLS_RESET 0x12
#define INT_RX     BIT(4)
#define INT_TX     BIT(5)
#define INT_RT     BIT(6)
#define INT_ALL    0x7ff
#define IBRD_MASK  0xffff
#define FBRD_MASK  0x3f
#define LCR_H_MASK 0xff
#define CR_MASK    0xff87
#define IFLS_MASK  0x3f
#define DMACR_MASK 0x7

/* UARTPeriphID0-3 and UARTPCellID0-3: PL011 revision r1p5. */
static const uint8_t identification[8] = {0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

static void update_irq(struct pl011_device *uart)
{
	/* The receive interrupts follow the FIFO: asserted by arrival, gone once it is empty. */
	if (uart->fifo_count == 0) {
		uart->ris &= ~(uint32_t)(INT_RX | INT_RT);
	}
	uart->irq->set(uart->irq, (uart->ris & uart->imsc) != 0);
}

static unsigned fifo_room(const struct pl011_device *uart)
{
	return (uart->lcr_h & LCR_H_FEN) ? (unsigned)sizeof(uart->fifo) : 1;
}

void pl011_device_poll(struct pl011_device *uart)
{
	bool received = false;
	while (uart->fifo_count < fifo_room(uart)) {
		int byte = uart->backend->read(uart->backend);
		if (byte < 0) {
			break;
		}
		uart->fifo[(uart->fifo_head + uart->fifo_count) % sizeof(uart->fifo)] = (uint8_t)byte;
		uart->fifo_count++;
		received = true;
	}
	if (received) {
		uart->ris |= INT_RX | INT_RT;
		update_irq(uart);
	}
}

static uint32_t read_data(struct pl011_device *uart)
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

static uint32_t read_flags(struct pl011_device *uart)
{
	pl011_device_poll(uart);
	uint32_t flags = FR_CTS | FR_TXFE;
	if (uart->fifo_count == 0) {
		flags |= FR_RXFE;
	} else if (uart->fifo_count >= fifo_room(uart)) {
		flags |= FR_RXFF;
	}
	return flags;
}

static uint32_t read_register(struct pl011_device *uart, uint64_t offset)
{
	switch (offset) {
	case REG_DR:
		return read_data(uart);
	case REG_FR:
		return read_flags(uart);
	case REG_IBRD:
		return uart->ibrd;
	case REG_FBRD:
		return uart->fbrd;
	case REG_LCR_H:
		return uart->lcr_h;
	case REG_CR:
		return uart->cr;
	case REG_IFLS:
		return uart->ifls;
	case REG_IMSC:
		return uart->imsc;
	case REG_RIS:
		return uart->ris;
	case REG_MIS:
		return uart->ris & uart->imsc;
	case REG_DMACR:
		return uart->dmacr;
	default:
		break;
	}
	if (offset >= REG_PERIPH_ID0 && offset < REG_SIZE && is_aligned(offset, 4)) {
		return identification[(offset - REG_PERIPH_ID0) / 4];
	}
	return 0; /* reserved registers read as zero */
}

/* Registers are 32 bits wide; 8- and 16-bit accesses see their low part (Linux and U-Boot use both). */
static bool pl011_read(struct device *device, uint64_t offset, unsigned width, uint64_t *value)
{
	struct pl011_device *uart = container_of(device, struct pl011_device, device);
	if (width > 4 || !is_aligned(offset, 4)) {
		return false;
	}
	*value = read_register(uart, offset);
	return true;
}

static void write_data(struct pl011_device *uart, uint8_t byte)
{
	uart->backend->write(uart->backend, byte);
	uart->ris |= INT_TX; /* the FIFO drained past its level at once */
	update_irq(uart);
}

static enum bus_result pl011_write(struct device *device, uint64_t offset, unsigned width, uint64_t wide)
{
	struct pl011_device *uart = container_of(device, struct pl011_device, device);
	uint32_t value = (uint32_t)wide;
	if (width > 4 || !is_aligned(offset, 4)) {
		return BUS_NOBODY;
	}
	switch (offset) {
	case REG_DR:
		write_data(uart, (uint8_t)value);
		break;
	case REG_IBRD:
		uart->ibrd = value & IBRD_MASK;
		break;
	case REG_FBRD:
		uart->fbrd = value & FBRD_MASK;
		break;
	case REG_LCR_H:
		uart->lcr_h = value & LCR_H_MASK;
		break;
	case REG_CR:
		uart->cr = value & CR_MASK;
		break;
	case REG_IFLS:
		uart->ifls = value & IFLS_MASK;
		break;
	case REG_IMSC:
		uart->imsc = value & INT_ALL;
		update_irq(uart);
		break;
	case REG_ICR:
		uart->ris &= ~(value & INT_ALL);
		update_irq(uart);
		break;
	case REG_DMACR:
		uart->dmacr = value & DMACR_MASK;
		break;
	default: /* RSR, ILPR and reserved ones take writes without effect */
		break;
	}
	return BUS_DONE;
}

static const struct device_ops pl011_ops = {.read = pl011_read, .write = pl011_write};

void pl011_device_init(struct pl011_device *uart, struct serial_backend *backend, struct irq_line *irq)
{
	*uart = (struct pl011_device){
		.device = {.name = "pl011", .ops = &pl011_ops},
		.backend = backend,
		.irq = irq,
		.cr = CR_RESET,
		.ifls = IFLS_RESET,
	};
}
