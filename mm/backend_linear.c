/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The linear backend: an area that maps to HPA = GPA - offset, mapped at once with the largest leaves. Its
 * frames are someone else's and it never faults. Called by addr_space.c.
 */
#include "mm/backend.h"

int backend_linear_map(struct addr_space *space, const struct area *area)
{
	/* Modulo 2^64: what would wrap is far above any HPA, and npt_map refuses it. */
	hpa_t address = area->range.start - (uint64_t)area->offset;
	uint64_t size = area->range.end - area->range.start;

	return npt_map(&space->npt, area->range.start, address, size, area->attributes, NPT_MAX_LEVELS);
}
