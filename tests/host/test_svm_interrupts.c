/* SPDX-License-Identifier: Apache-2.0 */
// sources: arch/x86_64/svm_interrupts.c arch/x86_64/lapic.c
/*
 * What SVM's entries are given: vectors, NMIs, and the windows that are opened where the guest can take none. The VMCB
 * and the local APIC are memory; the test plays the CPU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86_64/svm.h"

#define HANDLER 0x1000 /* where the NMI handler's IRET is */

struct svm_features svm_features;

static struct vmcb vmcb;
static uint32_t page[LAPIC_BYTES / sizeof(uint32_t)];
static struct arch_vm vm;
static struct addr_space space;
static uint32_t eoi_word;
static struct arch_vcpu vcpu;

uint64_t arch_counter(void)
{
	return 1000;
}

uint64_t arch_counter_hz(void)
{
	return 1000000;
}

void ioapic_end_of_interrupt(struct arch_vm *of, unsigned vector)
{
	(void)of, (void)vector;
}

void ioapic_send_waiting(struct arch_vm *of)
{
	(void)of;
}

/* Ends of interrupts in the guest's memory have tests of their own: test_guest_cpu.c. */
void kvm_eoi_offer(struct arch_vcpu *of, unsigned vector)
{
	(void)of, (void)vector;
}

void kvm_eoi_settle(struct arch_vcpu *of)
{
	(void)of;
}

static int start(void **state)
{
	(void)state;
	memset(&svm_features, 0, sizeof(svm_features));
	memset(page, 0, sizeof(page));
	memset(&vmcb, 0, sizeof(vmcb));
	memset(&vcpu, 0, sizeof(vcpu));
	vcpu.vm = &vm;
	vm.space = &space;
	vm.first_vcpu = &vcpu;
	vcpu.lapic.registers = page;
	vcpu.svm.vmcb = &vmcb;
	vcpu.svm.iret_rip = SVM_NO_CALL;
	lapic_reset(&vcpu);
	lapic_mmio_write(&vcpu, LAPIC_SVR, 4, 0x1ff);
	vmcb.save.rflags = RFLAGS_IF;
	return 0;
}

static void send(uint8_t delivery, uint8_t vector)
{
	const struct apic_message message = {.everyone = true, .delivery = delivery, .vector = vector};
	assert_true(lapic_send(&vm, &message));
	assert_true(vcpu.interrupts);
}

/* An entry that is asked for; the CPU takes what it is given. 0: nothing was. */
static uint64_t enter(void)
{
	assert_true(vcpu.interrupts);
	svm_inject_interrupts(&vcpu);
	uint64_t event = vmcb.control.event_injection;
	vmcb.control.event_injection = 0;
	return event & EVENT_VALID ? event & UINT8_MAX : 0;
}

static bool irets_exit(void)
{
	return vmcb.control.intercept_misc1 & INTERCEPT_IRET;
}

static void a_second_nmi_waits_for_the_iret_and_its_end(void **state)
{
	(void)state;
	vmcb.save.rip = HANDLER - 0x10;
	send(APIC_NMI, 0);
	assert_int_equal(enter(), X86_NMI);
	assert_true(irets_exit());
	send(APIC_NMI, 0);
	assert_int_equal(enter(), 0);
	vmcb.save.rip = HANDLER;
	svm_end_of_nmi(&vcpu); /* the IRET has exited, and is yet to be executed */
	assert_false(irets_exit());
	assert_int_equal(enter(), 0);
	vmcb.save.rip = 0x5000;
	assert_int_equal(enter(), X86_NMI);
	assert_true(irets_exit());
}

static void an_nmi_that_arrives_after_the_iret_is_taken_at_once(void **state)
{
	(void)state;
	send(APIC_NMI, 0);
	assert_int_equal(enter(), X86_NMI);
	vmcb.save.rip = HANDLER;
	svm_end_of_nmi(&vcpu);
	assert_int_equal(enter(), 0);
	vmcb.save.rip = 0x5000; /* where it returned to */
	vcpu.interrupts = 0;
	send(APIC_NMI, 0);
	assert_int_equal(enter(), X86_NMI);
	/* And one that arrives when RIP happens to be at that IRET again, by way of an entry elsewhere. */
	vmcb.save.rip = HANDLER;
	svm_end_of_nmi(&vcpu);
	send(APIC_NMI, 0);
	assert_int_equal(enter(), 0);
	vmcb.save.rip = 0x6000;
	assert_int_equal(enter(), X86_NMI);
}

static void an_nmi_goes_before_a_vector_and_waits_for_a_shadow(void **state)
{
	(void)state;
	vmcb.control.interrupt_shadow = INTERRUPT_SHADOW;
	send(APIC_NMI, 0);
	send(APIC_FIXED, 0x40);
	assert_int_equal(enter(), 0);
	vmcb.control.interrupt_shadow = 0;
	assert_int_equal(enter(), X86_NMI);
	assert_int_equal(enter(), 0x40);
	assert_false(vcpu.interrupts);
}

