/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU's local APIC: xAPIC and x2APIC are two doors to the same registers. lapic.c is pure but for the counter and
 * what it asks of its neighbours by name (ioapic_end_of_interrupt), so it is tested on the host; how the guest gets
 * at it and how its interrupts get into the guest is in interrupts.c. SDM vol. 3A chapter 10; APM vol. 2 chapter 16.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct arch_vm;
struct arch_vcpu;

/* Where the xAPIC's page is, and stays: IA32_APIC_BASE takes no other address. */
#define LAPIC_BASE  UINT64_C(0xfee00000)
#define LAPIC_BYTES UINT64_C(0x1000)

/* Offsets in the page; the x2APIC's MSRs are 0x800 + offset / 16. SDM tables 10-1 and 10-6. */
enum lapic_register {
	LAPIC_ID = 0x020,
	LAPIC_VERSION = 0x030,
	LAPIC_TPR = 0x080,
	LAPIC_APR = 0x090,
	LAPIC_PPR = 0x0a0,
	LAPIC_EOI = 0x0b0,
	LAPIC_LDR = 0x0d0,
	LAPIC_DFR = 0x0e0,
	LAPIC_SVR = 0x0f0,
	LAPIC_ISR = 0x100, /* eight registers, 16 bytes apart; as are the next two */
	LAPIC_TMR = 0x180,
	LAPIC_IRR = 0x200,
	LAPIC_ESR = 0x280,
	LAPIC_ICR = 0x300,
	LAPIC_ICR_HIGH = 0x310,
	LAPIC_LVT_TIMER = 0x320,
	LAPIC_LVT_THERMAL = 0x330,
	LAPIC_LVT_PERF = 0x340,
	LAPIC_LVT_LINT0 = 0x350,
	LAPIC_LVT_LINT1 = 0x360,
	LAPIC_LVT_ERROR = 0x370,
	LAPIC_INITIAL_COUNT = 0x380,
	LAPIC_CURRENT_COUNT = 0x390,
	LAPIC_DIVIDE = 0x3e0,
	LAPIC_SELF_IPI = 0x3f0, /* x2APIC */
};

#define LAPIC_MSR_FIRST  0x800U
#define LAPIC_MSR_LAST   0x8ffU
#define LAPIC_MSR_EOI    0x80bU
#define LAPIC_NO_VECTOR  (-1)
#define LAPIC_TIMER_OFF  UINT64_MAX /* lapic.due */
#define LAPIC_CLASS(tpr) ((tpr) >> 4)

/* What waits for the vCPU beside the vectors in IRR: bits of lapic.events. */
enum lapic_event {
	LAPIC_EVENT_NMI = 1,
	LAPIC_EVENT_INIT = 2,
	LAPIC_EVENT_STARTUP = 4, /* with lapic.startup_vector */
};

/* IRR, TMR, events and startup_vector are written by whoever sends; all else by the vCPU's own CPU. */
struct lapic {
	uint32_t *registers;  /* one frame, laid out as the xAPIC's page */
	uint64_t base;        /* IA32_APIC_BASE */
	uint64_t due;         /* the arch_counter() value at which the timer interrupts next, or LAPIC_TIMER_OFF */
	uint64_t deadline;    /* IA32_TSC_DEADLINE: 0 when it is not armed */
	uint64_t count_start; /* arch_counter() value when the initial count was loaded */
	uint32_t errors;      /* for ESR when it is written next */
	uint8_t events;
	uint8_t startup_vector;
};

/* An interrupt on its way: SDM 10.11, figure 10-12. */
enum apic_delivery {
	APIC_FIXED = 0,
	APIC_LOWEST_PRIORITY = 1,
	APIC_SMI = 2,
	APIC_NMI = 4,
	APIC_INIT = 5,
	APIC_STARTUP = 6,
	APIC_EXTINT = 7,
};
struct apic_message {
	uint32_t destination;
	uint8_t vector;
	uint8_t delivery; /* enum apic_delivery */
	bool logical;
	bool everyone; /* the destination is the broadcast one */
	bool level;
};

