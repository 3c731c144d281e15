/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AArch64's own ways to misbehave, and its exits to measure.
 */
#include "guest.h"

#define STORM_ROUNDS     20000
#define EC_UNKNOWN       0x00
#define EXCEPTION(class) ((class) + 1)

#define PSCI_CPU_SUSPEND 0x84000001u

static uint64_t random_state = 362436069;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* A function number that does not end the VM. */
static uint64_t harmless_number(void)
{
	for (;;) {
		uint64_t number = random64() % 2 ? 0x84000000u + random64() % 32 : random64();
		if ((number & ~0x40000000ul) - PSCI_CPU_SUSPEND > 0x20) {
			return number;
		}
		if (number == PSCI_VERSION) {
			return number;
		}
	}
}

static void smc(void *argument)
{
	register uint64_t x0 __asm__("x0") = *(uint64_t *)argument;
	__asm__ volatile("smc #0" : "+r"(x0) : : "x1", "x2", "x3", "memory");
	*(uint64_t *)argument = x0;
}

static void smc_storm(void)
{
	unsigned long refused = 0;
	for (unsigned i = 0; i < STORM_ROUNDS; i++) {
		uint64_t number = harmless_number();
		refused += guarded(smc, &number) != 0 || (int32_t)number < 0;
	}
	print("rogue: %u SMCs, %s refused\n", STORM_ROUNDS, refused > STORM_ROUNDS / 2 ? "most" : "FEW");
}

/* HVC with every immediate, not only 0. */
static void hvc_storm(void)
{
	unsigned long refused = 0;
	for (unsigned i = 0; i < STORM_ROUNDS; i++) {
		register uint64_t x0 __asm__("x0") = harmless_number();
		if (i % 2) {
			__asm__ volatile("hvc #0" : "+r"(x0) : : "x1", "x2", "x3", "memory");
		} else {
			__asm__ volatile("hvc #0x4a48" : "+r"(x0) : : "x1", "x2", "x3", "memory");
		}
		refused += (int32_t)x0 < 0;
	}
	print("rogue: %u HVCs, %s refused\n", STORM_ROUNDS, refused > STORM_ROUNDS / 2 ? "most" : "FEW");
}

/* ---- system registers: MRS and MSR of every encoding, written into a page and called ---- */

static uint32_t code[16] __attribute__((aligned(64)));

#define INSTRUCTION_MRS 0xd5200000u /* x0 */
#define INSTRUCTION_MSR 0xd500001fu /* from xzr */

static void call_code(void *argument)
{
	(void)argument;
	((void (*)(void))(uintptr_t)code)();
}

static uint64_t try_instruction(uint32_t instruction)
{
	code[0] = instruction;
	write_return_instruction(&code[1]);
	synchronize_code();
	return guarded(call_code, NULL);
}

static uint32_t encoding(unsigned op0, unsigned op1, unsigned crn, unsigned crm, unsigned op2)
{
	return (op0 << 19) | (op1 << 16) | (crn << 12) | (crm << 8) | (op2 << 5);
}

static void register_storm(void)
{
	unsigned long refused = 0;
	unsigned long tried = 0;
	for (unsigned n = 0; n < 2u * 8 * 16 * 16 * 8; n++) {
		unsigned op2 = n & 7, crm = (n >> 3) & 15, crn = (n >> 7) & 15, op1 = (n >> 11) & 7,
			 op0 = 2 + (n >> 14);
		uint32_t fields = encoding(op0, op1, crn, crm, op2);
		refused += try_instruction(INSTRUCTION_MRS | fields) == EXCEPTION(EC_UNKNOWN);
		/* Written only where nothing of its own world lives: EL2's and EL3's, implementation-defined, debug. */
		if (op0 == 2 || op1 >= 4 || crn == 11 || crn == 15) {
			refused += try_instruction(INSTRUCTION_MSR | fields) == EXCEPTION(EC_UNKNOWN);
			tried++;
		}
		tried++;
	}
	print("rogue: %lu system-register accesses, %s refused\n", tried, refused > tried / 2 ? "most" : "FEW");
}

/* Vectors that point at nothing: an exception in the exception, for ever. */
static void exception_loop(void)
{
	print("rogue: takes exceptions without end\n");
	__asm__ volatile("msr vbar_el1, %0; isb; .word 0" : : "r"(guest.ram_start + guest.ram_bytes - PAGE_SIZE));
}

static void halt(void)
{
	print("rogue: halts for ever\n");
	for (;;) {
		__asm__ volatile("wfi");
	}
}

const struct storm isa_storms[] = {
	{"smc", smc_storm}, {"hvc", hvc_storm}, {"registers", register_storm}, {"exceptions", exception_loop},
	{"halt", halt},
};
const unsigned isa_storm_count = sizeof(isa_storms) / sizeof(isa_storms[0]);

/* ---- exits to measure ---- */

#define UART_IBRD 0x09000024ul

static void bench_hypercall(void)
{
	register uint64_t x0 __asm__("x0") = CALL_VERSION;
	__asm__ volatile("hvc #0" : "+r"(x0));
}

static void bench_mmio(void)
{
	(void)*(volatile uint32_t *)UART_IBRD;
}

const struct exit_benchmark isa_benchmarks[] = {
	{"exit.hypercall", bench_hypercall},
	{"exit.mmio_read", bench_mmio},
};
const unsigned isa_benchmark_count = sizeof(isa_benchmarks) / sizeof(isa_benchmarks[0]);
