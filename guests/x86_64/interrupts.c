/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC, the IOAPIC and NMIs, by both doors: every check makes interrupts happen and looks at which came, in
 * which order and how often.
 */
#include "guest.h"

#define LAPIC       0xfee00000ul
#define IOAPIC      0xfec00000ul
#define ID          0x020
#define TPR         0x080
#define EOI         0x0b0
#define SVR         0x0f0
#define ICR         0x300
#define ICR_HIGH    0x310
#define LVT_TIMER   0x320
#define COUNT       0x380
#define DIVIDE      0x3e0
#define SVR_ON      0x1ff
#define SVR_OFF     0x0ff
#define SELF        0x44000
#define SELF_NMI    0x44400
#define DIVIDE_BY_1 0xb
#define PERIODIC    (1u << 17)
#define DEADLINE    (2u << 17)
#define MASKED      (1u << 16)
#define LEVEL       (1u << 15)
#define MSR_BASE    0x1b
#define MSR_DUE     0x6e0
#define BASE_X2APIC (1u << 10)
#define UART_IER    0x3f9
#define UART_IIR    0x3fa
#define UART_PIN    4
#define THR_EMPTY   2
#define LOG_MAX     64
#define TICKS       200
#define TICK_PERIOD 600000u
#define TICK_ROUNDS 500
#define PATIENCE    200000u /* rounds of waiting for what does not come */

struct interrupt_frame;
struct gate {
	uint16_t offset_low, selector, attributes, offset_middle;
	uint32_t offset_high, reserved;
};
struct __attribute__((packed)) table {
	uint16_t limit;
	uint64_t base;
};

static struct gate idt[256];
static volatile unsigned arrived; /* entries of log */
static volatile uint8_t log[LOG_MAX];
static volatile unsigned nmi_depth, nmi_deepest, nmi_resend;
static volatile unsigned uart_ignored; /* how often the UART's handler still leaves its reason standing */
static bool x2apic;

/* ---- registers ---- */

static uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static void apic_write(unsigned offset, uint32_t value)
{
	if (x2apic) {
		wrmsr(0x800 + offset / 16, value);
	} else {
		*(volatile uint32_t *)(LAPIC + offset) = value;
	}
}

static uint32_t apic_read(unsigned offset)
{
	return x2apic ? (uint32_t)rdmsr(0x800 + offset / 16) : *(volatile uint32_t *)(LAPIC + offset);
}

static void ioapic_write(unsigned index, uint32_t value)
{
	*(volatile uint32_t *)IOAPIC = index;
	*(volatile uint32_t *)(IOAPIC + 0x10) = value;
}

static void port_write(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "d"(port));
}

static uint8_t port_read(uint16_t port)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "d"(port));
	return value;
}

static void set_task_priority(uint64_t class)
{
	__asm__ volatile("mov %0, %%cr8" : : "r"(class) : "memory");
}

static void interrupts_on(void)
{
	__asm__ volatile("sti; nop; nop" : : : "memory");
}

static void interrupts_off(void)
{
	__asm__ volatile("cli" : : : "memory");
}

/* ---- handlers ---- */

static void note(uint8_t vector)
{
	if (arrived < LOG_MAX) {
		log[arrived++] = vector;
	}
}

#define HANDLER(vector)                                                                                                \
	static __attribute__((interrupt)) void on_##vector(struct interrupt_frame *frame)                              \
	{                                                                                                              \
		(void)frame;                                                                                           \
		note(vector);                                                                                          \
		apic_write(EOI, 0);                                                                                    \
	}
HANDLER(0x31)
HANDLER(0x52)
HANDLER(0x53)
HANDLER(0xe0)

