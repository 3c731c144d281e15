/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The string functions that are not worth assembly, for the image only: host programs link the C library's.
 * memset, memcpy and memmove stand in lib/<isa>/. Nothing here may be turned into a call of itself.
 */
#include "lib/string.h"

#include <stdint.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

int memcmp(const void *a, const void *b, size_t bytes)
{
	const uint8_t *p = a;
	const uint8_t *q = b;

	for (size_t i = 0; i < bytes; i++) {
		if (p[i] != q[i]) {
			return p[i] - q[i];
		}
	}
	return 0;
}

void *memchr(const void *from, int value, size_t bytes)
{
	const uint8_t *p = from;

	for (size_t i = 0; i < bytes; i++) {
		if (p[i] == (uint8_t)value) {
			return (void *)(uintptr_t)&p[i]; /* NOLINT(performance-no-int-to-ptr): as the standard has it */
		}
	}
	return NULL;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n] != '\0') {
		n++;
	}
	return n;
}

size_t strnlen(const char *s, size_t limit)
{
	size_t n = 0;

	while (n < limit && s[n] != '\0') {
		n++;
	}
	return n;
}

int strcmp(const char *a, const char *b)
{
	return strncmp(a, b, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t limit)
{
	for (size_t i = 0; i < limit; i++) {
		if (a[i] != b[i]) {
			return (uint8_t)a[i] - (uint8_t)b[i];
		}
		if (a[i] == '\0') {
			break;
		}
	}
	return 0;
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c) {
			return (char *)(uintptr_t)s; /* NOLINT(performance-no-int-to-ptr): as the standard has it */
		}
		if (*s == '\0') {
			return NULL;
		}
	}
}
