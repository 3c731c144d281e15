/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all serial ports have in common: the queue, the bounded wait, line ends. All but the drivers' put and get,
 * and called by the log under its lock, which is the only lock that `head`, `tail` and `queue` know.
 */
#include "drivers/host_uart.h"

#include "drivers/pl011.h"
#include "drivers/uart16550.h"
#include "lib/spinlock.h"
#include "lib/util.h"

/*
 * Polls until a port that takes nothing counts as dead. A poll of a real port takes about a microsecond, a full
 * FIFO at 9600 baud drains in 17 ms.
 */
#define DEAD_POLLS 200000

_Static_assert((HOST_UART_QUEUE_BYTES & (HOST_UART_QUEUE_BYTES - 1)) == 0, "the queue's size is a power of two");

/* Hands the port what it takes now. False: nothing. */
static bool send_some(struct host_uart *uart)
{
	uint32_t start = uart->tail % HOST_UART_QUEUE_BYTES;
	uint32_t bytes = MIN(uart->head - uart->tail, HOST_UART_QUEUE_BYTES - start);
	size_t sent = uart->put(uart, &uart->queue[start], bytes);

	uart->tail += (uint32_t)sent;
	return sent > 0;
}

/* Sends until at most `left` bytes are queued. What a dead port does not take is dropped. */
static void drain(struct host_uart *uart, uint32_t left)
{
	unsigned polls = 0;

	while (uart->head - uart->tail > left) {
		if (send_some(uart)) {
			uart->dead = false;
			polls = 0;
		} else if (uart->dead || ++polls == DEAD_POLLS) {
			uart->dead = true;
			uart->tail = uart->head;
		} else {
			spin_pause();
		}
	}
}

static void enqueue(struct host_uart *uart, char c)
{
	if (uart->head - uart->tail == HOST_UART_QUEUE_BYTES) {
		drain(uart, HOST_UART_QUEUE_BYTES - uart->fifo_bytes);
	}
	uart->queue[uart->head % HOST_UART_QUEUE_BYTES] = c;
	uart->head++;
}

void host_uart_write(struct host_uart *uart, const char *text, size_t bytes)
{
	bool carriage_return = uart->cr_sent;

	for (size_t i = 0; i < bytes; i++) {
		if (text[i] == '\n' && !carriage_return) {
			enqueue(uart, '\r');
		}
		enqueue(uart, text[i]);
		carriage_return = text[i] == '\r';
	}
	uart->cr_sent = carriage_return;
	if (!uart->deferred) {
		drain(uart, 0);
	}
}

static void sink_write(struct log_sink *sink, const char *text, size_t bytes)
{
	host_uart_write(container_of(sink, struct host_uart, sink), text, bytes);
}

static void sink_flush(struct log_sink *sink)
{
	struct host_uart *uart = container_of(sink, struct host_uart, sink);

	drain(uart, 0);
	for (unsigned polls = 0; polls < DEAD_POLLS && !uart->dead && !uart->idle(uart); polls++) {
		spin_pause();
	}
}

bool host_uart_init(struct host_uart *uart, const struct uart_description *description)
{
	uart->sink = (struct log_sink){.write = sink_write, .flush = sink_flush};
	uart->description = *description;
	uart->fifo_bytes = 1;
	uart->cr_sent = false;
	uart->dead = false;
	uart->deferred = false;
	uart->head = 0;
	uart->tail = 0;
	switch (description->kind) {
	case UART_16550_PORT:
	case UART_16550_MMIO:
		return uart16550_init(uart);
	case UART_PL011:
	case UART_SBSA:
		return pl011_init(uart);
	default:
		return false;
	}
}
