/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The address space: see addr_space.h. Ties areas, backends and the nested page table together under one lock.
 * Called by hv (maps guests), arch (faults) and the guest accessor. Each changing call takes what it may need
 * first, so that areas and tables never disagree; nothing here trusts a GPA.
 */
#include "mm/addr_space.h"

#include "mm/addr_space_private.h"

int addr_space_init(struct addr_space *space, gpa_t base, uint64_t size, const struct npt_format *format,
                    struct mm_hal *hal)
{
	uint64_t limit = BIT(format->input_bits);

	if (!is_aligned(base | size, FRAME_SIZE)) {
		return MM_EALIGN;
	}
	if (size == 0) {
		return MM_EINVAL;
	}
	if (base > limit || size > limit - base) {
		return MM_ERANGE;
	}
	space->lock = (struct spinlock){.held = false};
	space->base = base;
	space->size = size;
	space->generation = 0;
	space->layout = 0;
	space->readers = 0;
	space->changing = false;
	space->statistics = (struct addr_space_statistics){.faults_filled = 0};
	area_set_init(&space->areas, hal);
	return npt_init_range(&space->npt, format, hal, (struct gpa_range){base, base + size});
}

void addr_space_destroy(struct addr_space *space)
{
	npt_release *release = space->statistics.frames_owned != 0 ? backend_release : NULL;

	npt_destroy_releasing(&space->npt, release, space);
	area_set_destroy(&space->areas);
}

int addr_space_check_range(const struct addr_space *space, gpa_t start, uint64_t size)
{
	if (!is_aligned(start | size, FRAME_SIZE)) {
		return MM_EALIGN;
	}
	if (size == 0) {
		return MM_EINVAL;
	}
	if (start < space->base || start - space->base > space->size) {
		return MM_ERANGE;
	}
	return size <= space->size - (start - space->base) ? MM_OK : MM_ERANGE;
}

void addr_space_layout_changed(struct addr_space *space)
{
	__atomic_store_n(&space->layout, space->layout + 1, __ATOMIC_RELEASE);
}

inline int addr_space_map_area(struct addr_space *space, const struct area *wanted)
{
	struct area_place place;
	const struct area *after = area_set_find_place(&space->areas, wanted->range.start, &place);

	if (after != NULL && after->range.start < wanted->range.end) {
		return MM_EEXIST;
	}
	struct area *area = area_set_take_node(&space->areas);
	int status = MM_OK;

	if (area == NULL) {
		return MM_ENOMEM;
	}
	area_copy(area, wanted);
	backend_derive(space, area);
	if (area->backend == AREA_LINEAR) {
		status = backend_linear_map(space, area);
	} else if (area->populate) {
		status = backend_alloc_populate(space, area);
	}
	if (status != MM_OK) {
		area_set_give_back(&space->areas, area);
		return status;
	}
	area_set_insert(&space->areas, area, &place);
	addr_space_layout_changed(space);
	return MM_OK;
}

inline int addr_space_check_area(const struct addr_space *space, struct area *wanted, uint64_t size)
{
	const struct npt_format *format = &space->npt.format;
	int status = addr_space_check_range(space, wanted->range.start, size);

	if (status == MM_OK && wanted->attributes.type > MM_DEVICE) {
		status = MM_EINVAL;
	}
	if (status == MM_OK) {
		status = npt_check_permissions(format, wanted->attributes.permissions);
	}
	if (status == MM_OK && wanted->backend == AREA_LINEAR) {
		status = npt_check_target(&space->npt, wanted->range.start - (uint64_t)wanted->offset, size);
	}
	if (status != MM_OK) {
		return status;
	}
	if (wanted->attributes.type != MM_WRITE_BACK) {
		/* A format without this type makes another of it: the area shall not claim more. */
		wanted->attributes.type = format->attributes(npt_leaf(format, 0, 0, wanted->attributes)).type;
	}
	wanted->range.end = wanted->range.start + size;
	return MM_OK;
}

static int check_and_map(struct addr_space *space, struct area *wanted, uint64_t size)
{
	int status = addr_space_check_area(space, wanted, size);

	if (status == MM_OK) {
		spin_lock(&space->lock);
		status = addr_space_map_area(space, wanted);
		spin_unlock(&space->lock);
	}
	return status;
}

int addr_space_map_linear(struct addr_space *space, gpa_t start, uint64_t size, int64_t offset,
                          struct npt_attributes attributes)
{
	struct area wanted = addr_space_linear_area(start, offset, attributes);

	return check_and_map(space, &wanted, size);
}

