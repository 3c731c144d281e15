/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names the rule that a VMCB breaks when VMRUN ends in VMEXIT_INVALID: APM vol. 2 15.5.1 "Canonicalization and
 * consistency checks". Pure, and only asked for a report.
 */
#include "svm.h"

#define CR0_RESERVED BITS(63, 32)
#define PAT_ENTRIES  8
/* 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, 7 UC-: 7.8.2. */
#define PAT_TYPES (BIT(0) | BIT(1) | BIT(4) | BIT(5) | BIT(6) | BIT(7))
/* EFER: 3.1.7. SCE, LME, LMA, NXE, SVME, LMSLE, FFXSR, TCE, MCOMMIT, INTWB, UAIE, AIBRSE. */
#define EFER_DEFINED (BIT(0) | BIT(8) | BITS(15, 10) | BITS(18, 17) | BITS(21, 20))

static bool pat_is_legal(uint64_t pat)
{
	for (unsigned i = 0; i < PAT_ENTRIES; i++) {
		uint64_t type = field(pat, 8 * i + 7, 8 * i);
		if (type > 7 || !(PAT_TYPES & BIT(type))) {
			return false;
		}
	}
	return true;
}

static bool event_is_legal(uint64_t event)
{
	unsigned type = EVENT_TYPE(event), vector = EVENT_VECTOR(event);
	if (!(event & EVENT_VALID)) {
		return true;
	}
	if (type == EVENT_TYPE_EXCEPTION) {
		return vector < 32 && vector != X86_NMI;
	}
	return type == EVENT_TYPE_INTERRUPT || type == EVENT_TYPE_NMI || type == EVENT_TYPE_SOFTWARE;
}

static const char *broken_control_rule(const struct vmcb_control *control, uint8_t physical_bits)
{
	uint64_t beyond = ~BITS(physical_bits - 1, 0);
	if (!(control->intercept_misc2 & INTERCEPT_VMRUN)) {
		return "the VMRUN intercept is clear";
	}
	if (control->asid == 0) {
		return "the ASID is 0";
	}
	if ((control->msrpm_base & beyond) || (control->iopm_base & beyond)) {
		return "a permission map lies beyond the physical address space";
	}
	if ((control->nested_control & NESTED_PAGING) && (control->nested_cr3 & beyond)) {
		return "nCR3 has must-be-zero bits set";
	}
	return event_is_legal(control->event_injection) ? NULL : "EVENTINJ holds an illegal event";
}

static const char *broken_mode_rule(const struct vmcb_save *save)
{
	bool paging = save->cr0 & CR0_PG;
	if (!(save->efer & EFER_LME) || !paging) {
		return NULL;
	}
	if (!(save->cr4 & CR4_PAE)) {
		return "EFER.LME and CR0.PG are set, CR4.PAE is clear";
	}
	if (!(save->cr0 & CR0_PE)) {
		return "EFER.LME and CR0.PG are set, CR0.PE is clear";
	}
	if ((save->cs.attributes & SEGMENT_LONG) && (save->cs.attributes & SEGMENT_DEFAULT)) {
		return "EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set";
	}
	return NULL;
}

static const char *broken_state_rule(const struct vmcb_save *save, uint8_t physical_bits)
{
	if (!(save->efer & EFER_SVME)) {
		return "EFER.SVME is clear";
	}
	if (save->efer & ~EFER_DEFINED) {
		return "EFER has reserved bits set";
	}
	if (!(save->cr0 & CR0_CD) && (save->cr0 & CR0_NW)) {
		return "CR0.CD is clear and CR0.NW is set";
	}
	if (save->cr0 & CR0_RESERVED) {
		return "CR0 bits 63:32 are not 0";
	}
	if ((save->efer & EFER_LMA) && (save->cr3 & ~BITS(physical_bits - 1, 0))) {
		return "CR3 has must-be-zero bits set";
	}
	if (save->cr4 >> 32) {
		return "CR4 has reserved bits set";
	}
	if (save->dr6 >> 32) {
		return "DR6 bits 63:32 are not 0";
	}
	if (save->dr7 >> 32) {
		return "DR7 bits 63:32 are not 0";
	}
	if ((save->cr4 & CR4_CET) && !(save->cr0 & CR0_WP)) {
		return "CR4.CET is set and CR0.WP is clear";
	}
	return pat_is_legal(save->pat) ? NULL : "G_PAT holds a reserved memory type";
}

const char *svm_broken_rule(const struct vmcb *vmcb, uint8_t physical_bits)
{
	const char *rule = broken_control_rule(&vmcb->control, physical_bits);
	if (!rule) {
		rule = broken_state_rule(&vmcb->save, physical_bits);
	}
	if (!rule) {
		rule = broken_mode_rule(&vmcb->save);
	}
	return rule;
}
