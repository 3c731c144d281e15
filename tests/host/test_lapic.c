/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual local APIC: priorities, ends of interrupts, destinations, errors, both modes and the timer, with a clock
 * that the test sets. Run by make host-tests.
 */
// sources: arch/x86_64/lapic.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "lib/util.h"

#define CPUS         3
#define BASE_MSR     (LAPIC_BASE | BIT(11))
#define BASE_BSP     BIT(8)
#define BASE_X2APIC  BIT(10)
#define ENABLED      UINT64_C(0x1ff) /* SVR: on, spurious vector 255 */
#define MASKED       BIT(16)
#define PERIODIC     BIT(17)
#define TSC_DEADLINE BIT(18)
#define DIVIDE_BY_1  0xb
#define DIVIDE_BY_4  1
#define TIMER_VECTOR 0xec

/* ---- a VM of three vCPUs ---- */

static uint32_t pages[CPUS][LAPIC_BYTES / sizeof(uint32_t)];
static struct arch_vm vm;
static struct arch_vcpu cpus[CPUS];
static uint64_t now;
static int ended[4]; /* vectors whose end was broadcast to the IOAPIC */
static unsigned ends;
static unsigned waiting_sent; /* how often the IOAPIC was asked to send what found nobody */

uint64_t arch_counter(void)
{
	return now;
}

uint64_t arch_counter_hz(void)
{
	return 2500000; /* at least 500 ticks to a beat */
}

void ioapic_end_of_interrupt(struct arch_vm *of, unsigned vector)
{
	assert_ptr_equal(of, &vm);
	ended[ends++] = (int)vector;
}

void ioapic_send_waiting(struct arch_vm *of)
{
	assert_ptr_equal(of, &vm);
	waiting_sent++;
}

static void write_to(unsigned cpu, unsigned offset, uint64_t value)
{
	lapic_mmio_write(&cpus[cpu], offset, 4, value);
}

static uint32_t read_from(unsigned cpu, unsigned offset)
{
	return (uint32_t)lapic_mmio_read(&cpus[cpu], offset, 4);
}

static int start(void **state)
{
	(void)state;
	memset(cpus, 0, sizeof(cpus));
	vm = (struct arch_vm){.vcpus = CPUS};
	now = 1000000;
	ends = 0;
	for (unsigned i = 0; i < CPUS; i++) {
		cpus[i].vm = &vm;
		cpus[i].index = i;
		cpus[i].lapic.registers = pages[i];
		cpus[i].next = vm.first_vcpu;
		vm.first_vcpu = &cpus[i];
		memset(pages[i], UINT8_MAX, sizeof(pages[i]));
		lapic_reset(&cpus[i]);
		write_to(i, LAPIC_SVR, ENABLED);
		write_to(i, LAPIC_LDR, UINT64_C(1) << (24 + i));
		cpus[i].interrupts = 0;
	}
	return 0;
}

static void interrupt(unsigned cpu, uint8_t vector, bool level)
{
	const struct apic_message message = {.destination = cpu, .vector = vector, .level = level};
	assert_true(lapic_send(&vm, &message));
}

/* The vCPU takes what is offered, which must be `vector`. */
static void takes(unsigned cpu, int vector)
{
	assert_int_equal(lapic_pending(&cpus[cpu].lapic), vector);
	lapic_accept(&cpus[cpu].lapic, (unsigned)vector);
}

static void has_nothing(unsigned cpu)
{
	assert_int_equal(lapic_pending(&cpus[cpu].lapic), LAPIC_NO_VECTOR);
}

static void to_x2apic_mode(unsigned cpu)
{
	assert_true(lapic_base_write(&cpus[cpu], BASE_MSR | BASE_X2APIC | (cpu == 0 ? BASE_BSP : 0)));
}

/* ---- registers ---- */

