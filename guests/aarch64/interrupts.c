/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SGIs, both timers, and debug exceptions: every check makes some happen and looks at which came, in which order and
 * how often.
 */
#include "gic.h"

#define SGIS      16u
#define LOG_MAX   64u
#define NESTING   1u /* the SGI in whose handler a more urgent one is sent */
#define URGENT    2u
#define LEAST     0xf0u
#define DEFAULT   0x80u
#define MOST      0x10u
#define TIMER_ON  1u
#define TIMER_OFF 0u

#define EC_BREAKPOINT 0x31u
#define EC_STEP       0x33u
#define EC_WATCHPOINT 0x35u
#define RAISED(class) ((class) + 1u)
#define MDSCR_STEP    ((1u << 13) | 1u)          /* KDE, SS */
#define MDSCR_BREAK   ((1u << 13) | (1u << 15))  /* KDE, MDE */
#define BREAK_HERE    (0xfu << 5 | 1u << 1 | 1u) /* all four bytes, EL1, enabled */
#define WATCH_WRITES  (0xffu << 5 | 2u << 3 | 1u << 1 | 1u)
#define SPSR_STEP     ((1u << 21) | (7u << 6) | 5u) /* SS, EL1h; D is clear, the rest masked */

static volatile unsigned arrived; /* entries of log */
static volatile unsigned log[LOG_MAX];
static unsigned version, failed;

/* In ticks of the counter: an emulator that has to wait for a CPU of its own is late by milliseconds. */
static uint64_t patience; /* with what has to come */
static uint64_t a_while;  /* for what may come unasked */

/* ---- taking interrupts ---- */

static void stop_timer(unsigned intid)
{
	if (intid == VIRTUAL_TIMER) {
		WRITE_REGISTER(cntv_ctl_el0, TIMER_OFF);
	} else if (intid == PHYSICAL_TIMER) {
		WRITE_REGISTER(cntp_ctl_el0, TIMER_OFF);
	}
}

static void wait_for(unsigned count)
{
	uint64_t end = counter() + patience;
	while (arrived < count && counter() < end) {
	}
}

/* The more urgent one comes in here, so it is in the log first. */
static void send_urgent(void)
{
	uint64_t elr = READ_REGISTER(elr_el1), spsr = READ_REGISTER(spsr_el1);
	gic_send_self(URGENT);
	unmask_interrupts();
	wait_for(1);
	mask_interrupts();
	WRITE_REGISTER(elr_el1, elr);
	WRITE_REGISTER(spsr_el1, spsr);
}

static void handle(uint64_t now)
{
	unsigned intid = gic_acknowledge();
	(void)now;
	if (intid == GIC_NONE) {
		return;
	}
	stop_timer(intid);
	if (intid == NESTING) {
		send_urgent();
	}
	if (arrived < LOG_MAX) {
		log[arrived] = intid;
	}
	arrived++;
	gic_end(intid);
}

static void begin(void)
{
	mask_interrupts();
	arrived = 0;
}

/* Until `count` have come, and a little longer. */
static void collect(unsigned count)
{
	unmask_interrupts();
	wait_for(count);
	for (uint64_t end = counter() + a_while; counter() < end;) {
	}
	mask_interrupts();
}

static void check(const char *what, bool good)
{
	failed += !good;
	print("interrupts: GICv%u: %s: %s\n", version, what, good ? "ok" : "FAILED");
}

static bool came(unsigned a, unsigned b)
{
	return arrived == 2 && log[0] == a && log[1] == b;
}

/* ---- checks ---- */

/* More at once than there are list registers: all come, each once. */
static void most_urgent_first(void)
{
	bool good = true;
	begin();
	for (unsigned i = 0; i < SGIS; i++) {
		gic_set_priority(i, (SGIS - i) * 8);
	}
	gic_enable(NESTING, false);
	for (unsigned i = 0; i < SGIS; i++) {
		gic_send_self(i);
	}
	collect(SGIS - 1);
	unsigned expected = SGIS;
	for (unsigned i = 0; i < arrived && i < LOG_MAX; i++) {
		expected -= expected == NESTING + 1 ? 2 : 1;
		good = good && log[i] == expected;
	}
	check("fifteen at once come, the most urgent first", good && arrived == SGIS - 1);
	begin();
	for (unsigned i = 0; i < SGIS; i++) {
		gic_set_priority(i, DEFAULT);
	}
	collect(0);
	check("one that is not enabled does not come", arrived == 0);
	gic_set_priority(NESTING, LEAST);
	gic_set_priority(URGENT, MOST);
	begin();
	gic_enable(NESTING, true);
	collect(2);
	check("enabled it comes, and a more urgent one in its handler", came(URGENT, NESTING));
}

