/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device-tree reader: Devicetree Specification 0.4, chapters 2 (standard properties), 3 (nodes) and 5 (the
 * flattened format); bindings of the Linux documentation for GIC, timer, PSCI and serial ports. Called by boot/,
 * hv/ and arch/. All access to the blob goes through read_token and string_at, which check against its bounds;
 * every loop moves forward in the blob, so every call ends.
 */
#include "drivers/fdt.h"

#include "lib/string.h"
#include "lib/util.h"

/* The header, 5.2: big-endian words. */
#define FDT_MAGIC              0xd00dfeed
#define HEADER_MAGIC           0
#define HEADER_TOTAL_SIZE      4
#define HEADER_STRUCTURE       8
#define HEADER_STRINGS         12
#define HEADER_LAST_COMPATIBLE 24
#define HEADER_STRINGS_SIZE    32
#define HEADER_STRUCTURE_SIZE  36
#define HEADER_BYTES           40
#define FDT_VERSION            17

/* 5.4.1. */
enum fdt_token_kind {
	FDT_BEGIN_NODE = 1,
	FDT_END_NODE = 2,
	FDT_PROP = 3,
	FDT_NOP = 4,
	FDT_END = 9,
};

#define CELL          sizeof(uint32_t)
#define DEPTH_MAX     16 /* of a node whose parents are asked for */
#define ADDRESS_CELLS 2  /* defaults of 2.3.5 */
#define SIZE_CELLS    1
#define CELLS_MAX     2 /* of a number: 64 bits */

struct token {
	enum fdt_token_kind kind;
	uint32_t data;  /* offset of the node's name or of the property's value */
	uint32_t bytes; /* of the value */
	uint32_t name;  /* offset of the property's name in the blob */
	uint32_t next;  /* offset of the next token */
};

static uint32_t load32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The string at offset `at` if it ends before offset `end`, or NULL. */
static const char *string_at(const struct fdt *fdt, uint32_t at, uint32_t end)
{
	if (at >= end || memchr(fdt->blob + at, '\0', end - at) == NULL) {
		return NULL;
	}
	return (const char *)fdt->blob + at;
}

static bool read_property_token(const struct fdt *fdt, uint32_t at, struct token *token)
{
	const uint32_t header = 2 * CELL;

	if (fdt->structure_end - at < header) {
		return false;
	}
	token->bytes = load32(fdt->blob + at);
	uint32_t name = load32(fdt->blob + at + CELL);
	token->data = at + header;
	if (token->bytes > fdt->structure_end - token->data || name >= fdt->strings_end - fdt->strings) {
		return false;
	}
	token->name = fdt->strings + name;
	token->next = (uint32_t)align_up(token->data + token->bytes, CELL);
	return true;
}

/* What stands at offset `at` of the structure block. False: the end, or nothing that can be read. */
static bool read_token(const struct fdt *fdt, uint32_t at, struct token *token)
{
	if (at < fdt->structure || at > fdt->structure_end || fdt->structure_end - at < CELL) {
		return false;
	}
	token->kind = load32(fdt->blob + at);
	token->data = at + CELL;
	token->next = at + CELL;
	if (token->kind == FDT_BEGIN_NODE) {
		const char *name = string_at(fdt, token->data, fdt->structure_end);
		if (name == NULL) {
			return false;
		}
		token->next = (uint32_t)align_up(token->data + strlen(name) + 1, CELL);
		return true;
	}
	if (token->kind == FDT_PROP) {
		return read_property_token(fdt, token->data, token);
	}
	return token->kind == FDT_END_NODE || token->kind == FDT_NOP;
}

/* [offset, offset + size) of the header's two words, if it lies within the blob behind the header. */
static bool read_block(const struct fdt *fdt, uint32_t offset_at, uint32_t size_at, uint32_t *start, uint32_t *end)
{
	uint32_t offset = load32(fdt->blob + offset_at);
	uint32_t size = load32(fdt->blob + size_at);

	if (offset < HEADER_BYTES || offset > fdt->size || size > fdt->size - offset) {
		return false;
	}
	*start = offset;
	*end = offset + size;
	return true;
}