int addr_space_map_alloc(struct addr_space *space, gpa_t start, uint64_t size, struct npt_attributes attributes,
                         bool populate, enum area_pages pages)
{
	struct area wanted = addr_space_alloc_area(start, attributes, populate, pages);

	return pages > AREA_PAGES_2M ? MM_EINVAL : check_and_map(space, &wanted, size);
}

inline void addr_space_begin_change(struct addr_space *space)
{
	spin_lock(&space->lock);
	__atomic_store_n(&space->changing, true, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&space->readers, __ATOMIC_SEQ_CST) != 0) {
		spin_pause();
	}
	__atomic_store_n(&space->generation, space->generation + 1, __ATOMIC_RELEASE);
	addr_space_layout_changed(space);
}

inline void addr_space_end_change(struct addr_space *space)
{
	__atomic_store_n(&space->changing, false, __ATOMIC_RELEASE);
	spin_unlock(&space->lock);
}

/* Takes the nodes that cutting an area at `count` places needs. */
static int take_nodes(struct addr_space *space, struct area *nodes[2], unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		nodes[i] = area_set_take_node(&space->areas);
		if (nodes[i] == NULL) {
			if (i == 1) {
				area_set_give_back(&space->areas, nodes[0]);
			}
			return MM_ENOMEM;
		}
	}
	return MM_OK;
}

static void give_back_nodes(struct addr_space *space, struct area *const *nodes, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		area_set_give_back(&space->areas, nodes[i]);
	}
}

static void split_area(struct addr_space *space, struct area *area, gpa_t at, struct area *node)
{
	area_set_split(&space->areas, area, at, node);
	backend_derive(space, area);
	backend_derive(space, node);
}

/* Drops or shrinks the areas in the range, of which `first` is the first. */
static void remove_areas(struct addr_space *space, struct area *first, gpa_t start, gpa_t end)
{
	struct area *area = first;

	while (area != NULL && area->range.start < end) {
		struct area *next = area->range.end < end ? area_set_next(area) : NULL;

		if (area->range.start < start) {
			area->range.end = start;
			backend_derive(space, area);
		} else if (area->range.end > end) {
			area->range.start = end;
			backend_derive(space, area);
		} else {
			area_set_erase(&space->areas, area);
		}
		area = next;
	}
}

/* Takes [start, end) out of the middle of an area; `node` becomes what is above. */
static void cut_hole(struct addr_space *space, struct area *area, gpa_t start, gpa_t end, struct area *node)
{
	area_set_split(&space->areas, area, end, node);
	area->range.end = start;
	backend_derive(space, area);
	backend_derive(space, node);
}

/* [start, end), of whose areas `first` is the first, and what is free beside it; these two are beside `first`. */
static struct gpa_range find_room(const struct area *first, gpa_t start, gpa_t end, const struct area *below,
                                  const struct area *above)
{
	struct gpa_range room = {start, end};

	if (first->range.start >= start) {
		room.start = below == NULL ? 0 : below->range.end;
	}
	while (above != NULL && above->range.start < end) {
		first = above;
		above = area_set_next(above);
	}
	if (first->range.end <= end) {
		room.end = above == NULL ? UINT64_MAX : above->range.start;
	}
	return room;
}

inline int addr_space_unmap_range(struct addr_space *space, gpa_t start, gpa_t end)
{
	struct area *below;
	struct area *above;
	struct area *first = area_set_find_between(&space->areas, start, &below, &above);
	npt_release *release = space->statistics.frames_owned != 0 ? backend_release : NULL;
	struct gpa_range room = {start, end};
	struct area *node = NULL;

	if (first == NULL || first->range.start >= end) {
		return MM_OK;
	}
	if (first->range.start < start && first->range.end > end) {
		node = area_set_take_node(&space->areas);
		if (node == NULL) {
			return MM_ENOMEM;
		}
	} else {
		room = find_room(first, start, end, below, above);
	}
	int status = npt_unmap_checked(&space->npt, start, end, &room, release, space);

	if (status != MM_OK) {
		give_back_nodes(space, &node, node != NULL);
	} else if (node != NULL) {
		cut_hole(space, first, start, end, node);
	} else {
		remove_areas(space, first, start, end);
	}
	return status;
}

int addr_space_unmap(struct addr_space *space, gpa_t start, uint64_t size)
{
	int status = addr_space_check_range(space, start, size);

	if (status != MM_OK) {
		return status == MM_EINVAL ? MM_OK : status; /* nothing to be done is no error here */
	}
	addr_space_begin_change(space);
	status = addr_space_unmap_range(space, start, start + size);
	addr_space_end_change(space);
	return status;
}

