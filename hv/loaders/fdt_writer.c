/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device-tree writer: header, an empty reservation block, the structure block, the strings block.
 */
#include "hv/loaders/fdt_writer.h"

#include "lib/printf.h"
#include "lib/string.h"
#include "lib/util.h"

#define FDT_MAGIC        0xd00dfeedu
#define FDT_VERSION      17
#define FDT_LAST_VERSION 16
#define TOKEN_BEGIN_NODE 1
#define TOKEN_END_NODE   2
#define TOKEN_PROPERTY   3
#define TOKEN_END        9
#define HEADER_BYTES     40
#define RESERVE_BYTES    16 /* one terminating entry */
#define STRUCTURE_AT     (HEADER_BYTES + RESERVE_BYTES)
#define UNIT_NAME_MAX    64

static void append(struct fdt_writer *fdt, const void *bytes, size_t count)
{
	size_t padded = align_up(count, 4);
	if (fdt->failed || padded < count || padded > fdt->size - fdt->used) {
		fdt->failed = true;
		return;
	}
	memcpy(fdt->buffer + fdt->used, bytes, count);
	memset(fdt->buffer + fdt->used + count, 0, padded - count);
	fdt->used += padded;
}

static void append_cell(struct fdt_writer *fdt, uint32_t cell)
{
	uint32_t big_endian = __builtin_bswap32(cell);
	append(fdt, &big_endian, sizeof(big_endian));
}

/* Offset of `name` in the strings block; entered once. */
static uint32_t string_offset(struct fdt_writer *fdt, const char *name)
{
	size_t bytes = strlen(name) + 1;
	for (size_t at = 0; at < fdt->strings_used; at += strlen(fdt->strings + at) + 1) {
		if (strcmp(fdt->strings + at, name) == 0) {
			return (uint32_t)at;
		}
	}
	if (bytes > sizeof(fdt->strings) - fdt->strings_used) {
		fdt->failed = true;
		return 0;
	}
	size_t at = fdt->strings_used;
	memcpy(fdt->strings + at, name, bytes);
	fdt->strings_used += bytes;
	return (uint32_t)at;
}

void fdt_write_start(struct fdt_writer *fdt, void *buffer, size_t size)
{
	*fdt = (struct fdt_writer){.buffer = buffer, .size = size, .used = STRUCTURE_AT};
	fdt->failed = size < STRUCTURE_AT;
}

void fdt_write_node(struct fdt_writer *fdt, const char *name)
{
	append_cell(fdt, TOKEN_BEGIN_NODE);
	append(fdt, name, strlen(name) + 1);
	fdt->depth++;
}

void fdt_write_node_at(struct fdt_writer *fdt, const char *name, uint64_t unit_address)
{
	char full[UNIT_NAME_MAX];
	snprintf(full, sizeof(full), "%s@%llx", name, (unsigned long long)unit_address);
	fdt_write_node(fdt, full);
}

void fdt_write_end_node(struct fdt_writer *fdt)
{
	append_cell(fdt, TOKEN_END_NODE);
	if (fdt->depth-- == 0) {
		fdt->failed = true;
	}
}

void fdt_write_bytes(struct fdt_writer *fdt, const char *name, const void *value, size_t bytes)
{
	append_cell(fdt, TOKEN_PROPERTY);
	append_cell(fdt, (uint32_t)bytes);
	append_cell(fdt, string_offset(fdt, name));
	append(fdt, value, bytes);
}

void fdt_write_empty(struct fdt_writer *fdt, const char *name)
{
	fdt_write_bytes(fdt, name, "", 0);
}

void fdt_write_string(struct fdt_writer *fdt, const char *name, const char *value)
{
	fdt_write_bytes(fdt, name, value, strlen(value) + 1);
}

void fdt_write_cells(struct fdt_writer *fdt, const char *name, const uint32_t *cells, size_t count)
{
	append_cell(fdt, TOKEN_PROPERTY);
	append_cell(fdt, (uint32_t)(count * sizeof(*cells)));
	append_cell(fdt, string_offset(fdt, name));
	for (size_t i = 0; i < count; i++) {
		append_cell(fdt, cells[i]);
	}
}

void fdt_write_cell(struct fdt_writer *fdt, const char *name, uint32_t cell)
{
	fdt_write_cells(fdt, name, &cell, 1);
}

size_t fdt_write_finish(struct fdt_writer *fdt)
{
	append_cell(fdt, TOKEN_END);
	uint32_t structure_bytes = (uint32_t)(fdt->used - STRUCTURE_AT);
	uint32_t strings_at = (uint32_t)fdt->used;
	append(fdt, fdt->strings, fdt->strings_used);
	if (fdt->failed || fdt->depth != 0) {
		return 0;
	}
	const uint32_t header[HEADER_BYTES / 4] = {
		FDT_MAGIC,
		(uint32_t)fdt->used, /* totalsize */
		STRUCTURE_AT,
		strings_at,
		HEADER_BYTES, /* off_mem_rsvmap */
		FDT_VERSION,
		FDT_LAST_VERSION,
		0, /* boot_cpuid_phys */
		(uint32_t)fdt->strings_used,
		structure_bytes,
	};
	for (size_t i = 0; i < ARRAY_SIZE(header); i++) {
		uint32_t big_endian = __builtin_bswap32(header[i]);
		memcpy(fdt->buffer + i * 4, &big_endian, 4);
	}
	memset(fdt->buffer + HEADER_BYTES, 0, RESERVE_BYTES);
	return fdt->used;
}