bool fdt_open(struct fdt *fdt, const void *blob, size_t bytes)
{
	fdt->blob = blob;
	if (blob == NULL || bytes < HEADER_BYTES || load32(fdt->blob + HEADER_MAGIC) != FDT_MAGIC) {
		return false;
	}
	fdt->size = load32(fdt->blob + HEADER_TOTAL_SIZE);
	/* Sums of offsets and sizes below stay under 2^32 that way. */
	if (fdt->size < HEADER_BYTES || fdt->size > bytes || fdt->size > INT32_MAX) {
		return false;
	}
	return load32(fdt->blob + HEADER_LAST_COMPATIBLE) <= FDT_VERSION &&
	       read_block(fdt, HEADER_STRUCTURE, HEADER_STRUCTURE_SIZE, &fdt->structure, &fdt->structure_end) &&
	       read_block(fdt, HEADER_STRINGS, HEADER_STRINGS_SIZE, &fdt->strings, &fdt->strings_end) &&
	       is_aligned(fdt->structure, CELL) && fdt_root(fdt) != FDT_NONE;
}

/* ---- nodes ---- */

/* The first node at or after offset `at`; counts what is entered and left on the way. */
static fdt_node next_node(const struct fdt *fdt, uint32_t at, int *depth)
{
	struct token token;

	for (; read_token(fdt, at, &token); at = token.next) {
		if (token.kind == FDT_BEGIN_NODE) {
			(*depth)++;
			return at;
		}
		if (token.kind == FDT_END_NODE) {
			(*depth)--;
		}
	}
	return FDT_NONE;
}

/* The offset behind a node's name, or FDT_NONE where no node is. */
static uint32_t inside(const struct fdt *fdt, fdt_node node)
{
	struct token token;

	if (node == FDT_NONE || !read_token(fdt, node, &token) || token.kind != FDT_BEGIN_NODE) {
		return FDT_NONE;
	}
	return token.next;
}

fdt_node fdt_root(const struct fdt *fdt)
{
	int depth = 0;

	return next_node(fdt, fdt->structure, &depth);
}

fdt_node fdt_next(const struct fdt *fdt, fdt_node node, int *depth)
{
	int unused = 0;
	uint32_t at = inside(fdt, node);

	return at == FDT_NONE ? FDT_NONE : next_node(fdt, at, depth != NULL ? depth : &unused);
}

fdt_node fdt_first_child(const struct fdt *fdt, fdt_node node)
{
	int depth = 0;
	fdt_node child = fdt_next(fdt, node, &depth);

	return depth == 1 ? child : FDT_NONE;
}

fdt_node fdt_next_sibling(const struct fdt *fdt, fdt_node node)
{
	int depth = 0;

	do {
		node = fdt_next(fdt, node, &depth);
	} while (node != FDT_NONE && depth > 0);
	return depth == 0 ? node : FDT_NONE;
}

/* Fills path[0] (the root) to path[depth] (the node) and returns the depth; -1: not to be found, or too deep. */
static int path_to(const struct fdt *fdt, fdt_node wanted, fdt_node path[static DEPTH_MAX])
{
	int depth = 0;

	for (fdt_node node = fdt_root(fdt); node != FDT_NONE; node = fdt_next(fdt, node, &depth)) {
		if (depth < 0) {
			return -1;
		}
		if (depth < DEPTH_MAX) {
			path[depth] = node;
		}
		if (node == wanted) {
			return depth < DEPTH_MAX ? depth : -1;
		}
	}
	return -1;
}

const char *fdt_name(const struct fdt *fdt, fdt_node node)
{
	return inside(fdt, node) == FDT_NONE ? "" : (const char *)fdt->blob + node + CELL;
}

/* Whether `name` is the component of `bytes` characters, which may leave the unit address out. */
static bool name_matches(const char *name, const char *component, size_t bytes)
{
	if (strncmp(name, component, bytes) != 0) {
		return false;
	}
	return name[bytes] == '\0' || (name[bytes] == '@' && memchr(component, '@', bytes) == NULL);
}

static fdt_node find_child(const struct fdt *fdt, fdt_node parent, const char *component, size_t bytes)
{
	fdt_node child = fdt_first_child(fdt, parent);

	while (child != FDT_NONE && !name_matches(fdt_name(fdt, child), component, bytes)) {
		child = fdt_next_sibling(fdt, child);
	}
	return child;
}

