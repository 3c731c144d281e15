/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AArch64's registers that only software switches between guests: SIMD and floating point, thread IDs, debug, EL1's
 * own.
 */
#include "guest.h"

#define CPACR_FPEN (3u << 20)
#define PATTERN    0x5a5a5a5a5a5a5a5aul
/* Of MDSCR_EL1: KDE and MDE, no step. */
#define DEBUG_PATTERN 0xa1e6ul
#define DEBUG_ON      (1ul << 15 | 1ul << 13)       /* MDE, KDE */
#define BREAK_HERE    (0xful << 5 | 1ul << 1 | 1ul) /* DBGBCR<n>_EL1: all four bytes, EL1, enabled */

static uint64_t vectors_area[64] __attribute__((aligned(16)));

static unsigned differs(const char *name, uint64_t is)
{
	if (is == 0) {
		return 0;
	}
	print("state: %s is %lx\n", name, (unsigned long)is);
	return 1;
}

#define EACH_PAIR(operation)                                                                                           \
	operation " q0, q1, [%0]\n" operation " q2, q3, [%0, #32]\n" operation " q4, q5, [%0, #64]\n" operation        \
		  " q6, q7, [%0, #96]\n" operation " q8, q9, [%0, #128]\n" operation                                   \
		  " q10, q11, [%0, #160]\n" operation " q12, q13, [%0, #192]\n" operation                              \
		  " q14, q15, [%0, #224]\n" operation " q16, q17, [%0, #256]\n" operation                              \
		  " q18, q19, [%0, #288]\n" operation " q20, q21, [%0, #320]\n" operation                              \
		  " q22, q23, [%0, #352]\n" operation " q24, q25, [%0, #384]\n" operation                              \
		  " q26, q27, [%0, #416]\n" operation " q28, q29, [%0, #448]\n" operation " q30, q31, [%0, #480]\n"

/* The general registers are the compiler's; .arch lets the assembler know the others. */
#define WITH_FP ".arch armv8-a+fp+simd\n"

#define READ(name)                                                                                                     \
	({                                                                                                             \
		uint64_t value_;                                                                                       \
		__asm__ volatile("mrs %0, " #name : "=r"(value_));                                                     \
		value_;                                                                                                \
	})
#define WRITE(name, value) __asm__ volatile("msr " #name ", %0" : : "r"((uint64_t)(value)))

/* The fewest that there are: two breakpoints and two watchpoints. */
#define DEBUG_EACH(do_)                                                                                                \
	do_(dbgbvr0_el1) do_(dbgbcr0_el1) do_(dbgbvr1_el1) do_(dbgbcr1_el1) do_(dbgwvr0_el1) do_(dbgwcr0_el1)          \
		do_(dbgwvr1_el1) do_(dbgwcr1_el1)
#define DIFFERS(name) count += differs(#name, READ(name));
#define FILL(name)    WRITE(name, DEBUG_PATTERN);

/* EL1's own that a guest with its MMU off can do without, and the timers' that do not start them. */
#define EL1_EACH(do_)                                                                                                  \
	do_(tpidr_el0) do_(tpidrro_el0) do_(tpidr_el1) do_(sp_el0) do_(ttbr0_el1) do_(ttbr1_el1) do_(tcr_el1)          \
		do_(mair_el1) do_(amair_el1) do_(contextidr_el1) do_(afsr0_el1) do_(afsr1_el1) do_(esr_el1)            \
			do_(far_el1) do_(par_el1) do_(elr_el1) do_(spsr_el1) do_(cntkctl_el1) do_(cntv_cval_el0)       \
				do_(cntp_ctl_el0) do_(cntp_cval_el0)
#define FILL_EL1(name) WRITE(name, PATTERN);
#define CSSELR_LEVEL_2 2

static __attribute__((noinline)) void breakpoint_here(void *argument)
{
	__asm__ volatile("" : : "r"(argument) : "memory");
}

static void call_unmasked(void *argument)
{
	__asm__ volatile("msr daifclr, #8" : : : "memory");
	breakpoint_here(argument);
	__asm__ volatile("msr daifset, #8" : : : "memory");
}

unsigned foreign_state(void)
{
	unsigned count = differs("MDSCR_EL1", READ(mdscr_el1));
	WRITE(mdscr_el1, DEBUG_ON); /* with no breakpoint of its own */
	count += differs("the breakpoint's exception", guarded(call_unmasked, NULL));
	WRITE(mdscr_el1, 0);
	WRITE(cpacr_el1, CPACR_FPEN);
	__asm__ volatile("isb");
	__asm__ volatile(WITH_FP EACH_PAIR("stp") : : "r"(vectors_area) : "memory");
	for (unsigned i = 0; i < 64; i++) {
		count += differs("half a vector register", vectors_area[i]);
	}
	DEBUG_EACH(DIFFERS)
	EL1_EACH(DIFFERS)
	return count + differs("FPCR", READ(fpcr)) + differs("FPSR", READ(fpsr)) +
	       differs("CSSELR_EL1", READ(csselr_el1)) + differs("CNTV_CTL_EL0", READ(cntv_ctl_el0));
}

void leave_state(void)
{
	for (unsigned i = 0; i < 64; i++) {
		vectors_area[i] = PATTERN;
	}
	__asm__ volatile(WITH_FP EACH_PAIR("ldp") : : "r"(vectors_area) : "memory");
	WRITE(fpcr, 1u << 24);
	WRITE(fpsr, 1);
	WRITE(csselr_el1, CSSELR_LEVEL_2);
	EL1_EACH(FILL_EL1)
	DEBUG_EACH(FILL)
	FILL(mdscr_el1)
	WRITE(dbgbvr1_el1, (uintptr_t)breakpoint_here);
	WRITE(dbgbcr1_el1, BREAK_HERE);
}
