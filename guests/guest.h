/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What our tiny guests are written against: console, hypercalls, counter, and a way to survive an exception. It
 * shares nothing with the hypervisor: a guest only knows what any guest could. One implementation per ISA in
 * guests/<isa>/, the rest in guests/lib/.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_SIZE       4096u
#define LARGE_PAGE_SIZE (2u << 20)

/* ---- the ISA's part ---- */

extern const char *const isa_name;

void console_putc(char c);
/* Function numbers as in the SMC Calling Convention; the result of x0 or RAX. */
uint64_t hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c);
/* A free-running counter, and one more look at it. */
uint64_t counter(void);
/*
 * Calls function(argument) and survives an exception in it: returns 0 if there was none, else 1 + the vector
 * (x86) or 1 + ESR_EL1.EC (Arm). Does not nest. The address for CALL_EXPECT_FAULT before it is fault_resume: then it
 * returns what that call promises.
 */
extern char fault_resume[];
uint64_t guarded(void (*function)(void *argument), void *argument);
/* Makes what was written to memory executable. */
void synchronize_code(void);
/* A `ret` instruction. */
void write_return_instruction(void *at);

/* ---- set before guest_main by the ISA's part ---- */

struct guest_info {
	const char *cmdline; /* never NULL */
	uintptr_t ram_start;
	uint64_t ram_bytes;
};
extern struct guest_info guest;

/* Each guest is this function; returning ends the VM. */
void guest_main(void);

/* ---- guests/lib ---- */

void print(const char *format, ...) __attribute__((format(printf, 1, 2))); /* %s %c %u %x %lu %lx %% */
bool cmdline_is(const char *word);
_Noreturn void power_off(void);
void *memset(void *to, int value, size_t bytes);
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);

#define PSCI_VERSION      0x84000000u
#define PSCI_SYSTEM_OFF   0x84000008u
#define PSCI_SYSTEM_RESET 0x84000009u
#define CALL_VERSION      0xc6000000u
#define CALL_FAULTS       0xc6000001u
#define CALL_PROTECT      0xc6000002u
#define CALL_RELEASE      0xc6000003u
#define CALL_ZERO         0xc6000004u
#define CALL_TRANSLATE    0xc6000005u
#define CALL_EXPECT_FAULT 0xc6000006u
#define MAY_READ          1u
#define MAY_WRITE         2u
#define MAY_EXECUTE       4u

extern char guest_start[], guest_end[]; /* the image with its .bss, by the linker script */

/* The first 2 MiB boundary after the image. */
static inline uintptr_t free_memory(void)
{
	return ((uintptr_t)guest_end + LARGE_PAGE_SIZE - 1) & ~(uintptr_t)(LARGE_PAGE_SIZE - 1);
}

/* ---- register state, one per ISA (guests/<isa>/state.c) ---- */

/* How many of the floating-point, debug and system registers differ from what they are after reset; prints each. */
unsigned foreign_state(void);
/* Fills them. */
void leave_state(void);

/* ---- interrupts, one per ISA (guests/<isa>/interrupts.c) ---- */

/* Prints a line for each check; how many failed. */
unsigned interrupt_checks(void);

/* ---- device registers, one per ISA (guests/<isa>/mmio.c) ---- */

/* Prints each form of access that does not do what it does to memory; how many those were, of `done`. */
unsigned mmio_checks(unsigned *done);

/* ---- storms, one per ISA (guests/<isa>/storms.c), for rogue and bench ---- */

struct storm {
	const char *name;
	void (*run)(void);
};
extern const struct storm isa_storms[];
extern const unsigned isa_storm_count;

/* Timed from outside by `run`, or by itself: `sample` returns the ticks. */
struct exit_benchmark {
	const char *name;
	void (*run)(void);
	uint64_t (*sample)(void);
};
extern const struct exit_benchmark isa_benchmarks[];
extern const unsigned isa_benchmark_count;