static void a_vector_that_cannot_be_taken_opens_a_window(void **state)
{
	(void)state;
	vmcb.save.rflags = 0;
	send(APIC_FIXED, 0x40);
	assert_int_equal(enter(), 0);
	assert_true(vmcb.control.intercept_misc1 & INTERCEPT_VINTR);
	assert_true(vmcb.control.virtual_interrupt & V_IRQ);
	vmcb.save.rflags = RFLAGS_IF;
	assert_int_equal(enter(), 0x40);
	assert_false(vmcb.control.intercept_misc1 & INTERCEPT_VINTR);
	assert_false(vmcb.control.virtual_interrupt & V_IRQ);
}

static void a_vector_that_cr8_holds_back_waits_for_its_write(void **state)
{
	(void)state;
	vmcb.control.virtual_interrupt = 5; /* the guest's own write */
	send(APIC_FIXED, 0x40);
	assert_int_equal(enter(), 0);
	assert_true(vmcb.control.intercept_cr & INTERCEPT_CR8_WRITE);
	assert_false(vmcb.control.intercept_misc1 & INTERCEPT_VINTR);
	assert_false(vcpu.interrupts);
	svm_put_cr8(&vcpu, 3);
	assert_int_equal(enter(), 0x40);
	assert_false(vmcb.control.intercept_cr & INTERCEPT_CR8_WRITE);
}

/* ---- where the virtual interrupt is the way ---- */

static bool in_bank(enum lapic_register bank, unsigned vector)
{
	return page[(bank + vector / 32 * 0x10) / sizeof(uint32_t)] >> vector % 32 & 1;
}

static unsigned offered(void)
{
	uint64_t virtual = vmcb.control.virtual_interrupt;
	return virtual & V_IRQ ? V_INTR_VECTOR(virtual) : 0;
}

static void a_virtual_interrupt_is_in_service_once_the_guest_has_taken_it(void **state)
{
	(void)state;
	svm_features.virtual_interrupts = true;
	send(APIC_FIXED, 0x40);
	assert_int_equal(enter(), 0);
	assert_int_equal(offered(), 0x40);
	assert_false(vmcb.control.intercept_misc1 & INTERCEPT_VINTR);
	vmcb.control.virtual_interrupt &= ~V_IRQ; /* the CPU has delivered it */
	svm_sync_apic(&vcpu);
	assert_true(in_bank(LAPIC_ISR, 0x40));
	assert_false(in_bank(LAPIC_IRR, 0x40));
	assert_false(vcpu.interrupts);
}

static void a_virtual_interrupt_gives_way_to_a_higher_one(void **state)
{
	(void)state;
	svm_features.virtual_interrupts = true;
	vmcb.save.rflags = 0;
	send(APIC_FIXED, 0x40);
	assert_int_equal(enter(), 0);
	assert_int_equal(offered(), 0x40);
	assert_true(vmcb.control.intercept_cr & INTERCEPT_CR8_WRITE); /* it was compared with the priority of now */
	send(APIC_FIXED, 0x80);
	assert_int_equal(enter(), 0);
	assert_int_equal(offered(), 0x80);
	assert_false(in_bank(LAPIC_ISR, 0x40));
	assert_true(in_bank(LAPIC_IRR, 0x40));
}

static void a_virtual_interrupt_is_taken_back_for_a_higher_task_priority(void **state)
{
	(void)state;
	svm_features.virtual_interrupts = true;
	vmcb.save.rflags = 0;
	send(APIC_FIXED, 0x40);
	assert_int_equal(enter(), 0);
	svm_put_cr8(&vcpu, 4);
	assert_int_equal(enter(), 0);
	assert_int_equal(offered(), 0);
	assert_true(in_bank(LAPIC_IRR, 0x40));
	svm_put_cr8(&vcpu, 3);
	assert_int_equal(enter(), 0);
	assert_int_equal(offered(), 0x40);
}

/* ---- a tick like the one before ---- */

#define TICK 0xec

/* The guest has taken a tick and ended it by KVM's way; its next deadline is over. */
static void tick_once(bool virtual_interrupts)
{
	svm_features.virtual_interrupts = virtual_interrupts;
	lapic_put(&vcpu.lapic, LAPIC_LVT_TIMER, LAPIC_LVT_DEADLINE | TICK);
	send(APIC_FIXED, TICK);
	(void)enter();
	vmcb.control.virtual_interrupt &= ~V_IRQ;
	vcpu.eoi = (struct kvm_eoi){.address = 0x1000, .word = &eoi_word, .vector = TICK};
	eoi_word = 0;
	vcpu.lapic.deadline = vcpu.lapic.due = 1000;
}

