/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The comparison of space and model: areas, every entry of the raw tables by the format's own masks, every frame that
 * the arena has given out, statistics. Uses none of mm/'s walks. See mm_model.h.
 */
#include "tests/host/mm_model.h"

#include <stdlib.h>
#include <string.h>

/* What the tables of one space were found to hold. */
struct census {
	const struct model *model;
	uint64_t leaves[NPT_MAX_LEVELS];
	uint64_t tables;
	uint64_t pages; /* that some leaf stands for */
};

/* By frame of the arena: somebody has it. */
static uint8_t *claimed;
static uint64_t claims[FRAME_USES];

static void claim(hpa_t address, uint64_t count, enum frame_use use)
{
	uint64_t first = (address - MM_ARENA_BASE) / FRAME_SIZE;

	MODEL_CHECK(address >= MM_ARENA_BASE && first + count <= model_arena.frames);
	for (uint64_t i = first; i < first + count; i++) {
		MODEL_CHECK(!claimed[i] && model_arena.use[i] == use);
		claimed[i] = 1;
	}
	claims[use] += count;
}

static uint64_t *table_at(hpa_t address)
{
	return mm_pointer(&model_arena.hal, address);
}

static bool leads_to_table(const struct npt_format *format, unsigned level, uint64_t entry)
{
	return level > 0 && (entry & ~format->address_mask) == format->table_bits;
}

static hpa_t address_in(const struct npt_format *format, uint64_t entry)
{
	return (entry & format->address_mask) << format->address_shift;
}

struct npt_place model_raw_walk(const struct model *model, gpa_t gpa)
{
	const struct npt_format *format = &model->space.npt.format;
	struct npt_place place = {.level = format->levels - 1U};
	hpa_t table = model->space.npt.root;

	for (;; place.level--) {
		const struct npt_level *level = &format->level[place.level];

		place.slot = &table_at(table)[gpa >> level->shift & BITS(level->bits - 1U, 0)];
		place.entry = *place.slot;
		if (!leads_to_table(format, place.level, place.entry)) {
			return place;
		}
		table = address_in(format, place.entry);
	}
}

uint64_t model_leaf(const struct model *model, const struct model_page *page, unsigned level)
{
	const struct npt_format *format = &model->space.npt.format;
	struct npt_attributes attributes = {page->permissions, page->type};

	if (page->permissions != MM_NONE) {
		return format->make_leaf(level, page->address, attributes);
	}
	attributes.permissions = MM_READ;
	return (format->make_leaf(level, page->address, attributes) & ~format->valid_mask) | format->hidden_mark;
}

/* ---- entries ---- */

/* The largest leaf that a linear area can have at the page. */
static unsigned largest_level(const struct model *model, const struct model_page *page)
{
	const struct npt_format *format = &model->space.npt.format;
	gpa_t gpa = model_gpa(model, page);

	for (unsigned level = format->levels - 1U; level > 0; level--) {
		uint64_t span = BIT(format->level[level].shift);
		const struct model_page *first = model_page_at(model, align_down(gpa, span));
		const struct model_page *last = model_page_at(model, align_down(gpa, span) + span - FRAME_SIZE);

		if (format->level[level].leaf && (gpa - page->address) % span == 0 && first != NULL && last != NULL &&
		    first->area == page->area && last->area == page->area) {
			return level;
		}
	}
	return 0;
}

/* With a dirty log running the right to write may be missing, and marks of the hardware's or ours be there. */
static bool is_the_leaf(const struct model *model, const struct model_page *page, unsigned level, uint64_t entry)
{
	const struct npt_format *format = &model->space.npt.format;
	uint64_t expected = model_leaf(model, page, level);
	bool hidden = page->permissions == MM_NONE;

	if (entry == expected || model->log_start == model->log_end) {
		return entry == expected;
	}
	unsigned missing = hidden ? 0 : page->permissions & ~(unsigned)format->attributes(entry).permissions;
	unsigned too_many = hidden ? 0 : format->attributes(entry).permissions & ~(unsigned)page->permissions;

	return (missing & ~(unsigned)MM_WRITE) == 0 && too_many == 0 && ((entry & format->valid_mask) == 0) == hidden &&
	       (entry & format->address_mask) == (expected & format->address_mask);
}

static void check_leaf(struct census *census, unsigned level, gpa_t gpa, uint64_t entry)
{
	const struct model *model = census->model;
	const struct npt_format *format = &model->space.npt.format;
	const struct model_page *page = model_page_at(model, gpa);
	uint64_t count = BIT(format->level[level].shift) / FRAME_SIZE;

	MODEL_CHECK(format->level[level].leaf);
	MODEL_CHECK(page != NULL && page->filled && count <= model->count - (uint64_t)(page - model->pages));
	MODEL_CHECK(is_the_leaf(model, page, level, entry));
	for (uint64_t i = 1; i < count; i++) {
		MODEL_CHECK(page[i].filled && page[i].area == page->area);
		MODEL_CHECK(page[i].address == page->address + i * FRAME_SIZE);
	}
	if (page->linear) {
		unsigned largest = largest_level(model, page);

		MODEL_CHECK(level == largest || (level < largest && model->may_be_split));
	} else {
		MODEL_CHECK(level == 0 || (level == 1 && page->pages != AREA_PAGES_4K));
		claim(page->address, count, FRAME_GUEST);
	}
	census->leaves[level]++;
	census->pages += count;
}

