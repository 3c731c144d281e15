/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model's calls that change areas: each is made on the space, its status compared with what the model says, and
 * then made on the model. See mm_model.h.
 */
#include "tests/host/mm_model.h"

struct model_page *model_page_at(const struct model *model, gpa_t gpa)
{
	uint64_t into = gpa - model->base;

	return gpa >= model->base && into / FRAME_SIZE < model->count ? &model->pages[into / FRAME_SIZE] : NULL;
}

uint32_t model_new_area(void)
{
	static uint32_t last;

	last++;
	return last;
}

int model_expect_range(const struct model *model, gpa_t start, uint64_t size)
{
	gpa_t end = model->base + model->count * FRAME_SIZE;

	if (start % FRAME_SIZE != 0 || size % FRAME_SIZE != 0) {
		return MM_EALIGN;
	}
	if (size == 0) {
		return MM_EINVAL;
	}
	return start >= model->base && start < end && size <= end - start ? MM_OK : MM_ERANGE;
}

static int expect_permissions(const struct model *model, unsigned permissions)
{
	return permissions <= MM_RWX && (model->space.npt.format.legal_permissions >> permissions & 1) ? MM_OK
	                                                                                               : MM_EPERM;
}

bool model_range_is_free(const struct model *model, gpa_t start, uint64_t size)
{
	const struct model_page *page = model_page_at(model, start);

	for (const struct model_page *end = page + size / FRAME_SIZE; page < end; page++) {
		if (page->area != 0) {
			return false;
		}
	}
	return true;
}

/* What both kinds of mapping have in common. */
static int expect_map(const struct model *model, const struct model_call *call)
{
	int status = model_expect_range(model, call->start, call->size);

	if (status == MM_OK && call->attributes.type > MM_DEVICE) {
		status = MM_EINVAL;
	}
	return status == MM_OK ? expect_permissions(model, call->attributes.permissions) : status;
}

int model_expect_map_linear(const struct model *model, const struct model_call *call)
{
	uint64_t limit = BIT(model->space.npt.format.output_bits);
	hpa_t address = call->start - (uint64_t)call->offset;
	int status = expect_map(model, call);

	if (status == MM_OK && address % FRAME_SIZE != 0) {
		status = MM_EALIGN;
	}
	if (status == MM_OK && (address >= limit || call->size > limit - address)) {
		status = MM_ERANGE;
	}
	return status;
}

int model_expect_map_alloc(const struct model *model, const struct model_call *call)
{
	return call->pages > AREA_PAGES_2M ? MM_EINVAL : expect_map(model, call);
}

bool model_agree_on_status(int status, int expected)
{
	uint64_t failed = model_arena.refused + model_arena.refused_large;

	if (status == MM_ENOMEM && expected == MM_OK) {
		MODEL_CHECK(failed != 0);
		return false;
	}
	MODEL_CHECK(status == expected);
	MODEL_CHECK(status != MM_OK || model_arena.refused == 0);
	return status == MM_OK;
}

/* ---- flushes ---- */

static uint64_t flushes_before;
static int64_t tables_before;

/* Nothing may have gone back yet. */
static void look_during_flush(struct mm_arena *arena)
{
	const uint64_t *held = arena->flush_context;

	MODEL_CHECK(arena->held[FRAME_GUEST] >= *held);
}

static int64_t tables_but_for_splits(const struct model *model)
{
	const struct npt_statistics *statistics = &model->space.npt.statistics;

	return (int64_t)(statistics->tables - statistics->splits);
}

void model_watch_flushes(struct model *model)
{
	static uint64_t held;

	tables_before = tables_but_for_splits(model);
	held = model_arena.held[FRAME_GUEST];
	model_arena.on_flush = look_during_flush;
	model_arena.flush_context = &held;
	flushes_before = model_arena.flush_calls;
}