static void registers_come_out_of_a_reset_as_the_manual_says(void **state)
{
	(void)state;
	lapic_reset(&cpus[1]);
	assert_int_equal(read_from(1, LAPIC_ID), 1 << 24);
	assert_int_equal(read_from(1, LAPIC_VERSION), 0x00050014);
	assert_int_equal(read_from(1, LAPIC_DFR), UINT32_MAX);
	assert_int_equal(read_from(1, LAPIC_SVR), 0xff);
	for (unsigned offset = LAPIC_LVT_TIMER; offset <= LAPIC_LVT_ERROR; offset += 16) {
		assert_int_equal(read_from(1, offset), MASKED);
	}
	assert_int_equal(read_from(1, LAPIC_TPR) | read_from(1, LAPIC_LDR) | read_from(1, LAPIC_ICR), 0);
	assert_int_equal(cpus[0].lapic.base, BASE_MSR | BASE_BSP);
	assert_int_equal(cpus[1].lapic.base, BASE_MSR);
}

static void writes_change_only_the_bits_that_are_there(void **state)
{
	(void)state;
	write_to(0, LAPIC_ID, UINT32_MAX);
	write_to(0, LAPIC_VERSION, UINT32_MAX);
	write_to(0, LAPIC_LVT_TIMER, UINT32_MAX);
	write_to(0, LAPIC_LVT_LINT0, UINT32_MAX);
	write_to(0, LAPIC_DIVIDE, UINT32_MAX);
	write_to(0, LAPIC_DFR, 0);
	write_to(0, LAPIC_IRR, UINT32_MAX);
	assert_int_equal(read_from(0, LAPIC_ID), 0);
	assert_int_equal(read_from(0, LAPIC_VERSION), 0x00050014);
	assert_int_equal(read_from(0, LAPIC_LVT_TIMER), 0x700ff);
	assert_int_equal(read_from(0, LAPIC_LVT_LINT0), 0x1a7ff);
	assert_int_equal(read_from(0, LAPIC_DIVIDE), 0xb);
	assert_int_equal(read_from(0, LAPIC_DFR), 0x0fffffff);
	assert_int_equal(read_from(0, LAPIC_IRR), 0);
}

static void odd_widths_and_places_do_no_harm(void **state)
{
	(void)state;
	write_to(0, LAPIC_TPR, 0x5a);
	lapic_mmio_write(&cpus[0], LAPIC_TPR, 1, 0xff);
	lapic_mmio_write(&cpus[0], LAPIC_TPR + 4, 4, 0xff);
	lapic_mmio_write(&cpus[0], LAPIC_TPR + 1, 8, 0xff);
	assert_int_equal(lapic_mmio_read(&cpus[0], LAPIC_TPR, 1), 0x5a);
	assert_int_equal(lapic_mmio_read(&cpus[0], LAPIC_TPR, 8), 0x5a);
	assert_int_equal(lapic_mmio_read(&cpus[0], LAPIC_VERSION + 2, 2), 0x0005);
	assert_int_equal(lapic_mmio_read(&cpus[0], LAPIC_VERSION + 4, 4), 0);
	for (unsigned offset = 0; offset < LAPIC_BYTES; offset++) {
		for (unsigned width = 1; width <= 8; width *= 2) {
			uint64_t value = lapic_mmio_read(&cpus[0], offset, width);
			assert_true(width == 8 || value >> (8 * width) == 0);
			lapic_mmio_write(&cpus[0], offset, width, UINT64_MAX);
		}
	}
}

static void a_register_that_is_not_there_is_an_error(void **state)
{
	(void)state;
	write_to(0, LAPIC_LVT_ERROR, 0xfe);
	write_to(0, 0x040, 1);
	assert_int_equal(read_from(0, LAPIC_ESR), 0); /* shown after the next write */
	write_to(0, LAPIC_ESR, 0);
	assert_int_equal(read_from(0, LAPIC_ESR), 0x80);
	takes(0, 0xfe);
	write_to(0, LAPIC_EOI, 0);
	write_to(0, LAPIC_ESR, 0);
	assert_int_equal(read_from(0, LAPIC_ESR), 0);
}

/* ---- priorities ---- */