static void masked_by_priority(void)
{
	begin();
	gic_set_priority(3, 0xf8);
	gic_send_self(3);
	collect(0);
	bool kept = arrived == 0;
	gic_set_priority(3, DEFAULT);
	collect(1);
	check("the priority mask holds one back until it is more urgent", kept && arrived == 1 && log[0] == 3);
}

static void arm_timers(uint64_t virtual, uint64_t physical)
{
	WRITE_REGISTER(cntv_cval_el0, virtual);
	WRITE_REGISTER(cntp_cval_el0, physical);
	WRITE_REGISTER(cntv_ctl_el0, TIMER_ON);
	WRITE_REGISTER(cntp_ctl_el0, TIMER_ON);
}

static void timers(void)
{
	uint64_t tick = patience / 100;
	begin();
	for (unsigned i = 0; i < 3; i++) {
		uint64_t now = counter();
		arm_timers(now + tick, now + 2 * tick);
		collect(2 * i + 2);
	}
	check("both timers come once each time, in their order",
	      arrived == 6 && log[0] == VIRTUAL_TIMER && log[1] == PHYSICAL_TIMER && log[4] == VIRTUAL_TIMER);
	begin();
	uint64_t due = counter() + tick;
	arm_timers(due, due + 10 * tick);
	while (arrived < 2) {
		__asm__ volatile("wfi" : : : "memory");
		unmask_interrupts();
		mask_interrupts();
	}
	check("both end a WFI, not before they are due", came(VIRTUAL_TIMER, PHYSICAL_TIMER) && counter() >= due);
	begin();
	arm_timers(0, 0);
	stop_timer(VIRTUAL_TIMER);
	stop_timer(PHYSICAL_TIMER);
	collect(0);
	check("a timer that is off before it is taken does not come", arrived == 0);
}

/* ---- debug exceptions ---- */

static volatile uint64_t watched;

static __attribute__((noinline)) void broken(void *argument)
{
	*(volatile uint64_t *)argument = 1;
}

static void call_unmasked(void *argument)
{
	__asm__ volatile("msr daifclr, #8" : : : "memory");
	broken(argument);
	__asm__ volatile("msr daifset, #8" : : : "memory");
}

/* One instruction, which traps to the hypervisor, by a step. */
static void step(void *argument)
{
	(void)argument;
	WRITE_REGISTER(mdscr_el1, MDSCR_STEP);
	__asm__ volatile("adr x9, stepped\n\t"
	                 "msr elr_el1, x9\n\t"
	                 "msr spsr_el1, %0\n\t"
	                 "isb\n\t"
	                 "eret\n"
	                 "stepped:\n\t"
	                 "mrs x9, cntp_ctl_el0\n"
	                 "stepped_end:\n\t"
	                 "nop"
	                 :
	                 : "r"((uint64_t)SPSR_STEP)
	                 : "x9", "memory");
}

static void debug(void)
{
	extern char stepped_end[];
	WRITE_REGISTER(oslar_el1, 0);
	WRITE_REGISTER(dbgbvr1_el1, (uintptr_t)broken);
	WRITE_REGISTER(dbgbcr1_el1, BREAK_HERE);
	bool off = guarded(call_unmasked, (void *)&watched) == 0 && watched == 1;
	WRITE_REGISTER(mdscr_el1, MDSCR_BREAK);
	check("a breakpoint hits when it may",
	      off && guarded(call_unmasked, (void *)&watched) == RAISED(EC_BREAKPOINT));
	WRITE_REGISTER(dbgbcr1_el1, 0);
	WRITE_REGISTER(dbgwvr0_el1, (uintptr_t)&watched);
	WRITE_REGISTER(dbgwcr0_el1, WATCH_WRITES);
	check("a watchpoint hits", guarded(call_unmasked, (void *)&watched) == RAISED(EC_WATCHPOINT));
	WRITE_REGISTER(oslar_el1, 1);
	check("the OS lock keeps it away", guarded(call_unmasked, (void *)&watched) == 0);
	WRITE_REGISTER(oslar_el1, 0);
	WRITE_REGISTER(dbgwcr0_el1, 0);
	uint64_t raised = guarded(step, NULL);
	uint64_t at = READ_REGISTER(elr_el1);
	WRITE_REGISTER(mdscr_el1, 0);
	check("a step ends behind an instruction that traps",
	      raised == RAISED(EC_STEP) && at == (uintptr_t)stepped_end);
}

unsigned interrupt_checks(void)
{
	patience = READ_REGISTER(cntfrq_el0) / 4;
	a_while = patience / 250;
	on_interrupt = handle;
	version = gic_init();
	most_urgent_first();
	masked_by_priority();
	timers();
	debug();
	return failed;
}