/* Long enough that whatever else the CPU has to do comes in between. */
static volatile unsigned ticks, tick_depth, tick_deepest;
static __attribute__((interrupt)) void on_tick(struct interrupt_frame *frame)
{
	(void)frame;
	tick_depth++;
	tick_deepest = tick_depth > tick_deepest ? tick_depth : tick_deepest;
	for (volatile unsigned i = 0; i < TICK_ROUNDS; i++) {
	}
	tick_depth--;
	ticks++;
	apic_write(EOI, 0);
}

/* Lets higher ones in before its end. */
static __attribute__((interrupt)) void on_nesting(struct interrupt_frame *frame)
{
	(void)frame;
	note(0x40);
	interrupts_on();
	interrupts_off();
	note(0x41);
	apic_write(EOI, 0);
}

/* The local APIC is off for a moment while this one is in service. */
static __attribute__((interrupt)) void on_switching(struct interrupt_frame *frame)
{
	(void)frame;
	note(0x54);
	apic_write(ICR, SELF | 0x31);
	apic_write(SVR, SVR_OFF);
	apic_write(SVR, SVR_ON);
	interrupts_on();
	interrupts_off();
	note(0x55);
	apic_write(EOI, 0);
}

static __attribute__((interrupt)) void on_uart(struct interrupt_frame *frame)
{
	(void)frame;
	note(0x60);
	if (uart_ignored > 0) {
		uart_ignored--;
	} else {
		(void)port_read(UART_IIR);
	}
	apic_write(EOI, 0);
}

static __attribute__((interrupt)) void on_nmi(struct interrupt_frame *frame)
{
	(void)frame;
	note(2);
	nmi_depth++;
	nmi_deepest = nmi_depth > nmi_deepest ? nmi_depth : nmi_deepest;
	if (nmi_resend > 0) {
		nmi_resend--;
		apic_write(ICR, SELF_NMI);
		(void)apic_read(ID); /* an exit, at which it could come too early */
	}
	nmi_depth--;
}

static void set_gate(unsigned vector, void (*handler)(struct interrupt_frame *frame))
{
	uintptr_t at = (uintptr_t)handler;
	idt[vector] = (struct gate){(uint16_t)at, 0x08, 0x8e00, (uint16_t)(at >> 16), (uint32_t)(at >> 32), 0};
}

/* ---- the checks ---- */

static bool came(const uint8_t *expected, unsigned count)
{
	if (arrived != count) {
		print("interrupts: %u came, not %u\n", arrived, count);
		return false;
	}
	for (unsigned i = 0; i < count; i++) {
		if (log[i] != expected[i]) {
			print("interrupts: the one at %u was %x\n", i, log[i]);
			return false;
		}
	}
	return true;
}
#define CAME(...) came((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* Halts until `count` have come, but not for ever. */
static bool wait_for(unsigned count)
{
	for (unsigned i = 0; i < PATIENCE && arrived < count; i++) {
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	}
	return arrived >= count;
}

static bool vectors_come_by_priority(void)
{
	apic_write(ICR, SELF | 0x31);
	apic_write(ICR, SELF | 0x52);
	apic_write(ICR, SELF | 0x53);
	apic_write(ICR, SELF | 0xe0);
	if (arrived != 0) {
		return false; /* interrupts are off */
	}
	interrupts_on();
	interrupts_off();
	return CAME(0xe0, 0x53, 0x52, 0x31);
}

static bool higher_ones_nest(void)
{
	apic_write(ICR, SELF | 0x40);
	apic_write(ICR, SELF | 0x31);
	interrupts_on();
	apic_write(ICR, SELF | 0x40);
	interrupts_off();
	apic_write(ICR, SELF | 0x40);
	apic_write(ICR, SELF | 0xe0);
	interrupts_on();
	interrupts_off();
	return CAME(0x40, 0x41, 0x31, 0x40, 0x41, 0xe0, 0x40, 0x41);
}