static void the_highest_vector_comes_first_and_each_end_lets_the_next_one_in(void **state)
{
	(void)state;
	interrupt(0, 0x41, false);
	interrupt(0, 0xd1, false);
	interrupt(0, 0x92, false);
	assert_int_equal(cpus[0].interrupts, 1);
	assert_int_equal(cpus[1].interrupts, 0);
	takes(0, 0xd1);
	assert_int_equal(read_from(0, LAPIC_PPR), 0xd0);
	has_nothing(0);
	interrupt(0, 0xe0, false); /* nests */
	takes(0, 0xe0);
	interrupt(0, 0xdf, false); /* the class of one in service: waits */
	has_nothing(0);
	write_to(0, LAPIC_EOI, 0);
	has_nothing(0);
	cpus[0].interrupts = 0;
	write_to(0, LAPIC_EOI, 0);
	assert_int_equal(cpus[0].interrupts, 1);
	takes(0, 0xdf);
	write_to(0, LAPIC_EOI, 0);
	takes(0, 0x92);
	write_to(0, LAPIC_EOI, 0);
	takes(0, 0x41);
	cpus[0].interrupts = 0;
	write_to(0, LAPIC_EOI, 0);
	assert_int_equal(cpus[0].interrupts, 0); /* nothing left to look at */
	assert_int_equal(read_from(0, LAPIC_PPR), 0);
	write_to(0, LAPIC_EOI, 0); /* of nothing */
	assert_int_equal(ends, 0);
}

static void the_task_priority_holds_back_its_class_and_those_below(void **state)
{
	(void)state;
	write_to(0, LAPIC_TPR, 0x45);
	interrupt(0, 0x4f, false);
	has_nothing(0);
	assert_int_equal(lapic_candidate(&cpus[0].lapic), 0x4f);
	assert_int_equal(read_from(0, LAPIC_PPR), 0x45);
	interrupt(0, 0x50, false);
	takes(0, 0x50);
	assert_int_equal(read_from(0, LAPIC_PPR), 0x50);
	write_to(0, LAPIC_EOI, 0);
	has_nothing(0);
	cpus[0].interrupts = 0;
	write_to(0, LAPIC_TPR, 0x3f);
	assert_int_equal(cpus[0].interrupts, 1);
	takes(0, 0x4f);
}

static void one_more_of_a_vector_in_service_comes_after_its_end(void **state)
{
	(void)state;
	interrupt(0, 0x60, false);
	takes(0, 0x60);
	interrupt(0, 0x60, false);
	interrupt(0, 0x60, false); /* and these two are one */
	has_nothing(0);
	write_to(0, LAPIC_EOI, 0);
	takes(0, 0x60);
	write_to(0, LAPIC_EOI, 0);
	has_nothing(0);
}

static void what_the_cpu_has_not_taken_after_all_comes_again(void **state)
{
	(void)state;
	interrupt(0, 0x52, false);
	takes(0, 0x52);
	interrupt(0, 0x52, false); /* one more on the way is not lost, and is not one more than that */
	interrupt(0, 0x31, false);
	has_nothing(0);
	lapic_reject(&cpus[0].lapic, 0x52);
	takes(0, 0x52);
	write_to(0, LAPIC_EOI, 0);
	takes(0, 0x31);
	write_to(0, LAPIC_EOI, 0);
	has_nothing(0);
}

static void only_ends_of_level_triggered_vectors_reach_the_ioapic(void **state)
{
	(void)state;
	interrupt(0, 0x60, true);
	interrupt(0, 0x70, false);
	assert_int_equal(read_from(0, LAPIC_TMR + 0x30), 1);
	takes(0, 0x70);
	write_to(0, LAPIC_EOI, 0);
	assert_int_equal(ends, 0);
	takes(0, 0x60);
	write_to(0, LAPIC_EOI, 0);
	assert_int_equal(ends, 1);
	assert_int_equal(ended[0], 0x60);
	interrupt(0, 0x60, false); /* the trigger mode is the last one's */
	takes(0, 0x60);
	write_to(0, LAPIC_EOI, 0);
	assert_int_equal(ends, 1);
}

static void an_end_without_an_exit_is_told_where_it_matters(void **state)
{
	(void)state;
	struct lapic *lapic = &cpus[0].lapic;
	assert_int_equal(lapic_in_service(lapic), LAPIC_NO_VECTOR);
	interrupt(0, 0x41, false);
	takes(0, 0x41);
	assert_int_equal(lapic_in_service(lapic), 0x41);
	assert_false(lapic_end_matters(lapic, 0x41));
	interrupt(0, 0x31, false); /* waits behind it */
	assert_true(lapic_end_matters(lapic, 0x41));

	lapic->registers[LAPIC_ISR / 4 + 4 * (0x41 / 32)] = 0; /* as the CPU does */
	cpus[0].interrupts = 0;
	lapic_ended(&cpus[0], 0x41);
	assert_int_equal(cpus[0].interrupts, 1);
	assert_int_equal(ends, 0);
	takes(0, 0x31);

	interrupt(0, 0x52, true);
	takes(0, 0x52);
	assert_int_equal(lapic_in_service(lapic), 0x52);
	assert_true(lapic_end_matters(lapic, 0x52));
	lapic_ended(&cpus[0], 0x52);
	assert_int_equal(ends, 1);
	assert_int_equal(ended[0], 0x52);
}

