/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of one size out of single frames, for mm/'s own nodes. A frame whose last object is freed goes back
 * at once, so that whoever frees all that it took leaves nothing behind. Takes no lock: its owner does.
 */
#pragma once

#include "mm/hal.h"

struct slab_frame;

struct slab {
	struct mm_hal *hal;
	struct slab_frame *partial; /* with free objects */
	uint32_t object_size;
};

/* `object_size` in bytes: a multiple of 8, small beside a frame. hal->virtual_offset is a multiple of 4 KiB. */
void slab_init(struct slab *slab, struct mm_hal *hal, uint32_t object_size);

/* Contents undefined. NULL when there is no frame. */
void *slab_alloc(struct slab *slab);
void slab_free(struct slab *slab, void *object);
