/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's CR0, CR4, EFER and CR8 under VMX. The guest owns the bits it may change by itself (unrestricted
 * guest: PE and PG among them, with EFER.LMA and the entry control kept in step by the CPU); the host owns what
 * would reach beyond the guest (CD, NW, NE, MCE, VMXE and every CR4 bit that the guest's CPUID does not show)
 * and gives it a shadow to read. Called by vmx.c and vmx_exits.c with the VMCS current.
 */
#include "mm/guest_memory.h"
#include "vmx.h"

#define CR0_DEFINED (VMX_CR0_GUEST_OWNED | CR0_NE | CR0_NW | CR0_CD)
/* SDM vol. 3A 4.4.1: in PAE paging, changes of these reload the PDPTEs. */
#define CR0_RELOADS_PDPTES (CR0_CD | CR0_NW | CR0_PG)
#define CR4_RELOADS_PDPTES (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)

#define CR3_PAE_ALIGNMENT 32
#define CR3_NO_FLUSH      BIT(63)
#define CR8_MAX           15

#define PDPTES         4
#define PDPTE_PRESENT  BIT(0)
#define PDPTE_RESERVED (BITS(2, 1) | BITS(8, 5)) /* and everything from MAXPHYADDR up: 4.4.1, table 4-8 */

uint64_t vmx_guest_cr0(void)
{
	return (vmread(VMCS_GUEST_CR0) & VMX_CR0_GUEST_OWNED) | (vmread(VMCS_CR0_SHADOW) & ~VMX_CR0_GUEST_OWNED);
}

uint64_t vmx_cr4_guest_owned(void)
{
	/* A machine check with CR4.MCE clear would shut the whole CPU down: the host keeps it set. */
	return x86_cr4_allowed & ~CR4_MCE;
}

uint64_t vmx_guest_cr4(const struct arch_vcpu *vcpu)
{
	return (vmread(VMCS_GUEST_CR4) & vmx_cr4_guest_owned()) | vcpu->vmx.cr4_shadow;
}

/* EFER.LMA is LME and paging; the entry control must say the same (SDM vol. 3C 26.3.1.1). */
void vmx_put_efer(uint64_t value)
{
	bool long_mode = (value & EFER_LME) && (vmread(VMCS_GUEST_CR0) & CR0_PG);
	uint64_t controls = vmread(VMCS_ENTRY_CONTROLS);
	vmwrite(VMCS_GUEST_EFER, long_mode ? value | EFER_LMA : value & ~EFER_LMA);
	vmwrite(VMCS_ENTRY_CONTROLS, long_mode ? controls | ENTRY_IA32E : controls & ~ENTRY_IA32E);
}

void vmx_put_cr0(struct arch_vcpu *vcpu, uint64_t value)
{
	uint64_t forced = vmx_capabilities.cr0_fixed0 & ~(CR0_PE | CR0_PG);
	uint64_t changed = vmread(VMCS_GUEST_CR0) ^ value;
	vmwrite(VMCS_GUEST_CR0, (value & VMX_CR0_GUEST_OWNED) | forced);
	vmwrite(VMCS_CR0_SHADOW, value & CR0_DEFINED);
	vmx_put_efer(vmread(VMCS_GUEST_EFER));
	if (changed & CR0_PG) {
		vmx_flush_vpid(vcpu->vm);
	}
}

void vmx_put_cr4(struct arch_vcpu *vcpu, uint64_t value)
{
	uint64_t changed = vmread(VMCS_GUEST_CR4) ^ value;
	vmwrite(VMCS_GUEST_CR4, (value & x86_cr4_allowed) | CR4_MCE | vmx_capabilities.cr4_fixed0);
	vmwrite(VMCS_CR4_SHADOW, value);
	vcpu->vmx.cr4_shadow = (uint32_t)(value & ~vmx_cr4_guest_owned());
	if (changed & X86_CR4_INVALIDATES) {
		vmx_flush_vpid(vcpu->vm);
	}
}

static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LME);
}

/* False: a reserved bit is set, or the table is nowhere; the MOV is #GP and nothing has changed. */
static bool load_pdptes(struct arch_vcpu *vcpu, uint64_t cr3)
{
	uint64_t reserved = PDPTE_RESERVED | BITS(63, x86_features.physical_bits);
	uint64_t pdpte[PDPTES];
	gpa_t table = align_down((uint32_t)cr3, CR3_PAE_ALIGNMENT);
	if (guest_read(vcpu->vm->space, table, pdpte, sizeof(pdpte), GUEST_ACCESS_DEFAULT) != sizeof(pdpte)) {
		return false;
	}
	for (unsigned i = 0; i < PDPTES; i++) {
		if ((pdpte[i] & PDPTE_PRESENT) && (pdpte[i] & reserved)) {
			return false;
		}
	}
	for (unsigned i = 0; i < PDPTES; i++) {
		vmwrite(VMCS_GUEST_PDPTE0 + VMCS_SEGMENT(i), pdpte[i]);
	}
	return true;
}

