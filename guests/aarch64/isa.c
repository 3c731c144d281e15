/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AArch64's part of guest.h: console by the PL011, hypercalls by HVC, the device tree's few facts, exceptions.
 */
#include "guest.h"

#define UART_DATA 0x09000000ul

#define FDT_BEGIN_NODE 1u
#define FDT_END_NODE   2u
#define FDT_PROPERTY   3u
#define FDT_NOP        4u

const char *const isa_name = "aarch64";

void guest_entry(const uint32_t *fdt);
void unexpected_exception(uint64_t esr, uint64_t elr, uint64_t far);

void console_putc(char c)
{
	if (c == '\n') {
		console_putc('\r');
	}
	*(volatile uint32_t *)UART_DATA = (uint8_t)c;
}

uint64_t hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t x0 __asm__("x0") = number;
	register uint64_t x1 __asm__("x1") = a;
	register uint64_t x2 __asm__("x2") = b;
	register uint64_t x3 __asm__("x3") = c;
	register uint64_t x4 __asm__("x4") = 0;
	__asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3), "+r"(x4) : : "memory");
	return x0;
}

uint64_t counter(void)
{
	uint64_t value;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(value) : : "memory");
	return value;
}

void synchronize_code(void)
{
	__asm__ volatile("dsb sy; ic iallu; dsb sy; isb" : : : "memory");
}

void write_return_instruction(void *at)
{
	*(volatile uint32_t *)at = 0xd65f03c0;
}

void unexpected_exception(uint64_t esr, uint64_t elr, uint64_t far)
{
	print("guest: exception, ESR %lx ELR %lx FAR %lx\n", (unsigned long)esr, (unsigned long)elr,
	      (unsigned long)far);
	power_off();
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static uint64_t cells(const uint32_t *p)
{
	return ((uint64_t)__builtin_bswap32(p[0]) << 32) | __builtin_bswap32(p[1]);
}

/* One pass over the structure block: bootargs, and reg of the first node whose device_type is memory. */
static void read_fdt(const uint32_t *fdt)
{
	const char *strings = (const char *)fdt + __builtin_bswap32(fdt[3]);
	const uint32_t *p = fdt + __builtin_bswap32(fdt[2]) / 4;
	const uint32_t *reg = NULL;
	bool is_memory = false;
	for (;;) {
		uint32_t token = __builtin_bswap32(*p++);
		if (token == FDT_BEGIN_NODE) {
			const char *name = (const char *)p;
			size_t bytes = 1;
			while (*name++) {
				bytes++;
			}
			p += (bytes + 3) / 4;
			reg = NULL;
			is_memory = false;
		} else if (token == FDT_PROPERTY) {
			uint32_t bytes = __builtin_bswap32(p[0]);
			const char *name = strings + __builtin_bswap32(p[1]);
			p += 2;
			if (same(name, "bootargs")) {
				guest.cmdline = (const char *)p;
			} else if (same(name, "reg")) {
				reg = p;
			} else if (same(name, "device_type")) {
				is_memory = same((const char *)p, "memory");
			}
			p += (bytes + 3) / 4;
			if (is_memory && reg && guest.ram_bytes == 0) {
				guest.ram_start = cells(reg);
				guest.ram_bytes = cells(reg + 2);
			}
		} else if (token != FDT_END_NODE && token != FDT_NOP) {
			return;
		}
	}
}

void guest_entry(const uint32_t *fdt)
{
	guest.cmdline = "";
	read_fdt(fdt);
	guest_main();
	power_off();
}