/* The components of `path` from `node` on. */
static fdt_node find_below(const struct fdt *fdt, fdt_node node, const char *path, size_t bytes)
{
	const char *end = path + bytes;

	while (node != FDT_NONE) {
		while (path < end && *path == '/') {
			path++;
		}
		if (path == end) {
			break;
		}
		const char *slash = memchr(path, '/', (size_t)(end - path));
		const char *stop = slash != NULL ? slash : end;
		node = find_child(fdt, node, path, (size_t)(stop - path));
		path = stop;
	}
	return node;
}

#define ALIAS_BYTES 32 /* 3.3: an alias has at most 31 characters */

static fdt_node find_alias(const struct fdt *fdt, const char *alias, size_t bytes)
{
	char name[ALIAS_BYTES];
	static const char aliases[] = "/aliases";

	if (bytes >= sizeof(name)) {
		return FDT_NONE;
	}
	memcpy(name, alias, bytes);
	name[bytes] = '\0';
	fdt_node node = find_below(fdt, fdt_root(fdt), aliases, sizeof(aliases) - 1);
	const char *path = node == FDT_NONE ? NULL : fdt_string(fdt, node, name);
	/* What an alias stands for is a full path: no alias leads to another. */
	return path == NULL || path[0] != '/' ? FDT_NONE : find_below(fdt, fdt_root(fdt), path, strlen(path));
}

fdt_node fdt_find_path(const struct fdt *fdt, const char *path, size_t bytes)
{
	bytes = strnlen(path, bytes);
	if (bytes == 0) {
		return FDT_NONE;
	}
	if (path[0] == '/') {
		return find_below(fdt, fdt_root(fdt), path, bytes);
	}
	const char *slash = memchr(path, '/', bytes);
	size_t alias = slash != NULL ? (size_t)(slash - path) : bytes;
	return find_below(fdt, find_alias(fdt, path, alias), path + alias, bytes - alias);
}

fdt_node fdt_find_compatible(const struct fdt *fdt, fdt_node after, const char *compatible)
{
	fdt_node node = after == FDT_NONE ? fdt_root(fdt) : fdt_next(fdt, after, NULL);

	while (node != FDT_NONE && !fdt_is_compatible(fdt, node, compatible)) {
		node = fdt_next(fdt, node, NULL);
	}
	return node;
}

fdt_node fdt_find_phandle(const struct fdt *fdt, uint32_t phandle)
{
	for (fdt_node node = fdt_root(fdt); phandle != 0 && node != FDT_NONE; node = fdt_next(fdt, node, NULL)) {
		if (fdt_u32(fdt, node, "phandle", 0) == phandle) {
			return node;
		}
	}
	return FDT_NONE;
}

/* ---- properties ---- */

bool fdt_get(const struct fdt *fdt, fdt_node node, const char *name, struct fdt_property *property)
{
	struct token token;
	uint32_t at = inside(fdt, node);

	if (at == FDT_NONE) {
		return false;
	}
	/* Properties come before children, 5.4.1. */
	for (; read_token(fdt, at, &token); at = token.next) {
		if (token.kind == FDT_NOP) {
			continue;
		}
		if (token.kind != FDT_PROP) {
			return false;
		}
		const char *found = string_at(fdt, token.name, fdt->strings_end);
		if (found != NULL && strcmp(found, name) == 0) {
			*property = (struct fdt_property){found, fdt->blob + token.data, token.bytes};
			return true;
		}
	}
	return false;
}

bool fdt_cell(const struct fdt_property *property, unsigned index, uint32_t *value)
{
	if (index >= property->bytes / CELL) {
		return false;
	}
	*value = load32(property->data + index * CELL);
	return true;
}

uint32_t fdt_u32(const struct fdt *fdt, fdt_node node, const char *name, uint32_t otherwise)
{
	struct fdt_property property;
	uint32_t value;

	return fdt_get(fdt, node, name, &property) && fdt_cell(&property, 0, &value) ? value : otherwise;
}

const char *fdt_string(const struct fdt *fdt, fdt_node node, const char *name)
{
	struct fdt_property property;

	return fdt_get(fdt, node, name, &property) && memchr(property.data, '\0', property.bytes) != NULL
	               ? (const char *)property.data
	               : NULL;
}

static bool string_is(const struct fdt *fdt, fdt_node node, const char *name, const char *value)
{
	const char *text = fdt_string(fdt, node, name);

	return text != NULL && strcmp(text, value) == 0;
}

