/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86-64's part of guest.h: console by the 16550's port, hypercalls, what the two boot protocols tell, exceptions.
 */
#include "guest.h"

#define UART_DATA      0x3f8
#define VECTORS        32
#define STUB_SIZE      16
#define GATE_INTERRUPT 0x8e00
#define CODE_64        0x08
#define E820_RAM       1
#define HIGH_MEMORY    0x100000

const char *const isa_name = "x86_64";

struct pvh_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

struct pvh_memory {
	uint64_t address, bytes;
	uint32_t type, reserved;
};

/* Multiboot Specification 0.6.96, 3.3 */
#define MULTIBOOT_MAGIC 0x2badb002
struct multiboot_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
};

struct multiboot_module {
	uint32_t start, end, string, reserved;
};

struct __attribute__((packed)) multiboot_memory {
	uint32_t size; /* without this field */
	uint64_t base, bytes;
	uint32_t type;
};

struct gate {
	uint16_t offset_low, selector, attributes, offset_middle;
	uint32_t offset_high, reserved;
};

extern char exception_stubs[];
static struct gate idt[VECTORS];

void guest_entry(const void *info, uint32_t magic);
void unexpected_exception(uint64_t vector, const uint64_t *stack);

/* AMD's hypercall instruction is VMMCALL, Intel's VMCALL; the other one is #UD there. */
extern bool vendor_is_amd;
bool vendor_is_amd;

void console_putc(char c)
{
	if (c == '\n') {
		console_putc('\r');
	}
	__asm__ volatile("outb %0, %1" : : "a"(c), "d"((uint16_t)UART_DATA));
}

uint64_t hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t result;
	register uint64_t rsi __asm__("rsi") = 0;
	if (vendor_is_amd) {
		__asm__ volatile("vmmcall" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "r"(rsi) : "memory");
	} else {
		__asm__ volatile("vmcall" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "r"(rsi) : "memory");
	}
	return result;
}

uint64_t counter(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return ((uint64_t)high << 32) | low;
}

void synchronize_code(void)
{
	uint32_t eax = 0, ecx = 0; /* CPUID serializes */
	__asm__ volatile("cpuid" : "+a"(eax), "+c"(ecx) : : "ebx", "edx", "memory");
}

void write_return_instruction(void *at)
{
	*(volatile uint8_t *)at = 0xc3;
}

void unexpected_exception(uint64_t vector, const uint64_t *stack)
{
	print("guest: exception %lu, stack %lx %lx %lx %lx\n", (unsigned long)vector, (unsigned long)stack[0],
	      (unsigned long)stack[1], (unsigned long)stack[2], (unsigned long)stack[3]);
	power_off();
}

static void load_idt(void)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} pointer = {sizeof(idt) - 1, (uintptr_t)idt};
	for (unsigned i = 0; i < VECTORS; i++) {
		uintptr_t stub = (uintptr_t)exception_stubs + i * STUB_SIZE;
		idt[i] = (struct gate){
			.offset_low = (uint16_t)stub,
			.selector = CODE_64,
			.attributes = GATE_INTERRUPT,
			.offset_middle = (uint16_t)(stub >> 16),
			.offset_high = (uint32_t)(stub >> 32),
		};
	}
	__asm__ volatile("lidt %0" : : "m"(pointer));
}

static bool cpu_is_amd(void)
{
	uint32_t eax = 0, ebx, ecx = 0, edx;
	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return ebx == 0x68747541; /* "Auth"enticAMD */
}

static void add_memory(uint64_t start, uint64_t bytes, uint32_t type)
{
	if (start == HIGH_MEMORY) {
		/* What a PC's map keeps apart below is memory like any other. */
		start = 0;
		bytes += HIGH_MEMORY;
	}
	if (type == E820_RAM && bytes > guest.ram_bytes) {
		guest.ram_start = start;
		guest.ram_bytes = bytes;
	}
}

static void read_start_info(const struct pvh_start_info *info)
{
	const struct pvh_memory *memory = (const struct pvh_memory *)(uintptr_t)info->memmap;
	guest.cmdline = info->cmdline ? (const char *)(uintptr_t)info->cmdline : "";
	for (unsigned i = 0; i < info->memmap_entries; i++) {
		add_memory(memory[i].address, memory[i].bytes, memory[i].type);
	}
}

static void read_multiboot(const struct multiboot_info *info)
{
	const struct multiboot_module *module = (const struct multiboot_module *)(uintptr_t)info->mods_addr;
	guest.cmdline = (const char *)(uintptr_t)info->cmdline;
	for (uint32_t at = info->mmap_addr; at < info->mmap_addr + info->mmap_length;) {
		const struct multiboot_memory *memory = (const struct multiboot_memory *)(uintptr_t)at;
		add_memory(memory->base, memory->bytes, memory->type);
		at += memory->size + (uint32_t)sizeof(memory->size);
	}
	print("multiboot: flags 0x%x, %u KiB below 1 MiB, %u KiB above, loader \"%s\", %u modules\n", info->flags,
	      info->mem_lower, info->mem_upper, (const char *)(uintptr_t)info->boot_loader_name, info->mods_count);
	for (unsigned i = 0; i < info->mods_count; i++) {
		print("multiboot: module \"%s\" of %u bytes: %s\n", (const char *)(uintptr_t)module[i].string,
		      module[i].end - module[i].start, (const char *)(uintptr_t)module[i].start);
	}
}

void guest_entry(const void *info, uint32_t magic)
{
	vendor_is_amd = cpu_is_amd();
	load_idt();
	if (magic == MULTIBOOT_MAGIC) {
		read_multiboot(info);
	} else {
		read_start_info(info);
	}
	guest_main();
	power_off();
}
