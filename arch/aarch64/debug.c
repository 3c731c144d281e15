/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's own debug: breakpoints, watchpoints and software step (Arm ARM D2). Every access traps (MDCR_EL2.TDA), so
 * that nothing of one guest's is another's to read; what it wrote is put into the CPU while its vCPU is loaded. Debug
 * exceptions go to EL1 (MDCR_EL2.TDE is 0), which masks them at EL2 whatever a guest asks for, D2.4. The channel to a
 * debugger outside has nobody at its other end. Called by sysreg.c and vcpu.c.
 */
#include "vcpu.h"

/* Op1, CRn, CRm and Op2 of Op0 2. */
#define DEBUG_REGISTER(op1, crn, crm, op2) SYSTEM_REGISTER(2, op1, crn, crm, op2)
#define MDCCINT_EL1                        DEBUG_REGISTER(0, 0, 2, 0)
#define MDSCR_EL1                          DEBUG_REGISTER(0, 0, 2, 2)
#define OSDTRRX_EL1                        DEBUG_REGISTER(0, 0, 0, 2)
#define OSDTRTX_EL1                        DEBUG_REGISTER(0, 0, 3, 2)
#define OSECCR_EL1                         DEBUG_REGISTER(0, 0, 6, 2)
#define MDRAR_EL1                          DEBUG_REGISTER(0, 1, 0, 0)
#define OSLAR_EL1                          DEBUG_REGISTER(0, 1, 0, 4)
#define OSLSR_EL1                          DEBUG_REGISTER(0, 1, 1, 4)
#define OSDLR_EL1                          DEBUG_REGISTER(0, 1, 3, 4)
#define DBGPRCR_EL1                        DEBUG_REGISTER(0, 1, 4, 4)
#define DBGCLAIMSET_EL1                    DEBUG_REGISTER(0, 7, 8, 6)
#define DBGCLAIMCLR_EL1                    DEBUG_REGISTER(0, 7, 9, 6)
#define DBGAUTHSTATUS_EL1                  DEBUG_REGISTER(0, 7, 14, 6)
#define MDCCSR_EL0                         DEBUG_REGISTER(3, 0, 1, 0)
#define DBGDTR_EL0                         DEBUG_REGISTER(3, 0, 4, 0)
#define DBGDTRRX_EL0                       DEBUG_REGISTER(3, 0, 5, 0)

/* DBGBVR, DBGBCR, DBGWVR, DBGWCR<n>_EL1: Op1 0, CRn 0, CRm n, Op2 4 to 7. */
#define NUMBERED_MASK    DEBUG_REGISTER(7, 15, 0, 4)
#define NUMBERED         DEBUG_REGISTER(0, 0, 0, 4)
#define NUMBERED_CRM_LOW 1
#define NUMBERED_OP2_LOW 17

#define OSLSR_OSLM_IMPLEMENTED BIT(3)
#define OSLSR_OSLK             BIT(1)
#define OSLAR_OSLK             BIT(0)
#define MDSCR_GUEST            (MDSCR_SS | MDSCR_TDCC | MDSCR_KDE | MDSCR_MDE)

#define EACH(do_)                                                                                                      \
	do_(0) do_(1) do_(2) do_(3) do_(4) do_(5) do_(6) do_(7) do_(8) do_(9) do_(10) do_(11) do_(12) do_(13) do_(14)  \
		do_(15)
