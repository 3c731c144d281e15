/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a flattened device tree (Devicetree Specification 0.4, chapter 5): the host's, given by the firmware.
 * boot/, hv/ and arch/ call it; hv's writer of guests' trees is another file. Never reads outside the blob's
 * totalsize, whatever the blob says, and never changes it.
 */
#pragma once

#include "drivers/arm_platform.h"
#include "drivers/host_uart.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fdt {
	const uint8_t *blob;
	uint32_t size;                     /* totalsize */
	uint32_t structure, structure_end; /* offsets of the structure block */
	uint32_t strings, strings_end;     /* offsets of the strings block */
};

/* A node is the offset of its FDT_BEGIN_NODE in the blob. */
typedef uint32_t fdt_node;
#define FDT_NONE 0

struct fdt_property {
	const char *name;
	const uint8_t *data;
	uint32_t bytes;
};

/*
 * Checks the header; `bytes` is how much is readable at `blob`, SIZE_MAX where that is not known (totalsize is
 * then believed). False: no device tree, or one of a version that cannot be read.
 */
bool fdt_open(struct fdt *fdt, const void *blob, size_t bytes);

fdt_node fdt_root(const struct fdt *fdt);
/* The node that follows in the blob, parents before children, or FDT_NONE; *depth (may be NULL) changes with it. */
fdt_node fdt_next(const struct fdt *fdt, fdt_node node, int *depth);
fdt_node fdt_first_child(const struct fdt *fdt, fdt_node node);
fdt_node fdt_next_sibling(const struct fdt *fdt, fdt_node node);
/* With its unit address: "memory@40000000". */
const char *fdt_name(const struct fdt *fdt, fdt_node node);

/*
 * By path from the root, "/soc/serial@0"; a component without a unit address also finds the first one that has
 * one. A path that does not start with "/" starts with an alias. Ends at `bytes` characters, or at a 0.
 */
fdt_node fdt_find_path(const struct fdt *fdt, const char *path, size_t bytes);
/* The first node after `after` (FDT_NONE: from the root on) that lists `compatible`. */
fdt_node fdt_find_compatible(const struct fdt *fdt, fdt_node after, const char *compatible);
fdt_node fdt_find_phandle(const struct fdt *fdt, uint32_t phandle);
bool fdt_is_compatible(const struct fdt *fdt, fdt_node node, const char *compatible);
/* No `status`, or "okay". */
bool fdt_is_enabled(const struct fdt *fdt, fdt_node node);

bool fdt_get(const struct fdt *fdt, fdt_node node, const char *name, struct fdt_property *property);
/* A property's `index`-th 32-bit cell. False: not that long. */
bool fdt_cell(const struct fdt_property *property, unsigned index, uint32_t *value);
/* A property of one cell, or `otherwise`. */
uint32_t fdt_u32(const struct fdt *fdt, fdt_node node, const char *name, uint32_t otherwise);
/* A property's first string, or NULL where it has none that ends within it. */
const char *fdt_string(const struct fdt *fdt, fdt_node node, const char *name);

/*
 * The `index`-th range of a node's `reg`, in the CPU's addresses: translated by the `ranges` of all its parents.
 * False: there is none, or it cannot be reached from the root.
 */
bool fdt_reg(const struct fdt *fdt, fdt_node node, unsigned index, uint64_t *address, uint64_t *bytes);

/* ---- what the hypervisor asks of a machine's tree ---- */

/* /chosen's stdout-path, where it leads to a port that there is a driver for. */
bool fdt_console(const struct fdt *fdt, struct uart_description *uart);
/* MPIDR affinities (or hart IDs) of the enabled /cpus, the first `count` in `ids`. Returns how many there are. */
unsigned fdt_cpus(const struct fdt *fdt, uint64_t *ids, unsigned count);
enum psci_conduit fdt_psci(const struct fdt *fdt);
bool fdt_gic(const struct fdt *fdt, struct gic_description *gic);
bool fdt_timers(const struct fdt *fdt, struct timer_description *timers);