/* MOV to CR0, SDM vol. 2B "MOV—Move to/from Control Registers". False: #GP(0). */
static bool move_to_cr0(struct arch_vcpu *vcpu, uint64_t value)
{
	uint64_t old = vmx_guest_cr0(), cr4 = vmx_guest_cr4(vcpu), efer = vmread(VMCS_GUEST_EFER);
	bool long_code = vmread(VMCS_GUEST_ACCESS_RIGHTS + VMCS_SEGMENT(X86_CS)) & ACCESS_RIGHTS_L;
	if (value >> 32) {
		return false;
	}
	value = (value & CR0_DEFINED) | CR0_ET; /* ET is fixed; the other reserved bits are ignored */
	if (((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD))) {
		return false;
	}
	if (!(value & CR0_PG) && ((cr4 & CR4_PCIDE) || ((efer & EFER_LMA) && long_code))) {
		return false;
	}
	if ((value & CR0_PG) && !(old & CR0_PG) && (efer & EFER_LME) && (!(cr4 & CR4_PAE) || long_code)) {
		return false;
	}
	if (((old ^ value) & CR0_RELOADS_PDPTES) && pae_paging(value, cr4, efer) &&
	    !load_pdptes(vcpu, vmread(VMCS_GUEST_CR3))) {
		return false;
	}
	vmx_put_cr0(vcpu, value);
	return true;
}

static bool move_to_cr4(struct arch_vcpu *vcpu, uint64_t value)
{
	uint64_t old = vmx_guest_cr4(vcpu), efer = vmread(VMCS_GUEST_EFER);
	if (!x86_cr4_valid(old, value, efer, vmread(VMCS_GUEST_CR3))) {
		return false;
	}
	if (((old ^ value) & CR4_RELOADS_PDPTES) && pae_paging(vmx_guest_cr0(), value, efer) &&
	    !load_pdptes(vcpu, vmread(VMCS_GUEST_CR3))) {
		return false;
	}
	vmx_put_cr4(vcpu, value);
	return true;
}

/* Only on a CPU that forces CR3 exits; ours are off. */
static bool move_to_cr3(struct arch_vcpu *vcpu, uint64_t value)
{
	uint64_t cr4 = vmx_guest_cr4(vcpu), efer = vmread(VMCS_GUEST_EFER);
	bool keep = (cr4 & CR4_PCIDE) && (value & CR3_NO_FLUSH);
	if (cr4 & CR4_PCIDE) {
		value &= ~CR3_NO_FLUSH;
	}
	if ((efer & EFER_LMA) && (value & BITS(63, x86_features.physical_bits))) {
		return false;
	}
	if (pae_paging(vmx_guest_cr0(), cr4, efer) && !load_pdptes(vcpu, value)) {
		return false;
	}
	vmwrite(VMCS_GUEST_CR3, value);
	if (!keep) {
		vmx_flush_vpid(vcpu->vm);
	}
	return true;
}

static bool move_to(struct arch_vcpu *vcpu, uint64_t number, uint64_t value)
{
	switch (number) {
	case 0:
		return move_to_cr0(vcpu, value);
	case 3:
		return move_to_cr3(vcpu, value);
	case 4:
		return move_to_cr4(vcpu, value);
	case 8:
		if (value > CR8_MAX) {
			return false;
		}
		lapic_put(&vcpu->lapic, LAPIC_TPR, (uint32_t)value << 4);
		vcpu->interrupts = 1; /* it may let something through */
		return true;
	default:
		return false;
	}
}

static uint64_t source_register(const struct arch_vcpu *vcpu, uint64_t gpr)
{
	uint64_t value = gpr == GPR_RSP ? vmread(VMCS_GUEST_RSP) : vcpu->gpr[gpr];
	bool long_mode = vmread(VMCS_GUEST_EFER) & EFER_LMA;
	bool long_code = vmread(VMCS_GUEST_ACCESS_RIGHTS + VMCS_SEGMENT(X86_CS)) & ACCESS_RIGHTS_L;
	return long_mode && long_code ? value : (uint32_t)value;
}

static void move_from(struct arch_vcpu *vcpu, uint64_t number, uint64_t gpr)
{
	/* CR0 and CR4 are read without an exit. */
	uint64_t value = number == 8 ? LAPIC_CLASS(lapic_get(&vcpu->lapic, LAPIC_TPR)) : vmread(VMCS_GUEST_CR3);
	if (gpr == GPR_RSP) {
		vmwrite(VMCS_GUEST_RSP, value);
	} else {
		vcpu->gpr[gpr] = value;
	}
}

int vmx_exit_control_register(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
	uint64_t gpr = CR_GPR(qualification), number = CR_NUMBER(qualification), lmsw;
	bool fine = true;
	switch ((enum cr_access)CR_ACCESS(qualification)) {
	case CR_ACCESS_MOV_TO:
		fine = move_to(vcpu, number, source_register(vcpu, gpr));
		break;
	case CR_ACCESS_MOV_FROM:
		move_from(vcpu, number, gpr);
		break;
	case CR_ACCESS_CLTS:
		vmx_put_cr0(vcpu, vmx_guest_cr0() & ~CR0_TS);
		break;
	case CR_ACCESS_LMSW: /* sets PE, MP, EM, TS and never clears PE */
		lmsw = CR_LMSW_SOURCE(qualification) & (CR0_PE | CR0_MP | CR0_EM | CR0_TS);
		fine = move_to_cr0(vcpu, (vmx_guest_cr0() & ~(CR0_MP | CR0_EM | CR0_TS)) | lmsw);
		break;
	}
	if (fine) {
		vmx_skip();
	} else {
		vmx_inject(X86_GP, 0);
	}
	return VMX_RUN_ON_ALL;
}
