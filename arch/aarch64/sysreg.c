/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trapped MSR, MRS and SYS instructions (exception class 0x18): one table says what each does. What is not in the
 * table is undefined for the guest. Called by vcpu.c.
 */
#include "vcpu.h"

#include "gic_host.h"
#include "id_registers.h"
#include "timer.h"

#define REGISTER_ZERO    31          /* Rt: XZR */
#define ICC_SRE_ALL      UINT64_C(7) /* SRE, DFB, DIB: nothing else than the system registers */
#define TIMER_VALUE_BITS BITS(31, 0)
#define ICC_SGI1R_EL1    SYSTEM_REGISTER(3, 0, 12, 11, 5)

/* ---- handlers: false means undefined ---- */

typedef bool sysreg_handler(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value);

/* ACTLR_EL1: what it holds is the implementation's, and here that is nothing. */
static bool no_contents(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	(void)vcpu;
	(void)encoding;
	if (read) {
		*value = 0;
	}
	return true;
}

static bool undefined(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	(void)vcpu;
	(void)encoding;
	(void)read;
	(void)value;
	return false;
}

#define READ_ID(crm, op2)                                                                                              \
	case SYSTEM_REGISTER(3, 0, 0, crm, op2):                                                                       \
		return sysreg_read(S3_0_C0_C##crm##_##op2);

/* Those that id_registers.c lets through; the host's value of others does not matter. */
static uint64_t host_id(uint32_t encoding)
{
	switch (encoding) {
		READ_ID(4, 0)
		READ_ID(4, 1)
		READ_ID(5, 0)
		READ_ID(6, 0)
		READ_ID(6, 1)
		READ_ID(6, 2)
		READ_ID(7, 0)
		READ_ID(7, 1)
		READ_ID(7, 2)
	default:
		return 0;
	}
}

static bool caches_on(uint64_t sctlr)
{
	return (sctlr & (SCTLR_M | SCTLR_C)) == (SCTLR_M | SCTLR_C);
}

/*
 * Cleans all of the guest's memory, a part at each execution of the instruction that asks for it, so that interrupts
 * and other guests need not wait for the whole. True: it is done. An instruction that another one, such as an interrupt
 * handler's, takes over from loses its place.
 */
static bool clean_guest(struct arch_vcpu *vcpu)
{
	struct arm_cleaning *cleaning = &vcpu->cleaning;
	if (!cleaning->unfinished) {
		*cleaning = (struct arm_cleaning){.pc = sysreg_read(elr_el2)};
	}
	cleaning->unfinished = !arm_clean_guest_part(vcpu->vm, &cleaning->next);
	return !cleaning->unfinished;
}

static void set_virtual_memory_trap(struct arch_vcpu *vcpu, bool on)
{
	vcpu->hcr = on ? vcpu->hcr | HCR_TVM : vcpu->hcr & ~HCR_TVM;
	sysreg_write(hcr_el2, vcpu->hcr);
}

static bool identification(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	struct id_machine machine = {
		.gic_version = vcpu->vm->vgic.version,
		.pa_range = arm_guest_pa_range(vcpu->vm),
	};
	if (!read) {
		return false;
	}
	*value = id_register((encoding >> 1) & 0xf, (encoding >> 17) & 0x7, host_id(encoding), &machine);
	return true;
}

/* The physical timer counts in the hypervisor; CNTP_TVAL_EL0 is a view of CNTP_CVAL_EL0, D11.2.4. */
static bool timer_control(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	(void)encoding;
	if (read) {
		bool due = (vcpu->cntp_ctl & CNT_CTL_ENABLE) && arch_counter() >= vcpu->cntp_cval;
		*value = vcpu->cntp_ctl | (due ? CNT_CTL_ISTATUS : 0);
		return true;
	}
	vcpu->cntp_ctl = *value & (CNT_CTL_ENABLE | CNT_CTL_IMASK);
	vcpu->work = true;
	return true;
}

static bool timer_compare(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	(void)encoding;
	if (read) {
		*value = vcpu->cntp_cval;
		return true;
	}
	vcpu->cntp_cval = *value;
	vcpu->work = true;
	return true;
}

static bool timer_value(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	(void)encoding;
	uint64_t now = arch_counter();
	if (read) {
		*value = (vcpu->cntp_cval - now) & TIMER_VALUE_BITS;
		return true;
	}
	vcpu->cntp_cval = now + (uint64_t)(int64_t)(int32_t)*value;
	vcpu->work = true;
	return true;
}

static bool send_sgi(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	if (read || vcpu->vm->vgic.version != 3) {
		return false;
	}
	vgic_send_sgi_register(vcpu, *value, encoding == ICC_SGI1R_EL1);
	return true;
}

static bool system_register_enable(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	(void)encoding;
	if (read) {
		*value = ICC_SRE_ALL;
	}
	return vcpu->vm->vgic.version == 3;
}

/*
 * DC ISW, CSW, CISW: sets and ways are the machine's, so all of the guest's memory is cleaned instead, at the first of
 * what is usually a loop over all of them. HCR_EL2.TVM then tells when the caches go off or on.
 */
static bool set_way(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	(void)encoding;
	(void)value;
	if (!read && !arm_features.force_write_back && !(vcpu->hcr & HCR_TVM) && clean_guest(vcpu)) {
		set_virtual_memory_trap(vcpu, true);
	}
	return !read;
}

#define SCTLR_EL1 SYSTEM_REGISTER(3, 0, 1, 0, 0)
#define WRITE_EL1(op0, op1, crn, crm, op2)                                                                             \
	case SYSTEM_REGISTER(op0, op1, crn, crm, op2):                                                                 \
		sysreg_write(S##op0##_##op1##_C##crn##_C##crm##_##op2, value);                                         \
		return true;

static bool write_memory_control(uint32_t encoding, uint64_t value)
{
	switch (encoding) {
		WRITE_EL1(3, 0, 1, 0, 0)  /* SCTLR_EL1 */
		WRITE_EL1(3, 0, 2, 0, 0)  /* TTBR0_EL1 */
		WRITE_EL1(3, 0, 2, 0, 1)  /* TTBR1_EL1 */
		WRITE_EL1(3, 0, 2, 0, 2)  /* TCR_EL1 */
		WRITE_EL1(3, 0, 5, 1, 0)  /* AFSR0_EL1 */
		WRITE_EL1(3, 0, 5, 1, 1)  /* AFSR1_EL1 */
		WRITE_EL1(3, 0, 5, 2, 0)  /* ESR_EL1 */
		WRITE_EL1(3, 0, 6, 0, 0)  /* FAR_EL1 */
		WRITE_EL1(3, 0, 10, 2, 0) /* MAIR_EL1 */
		WRITE_EL1(3, 0, 10, 3, 0) /* AMAIR_EL1 */
		WRITE_EL1(3, 0, 13, 0, 1) /* CONTEXTIDR_EL1 */
	default:
		return false;
	}
}

/* Trapped by HCR_EL2.TVM, writes only: done for the guest, watching whether its caches go on or off. */
static bool memory_control(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value)
{
	if (read) {
		return false;
	}
	bool before = caches_on(sysreg_read(sctlr_el1));
	bool after = encoding == SCTLR_EL1 ? caches_on(*value) : before;
	if (before != after && !clean_guest(vcpu)) {
		return true;
	}
	if (!write_memory_control(encoding, *value)) {
		return false;
	}
	if (after) {
		set_virtual_memory_trap(vcpu, false);
	}
	return true;
}

/* ---- the table: the first row that matches ---- */

#define EXACT           UINT32_MAX
#define OP0             SYSTEM_REGISTER(3, 0, 0, 0, 0)
#define OP0_OP1_CRN_CRM SYSTEM_REGISTER(3, 7, 15, 15, 0)
#define OP0_OP1_CRN     SYSTEM_REGISTER(3, 7, 15, 0, 0)

static const struct {
	uint32_t mask, match;
	sysreg_handler *handler;
} table[] = {
	{EXACT, ICC_SGI1R_EL1, send_sgi},
	{EXACT, SYSTEM_REGISTER(3, 0, 12, 11, 6), send_sgi},                /* ICC_ASGI1R_EL1 */
	{EXACT, SYSTEM_REGISTER(3, 0, 12, 11, 7), send_sgi},                /* ICC_SGI0R_EL1 */
	{EXACT, SYSTEM_REGISTER(3, 0, 12, 12, 5), system_register_enable},  /* ICC_SRE_EL1 */
	{EXACT, SYSTEM_REGISTER(3, 3, 14, 2, 1), timer_control},            /* CNTP_CTL_EL0 */
	{EXACT, SYSTEM_REGISTER(3, 3, 14, 2, 2), timer_compare},            /* CNTP_CVAL_EL0 */
	{EXACT, SYSTEM_REGISTER(3, 3, 14, 2, 0), timer_value},              /* CNTP_TVAL_EL0 */
	{EXACT, SYSTEM_REGISTER(1, 0, 7, 6, 2), set_way},                   /* DC ISW */
	{EXACT, SYSTEM_REGISTER(1, 0, 7, 10, 2), set_way},                  /* DC CSW */
	{EXACT, SYSTEM_REGISTER(1, 0, 7, 14, 2), set_way},                  /* DC CISW */
	{EXACT, SYSTEM_REGISTER(3, 0, 1, 0, 1), no_contents},               /* ACTLR_EL1 */
	{OP0_OP1_CRN_CRM, SYSTEM_REGISTER(3, 0, 1, 0, 0), memory_control},  /* SCTLR_EL1 */
	{OP0_OP1_CRN_CRM, SYSTEM_REGISTER(3, 0, 2, 0, 0), memory_control},  /* TTBR0_EL1, TTBR1_EL1, TCR_EL1 */
	{OP0_OP1_CRN_CRM, SYSTEM_REGISTER(3, 0, 5, 1, 0), memory_control},  /* AFSR0_EL1, AFSR1_EL1 */
	{OP0_OP1_CRN_CRM, SYSTEM_REGISTER(3, 0, 5, 2, 0), memory_control},  /* ESR_EL1 */
	{OP0_OP1_CRN_CRM, SYSTEM_REGISTER(3, 0, 6, 0, 0), memory_control},  /* FAR_EL1 */
	{OP0_OP1_CRN_CRM, SYSTEM_REGISTER(3, 0, 10, 2, 0), memory_control}, /* MAIR_EL1 */
	{OP0_OP1_CRN_CRM, SYSTEM_REGISTER(3, 0, 10, 3, 0), memory_control}, /* AMAIR_EL1 */
	{OP0_OP1_CRN_CRM, SYSTEM_REGISTER(3, 0, 13, 0, 0), memory_control}, /* CONTEXTIDR_EL1 */
	{OP0_OP1_CRN_CRM, SYSTEM_REGISTER(3, 0, 0, 0, 0), undefined},       /* MIDR_EL1 and so on: written */
	{OP0_OP1_CRN, SYSTEM_REGISTER(3, 0, 0, 0, 0), identification},      /* ID group 3 */
	{OP0, SYSTEM_REGISTER(2, 0, 0, 0, 0), arm_debug_register},          /* debug and trace */
};

bool arm_system_register(struct arch_vcpu *vcpu, uint64_t esr)
{
	uint32_t encoding = (uint32_t)(esr & ESR_SYS_ENCODING);
	unsigned rt = (unsigned)field(esr, ESR_SYS_RT_HIGH, ESR_SYS_RT_LOW);
	bool read = esr & ESR_SYS_READ;
	uint64_t value = read || rt == REGISTER_ZERO ? 0 : vcpu->x[rt];

	if (unlikely(vcpu->cleaning.unfinished) && sysreg_read(elr_el2) != vcpu->cleaning.pc) {
		vcpu->cleaning.unfinished = false;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		if ((encoding & table[i].mask) != table[i].match) {
			continue;
		}
		if (!table[i].handler(vcpu, encoding, read, &value)) {
			return false;
		}
		if (read && rt != REGISTER_ZERO) {
			vcpu->x[rt] = value;
		}
		return true;
	}
	return false;
}
