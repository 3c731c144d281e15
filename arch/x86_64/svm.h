/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the svm*.c files and svm_asm.S share. Nobody else includes it; the rest of arch/x86_64 sees svm_ops only.
 *
 * Interrupts around a guest: between a run's first VMRUN and the first exit that is not a hot one the host has
 * GIF = 0 and RFLAGS.IF = 1, across returns to hv/ with a hypercall, a port access or a nested fault: VMRUN wants IF
 * set (with V_INTR_MASKING it decides whether interrupts leave the guest) and an exit clears GIF anyway. Nothing gets
 * in then, NMIs included; they wait until the guest is entered and make it exit at once. svm_close and svm_open
 * change between this and the host's usual GIF = 1, IF = 0.
 */
#pragma once

/* Offsets in struct arch_vcpu and struct vm_exit for svm_asm.S, held to the truth by svm.c. */
#define VCPU_GPR(number)   ((number)*8)
#define VCPU_SVM_VMCB      128
#define VCPU_SVM_HOST_VMCB 136
#define VCPU_SVM_EXIT      144
#define VCPU_SVM_CALL_RIP  152
#define VCPU_REQUEST       176 /* request and interrupts, as one word */
#define VCPU_EXITS_VMMCALL SVM_VCPU_EXITS + VMEXIT_VMMCALL * 8
#define SVM_VCPU_EXITS     224
#define EXIT_CALL_NUMBER   40
#define EXIT_CALL_ARGUMENT 48
#define VMMCALL_BYTES      3
#define KIND_HYPERCALL     3

#ifndef __ASSEMBLER__

#include "cpu.h"
#include "vcpu.h"
#include "vmcb.h"

/* arch_vcpu.request. */
enum svm_request {
	SVM_REQUEST_CLOSE = 1,  /* the host runs with GIF = 1, IF = 0 */
	SVM_REQUEST_FLUSH = 2,  /* the TLB entries of this ASID must go */
	SVM_REQUEST_DIRTY = 4,  /* svm_vcpu.dirty is not empty */
	SVM_REQUEST_SETTLE = 8, /* the last entry flushed, or took changed parts in: the one after it need not */
};

#define SVM_NO_CALL UINT64_C(1) /* svm_vcpu.call_rip: no instruction that exits can have stood there */

/* What this CPU offers; valid after svm_check. */
struct svm_features {
	unsigned asids;
	bool next_rip, clean_bits, flush_by_asid, decode_assists;
	bool virtual_interrupts; /* the way to deliver them: svm_interrupts.c */
};
extern struct svm_features svm_features;

/* ---- svm_asm.S ---- */

/* ops->run: enters the guest and calls svm_exit after each exit until that answers an enum vm_exit_kind. */
enum vm_exit_kind svm_run(struct arch_vcpu *vcpu, struct vm_exit *exit);

/* ---- svm_exits.c ---- */

/* For svm_asm.S: an enum vm_exit_kind, or X86_RUN_ON. */
int svm_exit(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb);
/* For svm_asm.S: does what arch_vcpu.request and interrupts ask for. X86_RUN_ON, or an exit after all. */
int svm_prepare(struct arch_vcpu *vcpu);
/* The instruction that ends at `next` was emulated: RIP, the interrupt shadow, a single step. */
void svm_step(struct arch_vcpu *vcpu, uint64_t next);
void svm_skip(struct arch_vcpu *vcpu, unsigned length);
void svm_inject(struct vmcb *vmcb, enum x86_vector vector, uint32_t error_code);

/* A part of the VMCB has changed that the CPU may have kept: CLEAN_* bits. */
static inline void svm_dirty(struct arch_vcpu *vcpu, uint64_t clean_bits)
{
	if (svm_features.clean_bits) {
		vcpu->svm.dirty |= (uint32_t)clean_bits;
		vcpu->request |= SVM_REQUEST_DIRTY;
	}
}

