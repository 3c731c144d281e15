/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model's calls that map over what is there, look for room, empty, merge, copy and watch what is written. See
 * mm_model.h.
 */
#include "tests/host/mm_model.h"

#include <string.h>

#include "mm/dirty_log.h"

/* ---- replacing ---- */

void model_replace_linear(struct model *model, const struct model_call *call)
{
	int expected = model_expect_map_linear(model, call);
	int status = addr_space_replace_linear(&model->space, call->start, call->size, call->offset, call->attributes);

	model_check_needed_flushes(model, call->start, call->size, true, MM_NONE, status);
	if (model_agree_on_status(status, expected)) {
		model_forget_range(model, call->start, call->size);
		model_set_linear(model, call);
	}
}

void model_replace_alloc(struct model *model, const struct model_call *call)
{
	int expected = model_expect_map_alloc(model, call);
	int status = addr_space_replace_alloc(&model->space, call->start, call->size, call->attributes, call->populate,
	                                      call->pages);

	model_check_needed_flushes(model, call->start, call->size, true, MM_NONE, status);
	if (model_agree_on_status(status, expected)) {
		model_forget_range(model, call->start, call->size);
		model_set_alloc(model, call);
	}
}

/* ---- looking for room ---- */

/* The lowest hole in [from, end), or HPA_NONE. */
static gpa_t lowest_hole(const struct model *model, gpa_t from, gpa_t end, uint64_t size, uint64_t alignment)
{
	gpa_t candidate = align_up(from, alignment);

	for (gpa_t gpa = candidate; gpa < end; gpa += FRAME_SIZE) {
		if (model_page_at(model, gpa)->area != 0) {
			candidate = align_up(gpa + FRAME_SIZE, alignment);
		} else if (gpa >= candidate && gpa + FRAME_SIZE - candidate >= size) {
			return candidate;
		}
	}
	return HPA_NONE;
}

void model_find_free(struct model *model, const struct model_call *call)
{
	static const uint64_t alignments[] = {FRAME_SIZE, MIB(2), 16 * FRAME_SIZE, GIB(1)};
	uint64_t alignment = alignments[call->pages % 4];
	gpa_t top = model->base + model->count * FRAME_SIZE;
	/* The range of the call is the limit; what fits is a part of it. */
	struct gpa_range limit = {call->start, call->start + call->size};
	uint64_t size = (1 + call->byte[2] % 64) * (call->populate ? FRAME_SIZE : MIB(1) / 4);
	gpa_t hint = model->base + call->byte[4] * 16 * FRAME_SIZE;
	gpa_t found = HPA_NONE;

	if (model_expect_range(model, call->start, call->size) != MM_OK) {
		return;
	}
	if (call->byte[5] % 32 == 0) {
		limit.end = top + FRAME_SIZE;
	}
	int status = addr_space_find_free(&model->space, hint, size, alignment, limit, &found);

	if (limit.end > top) {
		MODEL_CHECK(status == MM_ERANGE);
		return;
	}
	gpa_t expected = lowest_hole(model, MAX(hint, limit.start), limit.end, size, alignment);

	if (expected == HPA_NONE) {
		expected = lowest_hole(model, limit.start, limit.end, size, alignment);
	}
	MODEL_CHECK(status == (expected == HPA_NONE ? MM_ENOSPC : MM_OK));
	MODEL_CHECK(status != MM_OK || found == expected);
}

/* ---- emptying ---- */

void model_clear(struct model *model, const struct model_call *call)
{
	uint64_t allocations = model_arena.allocations;

	if (call->byte[2] % 4 != 0) { /* not too often */
		return;
	}
	addr_space_clear(&model->space);
	MODEL_CHECK(model_arena.allocations == allocations);
	model_check_needed_flushes(model, model->base, model->count * FRAME_SIZE, true, MM_NONE, MM_OK);
	model_forget_range(model, model->base, model->count * FRAME_SIZE);
	MODEL_CHECK(model->space.npt.statistics.tables == model->fixed);
	model->fills = model->space.statistics.faults_filled;
	model->refused = model->space.statistics.faults_refused;
}