static void a_software_disabled_apic_takes_no_vector_but_keeps_what_it_has(void **state)
{
	const struct apic_message message = {.destination = 0, .vector = 0x55};
	const struct apic_message nmi = {.destination = 0, .delivery = APIC_NMI};

	(void)state;
	interrupt(0, 0x44, false);
	write_to(0, LAPIC_LVT_LINT0, 0x700);
	write_to(0, LAPIC_SVR, 0xff);
	has_nothing(0);
	assert_false(lapic_send(&vm, &message));
	assert_true(lapic_send(&vm, &nmi));
	assert_int_equal(cpus[0].lapic.events, LAPIC_EVENT_NMI);
	assert_int_equal(read_from(0, LAPIC_LVT_LINT0), MASKED | 0x700);
	write_to(0, LAPIC_LVT_LINT0, 0x700); /* cannot be unmasked */
	assert_int_equal(read_from(0, LAPIC_LVT_LINT0), MASKED | 0x700);
	waiting_sent = 0;
	write_to(0, LAPIC_SVR, ENABLED);
	assert_int_equal(waiting_sent, 1);
	takes(0, 0x44);
}

/* ---- interrupt commands ---- */

static void commands_reach_whom_they_name(void **state)
{
	(void)state;
	write_to(0, LAPIC_ICR_HIGH, 2U << 24);
	write_to(0, LAPIC_ICR, 0x4031); /* physical */
	takes(2, 0x31);
	has_nothing(0);
	has_nothing(1);
	write_to(0, LAPIC_ICR_HIGH, 3U << 24);
	write_to(0, LAPIC_ICR, 0x4842); /* logical, flat: CPUs 0 and 1 */
	takes(0, 0x42);
	takes(1, 0x42);
	has_nothing(2);
	write_to(0, LAPIC_ICR_HIGH, 0xffU << 24);
	write_to(0, LAPIC_ICR, 0x4053); /* physical broadcast */
	takes(0, 0x53);
	takes(1, 0x53);
	takes(2, 0x53);
	write_to(1, LAPIC_ICR, 0x44064); /* self */
	takes(1, 0x64);
	write_to(1, LAPIC_ICR, 0x84075); /* all */
	takes(0, 0x75);
	takes(1, 0x75);
	takes(2, 0x75);
	write_to(1, LAPIC_ICR, 0xc4086); /* all but itself */
	takes(0, 0x86);
	has_nothing(1);
	takes(2, 0x86);
}

static void the_cluster_model_names_a_cluster_and_members(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CPUS; i++) {
		write_to(i, LAPIC_DFR, 0x0fffffff);
		write_to(i, LAPIC_LDR, (i == 2 ? 0x21U : 0x11U << (i & 1)) << 24);
	}
	write_to(0, LAPIC_LDR, 0x11U << 24);
	write_to(1, LAPIC_LDR, 0x12U << 24);
	write_to(0, LAPIC_ICR_HIGH, 0x13U << 24);
	write_to(0, LAPIC_ICR, 0x4842);
	takes(0, 0x42);
	takes(1, 0x42);
	has_nothing(2);
	write_to(0, LAPIC_ICR_HIGH, 0x2fU << 24);
	write_to(0, LAPIC_ICR, 0x4843);
	has_nothing(1);
	takes(2, 0x43);
}

