/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device-tree reader against trees built here, shaped like those of real machines, and against blobs that are
 * damaged in every place. Run by make host-tests.
 */
// sources: drivers/fdt.c
#include "drivers/fdt.h"
#include "lib/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- a writer, for these tests only ---- */

#define BLOCK_BYTES 8192
#define HEADER      56 /* with an empty memory reservation block */

struct builder {
	uint8_t structure[BLOCK_BYTES], strings[BLOCK_BYTES];
	uint32_t structure_bytes, strings_bytes;
};

static void store32(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 24);
	p[1] = (uint8_t)(value >> 16);
	p[2] = (uint8_t)(value >> 8);
	p[3] = (uint8_t)value;
}

static void word(struct builder *b, uint32_t value)
{
	store32(b->structure + b->structure_bytes, value);
	b->structure_bytes += 4;
}

static void padded(struct builder *b, const void *data, size_t bytes)
{
	memcpy(b->structure + b->structure_bytes, data, bytes);
	b->structure_bytes = (b->structure_bytes + (uint32_t)bytes + 3) & ~3U;
}

static void begin(struct builder *b, const char *name)
{
	word(b, 1);
	padded(b, name, strlen(name) + 1);
}

static void end(struct builder *b)
{
	word(b, 2);
}

static void property(struct builder *b, const char *name, const void *data, size_t bytes)
{
	word(b, 3);
	word(b, (uint32_t)bytes);
	word(b, b->strings_bytes);
	padded(b, data, bytes);
	strcpy((char *)b->strings + b->strings_bytes, name);
	b->strings_bytes += (uint32_t)strlen(name) + 1;
}

static void text(struct builder *b, const char *name, const char *value)
{
	property(b, name, value, strlen(value) + 1);
}

static void cells(struct builder *b, const char *name, const uint32_t *values, size_t count)
{
	uint8_t data[256];

	for (size_t i = 0; i < count; i++) {
		store32(data + 4 * i, values[i]);
	}
	property(b, name, data, 4 * count);
}

#define CELLS(b, name, ...)                                                                                            \
	cells(b, name, (const uint32_t[]){__VA_ARGS__}, ARRAY_SIZE(((const uint32_t[]){__VA_ARGS__})))

/* The blob in memory of exactly its size, so that the sanitizer sees a read past it. To be freed. */
static uint8_t *blob_of(struct builder *b, size_t *bytes)
{
	word(b, 9);
	*bytes = HEADER + b->structure_bytes + b->strings_bytes;
	const uint32_t header[] = {
		0xd00dfeed,       (uint32_t)*bytes,  HEADER, HEADER + b->structure_bytes, 40, 17, 16, 0,
		b->strings_bytes, b->structure_bytes};
	uint8_t *blob = calloc(1, *bytes);
	for (size_t i = 0; i < ARRAY_SIZE(header); i++) {
		store32(blob + 4 * i, header[i]);
	}
	memcpy(blob + HEADER, b->structure, b->structure_bytes);
	memcpy(blob + HEADER + b->structure_bytes, b->strings, b->strings_bytes);
	return blob;
}

/* A machine with a GICv3, all at the top, like QEMU's virt. */
static void build_virt(struct builder *b)
{
	begin(b, "");
	CELLS(b, "#address-cells", 2);
	CELLS(b, "#size-cells", 2);
	CELLS(b, "interrupt-parent", 0x8002);
	begin(b, "psci");
	text(b, "method", "smc");
	property(b, "compatible", "arm,psci-1.0\0arm,psci-0.2\0arm,psci", 35);
	end(b);
	begin(b, "memory@40000000");
	CELLS(b, "reg", 0, 0x40000000, 0, 0x80000000, 8, 0, 1, 0);
	text(b, "device_type", "memory");
	end(b);
	begin(b, "pl011@9000000");
	CELLS(b, "reg", 0, 0x9000000, 0, 0x1000);
	property(b, "compatible", "arm,pl011\0arm,primecell", 24);
	end(b);
	begin(b, "intc@8000000");
	CELLS(b, "phandle", 0x8002);
	CELLS(b, "interrupts", 1, 9, 4);
	CELLS(b, "reg", 0, 0x8000000, 0, 0x10000, 0, 0x80a0000, 0, 0xf60000, 0x40, 0, 0, 0x4000000);
	CELLS(b, "#redistributor-regions", 2);
	text(b, "compatible", "arm,gic-v3");
	CELLS(b, "#interrupt-cells", 3);
	end(b);
	begin(b, "cpus");
	CELLS(b, "#size-cells", 0);
	CELLS(b, "#address-cells", 1);
	begin(b, "cpu-map");
	end(b);
	begin(b, "cpu@0");
	CELLS(b, "reg", 0);
	text(b, "device_type", "cpu");
	end(b);
	begin(b, "cpu@1");
	CELLS(b, "reg", 1);
	text(b, "device_type", "cpu");
	text(b, "status", "disabled");
	end(b);
	begin(b, "cpu@100");
	CELLS(b, "reg", 0x100);
	text(b, "device_type", "cpu");
	end(b);
	end(b);
	begin(b, "timer");
	CELLS(b, "interrupts", 1, 13, 0x104, 1, 14, 0x104, 1, 11, 0x104, 1, 10, 0x104);
	property(b, "compatible", "arm,armv8-timer\0arm,armv7-timer", 32);
	end(b);
	begin(b, "chosen");
	text(b, "stdout-path", "/pl011@9000000");
	end(b);
	end(b);
}

