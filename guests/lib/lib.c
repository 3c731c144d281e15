/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every tiny guest uses on any ISA: formatted output, the command line, the end.
 */
#include "guest.h"

#include <stdarg.h>

struct guest_info guest;

void *memset(void *to, int value, size_t bytes)
{
	volatile uint8_t *p = to;
	for (size_t i = 0; i < bytes; i++) {
		p[i] = (uint8_t)value;
	}
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
	volatile uint8_t *p = to;
	const uint8_t *q = from;
	for (size_t i = 0; i < bytes; i++) {
		p[i] = q[i];
	}
	return to;
}

static void print_string(const char *s)
{
	while (*s) {
		console_putc(*s++);
	}
}

static void print_number(uint64_t value, unsigned base)
{
	char digits[24];
	unsigned n = 0;
	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (n) {
		console_putc(digits[--n]);
	}
}

static const char *print_conversion(const char *format, va_list *arguments)
{
	bool wide = *format == 'l';
	format += wide;
	switch (*format) {
	case 's':
		print_string(va_arg(*arguments, const char *));
		break;
	case 'c':
		console_putc((char)va_arg(*arguments, int));
		break;
	case 'u':
	case 'x':
		print_number(wide ? va_arg(*arguments, unsigned long) : va_arg(*arguments, unsigned),
		             *format == 'x' ? 16 : 10);
		break;
	default:
		console_putc(*format);
		break;
	}
	return format + 1;
}

void print(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	while (*format) {
		if (*format == '%') {
			format = print_conversion(format + 1, &arguments);
		} else {
			console_putc(*format++);
		}
	}
	va_end(arguments);
}

bool cmdline_is(const char *word)
{
	const char *c = guest.cmdline;
	while (*word && *word == *c) {
		word++;
		c++;
	}
	return *word == '\0' && *c == '\0';
}

_Noreturn void power_off(void)
{
	hypercall(PSCI_SYSTEM_OFF, 0, 0, 0);
	for (;;) {
	}
}