/* ---- merging ---- */

static bool continues(const struct model_page *low, const struct model_page *high)
{
	return low->area != 0 && high->area != 0 && low->linear == high->linear &&
	       low->permissions == high->permissions && low->type == high->type && low->pages == high->pages &&
	       low->populate == high->populate && (!low->linear || high->address == low->address + FRAME_SIZE);
}

/* Areas that went on in each other may have become one. */
static void observe_merged_areas(const struct model *model)
{
	for (const struct area *area = area_set_at_or_after(&model->space.areas, 0); area != NULL;
	     area = area_set_next(area)) {
		struct model_page *page = model_page_at(model, area->range.start);
		const struct model_page *end = page + (area->range.end - area->range.start) / FRAME_SIZE;

		for (page++; page < end; page++) {
			MODEL_CHECK(continues(page - 1, page));
			page->area = page[-1].area;
		}
	}
}

/* In blocks of 2 MiB inside the range no leaf of 4 KiB is left that could be part of one of 2 MiB. */
static void check_compacted(const struct model *model, gpa_t start, gpa_t end)
{
	for (gpa_t at = align_up(start, MIB(2)); at + MIB(2) <= end; at += MIB(2)) {
		const struct model_page *page = model_page_at(model, at);
		bool could = model->space.npt.format.level[1].leaf && page->pages != AREA_PAGES_4K && page->filled &&
		             page->address % MIB(2) == 0;

		for (unsigned i = 1; could && i < NPT_ENTRIES; i++) {
			could = page[i].filled && page[i].area == page->area &&
			        page[i].address == page->address + i * FRAME_SIZE;
		}
		MODEL_CHECK(!could || model_raw_walk(model, at).level > 0);
	}
}

/* A merged leaf is as dirty as the dirtiest of those it was made of, and what is not watched is dirty. */
static void spread_dirt(struct model *model, gpa_t start, uint64_t size)
{
	uint64_t span = model_largest_span(model);
	gpa_t next;

	if (model->log_start == model->log_end) {
		return;
	}
	if (!is_aligned(model->log_start, span)) {
		model_set_dirty(model, model_page_at(model, model->log_start), MODEL_MAY_BE_DIRTY);
	}
	if (!is_aligned(model->log_end, span)) {
		model_set_dirty(model, model_page_at(model, model->log_end - FRAME_SIZE), MODEL_MAY_BE_DIRTY);
	}

	for (gpa_t at = MAX(start, model->log_start); at < MIN(start + size, model->log_end); at = next) {
		struct model_page *page = model_page_at(model, at);

		next = at + FRAME_SIZE;
		if (page->dirtied != MODEL_CLEAN) {
			model_set_dirty(model, page, MODEL_MAY_BE_DIRTY);
			next = align_down(at, span) + span;
		}
	}
}

void model_compact(struct model *model, const struct model_call *call)
{
	int expected = model_expect_range(model, call->start, call->size);
	uint64_t merged = 0;
	int status = addr_space_compact(&model->space, call->start, call->size, &merged);

	MODEL_CHECK(status == expected);
	model_check_at_most_one_flush();
	if (status == MM_OK) {
		observe_merged_areas(model);
		spread_dirt(model, call->start, call->size);
		if (model->log_start == model->log_end) {
			check_compacted(model, call->start, call->start + call->size);
		}
	}
}

/* ---- copying ---- */

static void copy_page(struct model *to, struct model_page *page, const struct model *from, struct model_page *original)
{
	uint8_t dirtied = page->dirtied;

	*page = *original;
	page->dirtied = MIN(dirtied, MODEL_MAY_BE_DIRTY);
	if (page->linear || !page->filled) {
		return;
	}
	if (original->written) {
		page->written = false;
		memcpy(model_shadow_of(to, page, true), model_shadow_of(from, original, false), FRAME_SIZE);
	}
	model_observe_page(to, page);
}