void addr_space_clear(struct addr_space *space)
{
	addr_space_begin_change(space);
	/* Cuts no leaf and no area, so it takes nothing. */
	addr_space_unmap_range(space, space->base, space->base + space->size);
	addr_space_end_change(space);
}

/* The last area of the run without holes that starts with `first` and holds [start, end), or NULL. */
static struct area *last_of_run(struct area *first, gpa_t start, gpa_t end)
{
	struct area *area = first;

	if (area == NULL || area->range.start > start) {
		return NULL;
	}
	while (area->range.end < end) {
		struct area *next = area_set_next(area);

		if (next == NULL || next->range.start != area->range.end) {
			return NULL;
		}
		area = next;
	}
	return area;
}

static int protect_range(struct addr_space *space, gpa_t start, gpa_t end, uint8_t permissions)
{
	struct area *area = area_set_at_or_after(&space->areas, start);
	struct area *last = last_of_run(area, start, end);
	struct area *nodes[2];

	if (last == NULL) {
		return MM_EFAULT;
	}
	/* An area that has the permissions already stays in one piece. */
	bool cut_start = area->range.start < start && area->attributes.permissions != permissions;
	bool cut_end = last->range.end > end && last->attributes.permissions != permissions;
	unsigned cuts = (unsigned)cut_start + cut_end;
	int status = take_nodes(space, nodes, cuts);

	if (status != MM_OK) {
		return status;
	}
	status = npt_protect(&space->npt, start, end - start, permissions);
	if (status != MM_OK) {
		give_back_nodes(space, nodes, cuts);
		return status;
	}
	if (cut_end) {
		split_area(space, last, end, nodes[--cuts]);
	}
	if (cut_start) {
		split_area(space, area, start, nodes[--cuts]);
		area = nodes[cuts];
	}
	for (; area != NULL && area->range.start < end; area = area_set_next(area)) {
		area->attributes.permissions = permissions;
		backend_derive(space, area);
	}
	return MM_OK;
}

int addr_space_protect(struct addr_space *space, gpa_t start, uint64_t size, uint8_t permissions)
{
	int status = addr_space_check_range(space, start, size);

	if (status == MM_OK) {
		status = npt_check_permissions(&space->npt.format, permissions);
	}
	if (status != MM_OK) {
		return status;
	}
	addr_space_begin_change(space);
	status = protect_range(space, start, start + size, permissions);
	addr_space_end_change(space);
	return status;
}

static int discard_range(struct addr_space *space, gpa_t start, gpa_t end)
{
	struct area *area = area_set_at_or_after(&space->areas, start);

	if (last_of_run(area, start, end) == NULL) {
		return MM_EFAULT;
	}
	for (; area != NULL && area->range.start < end; area = area_set_next(area)) {
		if (area->backend != AREA_ALLOC) {
			return MM_EFAULT;
		}
	}
	return npt_unmap(&space->npt, start, end - start, backend_release, space);
}

int addr_space_discard(struct addr_space *space, gpa_t start, uint64_t size)
{
	int status = addr_space_check_range(space, start, size);

	if (status != MM_OK) {
		return status;
	}
	addr_space_begin_change(space);
	status = discard_range(space, start, start + size);
	addr_space_end_change(space);
	return status;
}

bool addr_space_find_area(struct addr_space *space, gpa_t gpa, struct gpa_range *range, uint8_t *permissions)
{
	spin_lock(&space->lock);
	const struct area *area = area_set_find(&space->areas, gpa);

	if (area != NULL) {
		*range = area->range;
		*permissions = area->attributes.permissions;
	}
	spin_unlock(&space->lock);
	return area != NULL;
}

/*
 * Under the lock, where something is present. A leaf has the permissions of its area, unless the dirty log waits for
 * this write; else someone else won the race, or a split was under way.
 */
static int fault_present(struct addr_space *space, gpa_t gpa, unsigned access, const struct npt_place *place)
{
	if ((access & MM_WRITE) == 0 || !addr_space_log_write(space, gpa, place->slot, place->level)) {
		space->statistics.faults_raced++;
	}
	return MM_OK;
}

/* Under the lock: `area` grants the access. */
static __attribute__((noinline)) int fill_anywhere(struct addr_space *space, const struct area *area, gpa_t gpa,
                                                   unsigned access)
{
	struct npt_place place = npt_walk(&space->npt, gpa);

	if (unlikely(place.entry != 0)) {
		return fault_present(space, gpa, access, &place);
	}
	if (unlikely(area->backend != AREA_ALLOC)) {
		return MM_EFAULT;
	}
	return place.level == 0 ? backend_alloc_fill_page(space, area, place.slot)
	                        : backend_alloc_fill_high(space, area, gpa, place.slot, place.level);
}

