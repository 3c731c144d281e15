/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snprintf for the image; host programs link the C library's. Works without memory of its own, so panic can use
 * it, and never writes past the size it was given.
 */
#include "lib/printf.h"

#include "lib/string.h"

#include <stdbool.h>
#include <stdint.h>

/* What stands between % and the conversion's letter. */
struct conversion {
	bool left;     /* - */
	bool zero;     /* 0 */
	bool prefix;   /* # */
	int width;     /* 0: none */
	int precision; /* -1: none */
	int longs;     /* h -1, hh -2, l 1, ll 2, z 1: size_t is a long on every ISA here */
};

/* The text so far; `length` goes on counting when `size` is reached. */
struct output {
	char *buffer;
	size_t size;
	size_t length;
};

#define DIGITS_MAX 20 /* of 2^64 - 1 in decimal */

static void put(struct output *out, char c)
{
	if (out->length < out->size) {
		out->buffer[out->length] = c;
	}
	out->length++;
}

static void pad(struct output *out, char c, int count)
{
	for (int i = 0; i < count; i++) {
		put(out, c);
	}
}

static void put_text(struct output *out, const struct conversion *conversion, const char *text, size_t length)
{
	int padding = conversion->width > (int)length ? conversion->width - (int)length : 0;

	pad(out, ' ', conversion->left ? 0 : padding);
	for (size_t i = 0; i < length; i++) {
		put(out, text[i]);
	}
	pad(out, ' ', conversion->left ? padding : 0);
}

/* The digits of `value` at the end of `digits`; returns the index where they start. A zero has none here. */
static int make_digits(char digits[static DIGITS_MAX], uint64_t value, char letter)
{
	const char *alphabet = letter == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
	unsigned base = letter == 'x' || letter == 'X' ? 16 : 10;
	int first = DIGITS_MAX;

	for (; value != 0; value /= base) {
		digits[--first] = alphabet[value % base];
	}
	return first;
}

static void put_number(struct output *out, const struct conversion *conversion, const char *sign, uint64_t value,
                       char letter)
{
	char digits[DIGITS_MAX];
	int first = make_digits(digits, value, letter);
	int count = DIGITS_MAX - first;
	int sign_length = (int)strlen(sign);
	int zeros = (conversion->precision < 0 ? 1 : conversion->precision) - count;

	zeros = zeros < 0 ? 0 : zeros;
	int padding = conversion->width - (sign_length + zeros + count);
	padding = padding < 0 ? 0 : padding;
	if (conversion->zero && !conversion->left && conversion->precision < 0) {
		zeros += padding;
		padding = 0;
	}
	pad(out, ' ', conversion->left ? 0 : padding);
	for (; *sign != '\0'; sign++) {
		put(out, *sign);
	}
	pad(out, '0', zeros);
	for (int i = first; i < DIGITS_MAX; i++) {
		put(out, digits[i]);
	}
	pad(out, ' ', conversion->left ? padding : 0);
}

/* va_list may be an array type, which a pointer to a parameter would not survive: hence the structure. */
struct arguments {
	va_list list;
};

static uint64_t next_unsigned(struct arguments *arguments, int longs)
{
	switch (longs) {
	case -2:
		return (unsigned char)va_arg(arguments->list, unsigned);
	case -1:
		return (unsigned short)va_arg(arguments->list, unsigned);
	case 0:
		return va_arg(arguments->list, unsigned);
	default:
		return va_arg(arguments->list, uint64_t); /* long and long long are both 64 bits wide */
	}
}

static int64_t next_signed(struct arguments *arguments, int longs)
{
	switch (longs) {
	case -2:
		return (signed char)va_arg(arguments->list, int);
	case -1:
		return (short)va_arg(arguments->list, int);
	case 0:
		return va_arg(arguments->list, int);
	default:
		return va_arg(arguments->list, int64_t);
	}
}

