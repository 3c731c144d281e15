/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Formatted text. Standard semantics for the conversions that the image uses: %c %s %d %u %x %p %%, lengths l, ll
 * and z, width, flags - and 0 (for numbers). Always terminates; returns the length the whole text would have had.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

int snprintf(char *restrict buffer, size_t size, const char *restrict format, ...)
	__attribute__((format(printf, 3, 4)));
int vsnprintf(char *restrict buffer, size_t size, const char *restrict format, va_list arguments)
	__attribute__((format(printf, 3, 0)));
