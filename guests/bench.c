/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What exits and faults cost, in ticks of the guest's counter: the median of 1,000, with the loop's own cost
 * taken off. Where ticks count instructions, these are instructions. Command line: "exits" (and 4 KiB faults,
 * for a VM with pages = 4K) or "faults-2m".
 */
#include "guest.h"

#define RUNS 1000
static uint64_t sample[RUNS];

static uint64_t median(void)
{
	for (unsigned i = 1; i < RUNS; i++) {
		uint64_t value = sample[i];
		unsigned j = i;
		for (; j > 0 && sample[j - 1] > value; j--) {
			sample[j] = sample[j - 1];
		}
		sample[j] = value;
	}
	return sample[RUNS / 2];
}

static void nothing(void)
{
}

static uint64_t measure(void (*operation)(void))
{
	for (unsigned i = 0; i < RUNS; i++) {
		uint64_t start = counter();
		operation();
		sample[i] = counter() - start;
	}
	return median();
}

static uint64_t collect(uint64_t (*one)(void))
{
	for (unsigned i = 0; i < RUNS; i++) {
		sample[i] = one();
	}
	return median();
}

/* What filling `order` with zeros costs the hypervisor: one call that does it twice less one that does it once. */
static uint64_t zeroing(unsigned order)
{
	uint64_t cost[2];
	hypercall(CALL_ZERO, order, 1, 0); /* what only the first call costs is not counted */
	for (unsigned times = 1; times <= 2; times++) {
		uint64_t start = counter();
		hypercall(CALL_ZERO, order, times, 0);
		cost[times - 1] = counter() - start;
	}
	return cost[1] - cost[0];
}

static uint64_t touch(uintptr_t at)
{
	uint64_t start = counter();
	*(volatile uint8_t *)at = 1;
	return counter() - start;
}

/* The same store where the page is there already. */
static uint64_t touch_again(uintptr_t at)
{
	touch(at);
	for (unsigned i = 0; i < RUNS; i++) {
		sample[i] = touch(at);
	}
	return median();
}

static void report(const char *name, uint64_t value)
{
	print("bench: %s %lu ticks\n", name, (unsigned long)value);
}

static void fault_4k(void)
{
	uintptr_t start = free_memory();
	for (unsigned i = 0; i < RUNS; i++) {
		sample[i] = touch(start + (uintptr_t)i * PAGE_SIZE);
	}
	report("fault.4k", median() - touch_again(start) - zeroing(0));
	report("zero.4k", zeroing(0));
}

/* Rounds over as many blocks as there are, all given back before each: blocks are touched one after the other. */
static void fault_2m(void)
{
	uintptr_t start = free_memory();
	unsigned blocks = (unsigned)((guest.ram_start + guest.ram_bytes - start) / LARGE_PAGE_SIZE);
	for (unsigned i = 0; i < RUNS; i++) {
		if (i % blocks == 0) {
			hypercall(CALL_RELEASE, start, (uint64_t)blocks * LARGE_PAGE_SIZE, 0);
		}
		sample[i] = touch(start + (uintptr_t)(i % blocks) * LARGE_PAGE_SIZE);
	}
	report("fault.2m", median() - touch_again(start) - zeroing(9));
	report("zero.2m", zeroing(9));
}

void guest_main(void)
{
	if (cmdline_is("faults-2m")) {
		fault_2m();
		return;
	}
	uint64_t empty = measure(nothing);
	for (unsigned i = 0; i < isa_benchmark_count; i++) {
		const struct exit_benchmark *b = &isa_benchmarks[i];
		report(b->name, b->sample ? collect(b->sample) : measure(b->run) - empty);
	}
	fault_4k();
}