/* Where in a list of strings `wanted` stands, or -1. */
static int list_find(const struct fdt_property *property, const char *wanted)
{
	const uint8_t *at = property->data;
	const uint8_t *end = at + property->bytes;

	for (int index = 0; at < end; index++) {
		const uint8_t *zero = memchr(at, '\0', (size_t)(end - at));
		if (zero == NULL) {
			break;
		}
		if (strcmp((const char *)at, wanted) == 0) {
			return index;
		}
		at = zero + 1;
	}
	return -1;
}

bool fdt_is_compatible(const struct fdt *fdt, fdt_node node, const char *compatible)
{
	struct fdt_property property;

	return fdt_get(fdt, node, "compatible", &property) && list_find(&property, compatible) >= 0;
}

bool fdt_is_enabled(const struct fdt *fdt, fdt_node node)
{
	struct fdt_property property;

	return !fdt_get(fdt, node, "status", &property) || list_find(&property, "okay") == 0 ||
	       list_find(&property, "ok") == 0;
}

/* ---- addresses ---- */

/* A number of `cells` cells from the `index`-th on. Numbers of more than 64 bits are none that we can use. */
static bool read_number(const struct fdt_property *property, uint64_t index, uint32_t cells, uint64_t *value)
{
	*value = 0;
	if (cells > CELLS_MAX || index + cells > property->bytes / CELL) {
		return false;
	}
	for (uint32_t i = 0; i < cells; i++) {
		*value = *value << 32 | load32(property->data + (index + i) * CELL);
	}
	return true;
}

struct cell_counts {
	uint32_t address, size;
};

/* Of what stands in the children of `bus`. */
static struct cell_counts child_cells(const struct fdt *fdt, fdt_node bus)
{
	return (struct cell_counts){fdt_u32(fdt, bus, "#address-cells", ADDRESS_CELLS),
	                            fdt_u32(fdt, bus, "#size-cells", SIZE_CELLS)};
}

/* Takes *address from the bus's own addresses to those of the bus that it stands on, 2.3.8. */
static bool translate(const struct fdt *fdt, fdt_node bus, fdt_node parent, uint64_t *address)
{
	struct cell_counts below = child_cells(fdt, bus);
	uint32_t above = child_cells(fdt, parent).address;
	struct fdt_property ranges;

	if (!fdt_get(fdt, bus, "ranges", &ranges)) {
		return false;
	}
	if (ranges.bytes == 0) {
		return true;
	}
	uint64_t step = (uint64_t)below.address + above + below.size;
	for (uint64_t at = 0;; at += step) {
		uint64_t child, target, size;
		if (!read_number(&ranges, at, below.address, &child) ||
		    !read_number(&ranges, at + below.address, above, &target) ||
		    !read_number(&ranges, at + below.address + above, below.size, &size) || step == 0) {
			return false;
		}
		if (*address >= child && *address - child < size) {
			*address = target + (*address - child);
			return true;
		}
	}
}

bool fdt_reg(const struct fdt *fdt, fdt_node node, unsigned index, uint64_t *address, uint64_t *bytes)
{
	fdt_node path[DEPTH_MAX];
	int depth = path_to(fdt, node, path);
	struct fdt_property reg;

	if (depth < 1 || !fdt_get(fdt, node, "reg", &reg)) {
		return false;
	}
	struct cell_counts cells = child_cells(fdt, path[depth - 1]);
	uint64_t at = (uint64_t)index * ((uint64_t)cells.address + cells.size);
	if (cells.address == 0 || at > reg.bytes || !read_number(&reg, at, cells.address, address) ||
	    !read_number(&reg, at + cells.address, cells.size, bytes)) {
		return false;
	}
	for (int bus = depth - 1; bus > 0; bus--) {
		if (!translate(fdt, path[bus], path[bus - 1], address)) {
			return false;
		}
	}
	return true;
}

/* ---- the machine ---- */

static const struct {
	const char *compatible;
	enum uart_kind kind;
} serial_ports[] = {
	{"arm,pl011", UART_PL011},    {"arm,sbsa-uart", UART_SBSA},          {"ns16550a", UART_16550_MMIO},
	{"ns16550", UART_16550_MMIO}, {"snps,dw-apb-uart", UART_16550_MMIO}, {"ns8250", UART_16550_MMIO},
};

#define REG_SHIFT_MAX 2

