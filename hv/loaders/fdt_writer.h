/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a flattened device tree (Devicetree Specification 0.4, chapter 5) front to back into one buffer. A
 * writer of our own, for Debian's libfdt.a uses SIMD registers and the C library's checks: the hypervisor must
 * leave the first alone and has not got the second. Errors stick: fdt_write_finish tells at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FDT_STRINGS_MAX 1024

struct fdt_writer {
	uint8_t *buffer;
	size_t size;
	size_t used; /* of the buffer, from the structure block on */
	char strings[FDT_STRINGS_MAX];
	size_t strings_used;
	unsigned depth;
	bool failed;
};

void fdt_write_start(struct fdt_writer *fdt, void *buffer, size_t size);
void fdt_write_node(struct fdt_writer *fdt, const char *name);
void fdt_write_node_at(struct fdt_writer *fdt, const char *name, uint64_t unit_address); /* name@unit */
void fdt_write_end_node(struct fdt_writer *fdt);
void fdt_write_empty(struct fdt_writer *fdt, const char *name);
void fdt_write_bytes(struct fdt_writer *fdt, const char *name, const void *value, size_t bytes);
void fdt_write_string(struct fdt_writer *fdt, const char *name, const char *value);
void fdt_write_cells(struct fdt_writer *fdt, const char *name, const uint32_t *cells, size_t count);
void fdt_write_cell(struct fdt_writer *fdt, const char *name, uint32_t cell);
/* Closes the tree. Its total size in bytes, or 0 if anything did not fit or nodes stayed open. */
size_t fdt_write_finish(struct fdt_writer *fdt);
