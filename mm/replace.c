/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mapping over what is there: see addr_space_replace_linear and addr_space_replace_alloc in addr_space.h. The new is
 * built aside; then the old goes, which may still fail, and the new takes its place, which may not.
 */
#include "mm/addr_space_private.h"

static int replace_area(struct addr_space *space, const struct area *wanted)
{
	struct addr_space aside;
	int status = addr_space_begin_aside(space, &aside);

	if (status != MM_OK) {
		return status;
	}
	status = addr_space_map_area(&aside, wanted);
	addr_space_end_aside(space, &aside);
	if (status == MM_OK) {
		status = addr_space_unmap_range(space, wanted->range.start, wanted->range.end);
	}
	if (status != MM_OK) {
		addr_space_drop_aside(space, &aside);
		return status;
	}
	addr_space_adopt(space, &aside, wanted->range.start, wanted->range.end);
	return MM_OK;
}

static int check_and_replace(struct addr_space *space, struct area *wanted, uint64_t size)
{
	int status = addr_space_check_area(space, wanted, size);

	if (status == MM_OK) {
		addr_space_begin_change(space);
		status = replace_area(space, wanted);
		addr_space_end_change(space);
	}
	return status;
}

int addr_space_replace_linear(struct addr_space *space, gpa_t start, uint64_t size, int64_t offset,
                              struct npt_attributes attributes)
{
	struct area wanted = addr_space_linear_area(start, offset, attributes);

	return check_and_replace(space, &wanted, size);
}

int addr_space_replace_alloc(struct addr_space *space, gpa_t start, uint64_t size, struct npt_attributes attributes,
                             bool populate, enum area_pages pages)
{
	struct area wanted = addr_space_alloc_area(start, attributes, populate, pages);

	return pages > AREA_PAGES_2M ? MM_EINVAL : check_and_replace(space, &wanted, size);
}
