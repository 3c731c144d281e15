/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's local APIC: every source masked but its timer, which wakes the host out of a guest or of idling, and
 * the other CPUs taken from the firmware.
 * It stays in the mode (xAPIC or x2APIC) in which the firmware left it: firmware that wants x2APIC, for its
 * APIC IDs, has turned it on, and its SMM code may not expect it to change. SDM vol. 3A chapter 10.
 */
#include "arch/x86_64/cpu.h"

#include "arch/arch.h"
#include "arch/x86_64/vcpu.h"
#include "lib/io.h"
#include "lib/printf.h"
#include "lib/spinlock.h"

#define APIC_BASE_X2APIC    BIT(10)
#define APIC_BASE_ENABLE    BIT(11)
#define APIC_BASE_ADDRESS   BITS(51, 12)
#define X2APIC_MSR_BASE     0x800u /* MSR = base + offset / 16 */
#define X2APIC_OFFSET_SHIFT 4

/* Register offsets, SDM table 10-1. */
#define LAPIC_ID            0x020
#define LAPIC_VERSION       0x030
#define LAPIC_TPR           0x080
#define LAPIC_EOI           0x0b0
#define LAPIC_SPURIOUS      0x0f0
#define LAPIC_ISR           0x100 /* eight registers, 16 bytes apart */
#define LAPIC_LVT_CMCI      0x2f0
#define LAPIC_ICR_LOW       0x300 /* in x2APIC mode the whole ICR */
#define LAPIC_LVT_TIMER     0x320
#define LAPIC_LVT_THERMAL   0x330
#define LAPIC_LVT_PERF      0x340
#define LAPIC_LVT_LINT0     0x350
#define LAPIC_LVT_LINT1     0x360
#define LAPIC_LVT_ERROR     0x370
#define LAPIC_INITIAL_COUNT 0x380
#define LAPIC_CURRENT_COUNT 0x390
#define LAPIC_DIVIDE        0x3e0

#define LAPIC_ID_SHIFT_XAPIC 24
#define VERSION_LAST_LVT(v)  ((unsigned)field(v, 23, 16))
#define SPURIOUS_ENABLE      0x100
#define LVT_DELIVERY(lvt)    field(lvt, 10, 8)
#define LVT_DELIVERY_SMI     2
#define LVT_MASKED           0x10000
#define LVT_PERIODIC         0x20000
#define LVT_TSC_DEADLINE     0x40000
#define DIVIDE_BY_1          0x0b

/* The interrupt command register: SDM 10.6.1. */
#define ICR_INIT               0x500
#define ICR_PENDING            0x1000
#define ICR_ASSERT             0x4000
#define ICR_ALL_EXCLUDING_SELF 0xc0000

/* The two 8259s: their interrupt mask registers (OCW1). */
#define PIC_MASTER_MASK 0x21
#define PIC_SLAVE_MASK  0xa1
#define PIC_ALL         0xff

#define CALIBRATIONS_PER_SECOND 2000 /* it takes half a millisecond */
#define SAMPLES                 5
#define REPEATS_PER_SECOND_MAX  10000

/* The same on every CPU, so that deadlines can be handed round. */
static bool x2apic_mode, deadline_mode;
static uintptr_t mmio_base;
/* Without deadlines: timer ticks per TSC tick, 32.32 fixed point, the longest wait in TSC ticks, and the shortest
 * that may repeat: the window that lets the interrupt in must be over before the next one. */
static uint64_t ratio, longest_wait, shortest_repeat;
static char mode_text[64];
/* The EOI register for traps_asm.S, 0 in x2APIC mode. */
uintptr_t x86_lapic_eoi;

static uint32_t lapic_read(uint32_t offset)
{
	if (x2apic_mode) {
		return (uint32_t)rdmsr(X2APIC_MSR_BASE + (offset >> X2APIC_OFFSET_SHIFT));
	}
	return mmio_read32(mmio_base + offset);
}

static void lapic_write(uint32_t offset, uint32_t value)
{
	if (x2apic_mode) {
		wrmsr(X2APIC_MSR_BASE + (offset >> X2APIC_OFFSET_SHIFT), value);
	} else {
		mmio_write32(mmio_base + offset, value);
	}
}

