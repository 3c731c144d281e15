/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks the CPU what it has and takes it: EL2's controls that stay the same whatever guest runs. arch.c calls it;
 * arm_cpu_init runs with DAIF masked. arch_check runs while the firmware owns the machine and changes nothing.
 */
#include "cpu.h"

#include "lib/printf.h"
#include "lib/string.h"

#define CTR_DMINLINE_HIGH  19
#define CTR_DMINLINE_LOW   16
#define STAGE2_BITS_MAX    48 /* no LPA2 */
#define CRASH_STACK_FRAMES 2

_Static_assert(offsetof(struct arch_vcpu, x) == VCPU_X && offsetof(struct arch_vcpu, host_sp) == VCPU_HOST_SP &&
                       offsetof(struct arch_vcpu, work) == VCPU_WORK && offsetof(struct arch_vcpu, exits) == VCPU_EXITS,
               "layout.h");
_Static_assert(offsetof(struct vm_exit, call.number) == EXIT_CALL_NUMBER &&
                       offsetof(struct vm_exit, call.argument) == EXIT_CALL_ARGUMENT &&
                       (int)VM_EXIT_HYPERCALL == EXIT_KIND_HYPERCALL,
               "layout.h");
_Static_assert((int)EC_HVC64 == CLASS_HVC64 && (int)EC_DATA_ABORT_LOWER == CLASS_DATA_ABORT && ESR_EC_LOW == CLASS_LOW,
               "layout.h");
_Static_assert(offsetof(struct arm_cpu, crash_stack) == CPU_CRASH_STACK &&
                       offsetof(struct arm_cpu, crash_x) == CPU_CRASH_X &&
                       offsetof(struct arm_cpu, crash_sp) == CPU_CRASH_SP &&
                       offsetof(struct arm_cpu, crash_vector) == CPU_CRASH_VECTOR,
               "layout.h");
_Static_assert(offsetof(struct arm_fp, fpcr) == FP_FPCR && offsetof(struct arm_fp, fpsr) == FP_FPSR, "layout.h");
_Static_assert(offsetof(struct arm_translation, hcr) == TRANSLATION_HCR &&
                       offsetof(struct arm_translation, tcr) == TRANSLATION_TCR &&
                       offsetof(struct arm_translation, sctlr) == TRANSLATION_SCTLR,
               "layout.h");

struct arm_features arm_features;
static struct arm_cpu boot_cpu;

/* ID_AA64MMFR0_EL1.PARange, D19.2.64 */
static const uint8_t pa_range_bits[] = {32, 36, 40, 42, 44, 48, 52, 56};

static void probe(void)
{
	uint64_t pfr0 = sysreg_read(id_aa64pfr0_el1);
	uint64_t mmfr0 = sysreg_read(id_aa64mmfr0_el1);
	uint64_t mmfr1 = sysreg_read(id_aa64mmfr1_el1);
	uint64_t mmfr2 = sysreg_read(id_aa64mmfr2_el1);
	uint64_t dfr0 = sysreg_read(id_aa64dfr0_el1);
	unsigned range = MIN(ID_FIELD(mmfr0, MMFR0_PARANGE_LOW), (unsigned)ARRAY_SIZE(pa_range_bits) - 1);

	arm_features = (struct arm_features){
		.physical_bits = MIN(pa_range_bits[range], STAGE2_BITS_MAX),
		.force_write_back = ID_FIELD(mmfr2, MMFR2_FWB_LOW) != 0,
		.hardware_dirty = ID_FIELD(mmfr1, MMFR1_HAFDBS_LOW) >= MMFR1_HAFDBS_DIRTY,
		.pan = ID_FIELD(mmfr1, MMFR1_PAN_LOW) != 0,
		.ssbs = ID_FIELD(sysreg_read(id_aa64pfr1_el1), PFR1_SSBS_LOW) != 0,
		.ras = ID_FIELD(pfr0, PFR0_RAS_LOW) != 0,
		.activity_monitors = ID_FIELD(pfr0, PFR0_AMU_LOW) != 0,
		.lor = ID_FIELD(mmfr1, MMFR1_LO_LOW) != 0,
		.fine_grained_traps = ID_FIELD(mmfr0, MMFR0_FGT_LOW) != 0,
		.hcx = ID_FIELD(mmfr1, MMFR1_HCX_LOW) != 0,
		.statistical_profiling = ID_FIELD(dfr0, DFR0_PMSVER_LOW) != 0,
		.trace_filter = ID_FIELD(dfr0, DFR0_TRACEFILT_LOW) != 0,
		.cache_line = 4U << field(sysreg_read(ctr_el0), CTR_DMINLINE_HIGH, CTR_DMINLINE_LOW),
	};
}

bool arch_has_pages(uint64_t bytes)
{
	uint64_t mmfr0 = sysreg_read(id_aa64mmfr0_el1);
	switch (bytes) {
	case KIB(4):
		return ID_FIELD(mmfr0, MMFR0_TGRAN4_LOW) != MMFR0_TGRAN4_NONE;
	case KIB(16):
		return ID_FIELD(mmfr0, MMFR0_TGRAN16_LOW) != MMFR0_TGRAN16_NONE;
	case KIB(64):
		return ID_FIELD(mmfr0, MMFR0_TGRAN64_LOW) != MMFR0_TGRAN64_NONE;
	default:
		return false;
	}
}

