/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual I/O APIC against a list of what it sends: edges, levels, masks, ends of interrupts, registers. Run by
 * make host-tests.
 */
// sources: arch/x86_64/ioapic.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "lib/util.h"

#define SELECT     0x00
#define WINDOW     0x10
#define EOI        0x40
#define ENTRY(pin) (0x10 + 2 * (pin))
#define LEVEL      BIT(15)
#define MASKED     BIT(16)
#define REMOTE_IRR BIT(14)

static struct arch_vm vm;
static struct apic_message sent[16];
static unsigned count;
static bool nobody; /* no local APIC takes anything */

bool lapic_send(struct arch_vm *to, const struct apic_message *message)
{
	assert_ptr_equal(to, &vm);
	assert_true(vm.ioapic.lock.held);
	sent[count++] = *message;
	return !nobody;
}

static int start(void **state)
{
	(void)state;
	memset(&vm, 0, sizeof(vm));
	ioapic_reset(&vm.ioapic);
	count = 0;
	nobody = false;
	return 0;
}

static void write_register(unsigned index, uint64_t value)
{
	ioapic_write(&vm, SELECT, 4, index);
	ioapic_write(&vm, WINDOW, 4, (uint32_t)value);
}

static uint32_t read_register(unsigned index)
{
	ioapic_write(&vm, SELECT, 4, index);
	return ioapic_read(&vm, WINDOW);
}

static void set_entry(unsigned pin, uint64_t low, uint32_t destination)
{
	write_register(ENTRY(pin) + 1, destination << 24);
	write_register(ENTRY(pin), low);
}

static void registers_are_reached_through_the_window(void **state)
{
	(void)state;
	assert_int_equal(read_register(1), 0x00170020);
	write_register(0, UINT32_MAX);
	assert_int_equal(read_register(0), 0x0f000000);
	assert_int_equal(read_register(2), 0x0f000000);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		assert_int_equal(read_register(ENTRY(pin)), MASKED);
	}
	write_register(ENTRY(23), UINT32_MAX);
	write_register(ENTRY(23) + 1, UINT32_MAX);
	assert_int_equal(read_register(ENTRY(23)), 0x1afff); /* delivery status and remote IRR are the chip's */
	assert_int_equal(read_register(ENTRY(23) + 1), 0xff000000);
	write_register(ENTRY(24), UINT32_MAX);
	assert_int_equal(read_register(ENTRY(24)), 0);
	write_register(0xff, UINT32_MAX);
	assert_int_equal(read_register(0xff), 0);
	ioapic_write(&vm, SELECT, 4, 0x101); /* eight bits */
	assert_int_equal(ioapic_read(&vm, SELECT), 1);
	assert_int_equal(ioapic_read(&vm, 0x20), 0);
	assert_int_equal(ioapic_read(&vm, EOI), 0);
}

static void an_edge_is_sent_when_the_line_rises(void **state)
{
	(void)state;
	set_entry(4, 0x24 | BIT(11), 3);
	ioapic_set_line(&vm, 4, true);
	assert_int_equal(count, 1);
	assert_int_equal(sent[0].vector, 0x24);
	assert_int_equal(sent[0].destination, 3);
	assert_int_equal(sent[0].delivery, APIC_FIXED);
	assert_true(sent[0].logical);
	assert_false(sent[0].level);
	assert_false(sent[0].everyone);
	ioapic_set_line(&vm, 4, true);
	ioapic_set_line(&vm, 4, false);
	assert_int_equal(count, 1);
	ioapic_set_line(&vm, 4, true);
	assert_int_equal(count, 2);
	ioapic_end_of_interrupt(&vm, 0x24); /* says nothing to an edge */
	assert_int_equal(count, 2);
	ioapic_set_line(&vm, IOAPIC_PINS, true);
	ioapic_set_line(&vm, UINT32_MAX, true);
	assert_int_equal(count, 2);
}

static void a_masked_pin_sends_nothing_and_a_masked_edge_is_lost(void **state)
{
	(void)state;
	set_entry(5, 0x25 | MASKED, 0);
	ioapic_set_line(&vm, 5, true);
	assert_int_equal(count, 0);
	set_entry(5, 0x25, 0);
	assert_int_equal(count, 0);
}

