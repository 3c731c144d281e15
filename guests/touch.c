/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Touches every page of 64 MiB in a scattered order, reads all back, and tells how many lazy faults that cost:
 * 32 with 2 MiB frames, 16,384 with 4 KiB ones. Fresh memory must read as zeros. Command line "all": every page of its
 * RAM from the image on, in order; "far": the last page of 4 KiB, of 8, of 16 and so on, and the last one of all.
 */
#include "guest.h"

#define BYTES      (64ul << 20)
#define SCATTER    40503ul /* odd, so that i * SCATTER mod a power of two visits each page once */
#define WORDS      (PAGE_SIZE / sizeof(uint64_t))
#define PATTERN(i) ((uint64_t)(i)*0x9e3779b97f4a7c15ul + 1)

static unsigned long there; /* pages */

static unsigned long scattered(unsigned long i)
{
	return i * SCATTER % (BYTES / PAGE_SIZE);
}

static unsigned long in_order(unsigned long i)
{
	return i;
}

static unsigned long doubling(unsigned long i)
{
	return (1ul << i) < there ? (1ul << i) - 1 : there - 1;
}

static volatile uint64_t *page(unsigned long number)
{
	return (volatile uint64_t *)(free_memory() + number * PAGE_SIZE);
}

static void touch(unsigned long pages, unsigned long (*number)(unsigned long i))
{
	unsigned long errors = 0;
	uint64_t before = hypercall(CALL_FAULTS, 0, 0, 0);
	for (unsigned long i = 0; i < pages; i++) {
		errors += page(number(i))[(i + 1) % WORDS] != 0;
		page(number(i))[i % WORDS] = PATTERN(i);
	}
	uint64_t after = hypercall(CALL_FAULTS, 0, 0, 0);
	for (unsigned long i = 0; i < pages; i++) {
		errors += page(number(i))[i % WORDS] != PATTERN(i);
	}
	uint64_t again = hypercall(CALL_FAULTS, 0, 0, 0);
	print("touch: %lu pages, %lu errors, %lu faults, %lu on reading back\n", pages, errors,
	      (unsigned long)(after - before), (unsigned long)(again - after));
}

void guest_main(void)
{
	there = (guest.ram_start + guest.ram_bytes - free_memory()) / PAGE_SIZE;
	if (cmdline_is("all")) {
		touch(there, in_order);
	} else if (cmdline_is("far")) {
		unsigned long pages = 1;
		for (unsigned long last = 0; last < there - 1; pages++) {
			last = doubling(pages);
		}
		touch(pages, doubling);
		print("touch: the last one at GPA 0x%lx\n", (unsigned long)(uintptr_t)page(there - 1));
	} else if (there < BYTES / PAGE_SIZE) {
		print("touch: 64 MiB from 0x%lx do not fit: give the VM 72 MiB\n", (unsigned long)free_memory());
	} else {
		touch(BYTES / PAGE_SIZE, scattered);
	}
}