/* Interrupts and NMIs wait from here on; IF is what VMRUN wants. */
static inline void svm_close(struct arch_vcpu *vcpu)
{
	__asm__ volatile("clgi; sti" : : : "memory");
	vcpu->request &= (uint8_t)~SVM_REQUEST_CLOSE;
}

/* Back to the host's usual state. What was pending comes in when someone opens IF. */
static inline void svm_open(struct arch_vcpu *vcpu)
{
	__asm__ volatile("cli; stgi" : : : "memory");
	vcpu->request |= SVM_REQUEST_CLOSE;
}

/* ---- svm_interrupts.c ---- */

/* ops->sync_apic: the local APIC learns what the guest has made of its TPR and of the virtual interrupt. */
void svm_sync_apic(struct arch_vcpu *vcpu);
/* Gives the next entry what waits in the local APIC. */
void svm_inject_interrupts(struct arch_vcpu *vcpu);
/* The guest's CR8, written where it may let something through. */
void svm_put_cr8(struct arch_vcpu *vcpu, uint64_t value);
/* The exit of the IRET that ends an NMI's handler. */
void svm_end_of_nmi(struct arch_vcpu *vcpu);

/* Opens the window, closed: IF and the interrupt shadow alone decide, the priorities are compared by svm_interrupts.c.
 */
#define SVM_WINDOW (V_IRQ | V_IGN_TPR)

static inline bool svm_can_take_event(const struct vmcb_control *control)
{
	return !(control->event_injection & EVENT_VALID) && !(control->interrupt_shadow & INTERRUPT_SHADOW);
}

/*
 * The short way for a guest's timer that is due; false: nothing was done. A tick like the one before: that was the last
 * interrupt, KVM's way tells that it has ended, and nothing has been raised since then. What the local APIC's registers
 * say of it, in service, is true again once the guest has the vector anew.
 */
static inline bool svm_timer_again(struct arch_vcpu *vcpu, struct vmcb *vmcb)
{
	struct vmcb_control *control = &vmcb->control;
	unsigned vector = vcpu->eoi.vector;
	uint64_t virtual = control->virtual_interrupt;
	if (vcpu->interrupts || lapic_get(&vcpu->lapic, LAPIC_LVT_TIMER) != (LAPIC_LVT_DEADLINE | vector) ||
	    (virtual & V_IRQ) || LAPIC_CLASS(vector) <= (virtual & VIRTUAL_TPR)) {
		return false;
	}
	if (!(vmcb->save.rflags & RFLAGS_IF) || !svm_can_take_event(control) ||
	    !kvm_eoi_again(&vcpu->eoi, vcpu->vm->space)) {
		return false;
	}
	if (svm_features.virtual_interrupts) {
		control->virtual_interrupt = virtual | SVM_WINDOW; /* with the vector that it has */
	} else {
		control->event_injection = EVENT_VALID | EVENT_TYPE_INTERRUPT << EVENT_TYPE_SHIFT | vector;
	}
	lapic_deadline_over(&vcpu->lapic);
	return true;
}

/* ---- svm_control_registers.c ---- */

/* CR4 as the guest sees it. */
uint64_t svm_get_cr4(const struct arch_vcpu *vcpu);
/* Without the checks that a MOV makes: for resets. */
void svm_put_cr4(struct arch_vcpu *vcpu, uint64_t value);
/*
 * Carries out the MOV to or from a control register at CS:RIP that has exited, but for stepping over it; returns its
 * length in bytes, 0: the code is not there. `refused`: nothing changed, #GP(0).
 */
unsigned svm_mov_cr(struct arch_vcpu *vcpu, uint64_t exit_code, bool *refused);

/* ---- svm_checks.c ---- */

/* Of the guest state that VMRUN refused: the rule of APM vol. 2 15.5.1 that it breaks; NULL: none. Pure. */
const char *svm_broken_rule(const struct vmcb *vmcb, uint8_t physical_bits);

/* ---- svm_names.c ---- */

/* "VMEXIT_NPF" */
const char *svm_exit_name(uint64_t raw);

#endif
