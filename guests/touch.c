/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Touches every page of 64 MiB in a scattered order, reads all back, and tells how many lazy faults that cost:
 * 32 with 2 MiB frames, 16,384 with 4 KiB ones. Fresh memory must read as zeros.
 */
#include "guest.h"

#define BYTES      (64ul << 20)
#define PAGES      (BYTES / PAGE_SIZE)
#define SCATTER    40503ul /* odd, so that i * SCATTER mod PAGES visits each page once */
#define WORDS      (PAGE_SIZE / sizeof(uint64_t))
#define PATTERN(i) ((uint64_t)(i)*0x9e3779b97f4a7c15ul + 1)

static volatile uint64_t *page(unsigned long i)
{
	return (volatile uint64_t *)(free_memory() + i * SCATTER % PAGES * PAGE_SIZE);
}

void guest_main(void)
{
	unsigned long errors = 0;
	if (free_memory() + BYTES > guest.ram_start + guest.ram_bytes) {
		print("touch: 64 MiB from 0x%lx do not fit: give the VM 72 MiB\n", (unsigned long)free_memory());
		return;
	}
	uint64_t before = hypercall(CALL_FAULTS, 0, 0, 0);
	for (unsigned long i = 0; i < PAGES; i++) {
		errors += page(i)[(i + 1) % WORDS] != 0;
		page(i)[i % WORDS] = PATTERN(i);
	}
	uint64_t after = hypercall(CALL_FAULTS, 0, 0, 0);
	for (unsigned long i = 0; i < PAGES; i++) {
		errors += page(i)[i % WORDS] != PATTERN(i);
	}
	uint64_t again = hypercall(CALL_FAULTS, 0, 0, 0);
	print("touch: %lu pages, %lu errors, %lu faults, %lu on reading back\n", PAGES, errors,
	      (unsigned long)(after - before), (unsigned long)(again - after));
}