static bool ends_are_of_what_is_in_service(void)
{
	apic_write(EOI, 0); /* of nothing */
	apic_write(ICR, SELF | 0x54);
	interrupts_on();
	interrupts_off();
	apic_write(EOI, 0);
	apic_write(ICR, SELF | 0x53);
	apic_write(ICR, SELF | 0x52);
	interrupts_on();
	interrupts_off();
	return CAME(0x54, 0x55, 0x31, 0x53, 0x52);
}

static bool the_task_priority_holds_back(void)
{
	apic_write(TPR, 0x25);
	bool same = apic_read(TPR) == 0x25;
	set_task_priority(5);
	same = same && apic_read(TPR) == 0x50;
	apic_write(ICR, SELF | 0x31);
	apic_write(ICR, SELF | 0x52);
	interrupts_on();
	apic_write(ICR, SELF | 0xe0);
	bool held = arrived == 1;
	set_task_priority(4);
	__asm__ volatile("nop");
	held = held && arrived == 2;
	apic_write(TPR, 0);
	__asm__ volatile("nop");
	interrupts_off();
	return same && held && CAME(0xe0, 0x52, 0x31);
}

static bool a_halt_ends_with_what_came_in_the_shadow_of_sti(void)
{
	apic_write(ICR, SELF | 0x31);
	return wait_for(1) && CAME(0x31);
}

static bool timers_interrupt(void)
{
	apic_write(DIVIDE, DIVIDE_BY_1);
	apic_write(LVT_TIMER, 0x31);
	apic_write(COUNT, 20000);
	bool fine = wait_for(1);
	apic_write(LVT_TIMER, PERIODIC | 0x52);
	apic_write(COUNT, 20000);
	fine = wait_for(4) && fine;
	apic_write(COUNT, 0);
	apic_write(LVT_TIMER, DEADLINE | 0x53);
	__asm__ volatile("mfence" : : : "memory");
	wrmsr(MSR_DUE, counter() + 20000);
	fine = wait_for(5) && fine && rdmsr(MSR_DUE) == 0;
	wrmsr(MSR_DUE, 1); /* past */
	fine = wait_for(6) && fine;
	apic_write(LVT_TIMER, DEADLINE | 0xe0);
	wrmsr(MSR_DUE, counter() + 100000);
	interrupts_on();
	for (unsigned i = 0; i < PATIENCE * 10 && arrived < 7; i++) { /* without an exit of its own */
		__asm__ volatile("pause");
	}
	interrupts_off();
	apic_write(LVT_TIMER, MASKED);
	return fine && CAME(0x31, 0x52, 0x52, 0x52, 0x53, 0x53, 0xe0);
}

static bool none_comes_in_its_own_handler(void)
{
	ticks = tick_deepest = 0;
	apic_write(DIVIDE, DIVIDE_BY_1);
	apic_write(LVT_TIMER, PERIODIC | 0x70);
	apic_write(COUNT, TICK_PERIOD);
	interrupts_on();
	for (unsigned i = 0; i < PATIENCE * 1000 && ticks < TICKS; i++) {
		__asm__ volatile("pause");
	}
	interrupts_off();
	apic_write(COUNT, 0);
	apic_write(LVT_TIMER, MASKED);
	return ticks >= TICKS && tick_deepest == 1;
}

static bool nmis_come_at_once_and_one_at_a_time(void)
{
	nmi_deepest = 0;
	nmi_resend = 2;
	apic_write(ICR, SELF_NMI);
	for (unsigned i = 0; i < 100 && (i == 0 || arrived < 3); i++) {
		apic_write(ICR, SELF | 0x31); /* stays out: interrupts are off */
	}
	bool fine = nmi_deepest == 1 && CAME(2, 2, 2);
	arrived = 0;
	interrupts_on();
	interrupts_off();
	return fine && CAME(0x31);
}