static void lowest_priority_goes_to_the_one_that_is_least_busy(void **state)
{
	const struct apic_message message = {
		.destination = 7, .logical = true, .delivery = APIC_LOWEST_PRIORITY, .vector = 0x90};

	(void)state;
	write_to(0, LAPIC_TPR, 0x20);
	write_to(1, LAPIC_TPR, 0x10);
	write_to(2, LAPIC_TPR, 0x30);
	assert_true(lapic_send(&vm, &message));
	has_nothing(0);
	has_nothing(2);
	takes(1, 0x90);
	assert_true(lapic_send(&vm, &message)); /* now CPU 1 is at 0x90 */
	takes(0, 0x90);
	write_to(2, LAPIC_SVR, 0xff);
	write_to(1, LAPIC_SVR, 0xff);
	write_to(0, LAPIC_SVR, 0xff);
	assert_false(lapic_send(&vm, &message));
}

static void illegal_vectors_are_reported_on_the_side_where_they_are_seen(void **state)
{
	const struct apic_message message = {.destination = 1, .vector = 15};

	(void)state;
	write_to(0, LAPIC_ICR, 0x4005);
	write_to(0, LAPIC_ESR, 0);
	assert_int_equal(read_from(0, LAPIC_ESR), 0x20);
	assert_true(lapic_send(&vm, &message));
	write_to(1, LAPIC_ESR, 0);
	assert_int_equal(read_from(1, LAPIC_ESR), 0x40);
	has_nothing(1);
	write_to(1, LAPIC_LVT_ERROR, 3); /* an illegal vector for illegal vectors: no recursion */
	assert_true(lapic_send(&vm, &message));
	has_nothing(1);
}

static void init_startup_and_nmi_wait_as_events(void **state)
{
	(void)state;
	write_to(0, LAPIC_ICR_HIGH, 1U << 24);
	write_to(0, LAPIC_ICR, 0x8500); /* INIT level de-assert: nothing */
	assert_int_equal(cpus[1].lapic.events, 0);
	write_to(0, LAPIC_ICR, 0xc500);
	assert_int_equal(cpus[1].lapic.events, LAPIC_EVENT_INIT);
	write_to(0, LAPIC_ICR, 0x4698);
	assert_int_equal(cpus[1].lapic.events, LAPIC_EVENT_INIT | LAPIC_EVENT_STARTUP);
	assert_int_equal(cpus[1].lapic.startup_vector, 0x98);
	write_to(0, LAPIC_ICR, 0xc4400); /* NMI to all others */
	assert_int_equal(cpus[0].lapic.events, 0);
	assert_int_equal(cpus[2].lapic.events, LAPIC_EVENT_NMI);
	assert_int_equal(cpus[2].interrupts, 1);
	write_to(0, LAPIC_ICR_HIGH, 0);
	write_to(0, LAPIC_ICR, 0x4200); /* SMI and ExtINT: nobody takes them */
	write_to(0, LAPIC_ICR, 0x4700);
	has_nothing(0);
	assert_int_equal(cpus[0].lapic.events, 0);
}

/* ---- x2APIC ---- */

static void modes_change_only_along_the_manuals_arrows(void **state)
{
	const uint64_t off = LAPIC_BASE | BASE_BSP, x = off | BIT(11), x2 = x | BASE_X2APIC;

	(void)state;
	assert_false(lapic_base_write(&cpus[0], off | BASE_X2APIC));
	assert_false(lapic_base_write(&cpus[0], x + LAPIC_BYTES));
	assert_false(lapic_base_write(&cpus[0], x & ~BASE_BSP));
	assert_false(lapic_base_write(&cpus[0], x | BIT(0)));
	assert_true(lapic_has_page(&cpus[0].lapic));
	assert_true(lapic_base_write(&cpus[0], x2));
	assert_false(lapic_has_page(&cpus[0].lapic));
	assert_true(lapic_enabled(&cpus[0].lapic));
	assert_false(lapic_base_write(&cpus[0], x));
	assert_true(lapic_base_write(&cpus[0], off));
	assert_false(lapic_has_page(&cpus[0].lapic));
	assert_false(lapic_enabled(&cpus[0].lapic));
	assert_false(lapic_base_write(&cpus[0], x2));
	assert_true(lapic_base_write(&cpus[0], x));
	assert_false(lapic_enabled(&cpus[0].lapic)); /* software-disabled, as after a reset */
}

