/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Touches every page of 64 MiB in a scattered order, reads all back, and tells how many lazy faults that cost:
 * 32 with 2 MiB frames, 16,384 with 4 KiB ones. Fresh memory must read as zeros. Command line "all": every page of its
 * RAM from the image on, in order.
 */
#include "guest.h"

#define BYTES      (64ul << 20)
#define SCATTER    40503ul /* odd, so that i * SCATTER mod a power of two visits each page once */
#define WORDS      (PAGE_SIZE / sizeof(uint64_t))
#define PATTERN(i) ((uint64_t)(i)*0x9e3779b97f4a7c15ul + 1)

static unsigned long pages = BYTES / PAGE_SIZE;
static unsigned long step = SCATTER;

static volatile uint64_t *page(unsigned long i)
{
	return (volatile uint64_t *)(free_memory() + i * step % pages * PAGE_SIZE);
}

void guest_main(void)
{
	unsigned long errors = 0;
	uint64_t there = guest.ram_start + guest.ram_bytes - free_memory();
	if (cmdline_is("all")) {
		pages = there / PAGE_SIZE;
		step = 1;
	} else if (there < BYTES) {
		print("touch: 64 MiB from 0x%lx do not fit: give the VM 72 MiB\n", (unsigned long)free_memory());
		return;
	}
	uint64_t before = hypercall(CALL_FAULTS, 0, 0, 0);
	for (unsigned long i = 0; i < pages; i++) {
		errors += page(i)[(i + 1) % WORDS] != 0;
		page(i)[i % WORDS] = PATTERN(i);
	}
	uint64_t after = hypercall(CALL_FAULTS, 0, 0, 0);
	for (unsigned long i = 0; i < pages; i++) {
		errors += page(i)[i % WORDS] != PATTERN(i);
	}
	uint64_t again = hypercall(CALL_FAULTS, 0, 0, 0);
	print("touch: %lu pages, %lu errors, %lu faults, %lu on reading back\n", pages, errors,
	      (unsigned long)(after - before), (unsigned long)(again - after));
}