static bool describe_serial_port(const struct fdt *fdt, fdt_node node, struct uart_description *uart)
{
	uint64_t bytes;

	for (unsigned i = 0; i < ARRAY_SIZE(serial_ports) && uart->kind == UART_NONE; i++) {
		if (fdt_is_compatible(fdt, node, serial_ports[i].compatible)) {
			uart->kind = serial_ports[i].kind;
		}
	}
	if (uart->kind == UART_NONE || !fdt_reg(fdt, node, 0, &uart->address, &bytes)) {
		return false;
	}
	if (uart->kind == UART_16550_MMIO) {
		uart->address += fdt_u32(fdt, node, "reg-offset", 0);
		uart->stride = (uint8_t)(1U << MIN(fdt_u32(fdt, node, "reg-shift", 0), REG_SHIFT_MAX));
		uart->access_width = fdt_u32(fdt, node, "reg-io-width", 1) == CELL ? CELL : 1;
		uart->clock_hz = fdt_u32(fdt, node, "clock-frequency", 0);
	}
	return true;
}

bool fdt_console(const struct fdt *fdt, struct uart_description *uart)
{
	fdt_node chosen = fdt_find_path(fdt, "/chosen", SIZE_MAX);
	const char *path = fdt_string(fdt, chosen, "stdout-path");

	memset(uart, 0, sizeof(*uart));
	path = path != NULL ? path : fdt_string(fdt, chosen, "linux,stdout-path");
	if (path == NULL) {
		return false;
	}
	/* Behind a colon stand the settings, "115200n8". */
	const char *colon = strchr(path, ':');
	fdt_node node = fdt_find_path(fdt, path, colon != NULL ? (size_t)(colon - path) : SIZE_MAX);
	return node != FDT_NONE && describe_serial_port(fdt, node, uart);
}

unsigned fdt_cpus(const struct fdt *fdt, uint64_t *ids, unsigned count)
{
	fdt_node cpus = fdt_find_path(fdt, "/cpus", SIZE_MAX);
	uint32_t cells = child_cells(fdt, cpus).address;
	unsigned found = 0;

	for (fdt_node cpu = fdt_first_child(fdt, cpus); cpu != FDT_NONE; cpu = fdt_next_sibling(fdt, cpu)) {
		struct fdt_property reg;
		uint64_t id;
		if (!string_is(fdt, cpu, "device_type", "cpu") || !fdt_is_enabled(fdt, cpu) ||
		    !fdt_get(fdt, cpu, "reg", &reg) || !read_number(&reg, 0, cells, &id)) {
			continue;
		}
		if (found < count) {
			ids[found] = id;
		}
		found++;
	}
	return found;
}

enum psci_conduit fdt_psci(const struct fdt *fdt)
{
	static const char *const versions[] = {"arm,psci-1.0", "arm,psci-0.2", "arm,psci"};

	for (unsigned i = 0; i < ARRAY_SIZE(versions); i++) {
		fdt_node node = fdt_find_compatible(fdt, FDT_NONE, versions[i]);
		if (node != FDT_NONE) {
			return string_is(fdt, node, "method", "hvc")   ? PSCI_HVC
			       : string_is(fdt, node, "method", "smc") ? PSCI_SMC
			                                               : PSCI_NONE;
		}
	}
	return PSCI_NONE;
}

/* ---- interrupts: bindings interrupt-controller/arm,gic.yaml and arm,gic-v3.yaml, timer/arm,arch_timer.yaml ---- */

#define GIC_INTERRUPT_CELLS 3 /* type, number, flags */
#define GIC_SPI             0
#define GIC_PPI             1
#define PPI_BASE            16
#define SPI_BASE            32

/* #interrupt-cells of the controller that the node's interrupts go to: 2.4.1, the nearest interrupt-parent counts. */
static uint32_t interrupt_cells(const struct fdt *fdt, fdt_node node)
{
	fdt_node path[DEPTH_MAX];
	struct fdt_property property;
	uint32_t phandle;

	for (int depth = path_to(fdt, node, path); depth >= 0; depth--) {
		if (fdt_get(fdt, path[depth], "interrupt-parent", &property) && fdt_cell(&property, 0, &phandle)) {
			fdt_node controller = fdt_find_phandle(fdt, phandle);
			return fdt_u32(fdt, controller, "#interrupt-cells", GIC_INTERRUPT_CELLS);
		}
	}
	return GIC_INTERRUPT_CELLS;
}

