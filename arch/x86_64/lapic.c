/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC's registers, priorities, timer and messages (SDM vol. 3A chapter 10). Called by interrupts.c, by
 * ioapic.c and by the entry paths of VMX and SVM; every offset and value is the guest's to choose. Never reads a
 * clock but arch_counter, never touches the CPU.
 */
#include "lapic.h"

#include "arch/arch.h"

#define VECTORS        256
#define FIRST_VECTOR   16 /* those below are illegal */
#define REGISTER_BYTES 16 /* from one to the next; the upper 12 of them are reserved */
#define REGISTER_BITS  32

/* IA32_APIC_BASE: 10.4.4, 10.12.1. */
#define BASE_BSP    BIT(8)
#define BASE_X2APIC BIT(10)
#define BASE_ENABLE BIT(11)

/* Version: integrated, six LVT entries, no EOI-broadcast suppression: 10.4.8. */
#define VERSION_VALUE        UINT32_C(0x00050014)
#define SVR_ENABLE           BIT(8)
#define SVR_RESET            UINT32_C(0xff)
#define DFR_FLAT             UINT32_C(0xffffffff)
#define DFR_MODEL(dfr)       ((dfr) >> 28)
#define DFR_MODEL_FLAT       0xfU
#define LVT_VECTOR(lvt)      ((lvt)&UINT8_MAX)
#define LVT_PERIODIC         (UINT64_C(1) << 17)
#define BEATS_PER_SECOND_MAX 5000
#define XAPIC_ID_SHIFT       24
#define XAPIC_EVERYONE       UINT8_MAX
#define TPR_MASK             UINT32_C(0xff)
#define ESR_SEND_ILLEGAL     BIT(5)
#define ESR_TAKEN_ILLEGAL    BIT(6)
#define ESR_NO_REGISTER      BIT(7)

/* ICR: 10.6.1. */
#define ICR_VECTOR(icr)    ((uint8_t)(icr))
#define ICR_DELIVERY(icr)  ((uint8_t)field(icr, 10, 8))
#define ICR_LOGICAL        BIT(11)
#define ICR_ASSERT         BIT(14)
#define ICR_LEVEL          BIT(15)
#define ICR_SHORTHAND(icr) field(icr, 19, 18)
#define ICR_WRITABLE       UINT32_C(0x000ccfff)
enum icr_shorthand { ICR_NONE, ICR_SELF, ICR_ALL, ICR_OTHERS };

/* x2APIC logical IDs: 10.12.10.2. */
#define X2APIC_LDR(id) ((uint32_t)((id) >> 4 << 16 | 1U << ((id)&0xf)))
#define X2APIC_CLUSTER BITS(31, 16)
#define X2APIC_MEMBERS BITS(15, 0)

