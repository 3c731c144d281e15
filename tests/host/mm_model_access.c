/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model's calls that read the space or fill it: faults, translate and the guest accessor, contents included. See
 * mm_model.h.
 */
#include "tests/host/mm_model.h"

#include <string.h>

#include "mm/guest_memory.h"

#define BLOCK_PAGES NPT_ENTRIES

static const char zeros[FRAME_SIZE];

/* ---- contents ---- */

static uint64_t window_page(const struct model_page *page)
{
	return (page->address - MM_ARENA_WINDOW) / FRAME_SIZE;
}

/* What the page should hold, or NULL: zeros. For writing: never NULL, and it counts as written from now on. */
char *model_shadow_of(const struct model *model, struct model_page *page, bool for_writing)
{
	char *shadow = page->linear ? model_window_shadow + window_page(page) * FRAME_SIZE
	                            : model->shadow + (page - model->pages) * (ptrdiff_t)FRAME_SIZE;
	bool written = page->linear ? model_window_written[window_page(page)] != 0 : page->written;

	if (written || !for_writing) {
		return written ? shadow : NULL;
	}
	if (page->linear) {
		model_window_written[window_page(page)] = 1;
	} else {
		page->written = true;
	}
	return memset(shadow, 0, FRAME_SIZE);
}

bool model_contents_agree(const struct model *model, const struct model_page *page)
{
	const char *memory = mm_pointer(&model_arena.hal, page->address);
	const char *shadow = page->linear ? model_window_shadow + window_page(page) * FRAME_SIZE
	                                  : model->shadow + (page - model->pages) * (ptrdiff_t)FRAME_SIZE;
	bool written = page->linear ? model_window_written[window_page(page)] != 0 : page->written;

	return memcmp(memory, written ? shadow : zeros, FRAME_SIZE) == 0;
}

uint64_t model_largest_span(const struct model *model)
{
	return model->count * FRAME_SIZE < GIB(1) ? MIB(2) : GIB(1);
}

void model_set_dirty(struct model *model, struct model_page *page, enum model_dirt dirt)
{
	gpa_t gpa = model_gpa(model, page);
	uint64_t span = model_largest_span(model);
	gpa_t at = MAX(align_down(gpa, span), model->log_start);

	if (model->log_start == model->log_end) {
		return;
	}
	for (; at < align_down(gpa, span) + span && at < model->log_end; at += FRAME_SIZE) {
		struct model_page *near = model_page_at(model, at);

		near->dirtied = MAX(near->dirtied, MODEL_MAY_BE_DIRTY);
	}
	page->dirtied = MAX(page->dirtied, (uint8_t)dirt);
}

/* ---- filling ---- */

void model_observe_page(struct model *model, struct model_page *page)
{
	gpa_t gpa = model_gpa(model, page);
	struct npt_place place = model_raw_walk(model, gpa);

	MODEL_CHECK(place.entry != 0);
	page->address = npt_address(&model->space.npt.format, place.entry) + gpa % npt_span(place.level);
	MODEL_CHECK(model_contents_agree(model, page));
}

/* The block of 2 MiB around the page if it can be filled at once, else NULL. */
static struct model_page *whole_block(const struct model *model, const struct model_page *page)
{
	gpa_t start = align_down(model_gpa(model, page), MIB(2));
	struct model_page *first = model_page_at(model, start);
	const struct model_page *last = model_page_at(model, start + MIB(2) - FRAME_SIZE);

	if (page->pages == AREA_PAGES_4K || !model->space.npt.format.level[1].leaf || first == NULL || last == NULL ||
	    first->area != page->area || last->area != page->area) {
		return NULL;
	}
	for (unsigned i = 0; i < BLOCK_PAGES; i++) {
		if (first[i].filled) {
			return NULL;
		}
	}
	return first;
}

bool model_observe_fill(struct model *model, struct model_page *page)
{
	struct model_page *block = whole_block(model, page);
	struct npt_place place = model_raw_walk(model, model_gpa(model, page));
	hpa_t address = npt_address(&model->space.npt.format, place.entry);
	bool insists = block != NULL && page->pages == AREA_PAGES_2M;

	if (place.entry == 0) {
		MODEL_CHECK(model_arena.refused != 0 || (insists && model_arena.refused_large != 0));
		return false;
	}
	model->fills++;
	if (place.level == 0) {
		/* Of 4 KiB only where 2 MiB could not be had. */
		MODEL_CHECK(block == NULL || (!insists && model_arena.refused_large != 0));
		page->address = address;
		page->filled = true;
		return true;
	}
	MODEL_CHECK(place.level == 1 && block != NULL);
	for (unsigned i = 0; i < BLOCK_PAGES; i++) {
		block[i].address = address + i * FRAME_SIZE;
		block[i].filled = true;
	}
	return true;
}

