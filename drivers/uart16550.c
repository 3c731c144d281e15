/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's 16550: TL16C550 data sheet, "Register descriptions". Called by host_uart.c. Every loop over the
 * device's state is bounded, since the device may not be there at all.
 */
#include "drivers/uart16550.h"

#include "lib/io.h"
#include "lib/util.h"

enum uart16550_register {
	UART_DATA = 0, /* RBR and THR; DLL while LCR.DLAB */
	UART_IER = 1,  /* DLM while LCR.DLAB */
	UART_FCR = 2,  /* written */
	UART_IIR = 2,  /* read */
	UART_LCR = 3,
	UART_MCR = 4,
	UART_LSR = 5,
	UART_SCRATCH = 7,
};

#define FCR_ENABLE         0x01
#define FCR_CLEAR_RECEIVE  0x02
#define FCR_CLEAR_TRANSMIT 0x04
#define FCR_TRIGGER_14     0xc0
#define IIR_FIFO_ENABLED   0xc0 /* both bits: a FIFO that works, 16550A and later */
#define LCR_8N1            0x03
#define LCR_DLAB           0x80
#define MCR_DTR            0x01
#define MCR_RTS            0x02
#define LSR_DATA_READY     0x01
#define LSR_THR_EMPTY      0x20
#define LSR_TRANSMIT_IDLE  0x40 /* FIFO and shift register are empty */

#define NOTHING_THERE    0xff /* what a bus without a device reads as */
#define FIFO_BYTES       16
#define DIVISOR_PER_BAUD 16     /* clock cycles per bit at divisor 1 */
#define IDLE_POLLS       200000 /* as long as the firmware's last FIFO takes at 9600 baud, with room */

static uintptr_t register_address(const struct host_uart *uart, enum uart16550_register name)
{
	unsigned stride = uart->description.stride == 0 ? 1 : uart->description.stride;

	return (uintptr_t)uart->description.address + (uintptr_t)name * stride;
}

static uint8_t read_register(const struct host_uart *uart, enum uart16550_register name)
{
	uintptr_t address = register_address(uart, name);

	if (uart->description.kind == UART_16550_PORT) {
		return port_read8((uint16_t)address);
	}
	return uart->description.access_width == sizeof(uint32_t) ? (uint8_t)mmio_read32(address) : mmio_read8(address);
}

static void write_register(const struct host_uart *uart, enum uart16550_register name, uint8_t value)
{
	uintptr_t address = register_address(uart, name);

	if (uart->description.kind == UART_16550_PORT) {
		port_write8((uint16_t)address, value);
	} else if (uart->description.access_width == sizeof(uint32_t)) {
		mmio_write32(address, value);
	} else {
		mmio_write8(address, value);
	}
}

static size_t uart16550_put(struct host_uart *uart, const char *text, size_t bytes)
{
	uint8_t status = read_register(uart, UART_LSR);

	if (status == NOTHING_THERE || (status & LSR_THR_EMPTY) == 0) {
		return 0;
	}
	bytes = MIN(bytes, uart->fifo_bytes);
	if (uart->description.kind == UART_16550_PORT) {
		port_write8_string((uint16_t)uart->description.address, text, bytes);
		return bytes;
	}
	for (size_t i = 0; i < bytes; i++) {
		write_register(uart, UART_DATA, (uint8_t)text[i]);
	}
	return bytes;
}

static int uart16550_get(struct host_uart *uart)
{
	uint8_t status = read_register(uart, UART_LSR);

	if (status == NOTHING_THERE || (status & LSR_DATA_READY) == 0) {
		return -1;
	}
	return read_register(uart, UART_DATA);
}

static bool uart16550_idle(struct host_uart *uart)
{
	return (read_register(uart, UART_LSR) & LSR_TRANSMIT_IDLE) != 0; /* also where nothing answers any more */
}

/* Two values in the scratch register, so that neither a stuck bus nor a floating one passes. */
static bool answers(const struct host_uart *uart)
{
	static const uint8_t values[] = {0x5a, 0xa5};

	if (read_register(uart, UART_LSR) == NOTHING_THERE) {
		return false;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
		write_register(uart, UART_SCRATCH, values[i]);
		if (read_register(uart, UART_SCRATCH) != values[i]) {
			return false;
		}
	}
	return true;
}

/* The firmware's last words leave before the FIFO is cleared. */
static void wait_until_idle(struct host_uart *uart)
{
	for (unsigned polls = 0; polls < IDLE_POLLS && !uart16550_idle(uart); polls++) {
	}
}

static void set_rate(const struct host_uart *uart)
{
	uint32_t divisor = uart->description.clock_hz / (DIVISOR_PER_BAUD * UART_BAUD);

	if (divisor == 0 || divisor > UINT16_MAX) {
		return; /* clock not known, or none that makes this rate: the firmware's setting is the better guess */
	}
	write_register(uart, UART_LCR, LCR_8N1 | LCR_DLAB);
	write_register(uart, UART_DATA, (uint8_t)divisor);
	write_register(uart, UART_IER, (uint8_t)(divisor >> 8));
}

bool uart16550_init(struct host_uart *uart)
{
	if (!answers(uart)) {
		return false;
	}
	wait_until_idle(uart);
	set_rate(uart);
	write_register(uart, UART_LCR, LCR_8N1);
	write_register(uart, UART_IER, 0);
	write_register(uart, UART_FCR, FCR_ENABLE | FCR_CLEAR_RECEIVE | FCR_CLEAR_TRANSMIT | FCR_TRIGGER_14);
	write_register(uart, UART_MCR, MCR_DTR | MCR_RTS);
	if ((read_register(uart, UART_IIR) & IIR_FIFO_ENABLED) == IIR_FIFO_ENABLED) {
		uart->fifo_bytes = FIFO_BYTES;
	}
	uart->put = uart16550_put;
	uart->get = uart16550_get;
	uart->idle = uart16550_idle;
	return true;
}
