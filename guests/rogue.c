/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that does its worst, chosen by the command line: what all ISAs share is here, each one's own storms
 * are in guests/<isa>/storms.c. Whatever it does, only its own VM may suffer.
 */
#include "guest.h"

#define STORM_CALLS 20000

static uint64_t random_state = 88172645463325252ul;

static uint64_t random64(void) /* xorshift64: the same sequence every time */
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void spin(void)
{
	print("rogue: spins for ever\n");
	for (;;) {
		__asm__ volatile("");
	}
}

/* A line that takes longer than a slice. */
static void slow(void)
{
	for (const char *at = "rogue: takes its time for each byte of this line\n"; *at; at++) {
		for (volatile unsigned i = 0; i < 20000; i++) {
		}
		console_putc(*at);
	}
}

static void restart(void)
{
	print("rogue: restarts for ever\n");
	hypercall(PSCI_SYSTEM_RESET, 0, 0, 0);
}

/* A number that is near something interesting more often than chance has it. */
static uint64_t hostile(void)
{
	static const uint64_t edges[] = {
		0,         1,         PAGE_SIZE - 1, PAGE_SIZE, LARGE_PAGE_SIZE,      1ul << 30, 1ul << 32, 1ul << 39,
		1ul << 48, 1ul << 52, 1ul << 63,     ~0ul,      ~0ul - PAGE_SIZE + 1,
	};
	uint64_t value = edges[random64() % (sizeof(edges) / sizeof(edges[0]))];
	return random64() % 3 ? value : value + random64() % (4 * PAGE_SIZE);
}

/* Every call with hostile arguments; the rights of the image itself stay, or this would end too soon. */
static void hypercall_storm(void)
{
	unsigned long refused = 0;
	for (unsigned i = 0; i < STORM_CALLS; i++) {
		uint64_t number = random64() % 2 ? CALL_VERSION + random64() % 8 : random64();
		if (number == PSCI_SYSTEM_OFF || number == PSCI_SYSTEM_RESET) {
			continue;
		}
		uint64_t a = hostile();
		uint64_t b = hostile();
		if (number == CALL_PROTECT || number == CALL_RELEASE) {
			a = a < free_memory() ? a + free_memory() : a;
		}
		if (number == CALL_ZERO) {
			b %= 3;
		}
		refused += (int64_t)hypercall(number, a, b, hostile()) < 0;
	}
	print("rogue: %u hypercalls, %s refused\n", STORM_CALLS, refused > STORM_CALLS / 2 ? "most" : "few");
}

/* All of its RAM but the image, then on and on past the end. */
static void write_everything(void)
{
	uintptr_t end = guest.ram_start + guest.ram_bytes;
	for (uintptr_t at = free_memory(); at < end; at += PAGE_SIZE / 2) {
		*(volatile uint64_t *)at = ~(uint64_t)at;
	}
	print("rogue: wrote all memory up to 0x%lx, goes on\n", (unsigned long)end);
	for (uintptr_t at = end;; at += PAGE_SIZE) {
		*(volatile uint64_t *)at = at;
	}
}

/* A patchwork of rights over its memory, so that areas and huge leaves split as far as they can. */
static void patchwork(void)
{
	uintptr_t start = free_memory();
	unsigned long pages = (guest.ram_start + guest.ram_bytes - start) / PAGE_SIZE;
	for (unsigned long i = 0; i < pages; i += 2) {
		*(volatile uint64_t *)(start + i * PAGE_SIZE) = i;
		hypercall(CALL_PROTECT, start + i * PAGE_SIZE, PAGE_SIZE, MAY_READ);
	}
	unsigned long errors = 0;
	for (unsigned long i = 0; i < pages; i += 2) {
		errors += *(volatile uint64_t *)(start + i * PAGE_SIZE) != i;
	}
	print("rogue: patchwork of %lu pages, %lu errors\n", pages, errors);
}

static const struct storm storms[] = {
	{"spin", spin},
	{"slow", slow},
	{"restart", restart},
	{"hypercalls", hypercall_storm},
	{"memory", write_everything},
	{"patchwork", patchwork},
};

static bool run(const struct storm *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (cmdline_is(list[i].name)) {
			list[i].run();
			print("rogue: %s is over, still alive\n", list[i].name);
			return true;
		}
	}
	return false;
}

void guest_main(void)
{
	if (!run(storms, sizeof(storms) / sizeof(storms[0])) && !run(isa_storms, isa_storm_count)) {
		print("rogue: command line \"%s\" names no storm\n", guest.cmdline);
	}
}