static bool may(const struct model_page *page, unsigned access)
{
	return page->permissions != MM_NONE && (access & ~(unsigned)page->permissions) == 0;
}

void model_fault(struct model *model, const struct model_call *call)
{
	struct nested_fault fault = {.gpa = call->start + call->byte[4], .access = (uint8_t)call->access};
	struct model_page *page = model_page_at(model, fault.gpa);
	int status = addr_space_handle_fault(&model->space, &fault);

	model_check_flushes(model, fault.gpa, 0, false, MM_NONE, status);
	if (page == NULL || page->area == 0 || !may(page, call->access)) {
		MODEL_CHECK(status == (page == NULL || page->area == 0 ? MM_EFAULT : MM_EACCES));
		model->refused++;
		return;
	}
	if ((call->access & MM_WRITE) != 0) {
		model_set_dirty(model, page, MODEL_MAY_BE_DIRTY);
	}
	if (page->filled) {
		MODEL_CHECK(status == MM_OK);
		model->raced++;
	} else if (model_observe_fill(model, page)) {
		MODEL_CHECK(status == MM_OK && model_arena.refused == 0);
		MODEL_CHECK(model_contents_agree(model, page));
	} else {
		MODEL_CHECK(status == MM_ENOMEM);
		model->refused++;
	}
}

/* ---- translate ---- */

void model_translate(struct model *model, const struct model_call *call)
{
	gpa_t gpa = call->start + call->byte[4];
	const struct model_page *page = model_page_at(model, gpa);
	struct translation result;
	struct gpa_range range;
	uint8_t permissions;

	if (call->byte[6] % 2 == 0) { /* with the area at hand, or without */
		bool found = addr_space_find_area(&model->space, gpa, &range, &permissions);

		MODEL_CHECK(found == (page != NULL && page->area != 0));
		MODEL_CHECK(!found || permissions == page->permissions);
		MODEL_CHECK(!found || (range.start <= gpa && gpa < range.end));
	}
	int status = addr_space_translate(&model->space, gpa, &result);

	if (page == NULL || !page->filled || page->permissions == MM_NONE) {
		MODEL_CHECK(status == MM_EFAULT);
		return;
	}
	struct npt_place place = model_raw_walk(model, gpa);

	MODEL_CHECK(status == MM_OK);
	MODEL_CHECK(result.address == page->address + gpa % FRAME_SIZE);
	MODEL_CHECK(result.leaf_shift == npt_shift(place.level));
	MODEL_CHECK(result.attributes.permissions == page->permissions && result.attributes.type == page->type);
	MODEL_CHECK(result.bytes >= npt_span(place.level) - gpa % npt_span(place.level));
	for (uint64_t into = FRAME_SIZE - gpa % FRAME_SIZE; into < result.bytes; into += FRAME_SIZE) {
		const struct model_page *next = model_page_at(model, gpa + into);

		MODEL_CHECK(next != NULL && next->filled && next->area == page->area);
		MODEL_CHECK(next->address == result.address + into);
	}
}

/* ---- the accessor ---- */

static char buffer[MM_MODEL_ACCESS];
static char expected_bytes[MM_MODEL_ACCESS];

/* How many bytes can be had, after the access: takes over what it has filled. */
static uint64_t bytes_to_be_had(struct model *model, gpa_t gpa, uint64_t bytes, unsigned access, unsigned flags)
{
	bool force = (flags & GUEST_ACCESS_FORCE) != 0;
	uint64_t done = 0;

	while (done < bytes) {
		struct model_page *page = model_page_at(model, gpa + done);
		bool allowed = page != NULL && page->area != 0 && (force || may(page, access));

		if (page == NULL || !page->filled) {
			if (!allowed || !model_observe_fill(model, page)) {
				model->refused++;
				break;
			}
		}
		if (!allowed || page->type > MM_WRITE_COMBINING) {
			break;
		}
		done += MIN(FRAME_SIZE - (gpa + done) % FRAME_SIZE, bytes - done);
	}
	return done;
}