#define WRITE_BREAKPOINT(n)                                                                                            \
	case n:                                                                                                        \
		sysreg_write(dbgbvr##n##_el1, value);                                                                  \
		sysreg_write(dbgbcr##n##_el1, control);                                                                \
		break;
#define WRITE_WATCHPOINT(n)                                                                                            \
	case n:                                                                                                        \
		sysreg_write(dbgwvr##n##_el1, value);                                                                  \
		sysreg_write(dbgwcr##n##_el1, control);                                                                \
		break;

static void write_pair(const struct arm_debug *debug, enum arm_debug_kind kind, unsigned n)
{
	uint64_t value = debug->value[kind][n], control = debug->control[kind][n];
	if (kind == ARM_BREAKPOINT) {
		switch (n) {
			EACH(WRITE_BREAKPOINT)
		default:
			break;
		}
		return;
	}
	switch (n) {
		EACH(WRITE_WATCHPOINT)
	default:
		break;
	}
}

static unsigned registers_of(enum arm_debug_kind kind)
{
	unsigned low = kind == ARM_BREAKPOINT ? DFR0_BRPS_LOW : DFR0_WRPS_LOW;
	return ID_FIELD(sysreg_read(id_aa64dfr0_el1), low) + 1;
}

/* The OS lock keeps debug exceptions away, D2.4.3; the CPU's own lock is open. */
static void write_mdscr(const struct arm_debug *debug)
{
	sysreg_write(mdscr_el1, debug->os_lock ? debug->mdscr & MDSCR_TDCC : debug->mdscr);
}

void arm_debug_load(const struct arch_vcpu *vcpu)
{
	const struct arm_debug *debug = &vcpu->debug;
	for (unsigned kind = 0; debug->used && kind <= ARM_WATCHPOINT; kind++) {
		for (unsigned n = 0; n < registers_of(kind); n++) {
			write_pair(debug, kind, n);
		}
	}
	write_mdscr(debug);
}

/* From now on what the CPU has is the guest's own; till then it may be another's, which must not match. */
static void use(struct arch_vcpu *vcpu)
{
	if (!vcpu->debug.used) {
		vcpu->debug.used = true;
		arm_debug_load(vcpu);
	}
}

static bool numbered(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	struct arm_debug *debug = &vcpu->debug;
	unsigned n = (encoding >> NUMBERED_CRM_LOW) % ARM_DEBUG_REGISTERS;
	unsigned op2 = encoding >> NUMBERED_OP2_LOW;
	enum arm_debug_kind kind = op2 & 2 ? ARM_WATCHPOINT : ARM_BREAKPOINT;
	uint64_t *at = op2 & 1 ? &debug->control[kind][n] : &debug->value[kind][n];

	if (n >= registers_of(kind)) {
		return false;
	}
	if (read) {
		*value = *at;
		return true;
	}
	*at = *value;
	use(vcpu);
	write_pair(debug, kind, n);
	return true;
}

bool arm_debug_register(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	struct arm_debug *debug = &vcpu->debug;

	switch (encoding) {
	case MDSCR_EL1:
		if (read) {
			*value = debug->mdscr;
			return true;
		}
		debug->mdscr = *value & MDSCR_GUEST;
		if (debug->mdscr & MDSCR_MDE) {
			use(vcpu);
		}
		write_mdscr(debug);
		return true;
	case OSLAR_EL1:
		if (read) {
			return false;
		}
		debug->os_lock = *value & OSLAR_OSLK;
		write_mdscr(debug);
		return true;
	case OSLSR_EL1:
		*value = OSLSR_OSLM_IMPLEMENTED | (debug->os_lock ? OSLSR_OSLK : 0);
		return read;
	case MDRAR_EL1:
	case MDCCSR_EL0:
	case DBGAUTHSTATUS_EL1:
		*value = 0;
		return read;
	case MDCCINT_EL1:
	case OSDTRRX_EL1:
	case OSDTRTX_EL1:
	case OSECCR_EL1:
	case OSDLR_EL1:
	case DBGPRCR_EL1:
	case DBGCLAIMSET_EL1:
	case DBGCLAIMCLR_EL1:
	case DBGDTR_EL0:
	case DBGDTRRX_EL0:
		*value = 0; /* nobody listens */
		return true;
	default:
		return (encoding & NUMBERED_MASK) == NUMBERED && numbered(vcpu, encoding, read, value);
	}
}