/* Under the lock: areas that do not grant everything, guards, and linear ones. */
static __attribute__((noinline)) int fault_specially(struct addr_space *space, const struct area *area, gpa_t gpa,
                                                     unsigned access, bool force)
{
	unsigned permissions = area->attributes.permissions;

	if (!force && ((access & ~permissions) != 0 || permissions == MM_NONE)) {
		return MM_EACCES;
	}
	return fill_anywhere(space, area, gpa, access);
}

/* Under the lock. */
static inline __attribute__((always_inline)) int fault_in(struct addr_space *space, gpa_t gpa, unsigned access,
                                                          bool force)
{
	const struct area *area = area_set_find(&space->areas, gpa);

	if (unlikely(area == NULL)) {
		return MM_EFAULT;
	}
	if (force ? area->backend != AREA_ALLOC : area->special) {
		return fault_specially(space, area, gpa, access, force);
	}
	if (likely(npt_has_gib(&space->npt, gpa))) {
		struct npt_place place = npt_walk_gib(&space->npt, gpa);

		/* What most faults are: a page's, beside others that are there, or one for 2 MiB. */
		if (likely(place.level == 0 && place.entry == 0)) {
			return backend_alloc_fill_page(space, area, place.slot);
		}
		if (place.level == 1 && place.entry == 0) {
			return backend_alloc_fill_high(space, area, gpa, place.slot, 1);
		}
	}
	return fill_anywhere(space, area, gpa, access);
}

int addr_space_fault_locked(struct addr_space *space, gpa_t gpa, unsigned access, bool force)
{
	int status = fault_in(space, gpa, access, force);

	if (unlikely(status != MM_OK)) {
		space->statistics.faults_refused++;
	}
	return status;
}

int addr_space_handle_fault(struct addr_space *space, const struct nested_fault *fault)
{
	spin_lock(&space->lock);
	int status = fault_in(space, fault->gpa, fault->access, false);

	if (unlikely(status != MM_OK)) {
		space->statistics.faults_refused++;
	}
	spin_unlock(&space->lock);
	return status;
}

/* Any leaf, or none. `guards`: one without permissions is found too. */
static int look_up_slowly(const struct addr_space *space, gpa_t address, struct translation *result, bool guards)
{
	struct npt_entry entry = npt_lookup(&space->npt, address);
	uint64_t span = npt_span(entry.level);

	if (entry.kind == NPT_HOLE || (!guards && entry.attributes.permissions == MM_NONE)) {
		return MM_EFAULT;
	}
	result->address = entry.address;
	result->bytes = span - (address & (span - 1)); /* leaves never reach past their area */
	result->attributes = entry.attributes;
	result->leaf_shift = (uint8_t)npt_shift(entry.level);
	return MM_OK;
}

static inline __attribute__((always_inline)) int walk_to(const struct addr_space *space, gpa_t address,
                                                         struct translation *result, bool guards)
{
	const struct npt *npt = &space->npt;

	if (unlikely(!npt_has_gib(npt, address))) {
		return look_up_slowly(space, address, result, guards);
	}
	struct npt_place place = npt_walk_gib(npt, address);
	hpa_t frame = place.entry ^ npt->page_flags;

	/* A page of ordinary memory is what most walks find. */
	if (unlikely(place.level != 0 || (frame & npt->flag_mask) != 0)) {
		return look_up_slowly(space, address, result, guards);
	}
	result->address = frame + address % FRAME_SIZE;
	result->bytes = FRAME_SIZE - address % FRAME_SIZE;
	result->attributes.permissions = MM_RWX;
	result->attributes.type = MM_WRITE_BACK;
	result->leaf_shift = FRAME_SHIFT;
	return MM_OK;
}

static inline __attribute__((always_inline)) int look_up(const struct addr_space *space, gpa_t address,
                                                         struct translation *result, bool guards)
{
	const struct area *area = area_set_last(&space->areas, address);

	if (area == NULL || unlikely(area->leaf_shift == 0)) {
		return walk_to(space, address, result, guards);
	}
	/* Linear, no guard, with leaves of one size: no need to walk, and contiguous as a whole. */
	result->address = address - (uint64_t)area->offset;
	result->bytes = area->range.end - address;
	result->attributes = area->attributes;
	result->leaf_shift = area->leaf_shift;
	return MM_OK;
}

int addr_space_look_up(const struct addr_space *space, gpa_t address, struct translation *result)
{
	return look_up(space, address, result, true);
}

int addr_space_translate(const struct addr_space *space, gpa_t address, struct translation *result)
{
	return look_up(space, address, result, false);
}