/* A number or * at *format; *present tells whether there was one. */
static int parse_number(const char **format, struct arguments *arguments, bool *present)
{
	const int limit = 1000; /* more is a mistake, and would let the sums above overflow */
	int value = 0;

	*present = true;
	if (**format == '*') {
		(*format)++;
		value = va_arg(arguments->list, int);
		return value > limit ? limit : value < -limit ? -limit : value;
	}
	*present = **format >= '0' && **format <= '9';
	for (; **format >= '0' && **format <= '9'; (*format)++) {
		value = value * 10 + (**format - '0');
		value = value > limit ? limit : value;
	}
	return value;
}

/* All between % and the letter; returns where the letter is. */
static const char *parse_conversion(const char *format, struct arguments *arguments, struct conversion *conversion)
{
	bool present;

	*conversion = (struct conversion){.precision = -1};
	for (;; format++) {
		if (*format == '-') {
			conversion->left = true;
		} else if (*format == '0') {
			conversion->zero = true;
		} else if (*format == '#') {
			conversion->prefix = true;
		} else {
			break;
		}
	}
	conversion->width = parse_number(&format, arguments, &present);
	if (conversion->width < 0) {
		conversion->left = true;
		conversion->width = -conversion->width;
	}
	if (*format == '.') {
		format++;
		conversion->precision = parse_number(&format, arguments, &present);
	}
	for (; *format == 'l' || *format == 'h' || *format == 'z'; format++) {
		conversion->longs += *format == 'h' ? -1 : 1;
	}
	return format;
}

/* Puts the conversion with this letter; false: there is no such one. */
static bool convert(struct output *out, const struct conversion *conversion, struct arguments *arguments, char letter)
{
	switch (letter) {
	case 'c': {
		char c = (char)va_arg(arguments->list, int);
		put_text(out, conversion, &c, 1);
		return true;
	}
	case 's': {
		const char *text = va_arg(arguments->list, const char *);
		size_t limit = conversion->precision < 0 ? SIZE_MAX : (size_t)conversion->precision;
		text = text == NULL ? "(null)" : text;
		put_text(out, conversion, text, strnlen(text, limit));
		return true;
	}
	case 'd':
	case 'i': {
		int64_t value = next_signed(arguments, conversion->longs);
		put_number(out, conversion, value < 0 ? "-" : "", value < 0 ? 0 - (uint64_t)value : (uint64_t)value,
		           'd');
		return true;
	}
	case 'u':
	case 'x':
	case 'X': {
		uint64_t value = next_unsigned(arguments, conversion->longs);
		const char *prefix = !conversion->prefix || value == 0 || letter == 'u' ? ""
		                     : letter == 'x'                                    ? "0x"
		                                                                        : "0X";
		put_number(out, conversion, prefix, value, letter);
		return true;
	}
	case 'p':
		put_number(out, conversion, "0x", (uintptr_t)va_arg(arguments->list, void *), 'x');
		return true;
	case '%':
		put(out, '%');
		return true;
	default:
		return false;
	}
}

int vsnprintf(char *restrict buffer, size_t size, const char *restrict format, va_list arguments)
{
	struct output out = {.buffer = buffer, .size = size};
	struct arguments rest;

	va_copy(rest.list, arguments);
	while (*format != '\0') {
		struct conversion conversion;
		const char *letter;

		if (*format != '%') {
			put(&out, *format++);
			continue;
		}
		letter = parse_conversion(format + 1, &rest, &conversion);
		if (*letter != '\0' && convert(&out, &conversion, &rest, *letter)) {
			format = letter + 1;
		} else {
			put(&out, *format++); /* no conversion of ours: as it stands */
		}
	}
	va_end(rest.list);
	if (size > 0) {
		buffer[out.length < size ? out.length : size - 1] = '\0';
	}
	return (int)out.length;
}

int snprintf(char *restrict buffer, size_t size, const char *restrict format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(buffer, size, format, arguments);
	va_end(arguments);
	return length;
}