/* The timer's LVT entry: TSC-deadline mode, and masked. With the vector in the lowest byte. SDM 10.5.1, 10.5.4. */
#define LAPIC_LVT_DEADLINE UINT32_C(0x40000)
#define LAPIC_LVT_MODE     UINT32_C(0x60000)
#define LAPIC_LVT_MASKED   UINT32_C(0x10000)

static inline uint32_t lapic_get(const struct lapic *lapic, unsigned offset)
{
	return __atomic_load_n(&lapic->registers[offset / sizeof(uint32_t)], __ATOMIC_RELAXED);
}

static inline void lapic_put(struct lapic *lapic, unsigned offset, uint32_t value)
{
	__atomic_store_n(&lapic->registers[offset / sizeof(uint32_t)], value, __ATOMIC_RELAXED);
}

/* As after power-on; `registers` must be there. */
void lapic_reset(struct arch_vcpu *vcpu);

/* The page, of which a guest may touch any 1 to 8 bytes. Nothing can go wrong: what is not there reads as zero. */
uint64_t lapic_mmio_read(struct arch_vcpu *vcpu, unsigned offset, unsigned width);
void lapic_mmio_write(struct arch_vcpu *vcpu, unsigned offset, unsigned width, uint64_t value);
/* The MSRs. False: #GP(0). */
bool lapic_msr_read(struct arch_vcpu *vcpu, uint32_t msr, uint64_t *value);
bool lapic_msr_write(struct arch_vcpu *vcpu, uint32_t msr, uint64_t value);
bool lapic_base_write(struct arch_vcpu *vcpu, uint64_t value);
void lapic_deadline_write(struct arch_vcpu *vcpu, uint64_t value, uint64_t now);

/* Whether it takes interrupts at all: globally and software-enabled. */
bool lapic_enabled(const struct lapic *lapic);
/* Whether the guest reaches it as a page, and as MSRs. */
bool lapic_has_page(const struct lapic *lapic);
bool lapic_has_msrs(const struct lapic *lapic);
/* EOI. */
void lapic_end_of_interrupt(struct arch_vcpu *vcpu);
/* The vector that comes next if the task priority allows, or LAPIC_NO_VECTOR. */
int lapic_candidate(const struct lapic *lapic);
/* The same, where it does allow. */
int lapic_pending(const struct lapic *lapic);
/* The CPU has taken `vector`: it goes from IRR to ISR. */
void lapic_accept(struct lapic *lapic, unsigned vector);
/* It has not after all. */
void lapic_reject(struct lapic *lapic, unsigned vector);
/* The highest vector in ISR, or LAPIC_NO_VECTOR. */
int lapic_in_service(const struct lapic *lapic);
/* Whether nothing but `vector`, which waits, waits or is in service, and its end is not for the IOAPIC to know. */
bool lapic_is_alone(const struct lapic *lapic, unsigned vector);
/* Whether somebody waits for the end of `vector`: the IOAPIC, or what is in IRR. */
bool lapic_end_matters(const struct lapic *lapic, unsigned vector);
/* Takes `vector` out of ISR; nobody who waits for that hears of it. */
void lapic_end(struct lapic *lapic, unsigned vector);
/* `vector` is out of ISR: those who wait hear of it. */
void lapic_ended(struct arch_vcpu *vcpu, unsigned vector);
/* A deadline to come, for a timer that has none to account for by `now`. False: lapic_deadline_write. */
static inline bool lapic_deadline_next(struct lapic *lapic, uint64_t value, uint64_t now)
{
	uint32_t lvt = lapic_get(lapic, LAPIC_LVT_TIMER) & (LAPIC_LVT_MODE | LAPIC_LVT_MASKED);
	if (lvt != LAPIC_LVT_DEADLINE || now >= lapic->due || now >= value) {
		return false;
	}
	lapic->deadline = value;
	lapic->due = value;
	return true;
}

/* The deadline is over: the timer is off until it is written again. */
static inline void lapic_deadline_over(struct lapic *lapic)
{
	lapic->deadline = 0;
	lapic->due = LAPIC_TIMER_OFF;
}

/* Raises what the timer owes by `now`. */
void lapic_timer_expire(struct arch_vcpu *vcpu, uint64_t now);
/* Sends it to all vCPUs that it names; by IOAPIC pins, MSIs and ICRs. True: one of them at least took it. */
bool lapic_send(struct arch_vm *vm, const struct apic_message *message);