/* Stage 1 and stage 2 by 4 KiB pages. */
static bool granule_4k(void)
{
	return arch_has_pages(KIB(4)) &&
	       ID_FIELD(sysreg_read(id_aa64mmfr0_el1), MMFR0_TGRAN4_2_LOW) != MMFR0_TGRAN4_2_NONE;
}

bool arch_check(char *message, size_t size)
{
	unsigned level = (unsigned)field(sysreg_read(CurrentEL), CURRENTEL_EL_HIGH, CURRENTEL_EL_LOW);
	if (level != 2) {
		snprintf(message, size,
		         "started at EL%u: the firmware keeps EL2 for itself, or the CPU has none; applications must "
		         "start at EL2",
		         level);
		return false;
	}
	probe();
	if (!granule_4k()) {
		snprintf(message, size, "this CPU translates no 4 KiB pages (ID_AA64MMFR0_EL1.TGran4, TGran4_2)");
		return false;
	}
	if (sysreg_read(cntfrq_el0) == 0) {
		snprintf(message, size, "CNTFRQ_EL0 is 0: the firmware did not set the counter's frequency");
		return false;
	}
	if (sysreg_read(hcr_el2) & HCR_E2H) {
		arm_clean_invalidate(arm_translation_code, (uint64_t)(arm_translation_code_end - arm_translation_code));
		if (!arm_e2h_clearable()) {
			snprintf(message, size, "HCR_EL2.E2H is always 1 on this CPU: EL2 without VHE is needed");
			return false;
		}
	}
	return true;
}

void arm_clean_invalidate(const void *start, uint64_t bytes)
{
	uint64_t line = arm_features.cache_line;
	uint64_t address = align_down((uint64_t)start, line);
	uint64_t end = (uint64_t)start + bytes;
	for (; address < end; address += line) {
		__asm__ volatile("dc civac, %0" : : "r"(address) : "memory");
	}
	dsb(sy);
}

/* Newer than the assembler's default architecture: by their encodings. */
#define HCRX_EL2    S3_4_C1_C2_2
#define HFGRTR_EL2  S3_4_C1_C1_4
#define HFGWTR_EL2  S3_4_C1_C1_5
#define HFGITR_EL2  S3_4_C1_C1_6
#define HDFGRTR_EL2 S3_4_C3_C1_4
#define HDFGWTR_EL2 S3_4_C3_C1_5

/*
 * The Linux boot protocol asks the firmware for SCR_EL3.HXEn and FGTEn where the CPU has these registers; without it
 * they are unknown after reset. Zero takes away from guests what they enable and traps nothing that is offered.
 */
static void clear_newer_controls(void)
{
	if (arm_features.hcx) {
		sysreg_write(HCRX_EL2, 0);
	}
	if (arm_features.fine_grained_traps) {
		sysreg_write(HFGRTR_EL2, 0);
		sysreg_write(HFGWTR_EL2, 0);
		sysreg_write(HFGITR_EL2, 0);
		sysreg_write(HDFGRTR_EL2, 0);
		sysreg_write(HDFGWTR_EL2, 0);
	}
}

void arm_cpu_take_vectors(void)
{
	static uint8_t early_stack[CRASH_STACK_FRAMES * FRAME_SIZE] __attribute__((aligned(16)));
	boot_cpu.crash_stack = (uint64_t)(early_stack + sizeof(early_stack));
	boot_cpu.armed = UINT64_MAX;
	sysreg_write(tpidr_el2, &boot_cpu);
	sysreg_write(vbar_el2, arm_vectors);
	isb();
}

bool arm_cpu_init(void)
{
	uintptr_t crash_stack = arch_stack_alloc(CRASH_STACK_FRAMES);
	if (crash_stack == 0) {
		return false;
	}
	boot_cpu.crash_stack = crash_stack;

	uint64_t mdcr = field(sysreg_read(mdcr_el2), MDCR_HPMN_HIGH, 0);
	mdcr |= MDCR_TPMCR | MDCR_TPM | MDCR_TDA | MDCR_TDOSA | MDCR_TDRA;
	mdcr |= arm_features.statistical_profiling ? MDCR_TPMS : 0;
	mdcr |= arm_features.trace_filter ? MDCR_TTRF : 0;
	sysreg_write(mdcr_el2, mdcr);
	sysreg_write(cptr_el2,
	             CPTR_RES1 | CPTR_TZ | CPTR_TSM | CPTR_TTA | (arm_features.activity_monitors ? CPTR_TAM : 0));
	sysreg_write(hstr_el2, 0);
	sysreg_write(cnthctl_el2, CNTHCT_EL1PCTEN);
	sysreg_write(cntvoff_el2, 0);
	sysreg_write(vpidr_el2, sysreg_read(midr_el1));
	sysreg_write(mdscr_el1, 0);
	sysreg_write(oslar_el1, 0); /* a guest has a lock of its own: debug.c */
	clear_newer_controls();
	isb();
	return true;
}
