/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's CR4 and CR8 under SVM. Writes of CR4 exit, for the CPU would let the guest set whatever it has itself,
 * its CPUID notwithstanding; reads because MCE is the host's; writes of CR8 only while an interrupt waits for a lower
 * one. Called by svm.c and svm_exits.c. The other control registers reach nothing beyond the guest and are its own.
 */
#include "svm.h"

#include "decode.h"

#define REX       0x40
#define REX_B     BIT(0)
#define REX_MASK  0xf0
#define MODRM_RM  BITS(2, 0)
#define REX_B_GPR 8
#define CR8_MAX   15

uint64_t svm_get_cr4(const struct arch_vcpu *vcpu)
{
	return vcpu->svm.vmcb->save.cr4 & ~(vcpu->svm.mce_hidden ? CR4_MCE : 0);
}

void svm_put_cr4(struct arch_vcpu *vcpu, uint64_t value)
{
	struct vmcb_save *save = &vcpu->svm.vmcb->save;
	/* A machine check with CR4.MCE clear would shut the whole CPU down: the host keeps it set. */
	uint64_t held = x86_features.machine_check ? value | CR4_MCE : value;
	if ((held ^ save->cr4) & X86_CR4_INVALIDATES) {
		vcpu->request |= SVM_REQUEST_FLUSH;
	}
	save->cr4 = held;
	vcpu->svm.mce_hidden = held != value;
	svm_dirty(vcpu, CLEAN_CONTROL_REGISTERS);
}

static bool write_register(struct arch_vcpu *vcpu, uint64_t exit_code, uint64_t value)
{
	const struct vmcb_save *save = &vcpu->svm.vmcb->save;
	if (exit_code == VMEXIT_CR8_WRITE) {
		if (value <= CR8_MAX) {
			svm_put_cr8(vcpu, value);
		}
		return value <= CR8_MAX;
	}
	if (!x86_cr4_valid(svm_get_cr4(vcpu), value, save->efer, save->cr3)) {
		return false;
	}
	svm_put_cr4(vcpu, value);
	return true;
}

/* 0F 20 /r and 0F 22 /r have a ModRM byte whose mod is ignored: APM vol. 3 "MOV CRn". */
unsigned svm_mov_cr(struct arch_vcpu *vcpu, uint64_t exit_code, bool *refused)
{
	const uint8_t opcode[] = {0x0f, exit_code == VMEXIT_CR4_READ ? 0x20 : 0x22};
	struct vmcb_save *save = &vcpu->svm.vmcb->save;
	enum x86_code_mode mode = x86_code_mode(vcpu);
	uint8_t bytes[X86_INSTRUCTION_MAX];
	size_t count = x86_fetch(vcpu, bytes, sizeof(bytes));
	unsigned modrm = x86_opcode_length(bytes, count, mode, opcode, sizeof(opcode));
	if (modrm == 0 || modrm >= count) {
		return 0;
	}
	unsigned rex = modrm > sizeof(opcode) ? bytes[modrm - sizeof(opcode) - 1] : 0;
	bool upper = mode == X86_CODE_64 && (rex & REX_MASK) == REX && (rex & REX_B);
	unsigned gpr = (bytes[modrm] & (unsigned)MODRM_RM) + (upper ? REX_B_GPR : 0);
	uint64_t *where = gpr == GPR_RSP ? &save->rsp : &vcpu->gpr[gpr];
	*refused = false;
	if (exit_code == VMEXIT_CR4_READ) {
		*where = svm_get_cr4(vcpu);
	} else {
		*refused = !write_register(vcpu, exit_code, mode == X86_CODE_64 ? *where : (uint32_t)*where);
	}
	return modrm + 1;
}
