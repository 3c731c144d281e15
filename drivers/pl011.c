/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's PL011: PrimeCell UART (PL011) TRM, DDI 0183, chapter 3; its subset in the Server Base System
 * Architecture, appendix B. Called by host_uart.c. The baud rate stays as the firmware set it: the clock behind it
 * is not known here.
 */
#include "drivers/pl011.h"

#include "lib/io.h"
#include "lib/util.h"

enum pl011_register {
	UART_DR = 0x000,
	UART_FR = 0x018,
	UART_LCR_H = 0x02c,
	UART_CR = 0x030,
	UART_IMSC = 0x038,
	UART_ICR = 0x044,
};

#define FR_BUSY           BIT(3) /* FIFO or shift register hold something to send */
#define FR_RECEIVE_EMPTY  BIT(4) /* RXFE */
#define FR_TRANSMIT_FULL  BIT(5) /* TXFF */
#define FR_TRANSMIT_EMPTY BIT(7) /* TXFE */
#define LCR_H_FIFOS       BIT(4) /* FEN */
#define CR_ENABLE         BIT(0) /* UARTEN */
#define CR_TRANSMIT       BIT(8) /* TXE */
#define CR_RECEIVE        BIT(9) /* RXE */
#define INTERRUPTS_ALL    0x7ff
#define DATA_MASK         0xff /* the bits above are receive errors */

#define FIFO_BYTES    16 /* of the oldest revision; later ones, and SBSA's, have 32 */
#define NOTHING_THERE UINT32_MAX

static uint32_t read_register(const struct host_uart *uart, enum pl011_register name)
{
	return mmio_read32((uintptr_t)uart->description.address + name);
}

static void write_register(const struct host_uart *uart, enum pl011_register name, uint32_t value)
{
	mmio_write32((uintptr_t)uart->description.address + name, value);
}

static size_t pl011_put(struct host_uart *uart, const char *text, size_t bytes)
{
	uint32_t flags = read_register(uart, UART_FR);

	if (flags == NOTHING_THERE || (flags & FR_TRANSMIT_FULL) != 0) {
		return 0;
	}
	/* An empty FIFO takes a burst; one that is merely not full takes a byte for sure. */
	bytes = (flags & FR_TRANSMIT_EMPTY) != 0 ? MIN(bytes, uart->fifo_bytes) : 1;
	for (size_t i = 0; i < bytes; i++) {
		write_register(uart, UART_DR, (uint8_t)text[i]);
	}
	return bytes;
}

static int pl011_get(struct host_uart *uart)
{
	uint32_t flags = read_register(uart, UART_FR);

	if (flags == NOTHING_THERE || (flags & FR_RECEIVE_EMPTY) != 0) {
		return -1;
	}
	return (int)(read_register(uart, UART_DR) & DATA_MASK);
}

static bool pl011_idle(struct host_uart *uart)
{
	uint32_t flags = read_register(uart, UART_FR);

	return flags == NOTHING_THERE || (flags & FR_BUSY) == 0;
}

bool pl011_init(struct host_uart *uart)
{
	const uint32_t running = CR_ENABLE | CR_TRANSMIT | CR_RECEIVE;
	bool fifos = true; /* SBSA demands them */

	if (read_register(uart, UART_FR) == NOTHING_THERE) {
		return false;
	}
	if (uart->description.kind == UART_PL011) {
		uint32_t control = read_register(uart, UART_CR);
		if ((control & running) != running) {
			write_register(uart, UART_CR, control | running);
		}
		fifos = (read_register(uart, UART_LCR_H) & LCR_H_FIFOS) != 0;
	}
	write_register(uart, UART_IMSC, 0);
	write_register(uart, UART_ICR, INTERRUPTS_ALL);
	uart->fifo_bytes = fifos ? FIFO_BYTES : 1;
	uart->put = pl011_put;
	uart->get = pl011_get;
	uart->idle = pl011_idle;
	return true;
}