/* A board with a GICv2 and its devices behind two buses, 32-bit addresses, an alias, named timer interrupts. */
static void build_board(struct builder *b)
{
	begin(b, "");
	CELLS(b, "#address-cells", 1);
	CELLS(b, "#size-cells", 1);
	begin(b, "aliases");
	text(b, "serial0", "/soc/apb@10000/serial@200");
	end(b);
	begin(b, "chosen");
	text(b, "stdout-path", "serial0:115200n8");
	end(b);
	begin(b, "soc");
	CELLS(b, "#address-cells", 1);
	CELLS(b, "#size-cells", 1);
	CELLS(b, "ranges", 0x7e000000, 0xfe000000, 0x1000000, 0x40000000, 0xff800000, 0x800000);
	begin(b, "apb@10000");
	CELLS(b, "#address-cells", 1);
	CELLS(b, "#size-cells", 1);
	CELLS(b, "ranges", 0, 0x7e010000, 0x10000);
	begin(b, "serial@200");
	property(b, "compatible", "brcm,thing\0snps,dw-apb-uart", 28);
	CELLS(b, "reg", 0x200, 0x100);
	CELLS(b, "reg-shift", 2);
	CELLS(b, "reg-io-width", 4);
	CELLS(b, "clock-frequency", 48000000);
	end(b);
	end(b);
	begin(b, "interrupt-controller@40041000");
	text(b, "compatible", "arm,gic-400");
	CELLS(b, "reg", 0x40041000, 0x1000, 0x40042000, 0x2000, 0x40044000, 0x2000, 0x40046000, 0x2000);
	CELLS(b, "interrupts", 1, 9, 0xf04);
	end(b);
	end(b);
	begin(b, "lonely-bus");
	begin(b, "device@0");
	CELLS(b, "reg", 0, 0, 0x1000);
	end(b);
	end(b);
	begin(b, "timer");
	text(b, "compatible", "arm,armv8-timer");
	CELLS(b, "interrupts", 1, 14, 8, 1, 11, 8, 1, 10, 8, 1, 12, 8);
	property(b, "interrupt-names", "phys\0virt\0hyp-phys\0hyp-virt", 28);
	end(b);
	end(b);
}

static struct builder builder;

static struct fdt open_built(void (*build)(struct builder *), uint8_t **blob)
{
	struct fdt fdt;
	size_t bytes;

	memset(&builder, 0, sizeof(builder));
	build(&builder);
	*blob = blob_of(&builder, &bytes);
	assert_true(fdt_open(&fdt, *blob, bytes));
	return fdt;
}

/* ---- tests ---- */

static void nodes_are_found_by_path_alias_compatible_and_phandle(void **state)
{
	uint8_t *blob;
	struct fdt fdt = open_built(build_board, &blob);
	fdt_node serial = fdt_find_path(&fdt, "/soc/apb@10000/serial@200", SIZE_MAX);

	(void)state;
	assert_string_equal(fdt_name(&fdt, serial), "serial@200");
	assert_int_equal(fdt_find_path(&fdt, "/soc/apb/serial", SIZE_MAX), serial);
	assert_int_equal(fdt_find_path(&fdt, "serial0", SIZE_MAX), serial);
	assert_int_equal(fdt_find_path(&fdt, "serial0:115200n8", 7), serial);
	assert_int_equal(fdt_find_compatible(&fdt, FDT_NONE, "snps,dw-apb-uart"), serial);
	assert_int_equal(fdt_find_compatible(&fdt, serial, "snps,dw-apb-uart"), FDT_NONE);
	assert_int_equal(fdt_find_path(&fdt, "/", SIZE_MAX), fdt_root(&fdt));
	assert_int_equal(fdt_find_path(&fdt, "/soc/apb@20000", SIZE_MAX), FDT_NONE);
	assert_int_equal(fdt_find_path(&fdt, "/so", SIZE_MAX), FDT_NONE);
	assert_int_equal(fdt_find_path(&fdt, "serial1", SIZE_MAX), FDT_NONE);
	assert_int_equal(fdt_find_path(&fdt, "", SIZE_MAX), FDT_NONE);
	free(blob);

	fdt = open_built(build_virt, &blob);
	assert_string_equal(fdt_name(&fdt, fdt_find_phandle(&fdt, 0x8002)), "intc@8000000");
	assert_int_equal(fdt_find_phandle(&fdt, 0), FDT_NONE);
	free(blob);
}