/* Which registers there are, by offset / 16: the bits that a write may set, and through which doors. */
enum access {
	READ = 1, /* by both */
	WRITE = 2,
	XAPIC_WRITE = 4, /* by the page only; so is what follows for reads */
	XAPIC_READ = 8,
	X2APIC_WRITE = 16,
};
struct rule {
	uint32_t writable;
	uint8_t access;
};
#define AT(offset)    [(offset) / REGISTER_BYTES]
#define EIGHT(offset) [(offset) / REGISTER_BYTES...(offset) / REGISTER_BYTES + 7]
static const struct rule rules[] = {
	AT(LAPIC_ID) = {0, READ},
	AT(LAPIC_VERSION) = {0, READ},
	AT(LAPIC_TPR) = {TPR_MASK, READ | WRITE},
	AT(LAPIC_APR) = {0, XAPIC_READ},
	AT(LAPIC_PPR) = {0, READ},
	AT(LAPIC_EOI) = {0, WRITE},
	AT(LAPIC_LDR) = {UINT32_C(0xff000000), READ | XAPIC_WRITE},
	AT(LAPIC_DFR) = {UINT32_C(0xf0000000), XAPIC_READ | XAPIC_WRITE},
	AT(LAPIC_SVR) = {UINT32_C(0x3ff), READ | WRITE},
	EIGHT(LAPIC_ISR) = {0, READ},
	EIGHT(LAPIC_TMR) = {0, READ},
	EIGHT(LAPIC_IRR) = {0, READ},
	AT(LAPIC_ESR) = {0, READ | WRITE},
	AT(LAPIC_ICR) = {ICR_WRITABLE, READ | WRITE},
	AT(LAPIC_ICR_HIGH) = {UINT32_C(0xff000000), XAPIC_READ | XAPIC_WRITE},
	AT(LAPIC_LVT_TIMER) = {UINT32_C(0x700ff), READ | WRITE},
	AT(LAPIC_LVT_THERMAL) = {UINT32_C(0x107ff), READ | WRITE},
	AT(LAPIC_LVT_PERF) = {UINT32_C(0x107ff), READ | WRITE},
	AT(LAPIC_LVT_LINT0) = {UINT32_C(0x1a7ff), READ | WRITE},
	AT(LAPIC_LVT_LINT1) = {UINT32_C(0x1a7ff), READ | WRITE},
	AT(LAPIC_LVT_ERROR) = {UINT32_C(0x100ff), READ | WRITE},
	AT(LAPIC_INITIAL_COUNT) = {UINT32_MAX, READ | WRITE},
	AT(LAPIC_CURRENT_COUNT) = {0, READ},
	AT(LAPIC_DIVIDE) = {UINT32_C(0xb), READ | WRITE},
	AT(LAPIC_SELF_IPI) = {TPR_MASK, X2APIC_WRITE},
};

static const struct rule *find_rule(unsigned offset)
{
	static const struct rule none;
	unsigned index = offset / REGISTER_BYTES;
	return index < ARRAY_SIZE(rules) ? &rules[index] : &none;
}

bool lapic_has_msrs(const struct lapic *lapic)
{
	return lapic->base & BASE_X2APIC;
}

bool lapic_has_page(const struct lapic *lapic)
{
	return (lapic->base & (BASE_ENABLE | BASE_X2APIC)) == BASE_ENABLE;
}

bool lapic_enabled(const struct lapic *lapic)
{
	return (lapic->base & BASE_ENABLE) && (lapic_get(lapic, LAPIC_SVR) & SVR_ENABLE);
}

/* ---- vectors ---- */

static unsigned bit_register(unsigned bank, unsigned vector)
{
	return bank + vector / REGISTER_BITS * REGISTER_BYTES;
}

static uint32_t bit_of(unsigned vector)
{
	return UINT32_C(1) << (vector % REGISTER_BITS);
}

static uint32_t *bits_at(struct lapic *lapic, unsigned bank, unsigned vector)
{
	return &lapic->registers[bit_register(bank, vector) / sizeof(uint32_t)];
}

static inline __attribute__((always_inline)) int highest(const struct lapic *lapic, unsigned bank)
{
	const uint32_t *word = &lapic->registers[bank / sizeof(uint32_t)];
#pragma GCC unroll 8
	for (unsigned i = VECTORS / REGISTER_BITS; i-- > 0;) {
		uint32_t bits = __atomic_load_n(&word[i * REGISTER_BYTES / sizeof(uint32_t)], __ATOMIC_RELAXED);
		if (bits != 0) {
			return (int)((i + 1) * REGISTER_BITS - 1) - __builtin_clz(bits);
		}
	}
	return LAPIC_NO_VECTOR;
}

/* 10.8.3.1: the higher of the task's priority and that of what is in service. */
static uint32_t processor_priority(const struct lapic *lapic)
{
	uint32_t tpr = lapic_get(lapic, LAPIC_TPR);
	int in_service = highest(lapic, LAPIC_ISR);
	uint32_t class = in_service > 0 ? LAPIC_CLASS((uint32_t)in_service) : 0;
	return LAPIC_CLASS(tpr) >= class ? tpr : class << 4;
}