/* The UART's transmitter is always empty: its line rises when the interrupt is enabled and falls when IIR is read. */
static bool lines_interrupt_by_edge_and_by_level(void)
{
	ioapic_write(0x10 + 2 * UART_PIN + 1, (x2apic ? apic_read(ID) : apic_read(ID) >> 24) << 24);
	ioapic_write(0x10 + 2 * UART_PIN, 0x60);
	port_write(UART_IER, THR_EMPTY);
	interrupts_on();
	interrupts_off();
	port_write(UART_IER, 0);
	bool edge = CAME(0x60);
	arrived = 0;
	uart_ignored = 2; /* still asserted at its end: comes again */
	ioapic_write(0x10 + 2 * UART_PIN, LEVEL | 0x60);
	port_write(UART_IER, THR_EMPTY);
	interrupts_on();
	interrupts_off();
	port_write(UART_IER, 0);
	ioapic_write(0x10 + 2 * UART_PIN, MASKED);
	return edge && CAME(0x60, 0x60, 0x60);
}

/* The frame goes to memory that was never touched: the delivery itself faults and must be resumed, not repeated. */
static void interrupt_on_stack(uintptr_t top)
{
	__asm__ volatile("movq %%rsp, %%rbx\n\t"
	                 "movq %0, %%rsp\n\t"
	                 "sti; nop; nop; cli\n\t"
	                 "movq %%rbx, %%rsp"
	                 :
	                 : "r"(top)
	                 : "rbx", "memory");
}

static bool a_delivery_that_faults_happens_once(void)
{
	static uintptr_t fresh;
	fresh = fresh ? fresh : free_memory();
	for (unsigned i = 0; i < 3; i++) {
		apic_write(ICR, SELF | 0x31);
		apic_write(ICR, SELF | 0x52);
		fresh += LARGE_PAGE_SIZE;
		interrupt_on_stack(fresh);
	}
	return CAME(0x52, 0x31, 0x52, 0x31, 0x52, 0x31);
}

static const struct {
	const char *name;
	bool (*run)(void);
} checks[] = {
	{"vectors come by priority", vectors_come_by_priority},
	{"higher ones nest", higher_ones_nest},
	{"ends are of what is in service", ends_are_of_what_is_in_service},
	{"the task priority holds back", the_task_priority_holds_back},
	{"a halt ends with what came in the shadow of STI", a_halt_ends_with_what_came_in_the_shadow_of_sti},
	{"timers interrupt", timers_interrupt},
	{"none comes in its own handler", none_comes_in_its_own_handler},
	{"NMIs come at once and one at a time", nmis_come_at_once_and_one_at_a_time},
	{"lines interrupt by edge and by level", lines_interrupt_by_edge_and_by_level},
	{"a delivery that faults happens once", a_delivery_that_faults_happens_once},
};

static unsigned run_all(const char *mode)
{
	unsigned failed = 0;
	apic_write(SVR, SVR_ON);
	for (unsigned i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		arrived = 0;
		bool fine = checks[i].run();
		failed += !fine;
		print("interrupts: %s: %s: %s\n", mode, checks[i].name, fine ? "ok" : "FAILED");
	}
	return failed;
}

unsigned interrupt_checks(void)
{
	struct table before, own = {sizeof(idt) - 1, (uintptr_t)idt};
	__asm__ volatile("sidt %0" : "=m"(before));
	memcpy(idt, (const void *)(uintptr_t)before.base, before.limit + 1u);
	set_gate(2, on_nmi);
	set_gate(0x31, on_0x31);
	set_gate(0x40, on_nesting);
	set_gate(0x52, on_0x52);
	set_gate(0x53, on_0x53);
	set_gate(0x54, on_switching);
	set_gate(0x60, on_uart);
	set_gate(0x70, on_tick);
	set_gate(0xe0, on_0xe0);
	__asm__ volatile("lidt %0" : : "m"(own));
	unsigned failed = run_all("xAPIC");
	wrmsr(MSR_BASE, rdmsr(MSR_BASE) | BASE_X2APIC);
	x2apic = true;
	return failed + run_all("x2APIC");
}
