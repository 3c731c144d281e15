/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the device-tree reader: a blob in memory of exactly its size, asked everything that the hypervisor asks.
 * The header's sizes are mended half of the time, so that more than the header is reached. Run by make fuzz-fdt.
 */
// sources: drivers/fdt.c
#include "drivers/fdt.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_WORDS 10

static void store32(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 24);
	p[1] = (uint8_t)(value >> 16);
	p[2] = (uint8_t)(value >> 8);
	p[3] = (uint8_t)value;
}

/* A header that fits a structure block and a strings block in the rest of the blob. */
static void mend_header(uint8_t *blob, size_t size, uint8_t split)
{
	uint32_t header = HEADER_WORDS * sizeof(uint32_t);
	uint32_t rest = (uint32_t)size - header;
	uint32_t structure = (uint32_t)((uint64_t)rest * split / UINT8_MAX) & ~3U;
	const uint32_t words[HEADER_WORDS] = {
		0xd00dfeed, (uint32_t)size, header, header + structure, header, 17, 16, 0, rest - structure, structure,
	};

	for (unsigned i = 0; i < HEADER_WORDS; i++) {
		store32(blob + i * sizeof(uint32_t), words[i]);
	}
}

static void visit(const struct fdt *fdt, fdt_node node)
{
	struct fdt_property property;
	uint64_t address, bytes;
	uint32_t cell;
	volatile size_t sink = strlen(fdt_name(fdt, node));

	(void)fdt_reg(fdt, node, 0, &address, &bytes);
	(void)fdt_reg(fdt, node, UINT32_MAX, &address, &bytes);
	(void)fdt_first_child(fdt, node);
	(void)fdt_next_sibling(fdt, node);
	(void)fdt_is_enabled(fdt, node);
	if (fdt_get(fdt, node, "reg", &property) && fdt_cell(&property, 0, &cell) && property.bytes > 0) {
		sink += property.data[property.bytes - 1] + strlen(property.name);
	}
	(void)sink;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct uart_description uart;
	struct gic_description gic;
	struct timer_description timers;
	uint64_t ids[4];
	struct fdt fdt;

	if (size < 2) {
		return 0;
	}
	uint8_t control = data[0], split = data[1];
	size -= 2;
	uint8_t *blob = malloc(size == 0 ? 1 : size);
	memcpy(blob, data + 2, size);
	if (control % 2 == 0 && size >= HEADER_WORDS * sizeof(uint32_t)) {
		mend_header(blob, size, split);
	}
	if (fdt_open(&fdt, blob, size)) {
		unsigned limit = 64;
		for (fdt_node node = fdt_root(&fdt); node != FDT_NONE && limit > 0; limit--) {
			visit(&fdt, node);
			node = fdt_next(&fdt, node, NULL);
		}
		(void)fdt_console(&fdt, &uart);
		(void)fdt_cpus(&fdt, ids, 4);
		(void)fdt_psci(&fdt);
		(void)fdt_gic(&fdt, &gic);
		(void)fdt_timers(&fdt, &timers);
		(void)fdt_find_path(&fdt, "/soc/serial", SIZE_MAX);
		(void)fdt_find_path(&fdt, "serial0/x", SIZE_MAX);
		(void)fdt_find_phandle(&fdt, 1);
	}
	free(blob);
	return 0;
}
