/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host CPU, inside arch/aarch64: per-CPU data, what the ID registers say, page tables, fatal exceptions, the
 * counter and the hypervisor's timer. cpu.c, paging.c, traps.c and timer.c are the owners.
 */
#pragma once

#include "arch/arch.h"
#include "layout.h"
#include "sysregs.h"

/* ---- cpu.c, cpu.S ---- */

/* Per-CPU data; TPIDR_EL2 points at it. layout.h knows where the first members are. */
struct arm_cpu {
	uint64_t crash_stack; /* top of the stack for fatal exceptions */
	uint64_t crash_x[31]; /* the registers that a fatal exception found */
	uint64_t crash_sp;
	uint64_t crash_vector; /* 0 to 7: the first two groups of the vector table */
	struct arch_vcpu *loaded;
	uint64_t armed;     /* what the hypervisor's timer is set to, UINT64_MAX: off */
	bool serror_before; /* one was pending when the vCPU was loaded: another's, or the machine's */
};

static inline struct arm_cpu *this_cpu(void)
{
	return (struct arm_cpu *)sysreg_read(tpidr_el2); /* NOLINT(performance-no-int-to-ptr) */
}

/* What arch_check found; the same on every CPU that the hypervisor uses. */
struct arm_features {
	uint8_t physical_bits; /* at most 48 */
	bool force_write_back; /* FEAT_S2FWB */
	bool hardware_dirty;   /* FEAT_HAFDBS, with dirty state */
	bool pan, ssbs, ras, lor, fine_grained_traps, hcx, statistical_profiling, trace_filter, activity_monitors;
	unsigned cache_line; /* bytes: the smallest data or unified line, CTR_EL0.DminLine */
};
extern struct arm_features arm_features;

/* From here on exceptions at EL2 are reported by us. Before the page tables, E2H may still be 1. */
void arm_cpu_take_vectors(void);
/* Takes this CPU: a guarded stack for exceptions, EL2's controls that hold for every guest. False: no frames. */
bool arm_cpu_init(void);
/* HCR_EL2 while no guest is loaded: interrupts still come to EL2, to end a wait. */
#define ARM_HOST_HCR (HCR_RW | HCR_AMO | HCR_IMO | HCR_FMO)

/* What EL2 translates by. arm_switch_translation turns the MMU off, loads all five, and turns it on again. */
struct arm_translation {
	uint64_t hcr, mair, tcr, ttbr0, sctlr;
};
/* False: HCR_EL2.E2H stayed 1; nothing has changed then. */
bool arm_switch_translation(const struct arm_translation *to);
/* With E2H = 1: whether it can be cleared. Changes nothing. */
bool arm_e2h_clearable(void);
extern const char arm_translation_code[], arm_translation_code_end[];

/* Writes the lines of [start, start + bytes) back to the point of coherency, and drops them. */
void arm_clean_invalidate(const void *start, uint64_t bytes);

/* ---- paging.c ---- */

bool arm_paging_init(const struct arch_host *host, char *message, size_t size);
/* The frames' source for all that arch/aarch64 needs: set by arm_paging_init. */
extern struct mm_hal *arm_hal;
/* Whether the hypervisor's tables map the 8 bytes at `address`: for the backtrace. */
bool arm_readable(uint64_t address);
/* Whether `address` lies in the hole below a stack. */
bool arm_is_guard_page(uint64_t address);
/* Maps MEMORY_FIRMWARE for a call into it, or takes it away again. False: no frames. */
bool arm_paging_map_firmware(bool on);
/* TCR_EL2.PS and VTCR_EL2.PS for arm_features.physical_bits. */
uint64_t arm_physical_size(void);

/* ---- traps.c, vectors.S ---- */

extern const char arm_vectors[];
void arm_traps_init(void);
_Noreturn void arm_fatal_exception(struct arm_cpu *cpu);
/* "Data Abort from a lower Exception level". */
const char *arm_exception_class_name(unsigned exception_class);
/* "translation fault", of an abort's fault status code. */
const char *arm_fault_name(unsigned status);

/* ---- timer.c ---- */

void arm_timer_init(void);
/* Sets the hypervisor's timer of this CPU to `counter` (UINT64_MAX: off). */
void arm_timer_arm(uint64_t counter);

/* CNTPCT_EL0 without waiting for what came before it: for decisions where a few ticks don't matter. */
static inline uint64_t arm_counter_relaxed(void)
{
	return sysreg_read(cntpct_el0);
}