void x86_host_lapic_stray(unsigned vector)
{
	/* One that the 8259 or INT made is not in service at the local APIC, which wants no EOI for it. */
	if (lapic_read(LAPIC_ISR + vector / 32 * 16) & BIT(vector % 32)) {
		lapic_write(LAPIC_EOI, 0);
	}
}

const char *x86_host_lapic_mode(void)
{
	return mode_text;
}

/* ---- the timer ---- */

/* Rounded up: an interrupt that comes too early would have to be waited for again. */
static inline uint32_t ticks_of(uint64_t wait)
{
	return (uint32_t)(wait * ratio >> 32) + 1;
}

/*
 * A guest mostly sets its timer anew as soon as it has come. Periodic mode lets the host leave its own alone until
 * then: if the guest does not, it comes again, and is set for whoever else wants it.
 */
static void set_repeating(struct x86_cpu *cpu, bool on)
{
	if ((cpu->timer_repeats != UINT64_MAX) == on) {
		return;
	}
	lapic_write(LAPIC_INITIAL_COUNT, 0); /* what counts still may be too short to repeat */
	lapic_write(LAPIC_LVT_TIMER, on ? LVT_PERIODIC | VECTOR_TIMER : VECTOR_TIMER);
	cpu->timer_repeats = on ? longest_wait : UINT64_MAX;
	cpu->timer_span = on && !x2apic_mode ? longest_wait - shortest_repeat : 0;
}

static __attribute__((noinline)) int set_otherwise(uint64_t counter, uint64_t now)
{
	if (deadline_mode) {
		/* 0 stops it. */
		wrmsr(MSR_IA32_TSC_DEADLINE, counter == UINT64_MAX ? 0 : MAX(counter, 1));
		return X86_RUN_ON;
	}
	if (counter == UINT64_MAX) {
		lapic_write(LAPIC_INITIAL_COUNT, 0);
		return X86_RUN_ON;
	}
	uint64_t wait = counter > now ? MIN(counter - now, longest_wait) : 0;
	set_repeating(this_cpu(), wait >= shortest_repeat);
	lapic_write(LAPIC_INITIAL_COUNT, ticks_of(wait));
	return X86_RUN_ON;
}

int x86_host_timer_set(uint64_t counter, uint64_t now)
{
	struct x86_cpu *cpu = this_cpu();
	uint64_t wait = counter - now;
	if (cpu->armed_deadline == counter) {
		return X86_RUN_ON;
	}
	cpu->armed_deadline = counter;
	if (likely(wait - shortest_repeat < cpu->timer_span)) {
		mmio_write32(mmio_base + LAPIC_INITIAL_COUNT, ticks_of(wait));
		return X86_RUN_ON;
	}
	return set_otherwise(counter, now);
}

struct sample {
	uint64_t tsc;
	uint64_t uncertainty;
	uint32_t count;
};

/* The quickest of a few readings: an SMI, or an emulator's host busy elsewhere, can come in between. */
static struct sample best_sample(void)
{
	struct sample best = {.uncertainty = UINT64_MAX};
	for (unsigned i = 0; i < SAMPLES; i++) {
		struct sample sample = {.tsc = rdtsc(), .count = lapic_read(LAPIC_CURRENT_COUNT)};
		sample.uncertainty = rdtsc() - sample.tsc;
		if (sample.uncertainty < best.uncertainty) {
			best = sample;
		}
	}
	return best;
}

/* Finds `ratio`. False: the timer stands still. The TSC always counts, so this ends. */
static bool calibrate(void)
{
	uint64_t period = arch_counter_hz() / CALIBRATIONS_PER_SECOND;
	lapic_write(LAPIC_INITIAL_COUNT, UINT32_MAX);
	struct sample start = best_sample();
	while (rdtsc() - start.tsc < period) {
		spin_pause();
	}
	struct sample end = best_sample();
	lapic_write(LAPIC_INITIAL_COUNT, 0);
	uint64_t ticks = start.count - end.count;
	uint64_t elapsed = end.tsc - start.tsc;
	if (start.count <= end.count || elapsed == 0) {
		return false;
	}
	ratio = (ticks << 32) / elapsed;
	if (ratio == 0) {
		return false;
	}
	/* Half of what the 32-bit counter can hold: the product with `ratio` fits 64 bits. */
	longest_wait = UINT64_MAX / 2 / ratio;
	shortest_repeat = arch_counter_hz() / REPEATS_PER_SECOND_MAX;
	return true;
}

