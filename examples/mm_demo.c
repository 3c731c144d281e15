/* SPDX-License-Identifier: Apache-2.0 */
/* What a user of build/libmm.a needs: a struct mm_hal, a format, and addr_space.h. `make lib`, then `make demo`. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/util.h"
#include "mm/formats.h"
#include "mm/guest_memory.h"

static hpa_t alloc_frames(struct mm_hal *hal, unsigned order, enum frame_use use)
{
	void *frames = aligned_alloc(FRAME_SIZE << order, FRAME_SIZE << order);

	(void)use;
	return frames == NULL ? HPA_NONE : (uintptr_t)frames - hal->virtual_offset;
}

static void free_frames(struct mm_hal *hal, hpa_t frames, unsigned order, enum frame_use use)
{
	(void)order, (void)use;
	free(mm_pointer(hal, frames));
}

static void print_line(void *context, const char *line)
{
	(void)context;
	puts(line);
}

int main(void)
{
	/* No CPU walks these tables, so there is nothing to flush; "host-physical" is the program's own address. */
	struct mm_hal hal = {.alloc_frames = alloc_frames, .free_frames = free_frames};
	struct ept_capabilities cpu = {.leaf_2m = true, .leaf_1g = true, .physical_bits = 52};
	struct npt_attributes ram = {MM_RWX, MM_WRITE_BACK}, device = {MM_RW, MM_DEVICE};
	struct nested_fault fault = {.gpa = GIB(1) + 0x1234, .access = MM_WRITE};
	struct npt_format format;
	struct addr_space space;
	struct translation found;
	char text[8];

	npt_format_ept(&format, &cpu);
	printf("init: %s\n", mm_status_name(addr_space_init(&space, 0, GIB(8), &format, &hal)));
	/* 1 GiB of a device's registers at 64 GiB takes one leaf; 4 GiB of lazy memory take nothing yet. */
	int linear = addr_space_map_linear(&space, 0, GIB(1), -(int64_t)GIB(64), device);
	int lazy = addr_space_map_alloc(&space, GIB(1), GIB(4), ram, false, AREA_PAGES_4K);

	printf("map_linear: %s, map_alloc: %s\n", mm_status_name(linear), mm_status_name(lazy));
	printf("translate before the fault: %s\n", mm_status_name(addr_space_translate(&space, fault.gpa, &found)));
	printf("fault: %s\n", mm_status_name(addr_space_handle_fault(&space, &fault)));
	printf("translate after it: %s\n", mm_status_name(addr_space_translate(&space, fault.gpa, &found)));
	printf("%llu bytes there, in a leaf of %u bits\n", (unsigned long long)found.bytes, found.leaf_shift);
	/* Across a page's end, into one that is not there yet. */
	size_t written = guest_write(&space, GIB(1) + 2 * FRAME_SIZE - 3, "bytes", 6, GUEST_ACCESS_DEFAULT);
	size_t read = guest_read(&space, GIB(1) + 2 * FRAME_SIZE - 3, text, 6, GUEST_ACCESS_DEFAULT);

	printf("written %zu, read %zu: \"%s\"\n", written, read, text);
	addr_space_unmap(&space, GIB(1), GIB(1)); /* else the dump would tell where the heap lies */
	addr_space_dump(&space, print_line, NULL);
	addr_space_destroy(&space);
	return 0;
}