static inline int candidate(const struct lapic *lapic)
{
	int vector = highest(lapic, LAPIC_IRR);
	if (vector < 0 || !lapic_enabled(lapic)) {
		return LAPIC_NO_VECTOR;
	}
	int in_service = highest(lapic, LAPIC_ISR);
	return in_service >= 0 && LAPIC_CLASS(vector) <= LAPIC_CLASS(in_service) ? LAPIC_NO_VECTOR : vector;
}

int lapic_candidate(const struct lapic *lapic)
{
	return candidate(lapic);
}

int lapic_pending(const struct lapic *lapic)
{
	int vector = candidate(lapic);
	int task = (int)lapic_get(lapic, LAPIC_TPR);
	return vector < 0 || LAPIC_CLASS(vector) <= LAPIC_CLASS(task) ? LAPIC_NO_VECTOR : vector;
}

void lapic_accept(struct lapic *lapic, unsigned vector)
{
	__atomic_fetch_and(bits_at(lapic, LAPIC_IRR, vector), ~bit_of(vector), __ATOMIC_ACQ_REL);
	*bits_at(lapic, LAPIC_ISR, vector) |= bit_of(vector);
}

/* The sum of a bank's words. */
static inline uint64_t sum_of(const struct lapic *lapic, unsigned bank)
{
	uint64_t sum = 0;
#pragma GCC unroll 8
	for (unsigned i = 0; i < VECTORS / REGISTER_BITS; i++) {
		sum += lapic_get(lapic, bank + i * REGISTER_BYTES);
	}
	return sum;
}

static bool is_level(const struct lapic *lapic, unsigned vector)
{
	return lapic_get(lapic, bit_register(LAPIC_TMR, vector)) & bit_of(vector);
}

bool lapic_is_alone(const struct lapic *lapic, unsigned vector)
{
	return sum_of(lapic, LAPIC_IRR) == bit_of(vector) && sum_of(lapic, LAPIC_ISR) == 0 && !is_level(lapic, vector);
}

void lapic_end(struct lapic *lapic, unsigned vector)
{
	*bits_at(lapic, LAPIC_ISR, vector) &= ~bit_of(vector);
}

void lapic_reject(struct lapic *lapic, unsigned vector)
{
	lapic_end(lapic, vector);
	__atomic_fetch_or(bits_at(lapic, LAPIC_IRR, vector), bit_of(vector), __ATOMIC_ACQ_REL);
}

/* Its CPU looks at it before it enters the guest again. */
static void notify(struct arch_vcpu *vcpu)
{
	__atomic_store_n(&vcpu->interrupts, 1, __ATOMIC_SEQ_CST);
}

static void raise(struct arch_vcpu *vcpu, unsigned vector, bool level)
{
	struct lapic *lapic = &vcpu->lapic;
	uint32_t *trigger = bits_at(lapic, LAPIC_TMR, vector);
	if (level) {
		__atomic_fetch_or(trigger, bit_of(vector), __ATOMIC_ACQ_REL);
	} else if (__atomic_load_n(trigger, __ATOMIC_RELAXED) & bit_of(vector)) {
		__atomic_fetch_and(trigger, ~bit_of(vector), __ATOMIC_ACQ_REL);
	}
	__atomic_fetch_or(bits_at(lapic, LAPIC_IRR, vector), bit_of(vector), __ATOMIC_ACQ_REL);
	notify(vcpu);
}

/* 10.5.3: shown when ESR is written next; the first one of a kind interrupts. */
static void report_error(struct arch_vcpu *vcpu, uint64_t error)
{
	struct lapic *lapic = &vcpu->lapic;
	uint32_t lvt = lapic_get(lapic, LAPIC_LVT_ERROR);
	bool news = !(lapic->errors & error);
	lapic->errors |= (uint32_t)error;
	if (news && !(lvt & LAPIC_LVT_MASKED) && lapic_enabled(lapic) && LVT_VECTOR(lvt) >= FIRST_VECTOR) {
		raise(vcpu, LVT_VECTOR(lvt), false);
	}
}

