/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files that answer exits share: vcpu.c runs the vCPU, vm.c has its memory, sysreg.c and psci.c answer
 * instructions, fault.c answers aborts, inject.c makes the guest take an exception.
 */
#pragma once

#include "cpu.h"
#include "vgic.h"

/* vm_exit.raw: ESR_EL2 for a synchronous exit, for the others this plus ARM_EXIT_*. */
#define ARM_RAW_ASYNCHRONOUS BIT(32)
/* exits[]: exception classes, then ARM_EXIT_IRQ and so on. */
#define ARM_COUNTER(cause) (ESR_EC_COUNT + (cause)-ARM_EXIT_IRQ)

/* An answer that is not for hv: run on. */
#define ARM_RUN_ON (-1)

/* ---- vm.c ---- */

/* ID_AA64MMFR0_EL1.PARange for the VM's physical addresses. */
uint64_t arm_guest_pa_range(const struct arch_vm *vm);
/*
 * Writes a part of the guest's memory, as far as it is there, back to the point of coherency, and drops it from the
 * caches. It starts at *from, 0 at first, and moves that on; true: there is no more.
 */
bool arm_clean_guest_part(struct arch_vm *vm, gpa_t *from);
void arm_empty_instruction_caches(void);

/* ---- sysreg.c ---- */

/*
 * Answers a trapped MSR, MRS or SYS; false: it is undefined for the guest. The caller moves PC, unless vcpu->cleaning
 * has not come to its end: then the guest executes the same again.
 */
bool arm_system_register(struct arch_vcpu *vcpu, uint64_t esr);

/* ---- debug.c ---- */

/* A trapped access of Op0 2; false: it is undefined for the guest. The vCPU is loaded. */
bool arm_debug_register(struct arch_vcpu *vcpu, uint32_t encoding, bool read, uint64_t *value);
/* Puts the vCPU's debug registers into the CPU. */
void arm_debug_load(const struct arch_vcpu *vcpu);

/* ---- what world_switch.S calls: each an exit for hv, or ARM_RUN_ON ---- */

/* fault.c: exception class 0x24. */
int arm_data_abort(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr);
/* vcpu.c: all other synchronous exceptions but hypercalls. */
int arm_synchronous(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr);
/* vcpu.c: never ARM_RUN_ON. */
int arm_asynchronous(struct arch_vcpu *vcpu, struct vm_exit *exit, unsigned cause);
/* vcpu.c: before an entry, when vcpu->work is set. */
int arm_prepare(struct arch_vcpu *vcpu, struct vm_exit *exit);

/* ---- fault.c ---- */

/* An Instruction Abort from the guest. */
int arm_instruction_abort(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr);
/* The guest's VA to its IPA by its own stage 1, with the vCPU loaded. False: does not translate. */
bool arm_guest_translate(uint64_t address, gpa_t *ipa);

/* ---- inject.c ---- */

/* The loaded vCPU takes an exception at EL1 with this ESR_EL1 (and FAR_EL1 where `far` is not NULL). */
void arm_inject(uint64_t esr, const uint64_t *far);
void arm_inject_undefined(void);

/* ---- world_switch.S ---- */

void arm_fp_save(struct arm_fp *to);
void arm_fp_load(const struct arm_fp *from);

/*
 * The loaded vCPU's PC, and what executing the instruction would have done to its PSTATE: a step is over, a branch is
 * no longer the last one. Instructions are 4 bytes (a trapped one from AArch32 is not skipped, but undefined).
 */
static inline void arm_skip_instruction(void)
{
	sysreg_write(elr_el2, sysreg_read(elr_el2) + 4);
	sysreg_write(spsr_el2, sysreg_read(spsr_el2) & ~(PSTATE_SS | PSTATE_BTYPE));
}