/* The INTID of a node's `index`-th interrupt, or 0. */
static uint32_t interrupt_id(const struct fdt *fdt, fdt_node node, unsigned index)
{
	uint32_t cells = interrupt_cells(fdt, node);
	struct fdt_property property;
	uint64_t type, number;

	if (cells < GIC_INTERRUPT_CELLS || !fdt_get(fdt, node, "interrupts", &property) ||
	    !read_number(&property, (uint64_t)index * cells, 1, &type) ||
	    !read_number(&property, (uint64_t)index * cells + 1, 1, &number)) {
		return 0;
	}
	return type == GIC_PPI ? PPI_BASE + (uint32_t)number : type == GIC_SPI ? SPI_BASE + (uint32_t)number : 0;
}

static void read_region(const struct fdt *fdt, fdt_node node, unsigned index, struct gic_region *region)
{
	if (!fdt_reg(fdt, node, index, &region->base, &region->bytes)) {
		*region = (struct gic_region){0};
	}
}

static bool read_gic3(const struct fdt *fdt, fdt_node node, struct gic_description *gic)
{
	uint32_t regions = fdt_u32(fdt, node, "#redistributor-regions", 1);

	gic->version = 3;
	gic->redistributors = MIN(regions, GIC_REDISTRIBUTOR_REGIONS_MAX);
	read_region(fdt, node, 0, &gic->distributor);
	for (unsigned i = 0; i < gic->redistributors; i++) {
		read_region(fdt, node, 1 + i, &gic->redistributor[i]);
	}
	read_region(fdt, node, 1 + regions, &gic->cpu_interface);
	read_region(fdt, node, 2 + regions, &gic->hypervisor);
	read_region(fdt, node, 3 + regions, &gic->virtual_cpu);
	gic->maintenance = interrupt_id(fdt, node, 0);
	return gic->distributor.base != 0;
}

static bool read_gic2(const struct fdt *fdt, fdt_node node, struct gic_description *gic)
{
	gic->version = 2;
	read_region(fdt, node, 0, &gic->distributor);
	read_region(fdt, node, 1, &gic->cpu_interface);
	read_region(fdt, node, 2, &gic->hypervisor);
	read_region(fdt, node, 3, &gic->virtual_cpu);
	gic->maintenance = interrupt_id(fdt, node, 0);
	return gic->distributor.base != 0;
}

bool fdt_gic(const struct fdt *fdt, struct gic_description *gic)
{
	static const char *const version_2[] = {"arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic",
	                                        "arm,cortex-a9-gic"};

	memset(gic, 0, sizeof(*gic));
	fdt_node node = fdt_find_compatible(fdt, FDT_NONE, "arm,gic-v3");
	if (node != FDT_NONE) {
		return read_gic3(fdt, node, gic);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(version_2); i++) {
		node = fdt_find_compatible(fdt, FDT_NONE, version_2[i]);
		if (node != FDT_NONE) {
			return read_gic2(fdt, node, gic);
		}
	}
	return false;
}

bool fdt_timers(const struct fdt *fdt, struct timer_description *timers)
{
	const struct {
		const char *name;
		uint32_t *intid;
	} interrupts[] = {
		/* In the order that the binding prescribes where there are no names. */
		{"sec-phys", &timers->secure_physical},
		{"phys", &timers->physical},
		{"virt", &timers->virtual},
		{"hyp-phys", &timers->hypervisor},
		{"hyp-virt", &timers->hypervisor_virtual},
	};
	struct fdt_property names;

	memset(timers, 0, sizeof(*timers));
	fdt_node node = fdt_find_compatible(fdt, FDT_NONE, "arm,armv8-timer");
	if (node == FDT_NONE) {
		node = fdt_find_compatible(fdt, FDT_NONE, "arm,armv7-timer");
	}
	if (node == FDT_NONE) {
		return false;
	}
	bool named = fdt_get(fdt, node, "interrupt-names", &names);
	for (unsigned i = 0; i < ARRAY_SIZE(interrupts); i++) {
		int index = named ? list_find(&names, interrupts[i].name) : (int)i;
		*interrupts[i].intid = index >= 0 ? interrupt_id(fdt, node, (unsigned)index) : 0;
	}
	return true;
}