int lapic_in_service(const struct lapic *lapic)
{
	return highest(lapic, LAPIC_ISR);
}

bool lapic_end_matters(const struct lapic *lapic, unsigned vector)
{
	return is_level(lapic, vector) || highest(lapic, LAPIC_IRR) >= 0;
}

void lapic_ended(struct arch_vcpu *vcpu, unsigned vector)
{
	if (is_level(&vcpu->lapic, vector)) {
		ioapic_end_of_interrupt(vcpu->vm, vector);
	}
	if (highest(&vcpu->lapic, LAPIC_IRR) >= 0) {
		notify(vcpu);
	}
}

void lapic_end_of_interrupt(struct arch_vcpu *vcpu)
{
	struct lapic *lapic = &vcpu->lapic;
	int vector = highest(lapic, LAPIC_ISR);
	if (vector < 0) {
		return;
	}
	lapic_end(lapic, (unsigned)vector);
	lapic_ended(vcpu, (unsigned)vector);
}

/* ---- messages ---- */

static uint32_t id_of(const struct lapic *lapic)
{
	uint32_t id = lapic_get(lapic, LAPIC_ID);
	return lapic_has_msrs(lapic) ? id : id >> XAPIC_ID_SHIFT;
}

/* 10.6.2. An 8-bit destination of the IOAPIC means the same in x2APIC mode, where it reaches cluster 0. */
static bool is_named(const struct lapic *lapic, const struct apic_message *message)
{
	uint32_t destination = message->destination, ldr = lapic_get(lapic, LAPIC_LDR);
	if (message->everyone) {
		return true;
	}
	if (!message->logical) {
		return destination == id_of(lapic);
	}
	if (lapic_has_msrs(lapic)) {
		return !((ldr ^ destination) & X2APIC_CLUSTER) && (ldr & destination & X2APIC_MEMBERS);
	}
	ldr >>= XAPIC_ID_SHIFT;
	if (DFR_MODEL(lapic_get(lapic, LAPIC_DFR)) == DFR_MODEL_FLAT) {
		return ldr & destination;
	}
	return ldr >> 4 == (destination & UINT8_MAX) >> 4 && (ldr & destination & 0xf);
}

static bool take(struct arch_vcpu *vcpu, const struct apic_message *message)
{
	struct lapic *lapic = &vcpu->lapic;
	uint8_t event = 0;
	if (!(lapic->base & BASE_ENABLE)) {
		return false;
	}
	switch ((enum apic_delivery)message->delivery) {
	case APIC_FIXED:
	case APIC_LOWEST_PRIORITY:
		if (!lapic_enabled(lapic)) {
			return false;
		}
		if (message->vector < FIRST_VECTOR) {
			report_error(vcpu, ESR_TAKEN_ILLEGAL);
			return true;
		}
		raise(vcpu, message->vector, message->level);
		return true;
	case APIC_NMI:
		event = LAPIC_EVENT_NMI;
		break;
	case APIC_INIT:
		event = LAPIC_EVENT_INIT;
		break;
	case APIC_STARTUP:
		lapic->startup_vector = message->vector;
		event = LAPIC_EVENT_STARTUP;
		break;
	case APIC_SMI: /* no SMM, and no 8259 */
	case APIC_EXTINT:
		return false;
	}
	__atomic_fetch_or(&lapic->events, event, __ATOMIC_ACQ_REL);
	notify(vcpu);
	return true;
}

/* Of those named, the one that is least busy. */
static struct arch_vcpu *least_priority(struct arch_vm *vm, const struct apic_message *message)
{
	struct arch_vcpu *chosen = NULL;
	for (struct arch_vcpu *vcpu = vm->first_vcpu; vcpu; vcpu = vcpu->next) {
		if (lapic_enabled(&vcpu->lapic) && is_named(&vcpu->lapic, message) &&
		    (!chosen || processor_priority(&vcpu->lapic) < processor_priority(&chosen->lapic))) {
			chosen = vcpu;
		}
	}
	return chosen;
}

