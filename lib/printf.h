/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Formatted text. Standard semantics for the conversions that the image supports: %c %s %d %i %u %x %X %p
 * %%, lengths hh h l ll z, flags - 0 and # (for x), width, and precision (a number or *). Always terminates; returns
 * the length the whole text would have had.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

int snprintf(char *restrict buffer, size_t size, const char *restrict format, ...)
	__attribute__((format(printf, 3, 4)));
int vsnprintf(char *restrict buffer, size_t size, const char *restrict format, va_list arguments)
	__attribute__((format(printf, 3, 0)));