static void siblings_and_children_are_walked_in_order(void **state)
{
	uint8_t *blob;
	struct fdt fdt = open_built(build_virt, &blob);
	fdt_node child = fdt_first_child(&fdt, fdt_root(&fdt));
	static const char *const names[] = {"psci", "memory@40000000", "pl011@9000000", "intc@8000000",
	                                    "cpus", "timer",           "chosen"};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		assert_string_equal(fdt_name(&fdt, child), names[i]);
		child = fdt_next_sibling(&fdt, child);
	}
	assert_int_equal(child, FDT_NONE);
	assert_int_equal(fdt_first_child(&fdt, fdt_find_path(&fdt, "/psci", SIZE_MAX)), FDT_NONE);
	free(blob);
}

static void reg_is_translated_through_the_ranges_of_every_bus(void **state)
{
	uint8_t *blob;
	uint64_t address, bytes;
	struct fdt fdt = open_built(build_board, &blob);
	fdt_node gic = fdt_find_compatible(&fdt, FDT_NONE, "arm,gic-400");

	(void)state;
	assert_true(fdt_reg(&fdt, fdt_find_path(&fdt, "serial0", SIZE_MAX), 0, &address, &bytes));
	assert_int_equal(address, 0xfe010200);
	assert_int_equal(bytes, 0x100);
	assert_true(fdt_reg(&fdt, gic, 3, &address, &bytes));
	assert_int_equal(address, 0xff846000);
	assert_false(fdt_reg(&fdt, gic, 4, &address, &bytes));
	assert_false(fdt_reg(&fdt, gic, UINT32_MAX, &address, &bytes));
	/* No ranges: nothing there can be reached by the CPU. */
	assert_false(fdt_reg(&fdt, fdt_find_path(&fdt, "/lonely-bus/device", SIZE_MAX), 0, &address, &bytes));
	free(blob);
}

static void the_console_is_what_stdout_path_names(void **state)
{
	uint8_t *blob;
	struct uart_description uart;
	struct fdt fdt = open_built(build_virt, &blob);

	(void)state;
	assert_true(fdt_console(&fdt, &uart));
	assert_int_equal(uart.kind, UART_PL011);
	assert_int_equal(uart.address, 0x9000000);
	free(blob);

	fdt = open_built(build_board, &blob);
	assert_true(fdt_console(&fdt, &uart));
	assert_int_equal(uart.kind, UART_16550_MMIO);
	assert_int_equal(uart.address, 0xfe010200);
	assert_int_equal(uart.stride, 4);
	assert_int_equal(uart.access_width, 4);
	assert_int_equal(uart.clock_hz, 48000000);
	free(blob);
}

static void cpus_that_are_enabled_are_listed_and_counted(void **state)
{
	uint8_t *blob;
	uint64_t ids[4] = {99, 99, 99, 99};
	struct fdt fdt = open_built(build_virt, &blob);

	(void)state;
	assert_int_equal(fdt_cpus(&fdt, ids, 4), 2);
	assert_int_equal(ids[0], 0);
	assert_int_equal(ids[1], 0x100);
	ids[1] = 99;
	assert_int_equal(fdt_cpus(&fdt, ids, 1), 2);
	assert_int_equal(ids[1], 99);
	free(blob);
}

static void all_ranges_of_a_node_are_read(void **state)
{
	uint8_t *blob;
	uint64_t address, bytes;
	struct fdt fdt = open_built(build_virt, &blob);

	(void)state;
	fdt_node memory = fdt_find_path(&fdt, "/memory", SIZE_MAX);
	assert_true(fdt_reg(&fdt, memory, 0, &address, &bytes));
	assert_int_equal(address, 0x40000000);
	assert_int_equal(bytes, 0x80000000);
	assert_true(fdt_reg(&fdt, memory, 1, &address, &bytes));
	assert_int_equal(address, 0x800000000);
	assert_int_equal(bytes, 0x100000000);
	assert_false(fdt_reg(&fdt, memory, 2, &address, &bytes));
	free(blob);
}