static void msrs_exist_in_x2apic_mode_only_and_check_reserved_bits(void **state)
{
	uint64_t value;

	(void)state;
	assert_false(lapic_msr_read(&cpus[1], 0x802, &value));
	assert_false(lapic_msr_write(&cpus[1], 0x808, 0));
	to_x2apic_mode(1);
	assert_true(lapic_msr_read(&cpus[1], 0x802, &value));
	assert_int_equal(value, 1);
	assert_true(lapic_msr_read(&cpus[1], 0x80d, &value)); /* LDR: cluster 0, member 1 */
	assert_int_equal(value, 2);
	assert_true(lapic_msr_write(&cpus[1], 0x808, 0x20));
	assert_true(lapic_msr_read(&cpus[1], 0x80a, &value));
	assert_int_equal(value, 0x20);
	assert_false(lapic_msr_write(&cpus[1], 0x808, 0x100));
	assert_false(lapic_msr_write(&cpus[1], 0x80b, 1)); /* EOI takes 0 */
	assert_true(lapic_msr_write(&cpus[1], 0x80b, 0));
	assert_false(lapic_msr_write(&cpus[1], 0x828, 1)); /* as does ESR */
	assert_false(lapic_msr_write(&cpus[1], 0x802, 0)); /* read-only */
	assert_false(lapic_msr_write(&cpus[1], 0x80d, 0));
	assert_false(lapic_msr_read(&cpus[1], 0x80b, &value)); /* write-only */
	assert_false(lapic_msr_read(&cpus[1], 0x83f, &value));
	assert_false(lapic_msr_read(&cpus[1], 0x80e, &value)); /* no DFR */
	assert_false(lapic_msr_read(&cpus[1], 0x831, &value)); /* nor an upper half of ICR */
	assert_false(lapic_msr_read(&cpus[1], 0x8ff, &value));
}

static void x2apic_commands_are_one_write_of_64_bits(void **state)
{
	uint64_t value;

	(void)state;
	for (unsigned i = 0; i < CPUS; i++) {
		to_x2apic_mode(i);
	}
	assert_true(lapic_msr_write(&cpus[0], 0x830, UINT64_C(2) << 32 | 0x4031));
	takes(2, 0x31);
	assert_true(lapic_msr_read(&cpus[0], 0x830, &value));
	assert_int_equal(value, UINT64_C(2) << 32 | 0x4031);
	assert_true(lapic_msr_write(&cpus[0], 0x830, UINT64_C(6) << 32 | 0x4842)); /* logical: members 1 and 2 */
	takes(1, 0x42);
	takes(2, 0x42);
	has_nothing(0);
	assert_true(lapic_msr_write(&cpus[0], 0x830, UINT64_C(0x10006) << 32 | 0x4843)); /* another cluster */
	has_nothing(1);
	assert_true(lapic_msr_write(&cpus[0], 0x830, UINT64_C(0xff) << 32 | 0x4044)); /* an ID, and no broadcast */
	has_nothing(1);
	assert_true(lapic_msr_write(&cpus[0], 0x830, UINT64_C(0xffffffff) << 32 | 0x4055));
	takes(0, 0x55);
	takes(1, 0x55);
	takes(2, 0x55);
	assert_true(lapic_msr_write(&cpus[1], 0x83f, 0x66)); /* SELF IPI */
	takes(1, 0x66);
	has_nothing(2);
	assert_false(lapic_msr_write(&cpus[0], 0x830, 0x1031)); /* bit 12 is reserved */
}

/* ---- the timer ---- */

static void set_timer(uint64_t lvt, unsigned divide, uint32_t count)
{
	write_to(0, LAPIC_DIVIDE, divide);
	write_to(0, LAPIC_LVT_TIMER, lvt | TIMER_VECTOR);
	write_to(0, LAPIC_INITIAL_COUNT, count);
}

static void pass(uint64_t ticks)
{
	now += ticks;
	lapic_timer_expire(&cpus[0], now);
}

static void a_one_shot_counts_down_once(void **state)
{
	(void)state;
	set_timer(0, DIVIDE_BY_4, 1000);
	assert_int_equal(cpus[0].lapic.due, now + 4000);
	assert_int_equal(read_from(0, LAPIC_CURRENT_COUNT), 1000);
	pass(401);
	assert_int_equal(read_from(0, LAPIC_CURRENT_COUNT), 900);
	pass(3598);
	assert_int_equal(read_from(0, LAPIC_CURRENT_COUNT), 1);
	has_nothing(0);
	pass(1);
	takes(0, TIMER_VECTOR);
	assert_int_equal(read_from(0, LAPIC_CURRENT_COUNT), 0);
	assert_int_equal(cpus[0].lapic.due, LAPIC_TIMER_OFF);
	write_to(0, LAPIC_EOI, 0);
	pass(UINT64_C(1) << 40);
	has_nothing(0);
	write_to(0, LAPIC_INITIAL_COUNT, 5);
	write_to(0, LAPIC_INITIAL_COUNT, 0); /* stops it */
	assert_int_equal(cpus[0].lapic.due, LAPIC_TIMER_OFF);
}

