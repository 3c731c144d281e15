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
	bool left; /* - */
	bool zero; /* 0 */
	bool wide; /* l, ll, z: 64 bits on every ISA here */
	unsigned width;
};

/* The text so far; `length` goes on counting when `size` is reached. */
struct output {
	char *buffer;
	size_t size;
	size_t length;
};

#define DIGITS_MAX 20 /* of 2^64 - 1 in decimal */
#define WIDTH_MAX  1000

static void put(struct output *out, char c)
{
	if (out->length < out->size) {
		out->buffer[out->length] = c;
	}
	out->length++;
}

/* A sign or prefix and the text behind it; zeros go between the two. */
static void put_text(struct output *out, const struct conversion *conversion, const char *prefix, const char *text,
                     size_t length)
{
	size_t all = strlen(prefix) + length, padding = conversion->width > all ? conversion->width - all : 0;
	bool zeros = conversion->zero && !conversion->left;

	for (size_t i = 0; i < padding && !conversion->left && !zeros; i++) {
		put(out, ' ');
	}
	for (; *prefix != '\0'; prefix++) {
		put(out, *prefix);
	}
	for (size_t i = 0; i < padding && zeros; i++) {
		put(out, '0');
	}
	for (size_t i = 0; i < length; i++) {
		put(out, text[i]);
	}
	for (size_t i = 0; i < padding && conversion->left; i++) {
		put(out, ' ');
	}
}

static void put_number(struct output *out, const struct conversion *conversion, const char *prefix, uint64_t value,
                       unsigned base)
{
	char digits[DIGITS_MAX];
	unsigned first = DIGITS_MAX;

	do {
		digits[--first] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	put_text(out, conversion, prefix, digits + first, DIGITS_MAX - first);
}

/* va_list may be an array type, which a pointer to a parameter would not survive: hence the structure. */
struct arguments {
	va_list list;
};

/* All between % and the letter; returns where the letter is. */
static const char *parse_conversion(const char *format, struct conversion *conversion)
{
	*conversion = (struct conversion){.width = 0};
	for (; *format == '-' || *format == '0'; format++) {
		conversion->left |= *format == '-';
		conversion->zero |= *format == '0';
	}
	for (; *format >= '0' && *format <= '9' && conversion->width < WIDTH_MAX; format++) {
		conversion->width = conversion->width * 10 + (unsigned)(*format - '0');
	}
	for (; *format == 'l' || *format == 'z'; format++) {
		conversion->wide = true;
	}
	return format;
}

/* Puts the conversion with this letter; false: there is no such one. */
static bool convert(struct output *out, struct conversion *conversion, struct arguments *arguments, char letter)
{
	switch (letter) {
	case 'c': {
		char c = (char)va_arg(arguments->list, int);
		put_text(out, conversion, "", &c, 1);
		return true;
	}
	case 's': {
		const char *text = va_arg(arguments->list, const char *);
		text = text == NULL ? "(null)" : text;
		put_text(out, conversion, "", text, strlen(text));
		return true;
	}
	case 'd': {
		int64_t value = conversion->wide ? va_arg(arguments->list, int64_t) : va_arg(arguments->list, int);
		put_number(out, conversion, value < 0 ? "-" : "", value < 0 ? 0 - (uint64_t)value : (uint64_t)value,
		           10);
		return true;
	}
	case 'u':
	case 'x': {
		uint64_t value =
			conversion->wide ? va_arg(arguments->list, uint64_t) : va_arg(arguments->list, unsigned);
		put_number(out, conversion, "", value, letter == 'x' ? 16 : 10);
		return true;
	}
	case 'p':
		put_number(out, conversion, "0x", (uintptr_t)va_arg(arguments->list, void *), 16);
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
		letter = parse_conversion(format + 1, &conversion);
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