/* Copies between `bytes` and what the model knows of [gpa, gpa + count). */
static void copy_shadow(struct model *model, gpa_t gpa, char *bytes, uint64_t count, bool to_shadow)
{
	for (uint64_t done = 0; done < count;) {
		uint64_t into = (gpa + done) % FRAME_SIZE;
		uint64_t part = MIN(FRAME_SIZE - into, count - done);
		struct model_page *page = model_page_at(model, gpa + done);
		char *shadow = model_shadow_of(model, page, to_shadow);

		if (to_shadow) {
			memcpy(shadow + into, bytes + done, part);
			model_set_dirty(model, page, MODEL_DIRTY);
		} else {
			memcpy(bytes + done, shadow == NULL ? zeros : shadow + into, part);
		}
		done += part;
	}
}

static gpa_t access_address(const struct model_call *call)
{
	return call->start + call->byte[4] * 16U + call->byte[5] % 16;
}

static uint64_t access_bytes(const struct model_call *call)
{
	return MIN((uint64_t)call->byte[5] * call->byte[4], MM_MODEL_ACCESS);
}

static void invent_bytes(char *bytes, uint64_t count)
{
	static uint8_t next;

	next++;
	for (uint64_t i = 0; i < count; i++) {
		bytes[i] = (char)(next + i * 7);
	}
}

void model_read(struct model *model, const struct model_call *call)
{
	uint64_t bytes = access_bytes(call);
	gpa_t gpa = access_address(call);
	size_t done = guest_read(&model->space, gpa, buffer, bytes, call->flags);

	MODEL_CHECK(done == bytes_to_be_had(model, gpa, bytes, MM_READ, call->flags));
	copy_shadow(model, gpa, expected_bytes, done, false);
	MODEL_CHECK(memcmp(buffer, expected_bytes, done) == 0);
}

void model_write(struct model *model, const struct model_call *call)
{
	uint64_t bytes = access_bytes(call);
	gpa_t gpa = access_address(call);

	invent_bytes(buffer, bytes);
	size_t done = guest_write(&model->space, gpa, buffer, bytes, call->flags);

	MODEL_CHECK(done == bytes_to_be_had(model, gpa, bytes, MM_WRITE, call->flags));
	copy_shadow(model, gpa, buffer, done, true);
}

void model_fill(struct model *model, const struct model_call *call)
{
	uint64_t bytes = access_bytes(call);
	gpa_t gpa = access_address(call);
	size_t done = guest_fill(&model->space, gpa, call->byte[1], bytes, call->flags);

	MODEL_CHECK(done == bytes_to_be_had(model, gpa, bytes, MM_WRITE, call->flags));
	memset(buffer, call->byte[1], done);
	copy_shadow(model, gpa, buffer, done, true);
}

void model_load(struct model *model, const struct model_call *call)
{
	gpa_t gpa = access_address(call);
	uint64_t value = 0;
	uint64_t expected = 0;
	bool done = guest_load(&model->space, gpa, call->width, &value);

	if (gpa % call->width != 0) {
		MODEL_CHECK(!done);
		return;
	}
	MODEL_CHECK(done == (bytes_to_be_had(model, gpa, call->width, MM_READ, 0) != 0));
	if (done) {
		copy_shadow(model, gpa, (char *)&expected, call->width, false);
		MODEL_CHECK(value == expected);
	}
}

void model_store(struct model *model, const struct model_call *call)
{
	gpa_t gpa = access_address(call);
	uint64_t value;

	invent_bytes((char *)&value, sizeof(value));
	bool done = guest_store(&model->space, gpa, call->width, value);

	if (gpa % call->width != 0) {
		MODEL_CHECK(!done);
		return;
	}
	MODEL_CHECK(done == (bytes_to_be_had(model, gpa, call->width, MM_WRITE, 0) != 0));
	copy_shadow(model, gpa, (char *)&value, done ? call->width : 0, true);
}

void model_peek(struct model *model, const struct model_call *call)
{
	gpa_t gpa = access_address(call);
	const char *bytes = guest_peek(&model->space, gpa, call->width);

	if (gpa % FRAME_SIZE + call->width > FRAME_SIZE) {
		MODEL_CHECK(bytes == NULL);
		return;
	}
	MODEL_CHECK((bytes != NULL) == (bytes_to_be_had(model, gpa, call->width, MM_READ, 0) != 0));
	if (bytes != NULL) {
		copy_shadow(model, gpa, expected_bytes, call->width, false);
		MODEL_CHECK(memcmp(bytes, expected_bytes, call->width) == 0);
	}
}
