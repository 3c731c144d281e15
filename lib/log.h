/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: one line an event, `[  seconds] subsystem: message`. Lines go to every registered sink; what was
 * logged before the first sink came is kept in a ring and replayed to it. One lock around a line keeps the
 * lines of several CPUs whole. Wording is an interface: tests read it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The log calls both functions under its lock; they must not log. */
struct log_sink {
	void (*write)(struct log_sink *sink, const char *text, size_t bytes);
	/* Returns when all is out, or the sink has given up. NULL for a sink that never keeps anything back. */
	void (*flush)(struct log_sink *sink);
	struct log_sink *next; /* the log's own */
};

/* Registers `sink` (the caller keeps it alive) and replays what the ring holds to it. */
void log_add_sink(struct log_sink *sink);

/* `clock` returns microseconds since the machine was taken; NULL prints zeros. */
void log_set_clock(uint64_t (*clock)(void));

/* One line, without its newline; at most LOG_LINE_MAX bytes, longer ones end in "...". */
#define LOG_LINE_MAX 240
void log_line(const char *subsystem, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Raw bytes to every sink, outside the line structure: the guests' console output. If the text before did
 * not end a line, the next log_line starts a fresh one.
 */
void log_raw(const char *text, size_t bytes);
/* Whether raw bytes are the last that was logged, and they ended no line. */
bool log_line_open(void);

/* Something was written that only log_flush is sure to send. */
extern bool log_pending;

/* Returns when all that was logged is sent (or a sink has given up). Before halting, resetting, long silences. */
void log_flush(void);

/* Breaks the lock of a CPU that died in the middle of a line. For panic only. */
void log_break_lock(void);
