/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AArch64's own ways to misbehave, and its exits to measure.
 */
#include "gic.h"

#define STORM_ROUNDS     20000
#define EC_UNKNOWN       0x00
#define EXCEPTION(class) ((class) + 1)

#define PSCI_CPU_OFF 0x84000002u
#define BIT_64       0x40000000u

static uint64_t random_state = 362436069;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* ---- instructions, written into memory and called with random registers ---- */

static uint32_t code[16] __attribute__((aligned(64)));

struct attempt {
	uint64_t x0; /* before and after */
	uint64_t x1, x2, x3;
};

static void call_code(void *argument)
{
	struct attempt *attempt = argument;
	uint64_t (*function)(uint64_t, uint64_t, uint64_t, uint64_t) = (void *)(uintptr_t)code;
	attempt->x0 = function(attempt->x0, attempt->x1, attempt->x2, attempt->x3);
}

static uint64_t try_instruction(uint32_t instruction, struct attempt *attempt)
{
	code[0] = instruction;
	write_return_instruction(&code[1]);
	synchronize_code();
	return guarded(call_code, attempt);
}

/* ---- SMC and HVC: every immediate, any arguments ---- */

#define INSTRUCTION_HVC 0xd4000002u
#define INSTRUCTION_SMC 0xd4000003u
#define IMMEDIATE_SHIFT 5

/* A function number that does not end the VM, and is not a call that would take its memory away. */
static uint64_t harmless_number(void)
{
	for (;;) {
		uint64_t number = random64();
		switch (number % 4) {
		case 0:
			number = (random64() << 32) | PSCI_VERSION | (random64() % 32) | (random64() & BIT_64);
			break;
		case 1:
			number = (random64() << 32) | 0x80000000u | (random64() & 0xffff);
			break;
		default:
			break;
		}
		uint32_t function = (uint32_t)number & ~BIT_64;
		if (function != PSCI_CPU_OFF && function != PSCI_SYSTEM_OFF && function != PSCI_SYSTEM_RESET &&
		    function >> 24 != (CALL_VERSION & ~BIT_64) >> 24) {
			return number;
		}
	}
}

static void call_storm(const char *name, uint32_t instruction)
{
	unsigned long refused = 0;
	for (unsigned i = 0; i < STORM_ROUNDS; i++) {
		struct attempt attempt = {harmless_number(), random64(), random64(), random64()};
		uint32_t immediate = i % 2 ? 0 : (uint32_t)(random64() & 0xffff) << IMMEDIATE_SHIFT;
		refused += try_instruction(instruction | immediate, &attempt) != 0 || (int32_t)attempt.x0 < 0;
	}
	print("rogue: %u %ss, %s refused\n", STORM_ROUNDS, name, refused > STORM_ROUNDS / 2 ? "most" : "FEW");
}

static void smc_storm(void)
{
	call_storm("SMC", INSTRUCTION_SMC);
}

static void hvc_storm(void)
{
	call_storm("HVC", INSTRUCTION_HVC);
}

/* ---- system registers: MRS and MSR of every encoding, with random values ---- */

#define INSTRUCTION_MRS 0xd5300000u /* Op0 2 and 3, x0 */
#define INSTRUCTION_MSR 0xd5100000u
#define SYSTEM_SPACE    0xd5000000u /* MSR, MRS, SYS, hints and barriers */
#define SYSTEM_BITS     0x003fffe3u /* from or to x0 to x3 */
#define OP0_3           (3u << 19)
#define OP1_NONZERO     (7u << 16)

static uint32_t encoding(unsigned op0, unsigned op1, unsigned crn, unsigned crm, unsigned op2)
{
	return ((op0 & 1) << 19) | (op1 << 16) | (crn << 12) | (crm << 8) | (op2 << 5);
}

/* SCTLR_EL1, PSTATE and the stack, VBAR_EL1: without them this storm would be over. */
static bool lives_by(unsigned op0, unsigned op1, unsigned crn, unsigned crm, unsigned op2)
{
	if (op0 != 3 || (op1 != 0 && op1 != 3)) {
		return false;
	}
	return crn == 4 || (crn == 1 && crm == 0 && op2 == 0) || (crn == 12 && crm == 0);
}

static void register_storm(void)
{
	unsigned long refused = 0;
	unsigned long tried = 0;
	for (unsigned n = 0; n < 2u * 8 * 16 * 16 * 8; n++) {
		unsigned op2 = n & 7, crm = (n >> 3) & 15, crn = (n >> 7) & 15, op1 = (n >> 11) & 7,
			 op0 = 2 + (n >> 14);
		uint32_t fields = encoding(op0, op1, crn, crm, op2);
		struct attempt attempt = {random64(), 0, 0, 0};
		refused += try_instruction(INSTRUCTION_MRS | fields, &attempt) == EXCEPTION(EC_UNKNOWN);
		if (!lives_by(op0, op1, crn, crm, op2)) {
			attempt.x0 = random64();
			refused += try_instruction(INSTRUCTION_MSR | fields, &attempt) == EXCEPTION(EC_UNKNOWN);
			tried++;
		}
		tried++;
	}
	print("rogue: %lu system-register accesses, %s refused\n", tried, refused > tried / 2 ? "most" : "FEW");
}

