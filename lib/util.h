/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arithmetic and layout helpers that every floor uses. Pure macros and inline functions: nothing here
 * allocates, logs or touches the CPU.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n)        (UINT64_C(1) << (n))
/* Bits high..low inclusive, as the manuals write [high:low]. */
#define BITS(high, low)                     ((UINT64_MAX >> (63 - (high))) & (UINT64_MAX << (low)))
#define MIN(a, b)                           ((a) < (b) ? (a) : (b))
#define MAX(a, b)                           ((a) > (b) ? (a) : (b))
#define KIB(n)                              ((uint64_t)(n) << 10)
#define MIB(n)                              ((uint64_t)(n) << 20)
#define GIB(n)                              ((uint64_t)(n) << 30)
#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
#define likely(x)                           __builtin_expect(!!(x), 1)
#define unlikely(x)                         __builtin_expect(!!(x), 0)

/* `alignment` is a power of two. align_up wraps to 0 past the end: check first where that can happen. */
static inline uint64_t align_down(uint64_t value, uint64_t alignment)
{
	return value & ~(alignment - 1);
}

static inline uint64_t align_up(uint64_t value, uint64_t alignment)
{
	return (value + alignment - 1) & ~(alignment - 1);
}

static inline bool is_aligned(uint64_t value, uint64_t alignment)
{
	return (value & (alignment - 1)) == 0;
}

/* How many bits `value`, which is not 0, takes. */
static inline unsigned bit_width(uint64_t value)
{
	return 64 - (unsigned)__builtin_clzll(value);
}

/* The field value[high:low], shifted down. */
static inline uint64_t field(uint64_t value, unsigned high, unsigned low)
{
	return (value & BITS(high, low)) >> low;
}
