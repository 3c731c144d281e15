/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the loaded guest take an exception at EL1 as the CPU would, Arm ARM D1.3.1 and AArch64.TakeException. Called
 * by vcpu.c and fault.c.
 */
#include "vcpu.h"

/* Offsets from VBAR_EL1, D1.3.1.5: by where the exception comes from; synchronous is the first of each. */
#define VECTOR_CURRENT_SP0 0x000
#define VECTOR_CURRENT_SPX 0x200
#define VECTOR_LOWER_A64   0x400
#define VECTOR_LOWER_A32   0x600

static uint64_t vector_offset(uint64_t pstate)
{
	if (pstate & PSTATE_AARCH32) {
		return VECTOR_LOWER_A32;
	}
	if (field(pstate, PSTATE_MODE_EL_HIGH, PSTATE_MODE_EL_LOW) == 0) {
		return VECTOR_LOWER_A64;
	}
	return pstate & PSTATE_SP ? VECTOR_CURRENT_SPX : VECTOR_CURRENT_SP0;
}

/* PAN is set unless SCTLR_EL1.SPAN says to keep it, SSBS comes from SCTLR_EL1.DSSBS; the flags stay, the rest is 0. */
static uint64_t exception_pstate(uint64_t old)
{
	uint64_t sctlr = sysreg_read(sctlr_el1);
	uint64_t pstate = PSTATE_EL1H | PSTATE_DAIF | (old & PSTATE_NZCV);
	if (!(old & PSTATE_AARCH32)) {
		pstate |= old & PSTATE_DIT;
	}
	if (arm_features.pan) {
		pstate |= sctlr & SCTLR_EL1_SPAN ? old & PSTATE_PAN : PSTATE_PAN;
	}
	if (arm_features.ssbs && (sctlr & SCTLR_EL1_DSSBS)) {
		pstate |= PSTATE_SSBS;
	}
	return pstate;
}

void arm_inject(uint64_t esr, const uint64_t *far)
{
	uint64_t pstate = sysreg_read(spsr_el2);
	sysreg_write(spsr_el1, pstate);
	sysreg_write(elr_el1, sysreg_read(elr_el2));
	sysreg_write(esr_el1, esr);
	if (far) {
		sysreg_write(far_el1, *far);
	}
	sysreg_write(elr_el2, sysreg_read(vbar_el1) + vector_offset(pstate));
	sysreg_write(spsr_el2, exception_pstate(pstate));
}

void arm_inject_undefined(void)
{
	arm_inject((uint64_t)EC_UNKNOWN << ESR_EC_LOW | ESR_IL, NULL);
}
