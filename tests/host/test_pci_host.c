/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/devices/pci_host.c
/*
 * PCI as a PC's kernel probes for it: the address register byte by byte, as the port bus hands it on, and a host bridge
 * that has no neighbour.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hv/devices/pci_host.h"

static struct pci_host_device pci;

static int fresh(void **state)
{
	(void)state;
	pci_host_device_init(&pci);
	return 0;
}

static void write32(unsigned offset, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++) {
		assert_true(pci.device.ops->write(&pci.device, offset + i, 1, value >> 8 * i & 0xff));
	}
}

static uint32_t read32(unsigned offset)
{
	uint32_t value = 0;
	for (unsigned i = 0; i < 4; i++) {
		uint64_t byte = UINT64_MAX;
		assert_true(pci.device.ops->read(&pci.device, offset + i, 1, &byte));
		assert_true(byte <= UINT8_MAX);
		value |= (uint32_t)byte << 8 * i;
	}
	return value;
}

static void the_address_register_keeps_what_is_written(void **state)
{
	(void)state;
	write32(0, 0x80000000);
	assert_int_equal(read32(0), 0x80000000);
	write32(0, 0x12345678);
	assert_int_equal(read32(0), 0x12345678);
	write32(4, 0);
	assert_int_equal(read32(0), 0x12345678);
}

static void there_is_a_host_bridge_and_nothing_else(void **state)
{
	(void)state;
	for (uint32_t function = 0; function < 1U << 16; function++) {
		write32(0, 0x80000000 | function << 8);
		uint32_t id = read32(4);
		write32(0, 0x80000000 | function << 8 | 8);
		uint32_t class = read32(4) >> 16;
		assert_int_equal(id, function == 0 ? 0x00081b36 : UINT32_MAX);
		assert_int_equal(class, function == 0 ? 0x0600 : 0xffff);
	}
	write32(0, 0); /* without the enable bit the port is no window */
	assert_int_equal(read32(4), UINT32_MAX);
}

static void its_other_registers_are_zeros_that_stay(void **state)
{
	(void)state;
	for (uint32_t at = 4; at < 256; at += at == 4 ? 8 : 4) {
		write32(0, 0x80000000 | at);
		write32(4, UINT32_MAX);
		assert_int_equal(read32(4), 0);
	}
}

static void wider_accesses_are_not_the_devices(void **state)
{
	(void)state;
	uint64_t value;
	assert_false(pci.device.ops->read(&pci.device, 0, 4, &value));
	assert_false(pci.device.ops->write(&pci.device, 0, 2, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_address_register_keeps_what_is_written, fresh),
		cmocka_unit_test_setup(there_is_a_host_bridge_and_nothing_else, fresh),
		cmocka_unit_test_setup(its_other_registers_are_zeros_that_stay, fresh),
		cmocka_unit_test_setup(wider_accesses_are_not_the_devices, fresh),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
