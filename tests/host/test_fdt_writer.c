/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/loaders/fdt_writer.c drivers/fdt.c
/*
 * The device-tree writer, read back with the hypervisor's own reader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/fdt.h"
#include "hv/loaders/fdt_writer.h"

static uint8_t buffer[4096] __attribute__((aligned(8)));
static struct fdt_writer writer;

static void what_is_written_can_be_read_back(void **state)
{
	(void)state;
	struct fdt fdt;
	fdt_write_start(&writer, buffer, sizeof(buffer));
	fdt_write_node(&writer, "");
	fdt_write_cell(&writer, "#address-cells", 2);
	fdt_write_cell(&writer, "#size-cells", 2);
	fdt_write_node_at(&writer, "memory", 0x40000000);
	fdt_write_string(&writer, "device_type", "memory");
	fdt_write_cells(&writer, "reg", (uint32_t[]){0, 0x40000000, 0, 0x8000000}, 4);
	fdt_write_end_node(&writer);
	fdt_write_node(&writer, "chosen");
	fdt_write_string(&writer, "bootargs", "one two");
	fdt_write_empty(&writer, "nothing");
	fdt_write_end_node(&writer);
	fdt_write_end_node(&writer);
	size_t bytes = fdt_write_finish(&writer);
	assert_in_range(bytes, 100, 400);

	assert_true(fdt_open(&fdt, buffer, bytes));
	uint64_t address, size;
	assert_true(fdt_reg(&fdt, fdt_find_path(&fdt, "/memory", SIZE_MAX), 0, &address, &size));
	assert_int_equal(address, 0x40000000);
	assert_int_equal(size, 0x8000000);
	fdt_node chosen = fdt_find_path(&fdt, "/chosen", 7);
	assert_true(chosen != FDT_NONE);
	assert_string_equal(fdt_string(&fdt, chosen, "bootargs"), "one two");
	struct fdt_property property;
	assert_true(fdt_get(&fdt, chosen, "nothing", &property));
	assert_int_equal(property.bytes, 0);
}

static void a_tree_that_does_not_fit_is_refused_at_the_end(void **state)
{
	(void)state;
	for (size_t size = 0; size < 200; size++) {
		memset(buffer, 0xee, sizeof(buffer));
		fdt_write_start(&writer, buffer, size);
		fdt_write_node(&writer, "");
		for (unsigned i = 0; i < 8; i++) {
			fdt_write_string(&writer, "name", "a longer value");
		}
		fdt_write_end_node(&writer);
		assert_int_equal(fdt_write_finish(&writer), 0);
		for (size_t i = size; i < sizeof(buffer); i++) {
			assert_int_equal(buffer[i], 0xee);
		}
	}
}

static void an_open_node_is_refused_at_the_end(void **state)
{
	(void)state;
	fdt_write_start(&writer, buffer, sizeof(buffer));
	fdt_write_node(&writer, "");
	assert_int_equal(fdt_write_finish(&writer), 0);
}

static void too_many_names_are_refused_at_the_end(void **state)
{
	(void)state;
	char name[32];
	fdt_write_start(&writer, buffer, sizeof(buffer));
	fdt_write_node(&writer, "");
	for (unsigned i = 0; i < 100; i++) {
		memset(name, 'a' + (int)(i % 26), sizeof(name) - 1);
		name[0] = (char)('A' + (int)(i / 26));
		name[sizeof(name) - 1] = '\0';
		fdt_write_empty(&writer, name);
	}
	fdt_write_end_node(&writer);
	assert_int_equal(fdt_write_finish(&writer), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_can_be_read_back),
		cmocka_unit_test(a_tree_that_does_not_fit_is_refused_at_the_end),
		cmocka_unit_test(an_open_node_is_refused_at_the_end),
		cmocka_unit_test(too_many_names_are_refused_at_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
