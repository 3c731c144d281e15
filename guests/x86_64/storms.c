/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86-64's own ways to misbehave, and its exits to measure.
 */
#include "guest.h"

extern bool vendor_is_amd; /* isa.c */

#define STORM_ROUNDS      2000
#define VECTOR_UD         6
#define VECTOR_GP         13
#define EXCEPTION(vector) ((vector) + 1)

/* ---- triple fault ---- */

static void triple_fault(void)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} nothing = {0, 0};
	print("rogue: triple fault\n");
	__asm__ volatile("lidt %0; ud2" : : "m"(nothing));
}

/* ---- #DB without end: its delivery writes to a data breakpoint, on the stack that its gate asks for each time ---- */

#define SELECTOR_TSS   0x18
#define TSS_DESCRIPTOR 0x0000890000000067ul
#define TSS_IST1       9         /* in units of 32 bits */
#define DR7_WRITES_0   0x90401ul /* of 8 bytes at DR0 */
#define GATE_BYTES     16
#define GATE_IST       4

static void debug(void)
{
	static _Alignas(16) volatile uint64_t stack[64];
	static uint32_t tss[26];
	static uint64_t gdt[5];
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} table, idt;
	uint64_t top = (uintptr_t)&stack[64], at = (uintptr_t)tss;

	__asm__ volatile("sgdt %0" : "=m"(table));
	memcpy(gdt, (const void *)(uintptr_t)table.base, table.limit + 1u);
	gdt[3] = TSS_DESCRIPTOR | (at & 0xffffff) << 16 | (at >> 24 & 0xff) << 56;
	gdt[4] = at >> 32;
	memcpy(&tss[TSS_IST1], &top, sizeof(top));
	table.limit = sizeof(gdt) - 1;
	table.base = (uintptr_t)gdt;
	__asm__ volatile("lgdt %1; ltr %w2; sidt %0" : "=m"(idt) : "m"(table), "r"(SELECTOR_TSS) : "memory");
	*(volatile uint8_t *)(uintptr_t)(idt.base + GATE_BYTES + GATE_IST) = 1;
	print("rogue: debug exceptions without end\n");
	__asm__ volatile("mov %0, %%dr0; mov %1, %%dr7" : : "r"(top - sizeof(top)), "r"(DR7_WRITES_0) : "memory");
	stack[63] = 0;
}

/* ---- virtualization instructions: each must be #UD or #GP for a guest ---- */

static uint64_t operand[2];

#define ATTEMPT(name, instruction)                                                                                     \
	static void name(void *argument)                                                                               \
	{                                                                                                              \
		__asm__ volatile(instruction : : "a"(argument), "c"(0), "d"(0) : "memory", "cc");                      \
	}
ATTEMPT(try_vmxon, "vmxon (%%rax)")
ATTEMPT(try_vmptrld, "vmptrld (%%rax)")
ATTEMPT(try_vmclear, "vmclear (%%rax)")
ATTEMPT(try_vmread, "vmread %%rcx, %%rdx")
ATTEMPT(try_vmwrite, "vmwrite %%rcx, %%rdx")
ATTEMPT(try_vmlaunch, "vmlaunch")
ATTEMPT(try_vmresume, "vmresume")
ATTEMPT(try_vmxoff, "vmxoff")
ATTEMPT(try_invept, "invept (%%rax), %%rcx")
ATTEMPT(try_vmrun, "vmrun %%rax")
ATTEMPT(try_vmload, "vmload %%rax")
ATTEMPT(try_vmsave, "vmsave %%rax")
ATTEMPT(try_stgi, "stgi")
ATTEMPT(try_clgi, "clgi")
ATTEMPT(try_invlpga, "invlpga %%rax, %%ecx")
ATTEMPT(try_skinit, "skinit %%eax")

static void virtualization_storm(void)
{
	static void (*const attempts[])(void *) = {
		try_vmxon,  try_vmptrld, try_vmclear, try_vmread, try_vmwrite, try_vmlaunch, try_vmresume, try_vmxoff,
		try_invept, try_vmrun,   try_vmload,  try_vmsave, try_stgi,    try_clgi,     try_invlpga,  try_skinit,
	};
	unsigned count = sizeof(attempts) / sizeof(attempts[0]);
	unsigned long refused = 0;
	for (unsigned round = 0; round < STORM_ROUNDS; round++) {
		uint64_t vector = guarded(attempts[round % count], operand);
		refused += vector == EXCEPTION(VECTOR_UD) || vector == EXCEPTION(VECTOR_GP);
	}
	print("rogue: %u virtualization instructions, %lu refused\n", STORM_ROUNDS, refused);
}

/* ---- MSRs ---- */

struct msr {
	uint32_t index;
	uint64_t value;
};

static void read_msr(void *argument)
{
	struct msr *msr = argument;
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr->index));
	msr->value = ((uint64_t)high << 32) | low;
}

static void write_msr(void *argument)
{
	struct msr *msr = argument;
	__asm__ volatile("wrmsr" : : "c"(msr->index), "a"((uint32_t)msr->value), "d"((uint32_t)(msr->value >> 32)));
}

/* Reads each; writes back what was read, or garbage where reading was refused. */
static void msr_range(uint32_t first, uint32_t count, unsigned long *readable, unsigned long *writable)
{
	for (uint32_t i = 0; i < count; i++) {
		struct msr msr = {first + i, 0xdeadbeefcafef00d};
		*readable += guarded(read_msr, &msr) == 0;
		*writable += guarded(write_msr, &msr) == 0;
	}
}

