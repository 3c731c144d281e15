/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: puts lines together, keeps the latest of them in a ring, hands all text to the sinks. Called from
 * everywhere, on any CPU; one lock, held while a line is made and written. Allocates nothing.
 */
#include "lib/log.h"

#include "lib/printf.h"
#include "lib/spinlock.h"
#include "lib/string.h"

#include <stdarg.h>

#define LOG_RING_BYTES   16384 /* a power of two */
#define LOG_BREAK_SPINS  10000000
#define MICROSECONDS     1000000
#define FIRST_PRINTABLE  ' '
#define DELETE_CHARACTER 0x7f

static struct {
	struct spinlock lock;
	struct log_sink *sinks;
	uint64_t (*clock)(void);
	bool line_open;    /* log_raw's last byte was no newline */
	uint64_t recorded; /* bytes ever put in the ring */
	char ring[LOG_RING_BYTES];
} log_state;

bool log_pending;

static void record(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		log_state.ring[(log_state.recorded + i) % LOG_RING_BYTES] = text[i];
	}
	log_state.recorded += bytes;
}

static void write_sinks(const char *text, size_t bytes)
{
	for (struct log_sink *sink = log_state.sinks; sink != NULL; sink = sink->next) {
		sink->write(sink, text, bytes);
		log_pending |= sink->flush != NULL;
	}
}

/* Writes what the ring holds to `sink`, from the start of a line on. */
static void replay(struct log_sink *sink)
{
	uint64_t at = 0;

	if (log_state.recorded > LOG_RING_BYTES) {
		at = log_state.recorded - LOG_RING_BYTES;
		while (at < log_state.recorded && log_state.ring[at % LOG_RING_BYTES] != '\n') {
			at++;
		}
		at++;
	}
	while (at < log_state.recorded) {
		size_t start = at % LOG_RING_BYTES;
		size_t bytes = LOG_RING_BYTES - start;
		if (bytes > log_state.recorded - at) {
			bytes = log_state.recorded - at;
		}
		sink->write(sink, &log_state.ring[start], bytes);
		at += bytes;
	}
	log_pending |= sink->flush != NULL;
}

void log_add_sink(struct log_sink *sink)
{
	spin_lock(&log_state.lock);
	replay(sink);
	sink->next = log_state.sinks;
	log_state.sinks = sink;
	spin_unlock(&log_state.lock);
}

void log_set_clock(uint64_t (*clock)(void))
{
	log_state.clock = clock;
}

/*
 * Makes one line of it, newline included. `line` has room for LOG_LINE_MAX characters, the newline and a 0.
 * Whatever is not printable becomes a question mark: one event stays one line, whoever made its text.
 */
static size_t format_line(char line[static LOG_LINE_MAX + 2], const char *subsystem, const char *format,
                          va_list arguments)
{
	static const char ellipsis[] = "...";
	const size_t size = LOG_LINE_MAX + 1;
	uint64_t now = log_state.clock != NULL ? log_state.clock() : 0;
	unsigned long long seconds = now / MICROSECONDS;
	unsigned long long fraction = now % MICROSECONDS;
	size_t length = (size_t)snprintf(line, size, "[%5llu.%06llu] %s: ", seconds, fraction, subsystem);

	if (length < size) {
		length += (size_t)vsnprintf(line + length, size - length, format, arguments);
	}
	if (length > LOG_LINE_MAX) {
		length = LOG_LINE_MAX;
		memcpy(line + length - (sizeof(ellipsis) - 1), ellipsis, sizeof(ellipsis) - 1);
	}
	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)line[i] < FIRST_PRINTABLE || line[i] == DELETE_CHARACTER) {
			line[i] = '?';
		}
	}
	line[length] = '\n';
	return length + 1;
}

void log_line(const char *subsystem, const char *format, ...)
{
	char line[LOG_LINE_MAX + 2];
	va_list arguments;

	va_start(arguments, format);
	spin_lock(&log_state.lock);
	size_t length = format_line(line, subsystem, format, arguments);
	if (log_state.line_open) {
		write_sinks("\n", 1);
		log_state.line_open = false;
	}
	record(line, length);
	write_sinks(line, length);
	spin_unlock(&log_state.lock);
	va_end(arguments);
}

/* Guests' output is not recorded: no guest can wash the hypervisor's own lines out of the ring. */
void log_raw(const char *text, size_t bytes)
{
	if (bytes == 0) {
		return;
	}
	spin_lock(&log_state.lock);
	write_sinks(text, bytes);
	log_state.line_open = text[bytes - 1] != '\n';
	spin_unlock(&log_state.lock);
}

bool log_line_open(void)
{
	return log_state.line_open;
}

void log_flush(void)
{
	spin_lock(&log_state.lock);
	for (struct log_sink *sink = log_state.sinks; sink != NULL; sink = sink->next) {
		if (sink->flush != NULL) {
			sink->flush(sink);
		}
	}
	log_pending = false;
	spin_unlock(&log_state.lock);
}

void log_break_lock(void)
{
	for (unsigned spins = 0; spins < LOG_BREAK_SPINS; spins++) {
		if (!__atomic_load_n(&log_state.lock.held, __ATOMIC_RELAXED)) {
			return;
		}
		spin_pause();
	}
	spin_unlock(&log_state.lock);
}