static bool timer_init(void)
{
	if (deadline_mode) {
		lapic_write(LAPIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_TIMER);
		/* The write may go through memory, the deadline's does not: SDM 10.5.4.1 wants them in order. */
		__asm__ volatile("mfence" : : : "memory");
		return true;
	}
	lapic_write(LAPIC_DIVIDE, DIVIDE_BY_1);
	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
	/* The first CPU calibrates for all. */
	if (ratio == 0 && !calibrate()) {
		return false;
	}
	lapic_write(LAPIC_LVT_TIMER, VECTOR_TIMER);
	return true;
}

/* ---- taking it over ---- */

static void mask_all(void)
{
	static const struct {
		uint16_t offset;
		uint8_t index; /* in the order of the version register's count */
	} sources[] = {
		{LAPIC_LVT_TIMER, 0}, {LAPIC_LVT_LINT0, 1},   {LAPIC_LVT_LINT1, 2}, {LAPIC_LVT_ERROR, 3},
		{LAPIC_LVT_PERF, 4},  {LAPIC_LVT_THERMAL, 5}, {LAPIC_LVT_CMCI, 6},
	};
	unsigned last = VERSION_LAST_LVT(lapic_read(LAPIC_VERSION));
	for (unsigned i = 0; i < ARRAY_SIZE(sources); i++) {
		uint32_t lvt = sources[i].index <= last ? lapic_read(sources[i].offset) : LVT_MASKED;
		/* What goes to SMM is the firmware's own: it may be what keeps the machine cool. */
		if (!(lvt & LVT_MASKED) && LVT_DELIVERY(lvt) != LVT_DELIVERY_SMI) {
			lapic_write(sources[i].offset, lvt | LVT_MASKED);
		}
	}
	/* Ports that nobody answers swallow this. */
	port_write8(PIC_MASTER_MASK, PIC_ALL);
	port_write8(PIC_SLAVE_MASK, PIC_ALL);
}

/*
 * The firmware left the other CPUs in a loop of its own, in memory that is not ours. INIT takes them out of it: they
 * wait for a start-up IPI, execute nothing until then, and need no stopping when we panic.
 */
static void stop_others(void)
{
	lapic_write(LAPIC_ICR_LOW, ICR_ALL_EXCLUDING_SELF | ICR_ASSERT | ICR_INIT);
	while (!x2apic_mode && (lapic_read(LAPIC_ICR_LOW) & ICR_PENDING)) {
		spin_pause();
	}
}

static void describe(void)
{
	const char *mode = x2apic_mode ? "x2APIC" : "xAPIC";
	if (deadline_mode) {
		snprintf(mode_text, sizeof(mode_text), "%s, TSC-deadline timer", mode);
	} else {
		uint64_t hz = (uint64_t)(((unsigned __int128)arch_counter_hz() * ratio) >> 32);
		snprintf(mode_text, sizeof(mode_text), "%s, one-shot timer at %lu MHz", mode, (hz + 500000) / 1000000);
	}
}

bool x86_host_lapic_init(char *message, size_t size)
{
	uint64_t base = rdmsr(MSR_IA32_APIC_BASE);
	if (!(base & APIC_BASE_ENABLE)) {
		base |= APIC_BASE_ENABLE;
		wrmsr(MSR_IA32_APIC_BASE, base);
	}
	x2apic_mode = base & APIC_BASE_X2APIC;
	deadline_mode = x86_features.tsc_deadline;
	mmio_base = base & APIC_BASE_ADDRESS;
	x86_lapic_eoi = x2apic_mode ? 0 : mmio_base + LAPIC_EOI;
	if (!x2apic_mode && !arch_map_device(mmio_base, FRAME_SIZE)) {
		snprintf(message, size, "the local APIC at 0x%lx cannot be mapped", mmio_base);
		return false;
	}
	mask_all();
	lapic_write(LAPIC_TPR, X86_HOST_TPR);
	lapic_write(LAPIC_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
	stop_others();
	uint32_t id = lapic_read(LAPIC_ID);
	this_cpu()->apic_id = x2apic_mode ? id : id >> LAPIC_ID_SHIFT_XAPIC;
	if (!timer_init()) {
		snprintf(message, size, "the local APIC's timer does not count");
		return false;
	}
	describe();
	return true;
}