void model_copy_from(struct model *model, const struct model_call *call)
{
	struct model *from = &models[!model_current];
	int expected = model_expect_range(model, call->start, call->size);
	int status = addr_space_copy_from(&model->space, &from->space, call->start, call->size);

	MODEL_CHECK(addr_space_copy_from(&model->space, &model->space, model->base, FRAME_SIZE) == MM_EINVAL);
	if (expected == MM_OK && !model_range_is_free(model, call->start, call->size)) {
		expected = MM_EEXIST;
	}
	model_check_needed_flushes(model, call->start, 0, false, MM_NONE, status);
	/* Where a table to 2 MiB cannot be had, it may have tried with pages. */
	model_arena.refused = status == MM_OK ? 0 : model_arena.refused;
	if (!model_agree_on_status(status, expected)) {
		return;
	}
	struct model_page *page = model_page_at(model, call->start);
	struct model_page *original = model_page_at(from, call->start);
	const struct model_page *end = page + call->size / FRAME_SIZE;
	const struct model_page *first = page;

	for (; page < end; page++, original++) {
		copy_page(model, page, from, original);
	}
	/* Each area that was copied is one of its own. */
	for (page = model_page_at(model, call->start); page < end; page++) {
		if (page->area != 0 && (page == first || page->area != page[-1].area)) {
			uint32_t old = page->area;
			uint32_t area = model_new_area();

			for (; page < end && page->area == old; page++) {
				page->area = area;
			}
			page--;
		}
	}
}

/* ---- the dirty log ---- */

static bool log_runs(const struct model *model)
{
	return model->log_start != model->log_end;
}

void model_dirty_log_start(struct model *model, const struct model_call *call)
{
	int expected = model_expect_range(model, call->start, call->size);
	int status = addr_space_dirty_log_start(&model->space, call->start, call->size);

	model_check_at_most_one_flush();
	if (log_runs(model)) {
		MODEL_CHECK(status == MM_EEXIST || (expected != MM_OK && status == expected));
		return;
	}
	if (!model_agree_on_status(status, expected)) {
		return;
	}
	model->log_start = call->start;
	model->log_end = call->start + call->size;
	model->may_be_split = true;
	for (uint64_t i = 0; i < model->count; i++) {
		model->pages[i].dirtied = MODEL_CLEAN;
	}
}

void model_dirty_log_collect(struct model *model, const struct model_call *call)
{
	static uint64_t bitmap[DIRTY_LOG_WORDS(GIB(2))];
	gpa_t end = call->start + call->size;
	int expected = model_expect_range(model, call->start, call->size);

	if (expected == MM_OK && (call->start < model->log_start || end > model->log_end)) {
		expected = MM_EFAULT;
	}
	memset(bitmap, call->byte[1], sizeof(bitmap));
	int status = addr_space_dirty_log_collect(&model->space, call->start, call->size, bitmap);

	model_check_at_most_one_flush();
	if (!log_runs(model) && status == MM_EFAULT) {
		return;
	}
	if (!model_agree_on_status(status, expected)) {
		return;
	}
	struct model_page *page = model_page_at(model, call->start);

	for (uint64_t i = 0; i < call->size / FRAME_SIZE; i++, page++) {
		bool dirty = (bitmap[i / 64] >> i % 64 & 1) != 0;

		MODEL_CHECK(dirty || page->dirtied != MODEL_DIRTY);
		MODEL_CHECK(!dirty || page->dirtied != MODEL_CLEAN);
		page->dirtied = MODEL_CLEAN;
	}
}

void model_dirty_log_stop(struct model *model, const struct model_call *call)
{
	uint64_t allocations = model_arena.allocations;

	(void)call;
	addr_space_dirty_log_stop(&model->space);
	model_check_at_most_one_flush();
	MODEL_CHECK(model_arena.allocations == allocations);
	model->log_start = 0;
	model->log_end = 0;
}

void model_swap(struct model *model, const struct model_call *call)
{
	(void)model;
	(void)call;
	model_current = !model_current;
}
