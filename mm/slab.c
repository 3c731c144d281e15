/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slab: see slab.h. Each frame starts with a header; frames with free objects hang in a list, full ones are
 * found again through the objects in them.
 */
#include "mm/slab.h"

#include "lib/util.h"

struct slab_frame {
	struct slab_frame *next, *previous;
	void *free;     /* freed objects, linked through their first words */
	uint32_t used;  /* objects handed out */
	uint32_t fresh; /* offset of the first object never handed out */
};

void slab_init(struct slab *slab, struct mm_hal *hal, uint32_t object_size)
{
	slab->hal = hal;
	slab->partial = NULL;
	slab->object_size = object_size;
}

static void link(struct slab *slab, struct slab_frame *frame)
{
	frame->previous = NULL;
	frame->next = slab->partial;
	if (frame->next != NULL) {
		frame->next->previous = frame;
	}
	slab->partial = frame;
}

static void unlink(struct slab *slab, struct slab_frame *frame)
{
	if (frame->next != NULL) {
		frame->next->previous = frame->previous;
	}
	if (frame->previous != NULL) {
		frame->previous->next = frame->next;
	} else {
		slab->partial = frame->next;
	}
}

static bool is_full(const struct slab *slab, const struct slab_frame *frame)
{
	return frame->free == NULL && frame->fresh + slab->object_size > FRAME_SIZE;
}

static struct slab_frame *new_frame(struct slab *slab)
{
	hpa_t address = slab->hal->alloc_frames(slab->hal, 0, FRAME_TABLE);

	if (address == HPA_NONE) {
		return NULL;
	}
	struct slab_frame *frame = mm_pointer(slab->hal, address);

	frame->free = NULL;
	frame->used = 0;
	frame->fresh = (uint32_t)align_up(sizeof(*frame), slab->object_size);
	link(slab, frame);
	return frame;
}

void *slab_alloc(struct slab *slab)
{
	struct slab_frame *frame = slab->partial != NULL ? slab->partial : new_frame(slab);
	void *object;

	if (frame == NULL) {
		return NULL;
	}
	if (frame->free != NULL) {
		object = frame->free;
		frame->free = *(void **)object;
	} else {
		object = (char *)frame + frame->fresh;
		frame->fresh += slab->object_size;
	}
	frame->used++;
	if (is_full(slab, frame)) {
		unlink(slab, frame);
	}
	return object;
}

void slab_free(struct slab *slab, void *object)
{
	uintptr_t address = (uintptr_t)object & ~(uintptr_t)(FRAME_SIZE - 1);
	struct slab_frame *frame = (void *)address; /* NOLINT(performance-no-int-to-ptr) */

	if (is_full(slab, frame)) {
		link(slab, frame);
	}
	*(void **)object = frame->free;
	frame->free = object;
	frame->used--;
	if (frame->used == 0) {
		unlink(slab, frame);
		slab->hal->free_frames(slab->hal, address - slab->hal->virtual_offset, 0, FRAME_TABLE);
	}
}