static void msr_storm(void)
{
	unsigned long readable = 0;
	unsigned long writable = 0;
	msr_range(0, 0x1000, &readable, &writable);
	msr_range(0x40000000, 0x200, &readable, &writable);
	msr_range(0xc0000000, 0x400, &readable, &writable);
	msr_range(0xc0010000, 0x400, &readable, &writable);
	print("rogue: MSR storm: %s readable, %s writable\n", readable < 200 ? "few" : "MANY",
	      writable < 200 ? "few" : "MANY");
}

/* ---- ports ---- */

static void port_storm(void)
{
	for (uint32_t port = 0; port < 0x10000; port++) {
		uint32_t value;
		if (port >= 0x3f8 && port < 0x400) {
			continue; /* its console */
		}
		__asm__ volatile("inl %w1, %0" : "=a"(value) : "d"(port));
		__asm__ volatile("outb %b0, %w1" : : "a"(port), "d"(port));
		__asm__ volatile("inw %w1, %w0" : "=a"(value) : "d"(port));
	}
	print("rogue: every port read and written\n");
}

/* ---- control registers ---- */

#define CR_ATTEMPT(name, reg)                                                                                          \
	static void name(void *argument)                                                                               \
	{                                                                                                              \
		__asm__ volatile("mov %0, %%" #reg : : "r"(*(uint64_t *)argument) : "memory");                         \
	}
CR_ATTEMPT(write_cr0, cr0)
CR_ATTEMPT(write_cr4, cr4)

static void set_xcr0(void *argument)
{
	uint64_t value = *(uint64_t *)argument;
	__asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

/* The bits of CR4 that the features in CPUID bring along: SDM vol. 3A 2.5. */
static uint64_t cr4_shown(void)
{
	static const struct {
		uint8_t leaf, reg, bit; /* reg: EAX, EBX, ECX, EDX */
		uint8_t cr4;
	} table[] = {
		{1, 3, 1, 0},  {1, 3, 1, 1},   {1, 3, 4, 2},   {1, 3, 2, 3},   {1, 3, 3, 4},   {1, 3, 6, 5},
		{1, 3, 7, 6},  {1, 3, 13, 7},  {1, 3, 24, 9},  {1, 3, 25, 10}, {7, 2, 2, 11},  {7, 2, 16, 12},
		{7, 1, 0, 16}, {1, 2, 17, 17}, {1, 2, 26, 18}, {7, 1, 7, 20},  {7, 1, 20, 21}, {7, 2, 3, 22},
	};
	uint64_t shown = 1ul << 8; /* PCE */
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		uint32_t out[4];
		__asm__ volatile("cpuid"
		                 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
		                 : "a"(table[i].leaf), "c"(0));
		shown |= (uint64_t)(out[table[i].reg] >> table[i].bit & 1) << table[i].cr4;
	}
	return shown;
}

static void control_storm(void)
{
	unsigned long refused = 0, against_cpuid = 0;
	uint64_t cr0, cr4, shown = cr4_shown();
	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t value = cr0 ^ (1ul << bit);
		if (bit != 0 && bit != 31) { /* without PE or PG the code itself would be gone */
			refused += guarded(write_cr0, &value) != 0;
			guarded(write_cr0, &cr0);
		}
		value = cr4 ^ (1ul << bit);
		if (bit != 5 && bit != 12) { /* fixed in long mode */
			bool no = guarded(write_cr4, &value) != 0;
			uint64_t now;
			__asm__ volatile("mov %%cr4, %0" : "=r"(now));
			against_cpuid += no == (shown >> bit & 1) || now != (no ? cr4 : value);
			refused += no;
			guarded(write_cr4, &cr4);
		}
		value = 1ul << bit;
		refused += guarded(set_xcr0, &value) != 0;
	}
	print("rogue: control registers: %s refused, %u of CR4's bits against CPUID\n", refused > 60 ? "most" : "FEW",
	      (unsigned)against_cpuid);
}

static void halt(void)
{
	print("rogue: halts for ever\n");
	__asm__ volatile("cli; hlt");
}

const struct storm isa_storms[] = {
	{"triple-fault", triple_fault},
	{"virtualization", virtualization_storm},
	{"registers", msr_storm},
	{"ports", port_storm},
	{"control", control_storm},
	{"debug", debug},
	{"halt", halt},
};
const unsigned isa_storm_count = sizeof(isa_storms) / sizeof(isa_storms[0]);

/* ---- exits to measure ---- */

#define MSR_IA32_APIC_BASE 0x1b
#define UART_SCRATCH       (0x3f8 + 7)
#define UART_MMIO_SCRATCH  0xfe032007ul

static void bench_cpuid(void)
{
	uint32_t eax = 1, ecx = 0;
	__asm__ volatile("cpuid" : "+a"(eax), "+c"(ecx) : : "ebx", "edx");
}

static void bench_hypercall(void)
{
	uint64_t rax = CALL_VERSION;
	if (vendor_is_amd) {
		__asm__ volatile("vmmcall" : "+a"(rax));
	} else {
		__asm__ volatile("vmcall" : "+a"(rax));
	}
}

static void bench_port(void)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "d"((uint16_t)UART_SCRATCH));
}

static void bench_msr(void)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_IA32_APIC_BASE));
}

static void bench_mmio(void)
{
	(void)*(volatile uint8_t *)UART_MMIO_SCRATCH;
}

const struct exit_benchmark isa_benchmarks[] = {
	{"exit.cpuid", bench_cpuid, NULL},    {"exit.hypercall", bench_hypercall, NULL},
	{"exit.port_read", bench_port, NULL}, {"exit.msr_read", bench_msr, NULL},
	{"exit.mmio_read", bench_mmio, NULL},
};
const unsigned isa_benchmark_count = sizeof(isa_benchmarks) / sizeof(isa_benchmarks[0]);