static bool was_flushed(gpa_t gpa)
{
	for (unsigned i = 0; i < model_arena.flushed_count; i++) {
		if (gpa >= model_arena.flushed[i].start && gpa + FRAME_SIZE <= model_arena.flushed[i].end) {
			return true;
		}
	}
	return false;
}

bool model_check_needed_flushes(struct model *model, gpa_t start, uint64_t size, bool all, uint8_t permissions,
                                int status)
{
	uint64_t flushes = model_arena.flush_calls - flushes_before;
	const struct model_page *page = status == MM_OK && size != 0 ? model_page_at(model, start) : NULL;
	bool wanted = false;

	for (uint64_t i = 0; page != NULL && i < size / FRAME_SIZE; i++, page++) {
		if (page->filled && page->permissions != MM_NONE && (all || page->permissions != permissions)) {
			wanted = true;
			MODEL_CHECK(flushes == 1 && was_flushed(model_gpa(model, page)));
		}
	}
	MODEL_CHECK(flushes <= 1 && (status == MM_OK || flushes == 0));
	return wanted;
}

void model_check_at_most_one_flush(void)
{
	MODEL_CHECK(model_arena.flush_calls - flushes_before <= 1);
}

void model_check_flushes(struct model *model, gpa_t start, uint64_t size, bool all, uint8_t permissions, int status)
{
	bool wanted = model_check_needed_flushes(model, start, size, all, permissions, status);
	bool logged = model->log_end != model->log_start;

	/* A table that goes may have been cached, even where no leaf in it was present. */
	MODEL_CHECK(model_arena.flush_calls - flushes_before == wanted || logged ||
	            tables_but_for_splits(model) < tables_before);
}

/* ---- mapping ---- */

/* What a format has no code for becomes the next weaker type: RISC-V has no write-through. */
static uint8_t kept_type(const struct model *model, uint8_t type)
{
	return model->space.npt.format.address_shift != 0 && type == MM_WRITE_THROUGH ? MM_WRITE_COMBINING : type;
}

void model_set_linear(struct model *model, const struct model_call *call)
{
	struct model_page *page = model_page_at(model, call->start);
	uint32_t area = model_new_area();

	for (uint64_t into = 0; into < call->size; into += FRAME_SIZE, page++) {
		*page = (struct model_page){
			.address = call->start + into - (uint64_t)call->offset,
			.area = area,
			.permissions = call->attributes.permissions,
			.type = kept_type(model, call->attributes.type),
			.linear = true,
			.filled = true,
			.dirtied = MIN(page->dirtied, MODEL_MAY_BE_DIRTY),
		};
	}
}

void model_set_alloc(struct model *model, const struct model_call *call)
{
	struct model_page *page = model_page_at(model, call->start);
	uint32_t area = model_new_area();

	for (uint64_t into = 0; into < call->size; into += FRAME_SIZE, page++) {
		*page = (struct model_page){
			.area = area,
			.permissions = call->attributes.permissions,
			.type = kept_type(model, call->attributes.type),
			.pages = (uint8_t)call->pages,
			.populate = call->populate,
			.filled = call->populate,
			.dirtied = MIN(page->dirtied, MODEL_MAY_BE_DIRTY),
		};
		if (call->populate) {
			model_observe_page(model, page);
		}
	}
}

void model_map_linear(struct model *model, const struct model_call *call)
{
	int expected = model_expect_map_linear(model, call);
	int status = addr_space_map_linear(&model->space, call->start, call->size, call->offset, call->attributes);

	if (expected == MM_OK && !model_range_is_free(model, call->start, call->size)) {
		expected = MM_EEXIST;
	}
	model_check_flushes(model, call->start, 0, false, MM_NONE, status);
	if (model_agree_on_status(status, expected)) {
		model_set_linear(model, call);
	}
}

