/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An address space as text: its areas, its leaves (neighbours that continue each other on one line) and its
 * statistics. For the monitor, for bug reports, and as the oracle of the tests: equal dumps mean equal spaces.
 */
#include "lib/printf.h"
#include "mm/addr_space.h"
#include "mm/npt_private.h"

#define DUMP_LINE 120

struct dump {
	const struct npt *npt;
	void (*print)(void *context, const char *line);
	void *context;
	/* The run of leaves not printed yet; empty if bytes is 0. */
	gpa_t gpa;
	hpa_t hpa;
	uint64_t bytes;
	unsigned level;
	uint64_t flags;
	struct npt_attributes attributes;
};

static const char *type_name(unsigned type)
{
	static const char *const names[] = {"wb", "wt", "wc", "uc", "device"};

	return type < ARRAY_SIZE(names) ? names[type] : "?";
}

static const char *permission_name(unsigned permissions)
{
	static const char *const names[] = {"---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx"};

	return permissions < ARRAY_SIZE(names) ? names[permissions] : "?";
}

static void print_area(const struct dump *dump, const struct area *area)
{
	static const char *const pages[] = {"auto", "4k", "2m"};
	char line[DUMP_LINE];
	int length = snprintf(line, sizeof(line), "area 0x%llx-0x%llx %s %s ", (unsigned long long)area->range.start,
	                      (unsigned long long)area->range.end, permission_name(area->attributes.permissions),
	                      type_name(area->attributes.type));
	size_t room = sizeof(line) - (size_t)length;

	if (area->backend == AREA_LINEAR) {
		hpa_t address = area->range.start - (uint64_t)area->offset;

		snprintf(line + length, room, "linear 0x%llx", (unsigned long long)address);
	} else {
		snprintf(line + length, room, "alloc %s %s", area->populate ? "populate" : "lazy", pages[area->pages]);
	}
	dump->print(dump->context, line);
}

static void print_run(struct dump *dump)
{
	static const char *const sizes[NPT_MAX_LEVELS] = {"4k", "2m", "1g", "512g", "256t"};
	char line[DUMP_LINE];

	if (dump->bytes == 0) {
		return;
	}
	snprintf(line, sizeof(line), "leaf 0x%llx-0x%llx to 0x%llx %s %s %s%s", (unsigned long long)dump->gpa,
	         (unsigned long long)(dump->gpa + dump->bytes), (unsigned long long)dump->hpa, sizes[dump->level],
	         permission_name(dump->attributes.permissions), type_name(dump->attributes.type),
	         npt_is_clean(&dump->npt->format, dump->flags) ? " clean" : "");
	dump->print(dump->context, line);
	dump->bytes = 0;
}

static void add_leaf(struct dump *dump, unsigned level, gpa_t gpa, uint64_t entry)
{
	const struct npt_format *format = &dump->npt->format;
	hpa_t hpa = npt_address(format, entry);
	uint64_t flags = entry & ~format->address_mask;

	if (dump->bytes == 0 || level != dump->level || flags != dump->flags || gpa != dump->gpa + dump->bytes ||
	    hpa != dump->hpa + dump->bytes) {
		print_run(dump);
		dump->gpa = gpa;
		dump->hpa = hpa;
		dump->level = level;
		dump->flags = flags;
		dump->attributes = npt_leaf_attributes(format, entry);
	}
	dump->bytes += npt_span(level);
}

/* Recurses once per level. */
static void dump_table(struct dump *dump, const uint64_t *table, unsigned level, gpa_t start, gpa_t end)
{
	const struct npt *npt = dump->npt;
	gpa_t next;

	for (gpa_t at = start; at < end; at = next) {
		uint64_t entry = npt_load(&table[npt_index(npt, level, at)]);

		next = MIN(align_down(at, npt_span(level)) + npt_span(level), end);
		if (npt_is_table(&npt->format, level, entry)) {
			dump_table(dump, npt_table(npt, entry), level - 1, at, next);
		} else if (entry != 0) {
			add_leaf(dump, level, at, entry);
		}
	}
}

static void print_statistics(const struct dump *dump, const struct addr_space *space)
{
	const struct npt_statistics *npt = &space->npt.statistics;
	const struct addr_space_statistics *statistics = &space->statistics;
	char line[DUMP_LINE];

	snprintf(line, sizeof(line), "tables %llu, leaves 4k %llu, 2m %llu, 1g %llu, splits %llu, flushes %llu",
	         (unsigned long long)npt->tables, (unsigned long long)npt->leaves[0],
	         (unsigned long long)npt->leaves[1], (unsigned long long)npt->leaves[2],
	         (unsigned long long)npt->splits, (unsigned long long)npt->flushes);
	dump->print(dump->context, line);
	snprintf(line, sizeof(line), "frames %llu, faults filled %llu, raced %llu, refused %llu",
	         (unsigned long long)statistics->frames_owned, (unsigned long long)statistics->faults_filled,
	         (unsigned long long)statistics->faults_raced, (unsigned long long)statistics->faults_refused);
	dump->print(dump->context, line);
}

void addr_space_dump(struct addr_space *space, void (*print)(void *context, const char *line), void *context)
{
	struct dump dump = {.npt = &space->npt, .print = print, .context = context};
	char line[DUMP_LINE];

	spin_lock(&space->lock);
	snprintf(line, sizeof(line), "space 0x%llx-0x%llx %s, %llu areas", (unsigned long long)space->base,
	         (unsigned long long)(space->base + space->size), space->npt.format.name,
	         (unsigned long long)space->areas.count);
	print(context, line);
	for (const struct area *area = area_set_at_or_after(&space->areas, 0); area != NULL;
	     area = area_set_next(area)) {
		print_area(&dump, area);
	}
	dump_table(&dump, space->npt.table, space->npt.top, space->base, space->base + space->size);
	print_run(&dump);
	print_statistics(&dump, space);
	spin_unlock(&space->lock);
}