static void assert_refused(void)
{
	uint64_t virtual = vmcb.control.virtual_interrupt, event = vmcb.control.event_injection;
	assert_false(svm_timer_again(&vcpu, &vmcb));
	assert_int_equal(vmcb.control.virtual_interrupt, virtual);
	assert_int_equal(vmcb.control.event_injection, event);
	assert_int_equal(vcpu.lapic.due, 1000);
}

static void a_tick_like_the_one_before_takes_the_short_way(void **state)
{
	(void)state;
	tick_once(true);
	assert_true(svm_timer_again(&vcpu, &vmcb));
	assert_int_equal(offered(), TICK);
	assert_int_equal(eoi_word, KVM_EOI_PENDING);
	assert_int_equal(vcpu.lapic.deadline, 0);
	assert_int_equal(vcpu.lapic.due, LAPIC_TIMER_OFF);
	assert_true(in_bank(LAPIC_ISR, TICK));
	assert_false(in_bank(LAPIC_IRR, TICK));
	svm_sync_apic(&vcpu); /* somebody looks before the guest has taken it */
	assert_true(in_bank(LAPIC_IRR, TICK));
	assert_int_equal(offered(), 0);
}

static void a_tick_like_the_one_before_is_injected_where_that_is_the_way(void **state)
{
	(void)state;
	tick_once(false);
	assert_true(svm_timer_again(&vcpu, &vmcb));
	assert_int_equal(vmcb.control.event_injection, EVENT_VALID | EVENT_TYPE_INTERRUPT << EVENT_TYPE_SHIFT | TICK);
	assert_int_equal(offered(), 0);
	vcpu.lapic.due = 1000;
	eoi_word = 0;
	assert_refused(); /* the event is still to be delivered */
}

static void a_tick_takes_the_long_way_where_the_guest_cannot_take_it(void **state)
{
	(void)state;
	tick_once(true);
	vmcb.save.rflags = 0;
	assert_refused();
	vmcb.save.rflags = RFLAGS_IF;
	vmcb.control.interrupt_shadow = INTERRUPT_SHADOW;
	assert_refused();
	vmcb.control.interrupt_shadow = 0;
	vmcb.control.virtual_interrupt |= LAPIC_CLASS(TICK);
	assert_refused();
	vmcb.control.virtual_interrupt -= 1;
	assert_true(svm_timer_again(&vcpu, &vmcb));
}

static void a_tick_takes_the_long_way_where_the_last_one_is_not_over_or_not_alone(void **state)
{
	(void)state;
	tick_once(true);
	eoi_word = KVM_EOI_PENDING;
	assert_refused();
	eoi_word = 0;
	vmcb.control.virtual_interrupt |= V_IRQ;
	assert_refused();
	vmcb.control.virtual_interrupt &= ~V_IRQ;
	space.generation++; /* the word may be elsewhere */
	assert_refused();
	space.generation--;
	lapic_put(&vcpu.lapic, LAPIC_LVT_TIMER, LAPIC_LVT_DEADLINE | (TICK + 1));
	assert_refused();
	lapic_put(&vcpu.lapic, LAPIC_LVT_TIMER, TICK); /* one-shot */
	assert_refused();
	lapic_put(&vcpu.lapic, LAPIC_LVT_TIMER, LAPIC_LVT_DEADLINE | TICK);
	send(APIC_FIXED, 0x40);
	assert_refused();
	vcpu.interrupts = 0;
	vcpu.eoi.vector = 0;
	lapic_put(&vcpu.lapic, LAPIC_LVT_TIMER, LAPIC_LVT_DEADLINE); /* a vector that is none */
	assert_refused();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_second_nmi_waits_for_the_iret_and_its_end, start),
		cmocka_unit_test_setup(an_nmi_that_arrives_after_the_iret_is_taken_at_once, start),
		cmocka_unit_test_setup(an_nmi_goes_before_a_vector_and_waits_for_a_shadow, start),
		cmocka_unit_test_setup(a_vector_that_cannot_be_taken_opens_a_window, start),
		cmocka_unit_test_setup(a_vector_that_cr8_holds_back_waits_for_its_write, start),
		cmocka_unit_test_setup(a_virtual_interrupt_is_in_service_once_the_guest_has_taken_it, start),
		cmocka_unit_test_setup(a_virtual_interrupt_gives_way_to_a_higher_one, start),
		cmocka_unit_test_setup(a_virtual_interrupt_is_taken_back_for_a_higher_task_priority, start),
		cmocka_unit_test_setup(a_tick_like_the_one_before_takes_the_short_way, start),
		cmocka_unit_test_setup(a_tick_like_the_one_before_is_injected_where_that_is_the_way, start),
		cmocka_unit_test_setup(a_tick_takes_the_long_way_where_the_guest_cannot_take_it, start),
		cmocka_unit_test_setup(a_tick_takes_the_long_way_where_the_last_one_is_not_over_or_not_alone, start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