static void a_level_is_sent_once_until_its_end_and_again_while_it_stays(void **state)
{
	(void)state;
	set_entry(9, 0x39 | LEVEL, 0xff);
	ioapic_set_line(&vm, 9, true);
	assert_int_equal(count, 1);
	assert_true(sent[0].level);
	assert_true(sent[0].everyone);
	assert_int_equal(read_register(ENTRY(9)), 0x39 | LEVEL | REMOTE_IRR);
	ioapic_set_line(&vm, 9, false);
	ioapic_set_line(&vm, 9, true);
	assert_int_equal(count, 1);
	ioapic_end_of_interrupt(&vm, 0x38); /* another one's */
	assert_int_equal(count, 1);
	ioapic_end_of_interrupt(&vm, 0x39);
	assert_int_equal(count, 2);
	ioapic_set_line(&vm, 9, false);
	ioapic_end_of_interrupt(&vm, 0x39);
	assert_int_equal(count, 2);
	assert_int_equal(read_register(ENTRY(9)), 0x39 | LEVEL);
}

static void unmasking_sends_a_level_that_waits(void **state)
{
	(void)state;
	set_entry(10, 0x3a | LEVEL | MASKED, 0);
	ioapic_set_line(&vm, 10, true);
	assert_int_equal(count, 0);
	write_register(ENTRY(10), 0x3a | LEVEL);
	assert_int_equal(count, 1);
	write_register(ENTRY(10), 0x3a | LEVEL | MASKED);
	ioapic_write(&vm, EOI, 4, 0x3a); /* the chip's own EOI register; masked, it waits */
	assert_int_equal(count, 1);
	write_register(ENTRY(10), 0x3a | LEVEL);
	assert_int_equal(count, 2);
	/* Kernels clear a hanging remote IRR by way of the edge mode. */
	write_register(ENTRY(10), 0x3a | MASKED);
	write_register(ENTRY(10), 0x3a | LEVEL | MASKED);
	assert_int_equal(read_register(ENTRY(10)), 0x3a | LEVEL | MASKED);
}

static void a_level_that_nobody_takes_is_not_waited_for(void **state)
{
	(void)state;
	nobody = true;
	set_entry(11, 0x3b | LEVEL, 0);
	ioapic_set_line(&vm, 11, true);
	assert_int_equal(count, 1);
	assert_int_equal(read_register(ENTRY(11)), 0x3b | LEVEL);
}

static void a_level_that_found_nobody_is_sent_when_somebody_is_there(void **state)
{
	(void)state;
	nobody = true;
	set_entry(11, 0x3b | LEVEL, 0);
	set_entry(12, 0x3c | LEVEL, 0);
	set_entry(13, 0x3d, 0);
	ioapic_set_line(&vm, 11, true);
	ioapic_set_line(&vm, 13, true); /* an edge is over */
	assert_int_equal(count, 2);
	nobody = false;
	ioapic_send_waiting(&vm);
	assert_int_equal(count, 3);
	assert_int_equal(sent[2].vector, 0x3b);
	ioapic_send_waiting(&vm); /* taken by now */
	assert_int_equal(count, 3);
}

static void registers_of_32_bits_are_written_as_such_or_not_at_all(void **state)
{
	(void)state;
	set_entry(9, 0x39 | LEVEL, 0xff);
	ioapic_set_line(&vm, 9, true);
	ioapic_write(&vm, SELECT, 1, ENTRY(9));
	ioapic_write(&vm, WINDOW, 1, 0x40);
	ioapic_write(&vm, WINDOW, 2, 0x40);
	assert_int_equal(ioapic_read(&vm, WINDOW), 0x39 | LEVEL | REMOTE_IRR);
	ioapic_write(&vm, EOI, 1, 0x39);
	assert_int_equal(count, 1);
	ioapic_write(&vm, SELECT, 2, ENTRY(9) + 1); /* the index register has no more than 8 */
	assert_int_equal(ioapic_read(&vm, WINDOW), 0xff000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(registers_are_reached_through_the_window, start),
		cmocka_unit_test_setup(an_edge_is_sent_when_the_line_rises, start),
		cmocka_unit_test_setup(a_masked_pin_sends_nothing_and_a_masked_edge_is_lost, start),
		cmocka_unit_test_setup(a_level_is_sent_once_until_its_end_and_again_while_it_stays, start),
		cmocka_unit_test_setup(unmasking_sends_a_level_that_waits, start),
		cmocka_unit_test_setup(a_level_that_nobody_takes_is_not_waited_for, start),
		cmocka_unit_test_setup(a_level_that_found_nobody_is_sent_when_somebody_is_there, start),
		cmocka_unit_test_setup(registers_of_32_bits_are_written_as_such_or_not_at_all, start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