static void a_periodic_timer_keeps_its_beat_however_late_it_is_served(void **state)
{
	uint64_t began = now;

	(void)state;
	set_timer(PERIODIC, DIVIDE_BY_1, 1000);
	pass(1000);
	takes(0, TIMER_VECTOR);
	write_to(0, LAPIC_EOI, 0);
	assert_int_equal(cpus[0].lapic.due, began + 2000);
	assert_int_equal(read_from(0, LAPIC_CURRENT_COUNT), 1000);
	pass(2345); /* two beats missed: one interrupt, and the beat goes on */
	takes(0, TIMER_VECTOR);
	write_to(0, LAPIC_EOI, 0);
	has_nothing(0);
	assert_int_equal(cpus[0].lapic.due, began + 4000);
	assert_int_equal(read_from(0, LAPIC_CURRENT_COUNT), 655);
	write_to(0, LAPIC_LVT_TIMER, MASKED | PERIODIC | TIMER_VECTOR);
	assert_int_equal(cpus[0].lapic.due, LAPIC_TIMER_OFF);
	pass(1000);
	write_to(0, LAPIC_LVT_TIMER, PERIODIC | TIMER_VECTOR); /* what it owed meanwhile is lost */
	has_nothing(0);
	assert_int_equal(cpus[0].lapic.due, began + 5000);
}

static void the_longest_count_and_division_do_not_overflow(void **state)
{
	(void)state;
	now = UINT64_MAX - (UINT64_C(1) << 50);
	set_timer(PERIODIC, 0xa, UINT32_MAX); /* by 128 */
	assert_int_equal(cpus[0].lapic.due, now + ((uint64_t)UINT32_MAX << 7));
	pass(128);
	assert_int_equal(read_from(0, LAPIC_CURRENT_COUNT), UINT32_MAX - 1);
}

static void beats_that_are_too_fast_become_fewer(void **state)
{
	uint64_t began = now;

	(void)state;
	set_timer(PERIODIC, DIVIDE_BY_1, 300);
	assert_int_equal(cpus[0].lapic.due, began + 600); /* the first of its beats from 500 on */
	pass(850);
	takes(0, TIMER_VECTOR);
	assert_int_equal(cpus[0].lapic.due, began + 1500);
	assert_int_equal(read_from(0, LAPIC_CURRENT_COUNT), 50);
	set_timer(PERIODIC, 0, 1);
	assert_int_equal(cpus[0].lapic.due, now + 500);
	set_timer(PERIODIC, DIVIDE_BY_1, 500);
	assert_int_equal(cpus[0].lapic.due, now + 500);
	pass(499); /* slow enough: the beat comes where it belongs, however soon */
	write_to(0, LAPIC_LVT_TIMER, PERIODIC | TIMER_VECTOR);
	assert_int_equal(cpus[0].lapic.due, now + 1);
}

static void a_new_divider_takes_over_where_the_count_stands(void **state)
{
	(void)state;
	set_timer(0, DIVIDE_BY_1, 1000);
	pass(400);
	write_to(0, LAPIC_DIVIDE, DIVIDE_BY_4);
	assert_int_equal(read_from(0, LAPIC_CURRENT_COUNT), 600);
	assert_int_equal(cpus[0].lapic.due, now + 2400);
}

