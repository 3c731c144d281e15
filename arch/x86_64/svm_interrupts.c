/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How interrupts get into a guest under SVM. A vector is offered through the VMCB's virtual interrupt: the CPU delivers
 * it when the guest's IF, interrupt shadow and TPR allow, without another exit, and clears V_IRQ; until that is seen
 * (svm_sync_apic) it stays in IRR. Called before an entry when something may be new. APM vol. 2 15.20, 15.21.
 */
#include "svm.h"

#define NO_VIRTUAL_INTERRUPT (~(V_IRQ | V_INTR_PRIO | V_INTR_VECTOR))

void svm_sync_apic(struct arch_vcpu *vcpu)
{
	const struct vmcb_control *control = &vcpu->svm.vmcb->control;
	struct lapic *lapic = &vcpu->lapic;
	uint32_t class = (uint32_t)(control->virtual_interrupt & VIRTUAL_TPR);

	if (LAPIC_CLASS(lapic_get(lapic, LAPIC_TPR)) != class) {
		lapic_put(lapic, LAPIC_TPR, class << 4);
	}
	if (vcpu->svm.offered != LAPIC_NO_VECTOR && !(control->virtual_interrupt & V_IRQ)) {
		lapic_accept(lapic, (unsigned)vcpu->svm.offered);
		vcpu->svm.offered = LAPIC_NO_VECTOR;
	}
}

static void offer(struct arch_vcpu *vcpu, int vector)
{
	struct vmcb_control *control = &vcpu->svm.vmcb->control;
	uint64_t value = control->virtual_interrupt & NO_VIRTUAL_INTERRUPT;

	if (vector != LAPIC_NO_VECTOR) {
		uint64_t number = (uint64_t)vector;
		value |= V_IRQ | LAPIC_CLASS(number) << V_INTR_PRIO_SHIFT | number << V_INTR_VECTOR_SHIFT;
	}
	if (value != control->virtual_interrupt) {
		control->virtual_interrupt = value;
		svm_dirty(vcpu, CLEAN_TPR);
	}
	vcpu->svm.offered = (int16_t)vector;
}

/* An NMI's handler ends with an IRET, which must exit to tell. */
static void intercept_iret(struct arch_vcpu *vcpu, bool intercept)
{
	struct vmcb_control *control = &vcpu->svm.vmcb->control;
	control->intercept_misc1 &= (uint32_t)~INTERCEPT_IRET;
	control->intercept_misc1 |= (uint32_t)(intercept ? INTERCEPT_IRET : 0);
	vcpu->svm.nmi_blocked = intercept;
	svm_dirty(vcpu, CLEAN_INTERCEPTS);
}

static void inject_nmi(struct arch_vcpu *vcpu)
{
	struct vmcb_control *control = &vcpu->svm.vmcb->control;

	if (vcpu->svm.nmi_blocked) {
		return; /* looked at again some time after the IRET */
	}
	if ((control->event_injection & EVENT_VALID) || (control->interrupt_shadow & INTERRUPT_SHADOW)) {
		vcpu->interrupts = 1; /* at the next entry */
		return;
	}
	__atomic_fetch_and(&vcpu->lapic.events, (uint8_t)~LAPIC_EVENT_NMI, __ATOMIC_ACQ_REL);
	control->event_injection = EVENT_VALID | EVENT_TYPE_NMI << EVENT_TYPE_SHIFT | X86_NMI;
	intercept_iret(vcpu, true);
}

void svm_offer_interrupts(struct arch_vcpu *vcpu)
{
	__atomic_store_n(&vcpu->interrupts, 0, __ATOMIC_SEQ_CST); /* before the look: what comes later sets it again */
	svm_sync_apic(vcpu);
	offer(vcpu, lapic_candidate(&vcpu->lapic));
	if (__atomic_load_n(&vcpu->lapic.events, __ATOMIC_ACQUIRE) & LAPIC_EVENT_NMI) {
		inject_nmi(vcpu);
	}
}

/* The IRET is still to be run: a further NMI waits for whatever looks next, so that it does not come before it. */
void svm_end_of_nmi(struct arch_vcpu *vcpu)
{
	intercept_iret(vcpu, false);
}

void svm_interrupt_interrupted(struct arch_vcpu *vcpu)
{
	vcpu->svm.vmcb->control.virtual_interrupt &= ~V_IRQ;
	svm_dirty(vcpu, CLEAN_TPR);
}