/* Anything of the system instructions' space, with any value: it does not matter what becomes of this guest. */
static void wreck(void)
{
	print("rogue: wrecks its own system registers\n");
	for (;;) {
		struct attempt attempt = {random64(), random64(), random64(), random64()};
		uint32_t instruction = SYSTEM_SPACE | (random64() & SYSTEM_BITS);
		if (random64() % 2) { /* a register of its own level, where more are */
			instruction = (instruction | OP0_3) & ~OP1_NONZERO;
		}
		try_instruction(instruction, &attempt);
	}
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

/* ---- caches ---- */

/* MAIR_EL1's two kinds, and TCR_EL1: 39 bits by TTBR0_EL1, write-back walks, no TTBR1_EL1, 40-bit addresses. */
#define MAIR_DEVICE_NORMAL 0xff00ul
#define TCR_39_BITS        (25ul | 1ul << 8 | 1ul << 10 | 3ul << 12 | 1ul << 23 | 2ul << 32)
#define BLOCK              (1ul | 1ul << 10) /* valid, access flag */
#define BLOCK_NORMAL       (1ul << 2 | 3ul << 8)
#define SCTLR_M            (1ul << 0)
#define SCTLR_C            (1ul << 2)

/* Every GiB where it is, the first one device memory; then its caches off and on again without end. */
static void caches(void)
{
	static uint64_t table[512] __attribute__((aligned(PAGE_SIZE)));
	uint64_t sctlr = READ_REGISTER(sctlr_el1);
	for (uint64_t i = 0; i < 512; i++) {
		table[i] = i << 30 | BLOCK | (i > 0 ? BLOCK_NORMAL : 0);
	}
	WRITE_REGISTER(mair_el1, MAIR_DEVICE_NORMAL);
	WRITE_REGISTER(tcr_el1, TCR_39_BITS);
	WRITE_REGISTER(ttbr0_el1, (uintptr_t)table);
	__asm__ volatile("dsb sy; isb" ::: "memory");
	print("rogue: turns its caches off and on\n");
	for (;;) {
		WRITE_REGISTER(sctlr_el1, sctlr | SCTLR_M | SCTLR_C);
		__asm__ volatile("isb; dc cisw, xzr" ::: "memory");
		WRITE_REGISTER(sctlr_el1, sctlr | SCTLR_M);
		__asm__ volatile("isb" ::: "memory");
	}
}

/* For how long it does not have the CPU. */
static void watch(void)
{
	uint64_t hz = READ_REGISTER(cntfrq_el0), now, before = counter(), longest = 0;
	for (uint64_t end = before + hz / 2; before < end; before = now) {
		now = counter();
		longest = now - before > longest ? now - before : longest;
	}
	print("rogue: was away for %lu us at most\n", (unsigned long)(longest * 1000000 / hz));
}

const struct storm isa_storms[] = {
	{"caches", caches},
	{"watch", watch},
	{"smc", smc_storm},
	{"hvc", hvc_storm},
	{"registers", register_storm},
	{"wreck", wreck},
	{"exceptions", exception_loop},
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

#define BENCH_SGI   5u
#define TIMER_TICKS 5000u

static volatile uint64_t taken_at; /* 0: not yet */

static void taken(uint64_t now)
{
	unsigned intid = gic_acknowledge();
	if (intid == VIRTUAL_TIMER) {
		WRITE_REGISTER(cntv_ctl_el0, 0);
	}
	gic_end(intid);
	taken_at = now;
}

static void prepare(void)
{
	if (!on_interrupt) {
		on_interrupt = taken;
		gic_init();
	}
	taken_at = 0;
	unmask_interrupts();
}

static uint64_t wait_since(uint64_t start)
{
	while (taken_at == 0) {
	}
	mask_interrupts();
	return taken_at - start;
}

/* From the write that sends it to the handler's first instructions. */
static uint64_t bench_sgi(void)
{
	prepare();
	uint64_t start = counter();
	gic_send_self(BENCH_SGI);
	return wait_since(start);
}

/* From the moment at which it is due. */
static uint64_t bench_timer(void)
{
	prepare();
	uint64_t due = counter() + TIMER_TICKS;
	WRITE_REGISTER(cntv_cval_el0, due);
	WRITE_REGISTER(cntv_ctl_el0, 1);
	return wait_since(due);
}

const struct exit_benchmark isa_benchmarks[] = {
	{"exit.hypercall", bench_hypercall, NULL},
	{"exit.mmio_read", bench_mmio, NULL},
	{"vgic.sgi", NULL, bench_sgi},
	{"timer.injection", NULL, bench_timer},
};
const unsigned isa_benchmark_count = sizeof(isa_benchmarks) / sizeof(isa_benchmarks[0]);
