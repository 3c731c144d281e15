/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access to the host's device registers: memory-mapped ones on every ISA, I/O ports where the ISA has them
 * (elsewhere reads give all ones and writes go nowhere: no driver is told of a port there).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

static inline uint8_t mmio_read8(uintptr_t address)
{
	return *(volatile uint8_t *)address;
}

static inline uint32_t mmio_read32(uintptr_t address)
{
	return *(volatile uint32_t *)address;
}

static inline uint64_t mmio_read64(uintptr_t address)
{
	return *(volatile uint64_t *)address;
}

static inline void mmio_write8(uintptr_t address, uint8_t value)
{
	*(volatile uint8_t *)address = value;
}

static inline void mmio_write32(uintptr_t address, uint32_t value)
{
	*(volatile uint32_t *)address = value;
}

static inline uint8_t port_read8(uint16_t port)
{
#if defined(__x86_64__)
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
#else
	(void)port;
	return UINT8_MAX;
#endif
}

static inline void port_write8(uint16_t port, uint8_t value)
{
#if defined(__x86_64__)
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
#else
	(void)port;
	(void)value;
#endif
}

/* The bytes one after the other to the same port, by one instruction. */
static inline void port_write8_string(uint16_t port, const void *from, size_t bytes)
{
#if defined(__x86_64__)
	__asm__ volatile("rep outsb" : "+S"(from), "+c"(bytes) : "d"(port) : "memory");
#else
	(void)port;
	(void)from;
	(void)bytes;
#endif
}

static inline uint32_t port_read32(uint16_t port)
{
#if defined(__x86_64__)
	uint32_t value;
	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
#else
	(void)port;
	return UINT32_MAX;
#endif
}