static void a_deadline_interrupts_once_and_then_reads_zero(void **state)
{
	(void)state;
	lapic_deadline_write(&cpus[0], now + 5, now); /* not in this mode */
	assert_int_equal(cpus[0].lapic.deadline, 0);
	write_to(0, LAPIC_LVT_TIMER, TSC_DEADLINE | TIMER_VECTOR);
	write_to(0, LAPIC_INITIAL_COUNT, 77); /* ignored in this mode */
	assert_int_equal(read_from(0, LAPIC_INITIAL_COUNT), 0);
	lapic_deadline_write(&cpus[0], now + 500, now);
	assert_int_equal(cpus[0].lapic.due, now + 500);
	pass(499);
	has_nothing(0);
	pass(1);
	takes(0, TIMER_VECTOR);
	assert_int_equal(cpus[0].lapic.deadline, 0);
	assert_int_equal(cpus[0].lapic.due, LAPIC_TIMER_OFF);
	write_to(0, LAPIC_EOI, 0);
	lapic_deadline_write(&cpus[0], 1, now); /* long past: at once */
	pass(0);
	takes(0, TIMER_VECTOR);
	write_to(0, LAPIC_EOI, 0);
	lapic_deadline_write(&cpus[0], now + 500, now);
	lapic_deadline_write(&cpus[0], 0, now); /* disarms */
	assert_int_equal(cpus[0].lapic.due, LAPIC_TIMER_OFF);
	lapic_deadline_write(&cpus[0], now + 500, now);
	write_to(0, LAPIC_LVT_TIMER, TIMER_VECTOR); /* so does a change to counting */
	assert_int_equal(cpus[0].lapic.due, LAPIC_TIMER_OFF);
	assert_int_equal(cpus[0].lapic.deadline, 0);
}

static void a_timer_with_an_illegal_vector_only_reports_it(void **state)
{
	(void)state;
	write_to(0, LAPIC_LVT_TIMER, 3);
	write_to(0, LAPIC_INITIAL_COUNT, 10);
	pass(1000);
	has_nothing(0);
	write_to(0, LAPIC_ESR, 0);
	assert_int_equal(read_from(0, LAPIC_ESR), 0x40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(registers_come_out_of_a_reset_as_the_manual_says, start),
		cmocka_unit_test_setup(writes_change_only_the_bits_that_are_there, start),
		cmocka_unit_test_setup(odd_widths_and_places_do_no_harm, start),
		cmocka_unit_test_setup(a_register_that_is_not_there_is_an_error, start),
		cmocka_unit_test_setup(the_highest_vector_comes_first_and_each_end_lets_the_next_one_in, start),
		cmocka_unit_test_setup(the_task_priority_holds_back_its_class_and_those_below, start),
		cmocka_unit_test_setup(one_more_of_a_vector_in_service_comes_after_its_end, start),
		cmocka_unit_test_setup(what_the_cpu_has_not_taken_after_all_comes_again, start),
		cmocka_unit_test_setup(only_ends_of_level_triggered_vectors_reach_the_ioapic, start),
		cmocka_unit_test_setup(an_end_without_an_exit_is_told_where_it_matters, start),
		cmocka_unit_test_setup(a_software_disabled_apic_takes_no_vector_but_keeps_what_it_has, start),
		cmocka_unit_test_setup(commands_reach_whom_they_name, start),
		cmocka_unit_test_setup(the_cluster_model_names_a_cluster_and_members, start),
		cmocka_unit_test_setup(lowest_priority_goes_to_the_one_that_is_least_busy, start),
		cmocka_unit_test_setup(illegal_vectors_are_reported_on_the_side_where_they_are_seen, start),
		cmocka_unit_test_setup(init_startup_and_nmi_wait_as_events, start),
		cmocka_unit_test_setup(modes_change_only_along_the_manuals_arrows, start),
		cmocka_unit_test_setup(msrs_exist_in_x2apic_mode_only_and_check_reserved_bits, start),
		cmocka_unit_test_setup(x2apic_commands_are_one_write_of_64_bits, start),
		cmocka_unit_test_setup(a_one_shot_counts_down_once, start),
		cmocka_unit_test_setup(a_periodic_timer_keeps_its_beat_however_late_it_is_served, start),
		cmocka_unit_test_setup(the_longest_count_and_division_do_not_overflow, start),
		cmocka_unit_test_setup(beats_that_are_too_fast_become_fewer, start),
		cmocka_unit_test_setup(a_new_divider_takes_over_where_the_count_stands, start),
		cmocka_unit_test_setup(a_deadline_interrupts_once_and_then_reads_zero, start),
		cmocka_unit_test_setup(a_timer_with_an_illegal_vector_only_reports_it, start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