static void gic_timers_and_psci_are_read_by_their_bindings(void **state)
{
	uint8_t *blob;
	struct gic_description gic;
	struct timer_description timers;
	struct fdt fdt = open_built(build_virt, &blob);

	(void)state;
	assert_true(fdt_gic(&fdt, &gic));
	assert_int_equal(gic.version, 3);
	assert_int_equal(gic.distributor.base, 0x8000000);
	assert_int_equal(gic.redistributors, 2);
	assert_int_equal(gic.redistributor[0].bytes, 0xf60000);
	assert_int_equal(gic.redistributor[1].base, 0x4000000000);
	assert_int_equal(gic.maintenance, 25);
	assert_true(fdt_timers(&fdt, &timers));
	assert_int_equal(timers.secure_physical, 29);
	assert_int_equal(timers.physical, 30);
	assert_int_equal(timers.virtual, 27);
	assert_int_equal(timers.hypervisor, 26);
	assert_int_equal(timers.hypervisor_virtual, 0);
	assert_int_equal(fdt_psci(&fdt), PSCI_SMC);
	free(blob);

	fdt = open_built(build_board, &blob);
	assert_true(fdt_gic(&fdt, &gic));
	assert_int_equal(gic.version, 2);
	assert_int_equal(gic.distributor.base, 0xff841000);
	assert_int_equal(gic.cpu_interface.base, 0xff842000);
	assert_int_equal(gic.hypervisor.base, 0xff844000);
	assert_int_equal(gic.virtual_cpu.base, 0xff846000);
	assert_true(fdt_timers(&fdt, &timers));
	assert_int_equal(timers.secure_physical, 0);
	assert_int_equal(timers.physical, 30);
	assert_int_equal(timers.hypervisor_virtual, 28);
	assert_int_equal(fdt_psci(&fdt), PSCI_NONE);
	free(blob);
}

static void ask_everything(const struct fdt *fdt)
{
	struct uart_description uart;
	struct gic_description gic;
	struct timer_description timers;
	uint64_t ids[2], address, bytes;

	(void)fdt_console(fdt, &uart);
	(void)fdt_cpus(fdt, ids, 2);
	(void)fdt_reg(fdt, fdt_find_path(fdt, "/memory", SIZE_MAX), 1, &address, &bytes);
	(void)fdt_gic(fdt, &gic);
	(void)fdt_timers(fdt, &timers);
	(void)fdt_psci(fdt);
}

static void a_blob_damaged_anywhere_is_read_within_its_bounds(void **state)
{
	void (*const builds[])(struct builder *) = {build_virt, build_board};
	static const uint8_t damage[] = {0x00, 0x01, 0x7f, 0x80, 0xff};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(builds); i++) {
		size_t bytes;
		struct fdt fdt;
		memset(&builder, 0, sizeof(builder));
		builds[i](&builder);
		uint8_t *blob = blob_of(&builder, &bytes);
		for (size_t at = 0; at < bytes; at++) {
			uint8_t whole = blob[at];
			for (unsigned j = 0; j < ARRAY_SIZE(damage); j++) {
				blob[at] = damage[j];
				if (fdt_open(&fdt, blob, bytes)) {
					ask_everything(&fdt);
				}
			}
			blob[at] = whole;
		}
		free(blob);
	}
}

static void a_blob_cut_off_anywhere_does_not_open(void **state)
{
	size_t bytes;

	(void)state;
	memset(&builder, 0, sizeof(builder));
	build_board(&builder);
	uint8_t *blob = blob_of(&builder, &bytes);
	for (size_t given = 0; given < bytes; given++) {
		struct fdt fdt;
		uint8_t *part = malloc(given == 0 ? 1 : given);
		memcpy(part, blob, given);
		assert_false(fdt_open(&fdt, part, given));
		free(part);
	}
	free(blob);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_are_found_by_path_alias_compatible_and_phandle),
		cmocka_unit_test(siblings_and_children_are_walked_in_order),
		cmocka_unit_test(reg_is_translated_through_the_ranges_of_every_bus),
		cmocka_unit_test(the_console_is_what_stdout_path_names),
		cmocka_unit_test(cpus_that_are_enabled_are_listed_and_counted),
		cmocka_unit_test(all_ranges_of_a_node_are_read),
		cmocka_unit_test(gic_timers_and_psci_are_read_by_their_bindings),
		cmocka_unit_test(a_blob_damaged_anywhere_is_read_within_its_bounds),
		cmocka_unit_test(a_blob_cut_off_anywhere_does_not_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
