/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest sees of the CPU's identification registers (ID group 3, Op0 3, Op1 0, CRn 0, CRm 1 to 7): one table
 * of what may be seen. A register or field that is not in it reads as zero, so that a new CPU's new features stay
 * hidden until somebody has thought about them. sysreg.c asks; nothing here touches the CPU.
 */
#include "id_registers.h"

#include "lib/util.h"

/* 4-bit fields by their lowest bit: seen as the host has it, or at most `max`, or always `max`. */
enum id_rule { ID_END, ID_HOST, ID_AT_MOST, ID_FIXED };

struct id_field {
	uint8_t low, rule, max;
};

#define HOST(low)                                                                                                      \
	{                                                                                                              \
		(low), ID_HOST, 0                                                                                      \
	}
#define AT_MOST(low, max)                                                                                              \
	{                                                                                                              \
		(low), ID_AT_MOST, (max)                                                                               \
	}
#define FIXED(low, value)                                                                                              \
	{                                                                                                              \
		(low), ID_FIXED, (value)                                                                               \
	}
#define FIELDS_MAX  16
#define SIGNED_NONE 0xfU

struct id_register {
	uint8_t crm, op2;
	struct id_field fields[FIELDS_MAX];
};

/* Arm ARM D19.2.59 to D19.2.78; the comments name what is left out on purpose. */
static const struct id_register table[] = {
	/* ID_AA64PFR0_EL1: EL0 and EL1 AArch64 only, FP, AdvSIMD, GIC (set below), DIT, CSV2, CSV3. Not: EL2, EL3, RAS,
         * SVE, SEL2, MPAM, AMU, RME. CSV2 at most 1: 2 promises SCXTNUM_EL1. */
	{4, 0, {FIXED(0, 1), FIXED(4, 1), HOST(16), HOST(20), HOST(48), AT_MOST(56, 1), HOST(60)}},
	/* ID_AA64PFR1_EL1: BT, SSBS. Not: MTE, SME, NMI. */
	{4, 1, {HOST(0), AT_MOST(4, 2)}},
	/* ID_AA64DFR0_EL1: Armv8.0 debug, the host's number of breakpoints, watchpoints and context-aware ones, which
         * debug.c switches; no OS Double Lock. Not: trace, PMU, profiling. */
	{5, 0, {FIXED(0, 6), HOST(12), HOST(20), HOST(28), FIXED(36, 0xf)}},
	/* ID_AA64ISAR0_EL1: instructions that need no state. Not: TME. */
	{6,
         0,
         {HOST(4), HOST(8), HOST(12), HOST(16), HOST(20), HOST(28), HOST(32), HOST(36), HOST(40), HOST(44), HOST(48),
          HOST(52), HOST(56), HOST(60)}},
	/* ID_AA64ISAR1_EL1: DPB, JSCVT, FCMA, LRCPC, FRINTTS, SB, BF16, DGH, I8MM. Not: pointer authentication,
         * SPECRES, XS, LS64. */
	{6, 1, {HOST(0), HOST(12), HOST(16), HOST(20), HOST(32), HOST(36), HOST(44), HOST(48), HOST(52)}},
	/* ID_AA64ISAR2_EL1: RPRES, BC. Not: WFxT, pointer authentication, MOPS. */
	{6, 2, {HOST(4), HOST(20)}},
	/* ID_AA64MMFR0_EL1: PARange (set below), ASIDBits, SNSMem, TGran16, TGran64, TGran4, ExS. No LPA2: an IPA has
         * at most 48 bits. Not: BigEnd, BigEndEL0 (fault.c gives devices' registers as a little-endian guest has them),
         * FGT, ECV. */
	{7, 0, {HOST(4), HOST(12), AT_MOST(20, 1), HOST(24), AT_MOST(28, 0), HOST(44)}},
	/* ID_AA64MMFR1_EL1: HAFDBS, HPDS, PAN, ETS, AFP, nTLBPA. Not: VMIDBits, VH, LO, SpecSEI, XNX, HCX, CMOW. HAFDBS
         * at most 2: 3 promises TCR2_EL1.HAFT. */
	{7, 1, {AT_MOST(0, 2), HOST(12), HOST(20), HOST(36), HOST(44), HOST(48)}},
	/* ID_AA64MMFR2_EL1: CnP, UAO, LSM, VARange, CCIDX, ST, AT, TTL, BBM, E0PD. Not: IESB, NV, IDS, FWB, EVT.
         * VARange at most 1: 2 promises TCR2_EL1.D128. */
	{7, 2, {HOST(0), HOST(4), HOST(8), AT_MOST(16, 1), HOST(20), HOST(28), HOST(32), HOST(48), HOST(52), HOST(60)}},
};

#define PFR0_CRM     4
#define PFR0_GIC_LOW 24
#define MMFR0_CRM    7
#define FIELD_MASK   UINT64_C(0xf)

/* "At most" of a signed field that says "not there" (0xf) stays that. */
static uint64_t seen(const struct id_field *rule, uint64_t host)
{
	uint64_t value = (host >> rule->low) & FIELD_MASK;
	switch (rule->rule) {
	case ID_AT_MOST:
		return value > rule->max && value != SIGNED_NONE ? rule->max : value;
	case ID_FIXED:
		return rule->max;
	default:
		return value;
	}
}

uint64_t id_register(unsigned crm, unsigned op2, uint64_t host, const struct id_machine *machine)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].crm != crm || table[i].op2 != op2) {
			continue;
		}
		uint64_t value = 0;
		for (unsigned j = 0; j < FIELDS_MAX && table[i].fields[j].rule != ID_END; j++) {
			value |= seen(&table[i].fields[j], host) << table[i].fields[j].low;
		}
		if (crm == PFR0_CRM && op2 == 0 && machine->gic_version == 3) {
			value |= UINT64_C(1) << PFR0_GIC_LOW;
		}
		if (crm == MMFR0_CRM && op2 == 0) {
			value |= machine->pa_range;
		}
		return value;
	}
	return 0;
}