bool lapic_send(struct arch_vm *vm, const struct apic_message *message)
{
	bool taken = false;
	if (message->delivery == APIC_LOWEST_PRIORITY) {
		struct arch_vcpu *chosen = least_priority(vm, message);
		return chosen && take(chosen, message);
	}
	for (struct arch_vcpu *vcpu = vm->first_vcpu; vcpu; vcpu = vcpu->next) {
		if (is_named(&vcpu->lapic, message) && take(vcpu, message)) {
			taken = true;
		}
	}
	return taken;
}

static void send_to_others(struct arch_vcpu *sender, const struct apic_message *message)
{
	for (struct arch_vcpu *vcpu = sender->vm->first_vcpu; vcpu; vcpu = vcpu->next) {
		if (vcpu != sender) {
			(void)take(vcpu, message);
		}
	}
}

static void send_command(struct arch_vcpu *vcpu, uint32_t command, uint32_t destination)
{
	bool x2apic = lapic_has_msrs(&vcpu->lapic);
	struct apic_message message = {
		.destination = destination,
		.vector = ICR_VECTOR(command),
		.delivery = ICR_DELIVERY(command),
		.logical = command & ICR_LOGICAL,
		.everyone = destination == (x2apic ? UINT32_MAX : XAPIC_EVERYONE),
	};
	if (message.delivery <= APIC_LOWEST_PRIORITY && message.vector < FIRST_VECTOR) {
		report_error(vcpu, ESR_SEND_ILLEGAL);
		return;
	}
	/* An INIT level de-assert does nothing since the P6. */
	if (message.delivery == APIC_INIT && (command & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL) {
		return;
	}
	switch ((enum icr_shorthand)ICR_SHORTHAND(command)) {
	case ICR_NONE:
		(void)lapic_send(vcpu->vm, &message);
		break;
	case ICR_SELF:
		(void)take(vcpu, &message);
		break;
	case ICR_ALL:
		(void)take(vcpu, &message);
		send_to_others(vcpu, &message);
		break;
	case ICR_OTHERS:
		send_to_others(vcpu, &message);
		break;
	}
}

/* ---- the timer: it counts at the TSC's rate, divided ---- */

/* 10.5.4: bits 3, 1 and 0 say 2, 4, ... 128, and 1. */
static unsigned divider_shift(const struct lapic *lapic)
{
	uint32_t divide = lapic_get(lapic, LAPIC_DIVIDE);
	return (((divide >> 1 & 4) | (divide & 3)) + 1) & 7;
}

static uint64_t timer_mode(const struct lapic *lapic)
{
	return lapic_get(lapic, LAPIC_LVT_TIMER) & LAPIC_LVT_MODE;
}

/* The initial count in ticks of the counter; 0: nothing counts. */
static uint64_t timer_period(const struct lapic *lapic)
{
	return (uint64_t)lapic_get(lapic, LAPIC_INITIAL_COUNT) << divider_shift(lapic);
}

static uint32_t current_count(const struct lapic *lapic, uint64_t now)
{
	uint64_t period = timer_period(lapic), passed = now - lapic->count_start;
	uint64_t mode = timer_mode(lapic);
	if (period == 0 || mode == LAPIC_LVT_DEADLINE) {
		return 0;
	}
	if (passed >= period) {
		if (mode != LVT_PERIODIC) {
			return 0;
		}
		passed %= period;
	}
	uint64_t left = period - passed; /* rounded up: the count is there until its last tick is over */
	return (uint32_t)((left + BIT(divider_shift(lapic)) - 1) >> divider_shift(lapic));
}

/*
 * Ticks to the next beat of a periodic timer. Beats that come faster than exits can be answered would leave the guest
 * no time to run: they become fewer.
 */
static uint64_t next_beat(uint64_t period, uint64_t passed)
{
	uint64_t left = period - passed % period, least = arch_counter_hz() / BEATS_PER_SECOND_MAX;
	return left >= least || period >= least ? left : left + (least - left + period - 1) / period * period;
}

static void find_count_due(struct lapic *lapic, uint64_t now)
{
	uint64_t period = timer_period(lapic), mode = timer_mode(lapic), passed = now - lapic->count_start;
	if (period != 0 && mode == LVT_PERIODIC) {
		lapic->due = now + next_beat(period, passed);
	} else if (period != 0 && passed < period) {
		lapic->due = now + (period - passed);
	}
}

/* Finds `due` anew, for a timer that counts already: what has passed while it was masked is lost. */
static inline void find_due(struct lapic *lapic, uint64_t now)
{
	uint32_t lvt = lapic_get(lapic, LAPIC_LVT_TIMER);
	lapic->due = LAPIC_TIMER_OFF;
	if (lvt & LAPIC_LVT_MASKED) {
		return;
	}
	if (likely((lvt & LAPIC_LVT_MODE) == LAPIC_LVT_DEADLINE)) {
		lapic->due = lapic->deadline ? lapic->deadline : LAPIC_TIMER_OFF;
	} else {
		find_count_due(lapic, now);
	}
}

void lapic_timer_expire(struct arch_vcpu *vcpu, uint64_t now)
{
	struct lapic *lapic = &vcpu->lapic;
	uint32_t vector = LVT_VECTOR(lapic_get(lapic, LAPIC_LVT_TIMER));
	if (now < lapic->due) {
		return;
	}
	lapic->deadline = 0;
	find_due(lapic, now);
	if (vector >= FIRST_VECTOR) {
		raise(vcpu, vector, false);
	} else {
		report_error(vcpu, ESR_TAKEN_ILLEGAL);
	}
}

static void write_lvt_timer(struct lapic *lapic, uint32_t value, uint64_t now)
{
	bool was_deadline = timer_mode(lapic) == LAPIC_LVT_DEADLINE;
	lapic_put(lapic, LAPIC_LVT_TIMER, value);
	/* Between the deadline and the counting modes it is disarmed: 10.5.4.1. */
	if ((timer_mode(lapic) == LAPIC_LVT_DEADLINE) != was_deadline) {
		lapic->deadline = 0;
		lapic_put(lapic, LAPIC_INITIAL_COUNT, 0);
	}
	if (lapic->deadline <= now) {
		lapic->deadline = 0;
	}
	find_due(lapic, now);
}

static void write_initial_count(struct lapic *lapic, uint32_t value, uint64_t now)
{
	if (timer_mode(lapic) == LAPIC_LVT_DEADLINE) {
		return;
	}
	lapic_put(lapic, LAPIC_INITIAL_COUNT, value);
	lapic->count_start = now;
	find_due(lapic, now);
}

/* What has been counted stays counted. */
static void write_divide(struct lapic *lapic, uint32_t value, uint64_t now)
{
	uint64_t counted = lapic_get(lapic, LAPIC_INITIAL_COUNT) - current_count(lapic, now);
	lapic_put(lapic, LAPIC_DIVIDE, value);
	lapic->count_start = now - (counted << divider_shift(lapic));
	find_due(lapic, now);
}

/* What was due by now comes first; a deadline that has passed is due at once. */
void lapic_deadline_write(struct arch_vcpu *vcpu, uint64_t value, uint64_t now)
{
	struct lapic *lapic = &vcpu->lapic;
	if (unlikely(now >= lapic->due)) {
		lapic_timer_expire(vcpu, now);
	}
	if (timer_mode(lapic) == LAPIC_LVT_DEADLINE) {
		lapic->deadline = value;
		find_due(lapic, now);
		if (unlikely(now >= lapic->due)) {
			lapic_timer_expire(vcpu, now);
		}
	}
}

/* ---- registers ---- */

static uint32_t read_register(const struct lapic *lapic, unsigned offset)
{
	switch (offset) {
	case LAPIC_PPR:
		return processor_priority(lapic);
	case LAPIC_CURRENT_COUNT:
		return current_count(lapic, arch_counter());
	default:
		return lapic_get(lapic, offset);
	}
}

/* Software-disabled, all sources are masked and stay so: 10.4.7.2. */
static void write_svr(struct lapic *lapic, uint32_t value)
{
	lapic_put(lapic, LAPIC_SVR, value);
	if (value & SVR_ENABLE) {
		return;
	}
	for (unsigned offset = LAPIC_LVT_TIMER; offset <= LAPIC_LVT_ERROR; offset += REGISTER_BYTES) {
		lapic_put(lapic, offset, lapic_get(lapic, offset) | LAPIC_LVT_MASKED);
	}
	lapic->due = LAPIC_TIMER_OFF;
}

static void write_lvt(struct lapic *lapic, unsigned offset, uint32_t value)
{
	if (!lapic_enabled(lapic)) {
		value |= LAPIC_LVT_MASKED;
	}
	if (offset == LAPIC_LVT_TIMER) {
		write_lvt_timer(lapic, value, arch_counter());
	} else {
		lapic_put(lapic, offset, value);
	}
}

/* `value` has writable bits only. */
static void write_register(struct arch_vcpu *vcpu, unsigned offset, uint32_t value)
{
	struct lapic *lapic = &vcpu->lapic;
	switch (offset) {
	case LAPIC_EOI:
		lapic_end_of_interrupt(vcpu);
		break;
	case LAPIC_ICR:
		lapic_put(lapic, LAPIC_ICR, value);
		send_command(vcpu, value, lapic_get(lapic, LAPIC_ICR_HIGH) >> XAPIC_ID_SHIFT);
		break;
	case LAPIC_LVT_TIMER:
	case LAPIC_LVT_THERMAL:
	case LAPIC_LVT_PERF:
	case LAPIC_LVT_LINT0:
	case LAPIC_LVT_LINT1:
	case LAPIC_LVT_ERROR:
		write_lvt(lapic, offset, value);
		break;
	case LAPIC_INITIAL_COUNT:
		write_initial_count(lapic, value, arch_counter());
		break;
	case LAPIC_DIVIDE:
		write_divide(lapic, value, arch_counter());
		break;
	case LAPIC_SVR:
		write_svr(lapic, value);
		notify(vcpu);
		if (value & SVR_ENABLE) {
			ioapic_send_waiting(vcpu->vm); /* lines that found it disabled */
		}
		break;
	case LAPIC_ESR:
		lapic_put(lapic, LAPIC_ESR, lapic->errors);
		lapic->errors = 0;
		break;
	case LAPIC_DFR:
		lapic_put(lapic, LAPIC_DFR, value | ~find_rule(LAPIC_DFR)->writable);
		break;
	case LAPIC_SELF_IPI:
		send_command(vcpu, value | (uint32_t)ICR_SELF << 18, 0);
		break;
	default:
		lapic_put(lapic, offset, value);
		notify(vcpu); /* TPR may let something through */
		break;
	}
}

uint64_t lapic_mmio_read(struct arch_vcpu *vcpu, unsigned offset, unsigned width)
{
	unsigned register_offset = offset & ~(REGISTER_BYTES - 1U), byte = offset - register_offset;
	if (!(find_rule(register_offset)->access & (READ | XAPIC_READ))) {
		report_error(vcpu, ESR_NO_REGISTER);
		return 0;
	}
	if (byte >= sizeof(uint32_t)) {
		return 0;
	}
	uint64_t value = (uint64_t)read_register(&vcpu->lapic, register_offset) >> (8 * byte);
	return value & BITS(8 * width - 1, 0);
}

/* Registers are written as 32 bits or not at all: 10.4.1. */
void lapic_mmio_write(struct arch_vcpu *vcpu, unsigned offset, unsigned width, uint64_t value)
{
	const struct rule *rule = find_rule(offset);
	if (offset % REGISTER_BYTES != 0 || width < sizeof(uint32_t)) {
		return;
	}
	if (rule->access & (WRITE | XAPIC_WRITE)) {
		write_register(vcpu, offset, (uint32_t)value & rule->writable);
	} else if (!(rule->access & (READ | XAPIC_READ))) {
		report_error(vcpu, ESR_NO_REGISTER);
	}
}

static unsigned msr_offset(uint32_t msr)
{
	return (msr - LAPIC_MSR_FIRST) * REGISTER_BYTES;
}

bool lapic_msr_read(struct arch_vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	const struct lapic *lapic = &vcpu->lapic;
	unsigned offset = msr_offset(msr);
	if (!lapic_has_msrs(lapic) || !(find_rule(offset)->access & READ)) {
		return false;
	}
	*value = read_register(lapic, offset);
	if (offset == LAPIC_ICR) {
		*value |= (uint64_t)lapic_get(lapic, LAPIC_ICR_HIGH) << 32;
	}
	return true;
}

bool lapic_msr_write(struct arch_vcpu *vcpu, uint32_t msr, uint64_t value)
{
	struct lapic *lapic = &vcpu->lapic;
	unsigned offset = msr_offset(msr);
	const struct rule *rule = find_rule(offset);
	uint64_t writable = rule->writable | (offset == LAPIC_ICR ? BITS(63, 32) : 0);
	if (!lapic_has_msrs(lapic) || !(rule->access & (WRITE | X2APIC_WRITE)) || (value & ~writable)) {
		return false;
	}
	if (offset == LAPIC_ICR) {
		lapic_put(lapic, LAPIC_ICR, (uint32_t)value);
		lapic_put(lapic, LAPIC_ICR_HIGH, (uint32_t)(value >> 32));
		send_command(vcpu, (uint32_t)value, (uint32_t)(value >> 32));
	} else {
		write_register(vcpu, offset, (uint32_t)value);
	}
	return true;
}

/* ---- resets and modes ---- */

static void reset_registers(struct arch_vcpu *vcpu)
{
	struct lapic *lapic = &vcpu->lapic;
	for (unsigned offset = 0; offset < LAPIC_BYTES; offset += sizeof(uint32_t)) {
		lapic_put(lapic, offset, 0);
	}
	for (unsigned offset = LAPIC_LVT_TIMER; offset <= LAPIC_LVT_ERROR; offset += REGISTER_BYTES) {
		lapic_put(lapic, offset, LAPIC_LVT_MASKED);
	}
	lapic_put(lapic, LAPIC_ID, vcpu->index << XAPIC_ID_SHIFT);
	lapic_put(lapic, LAPIC_VERSION, VERSION_VALUE);
	lapic_put(lapic, LAPIC_DFR, DFR_FLAT);
	lapic_put(lapic, LAPIC_SVR, SVR_RESET);
	lapic->due = LAPIC_TIMER_OFF;
	lapic->deadline = 0;
	lapic->errors = 0;
	lapic->events = 0;
}

void lapic_reset(struct arch_vcpu *vcpu)
{
	vcpu->lapic.base = LAPIC_BASE | BASE_ENABLE | (vcpu->index == 0 ? BASE_BSP : 0);
	reset_registers(vcpu);
	notify(vcpu);
}

/* 10.12.5: from disabled to xAPIC to x2APIC and to disabled; no other way, and no other address. */
bool lapic_base_write(struct arch_vcpu *vcpu, uint64_t value)
{
	struct lapic *lapic = &vcpu->lapic;
	uint64_t modes = BASE_ENABLE | BASE_X2APIC, old = lapic->base & modes, new = value &modes;
	if ((value & ~modes) != (lapic->base & ~modes) || new == BASE_X2APIC) {
		return false;
	}
	if ((old == 0 && new == modes) || (old == modes && new == BASE_ENABLE)) {
		return false;
	}
	lapic->base = value;
	if (new == 0) {
		reset_registers(vcpu);
	} else if (new == modes && old != modes) {
		lapic_put(lapic, LAPIC_ID, vcpu->index);
		lapic_put(lapic, LAPIC_LDR, X2APIC_LDR(vcpu->index));
		lapic_put(lapic, LAPIC_ICR_HIGH, 0);
	}
	notify(vcpu);
	return true;
}