/* Returns how many entries are not 0. Recurses once per level. */
static unsigned check_table(struct census *census, hpa_t table, unsigned level, gpa_t start)
{
	const struct npt *npt = &census->model->space.npt;
	const struct npt_format *format = &npt->format;
	uint64_t entries = level == format->levels - 1U ? BIT(format->level[level].bits) : NPT_ENTRIES;
	unsigned used = 0;

	for (uint64_t i = 0; i < entries; i++) {
		uint64_t entry = table_at(table)[i];
		gpa_t gpa = start + (i << format->level[level].shift);

		if (entry == 0) {
			continue;
		}
		used++;
		if (!leads_to_table(format, level, entry)) {
			check_leaf(census, level, gpa, entry);
			continue;
		}
		hpa_t below = address_in(format, entry);

		claim(below, 1, FRAME_TABLE);
		census->tables++;
		/* The tables that come with the root stay, whatever is in them. */
		bool of_gib =
			npt->gib_count != 0 && level - 1 >= GIB_LEVEL && gpa >> npt_shift(GIB_LEVEL) < npt->gib_count;
		MODEL_CHECK(check_table(census, below, level - 1, gpa) != 0 || level - 1 == npt->top || of_gib);
	}
	return used;
}

/* ---- areas ---- */

static void check_area(const struct model *model, const struct area *area, const struct model_page *page, gpa_t end)
{
	gpa_t start = model_gpa(model, page);

	MODEL_CHECK(area != NULL && area->range.start == start && area->range.end == end);
	MODEL_CHECK(area->attributes.permissions == page->permissions && area->attributes.type == page->type);
	MODEL_CHECK(area->backend == (page->linear ? AREA_LINEAR : AREA_ALLOC));
	if (page->linear) {
		MODEL_CHECK(start - (uint64_t)area->offset == page->address);
	} else {
		MODEL_CHECK(area->pages == page->pages && area->populate == page->populate);
	}
}

/* Also claims the frames that the areas' nodes lie in. */
static void check_areas(const struct model *model)
{
	const struct area_set *set = &model->space.areas;
	const struct area *area = area_set_at_or_after(set, 0);
	const struct model_page *end = model->pages + model->count;
	const struct model_page *next;
	uint64_t count = 0;

	for (const struct model_page *page = model->pages; page < end; page = next) {
		for (next = page + 1; next < end && next->area == page->area; next++) {
		}
		if (page->area == 0) {
			continue;
		}
		check_area(model, area, page, model_gpa(model, next));
		uint64_t into = (uintptr_t)area - (uintptr_t)model_arena.memory;

		if (!claimed[into / FRAME_SIZE]) {
			claim(MM_ARENA_BASE + align_down(into, FRAME_SIZE), 1, FRAME_TABLE);
		}
		area = area_set_next(area);
		count++;
	}
	MODEL_CHECK(area == NULL && set->count == count);
}

/* ---- all of it ---- */

static void check_statistics(const struct census *census, uint64_t owned)
{
	const struct model *model = census->model;
	const struct npt_statistics *npt = &model->space.npt.statistics;
	const struct addr_space_statistics *statistics = &model->space.statistics;

	for (unsigned level = 0; level < NPT_MAX_LEVELS; level++) {
		MODEL_CHECK(npt->leaves[level] == census->leaves[level]);
	}
	MODEL_CHECK(npt->tables == census->tables);
	MODEL_CHECK(statistics->frames_owned == owned);
	MODEL_CHECK(statistics->faults_filled == model->fills);
	MODEL_CHECK(statistics->faults_refused == model->refused);
	MODEL_CHECK(statistics->faults_raced + statistics->faults_logged == model->raced);
}

static void check_model(const struct model *model)
{
	const struct npt_format *format = &model->space.npt.format;
	struct census census = {.model = model, .tables = BIT(format->root_order)};
	uint64_t filled = 0;
	uint64_t owned = 0;

	claim(model->space.npt.root, BIT(format->root_order), FRAME_TABLE);
	check_areas(model);
	check_table(&census, model->space.npt.root, format->levels - 1U, 0);
	for (const struct model_page *page = model->pages; page < model->pages + model->count; page++) {
		filled += page->filled;
		owned += page->filled && !page->linear;
		MODEL_CHECK(!page->filled || !page->written || model_contents_agree(model, page));
	}
	MODEL_CHECK(census.pages == filled); /* with check_leaf: no page lacks its leaf */
	check_statistics(&census, owned);
}

void model_check(void)
{
	if (claimed == NULL) {
		claimed = malloc(model_arena.frames);
		MODEL_CHECK(claimed != NULL);
	}
	memset(claimed, 0, model_arena.frames);
	memset(claims, 0, sizeof(claims));
	check_model(&models[0]);
	check_model(&models[1]);
	for (unsigned use = 0; use < FRAME_USES; use++) {
		MODEL_CHECK(claims[use] == model_arena.held[use]);
	}
}