void model_map_alloc(struct model *model, const struct model_call *call)
{
	int expected = model_expect_map_alloc(model, call);
	int status = addr_space_map_alloc(&model->space, call->start, call->size, call->attributes, call->populate,
	                                  call->pages);

	if (expected == MM_OK && !model_range_is_free(model, call->start, call->size)) {
		expected = MM_EEXIST;
	}
	model_check_flushes(model, call->start, 0, false, MM_NONE, status);
	if (model_agree_on_status(status, expected)) {
		model_set_alloc(model, call);
	}
}

/* ---- changing ---- */

void model_renumber(const struct model *model, struct model_page *page)
{
	uint32_t old = page->area;
	uint32_t area = model_new_area();

	for (; page < model->pages + model->count && old != 0 && page->area == old; page++) {
		page->area = area;
	}
}

void model_forget_range(struct model *model, gpa_t start, uint64_t size)
{
	struct model_page *page = model_page_at(model, start);
	struct model_page *end = page + size / FRAME_SIZE;

	if (end < model->pages + model->count) {
		model_renumber(model, end); /* an area may have been on both sides */
	}
	for (; page < end; page++) {
		*page = (struct model_page){.dirtied = MIN(page->dirtied, MODEL_MAY_BE_DIRTY)};
	}
}

void model_unmap(struct model *model, const struct model_call *call)
{
	int expected = model_expect_range(model, call->start, call->size);
	int status = addr_space_unmap(&model->space, call->start, call->size);

	if (expected == MM_EINVAL) {
		MODEL_CHECK(status == MM_OK);
		return;
	}
	model_check_flushes(model, call->start, call->size, true, MM_NONE, status);
	if (model_agree_on_status(status, expected)) {
		model_forget_range(model, call->start, call->size);
	}
}

/* Areas whose permissions change are cut where the range ends. */
static void set_permissions(struct model *model, struct model_page *page, const struct model_page *end,
                            uint8_t permissions)
{
	while (page < end) {
		struct model_page *next = page;

		while (next < end && next->area == page->area) {
			next++;
		}
		if (page->permissions != permissions) {
			if (next < model->pages + model->count && next->area == page->area) {
				model_renumber(model, next);
			}
			model_renumber(model, page);
			for (; page < next; page++) {
				page->permissions = permissions;
			}
		}
		page = next;
	}
}

void model_protect(struct model *model, const struct model_call *call)
{
	uint8_t permissions = call->attributes.permissions;
	struct model_page *page = model_page_at(model, call->start);
	int expected = model_expect_range(model, call->start, call->size);
	int status = addr_space_protect(&model->space, call->start, call->size, permissions);

	if (expected == MM_OK) {
		expected = expect_permissions(model, permissions);
	}
	for (uint64_t i = 0; expected == MM_OK && i < call->size / FRAME_SIZE; i++) {
		expected = page[i].area == 0 ? MM_EFAULT : MM_OK;
	}
	model_check_flushes(model, call->start, call->size, false, permissions, status);
	if (model_agree_on_status(status, expected)) {
		set_permissions(model, page, page + call->size / FRAME_SIZE, permissions);
	}
}

void model_discard(struct model *model, const struct model_call *call)
{
	struct model_page *page = model_page_at(model, call->start);
	int expected = model_expect_range(model, call->start, call->size);
	int status = addr_space_discard(&model->space, call->start, call->size);

	for (uint64_t i = 0; expected == MM_OK && i < call->size / FRAME_SIZE; i++) {
		expected = page[i].area == 0 || page[i].linear ? MM_EFAULT : MM_OK;
	}
	model_check_flushes(model, call->start, call->size, true, MM_NONE, status);
	if (!model_agree_on_status(status, expected) || mm_model_believes_discard_does_nothing) {
		return;
	}
	for (uint64_t i = 0; i < call->size / FRAME_SIZE; i++) {
		page[i].filled = false;
		page[i].written = false;
		page[i].dirtied = MIN(page[i].dirtied, MODEL_MAY_BE_DIRTY); /* marks go with the frames */
	}
}
