/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How interrupts get into a guest under SVM. Called before an entry when something may be new. APM vol. 2 15.20, 15.21.
 *
 * There are two ways, both right on hardware. By event injection when the guest can take one, else by an exit as soon
 * as it can (VINTR, or a write of CR8). Or as the VMCB's virtual interrupt, which the CPU takes by itself when it may:
 * then the vector is in service for the local APIC from the start, and is taken back by whoever looks there while it
 * still waits. The second one is for CPUs with neither NRIPS nor VMCB clean bits. Among them is QEMU's TCG, which after
 * an injected interrupt may deliver the same once more, whatever RFLAGS.IF says. Bochs' newer CPUs do not tell of an
 * exit in the middle of the delivery of a virtual one, which would be lost; and KVM on that TCG takes it for an
 * exception.
 */
#include "svm.h"

static void set_bit(struct arch_vcpu *vcpu, uint32_t *intercepts, uint64_t bit, bool on)
{
	uint32_t value = (*intercepts & ~(uint32_t)bit) | (uint32_t)(on ? bit : 0);
	if (value != *intercepts) {
		*intercepts = value;
		svm_dirty(vcpu, CLEAN_INTERCEPTS);
	}
}

static void set_window(struct arch_vcpu *vcpu, bool open)
{
	struct vmcb_control *control = &vcpu->svm.vmcb->control;
	uint64_t value = (control->virtual_interrupt & ~SVM_WINDOW) | (open ? SVM_WINDOW : 0);
	set_bit(vcpu, &control->intercept_misc1, INTERCEPT_VINTR, open);
	if (value != control->virtual_interrupt) {
		control->virtual_interrupt = value;
		svm_dirty(vcpu, CLEAN_TPR);
	}
}

/* The guest has taken the virtual interrupt, or not: then it goes back to where others are compared with it. */
static void take_back(struct arch_vcpu *vcpu)
{
	unsigned vector = vcpu->svm.offered;
	vcpu->svm.offered = 0;
	if (vcpu->svm.vmcb->control.virtual_interrupt & V_IRQ) {
		set_window(vcpu, false);
		lapic_reject(&vcpu->lapic, vector);
		vcpu->interrupts = 1;
	}
}

void svm_sync_apic(struct arch_vcpu *vcpu)
{
	struct lapic *lapic = &vcpu->lapic;
	uint32_t class = (uint32_t)(vcpu->svm.vmcb->control.virtual_interrupt & VIRTUAL_TPR);

	if (LAPIC_CLASS(lapic_get(lapic, LAPIC_TPR)) != class) {
		lapic_put(lapic, LAPIC_TPR, class << 4);
	}
	if (vcpu->eoi.vector != 0) {
		kvm_eoi_settle(vcpu);
	}
	if (vcpu->svm.offered != 0) {
		take_back(vcpu);
	}
}

void svm_put_cr8(struct arch_vcpu *vcpu, uint64_t value)
{
	struct vmcb_control *control = &vcpu->svm.vmcb->control;
	control->virtual_interrupt = (control->virtual_interrupt & ~VIRTUAL_TPR) | value;
	svm_dirty(vcpu, CLEAN_TPR);
	vcpu->interrupts = 1;
}

static void inject(struct arch_vcpu *vcpu, uint64_t type, unsigned vector)
{
	vcpu->svm.vmcb->control.event_injection = EVENT_VALID | type << EVENT_TYPE_SHIFT | vector;
}

/* An NMI's handler ends with an IRET, which must exit to tell. */
static void try_nmi(struct arch_vcpu *vcpu)
{
	struct vmcb_control *control = &vcpu->svm.vmcb->control;

	if (!(__atomic_load_n(&vcpu->lapic.events, __ATOMIC_ACQUIRE) & LAPIC_EVENT_NMI)) {
		return;
	}
	if (vcpu->svm.nmi_blocked || vcpu->svm.vmcb->save.rip == vcpu->svm.iret_rip) {
		vcpu->interrupts = 1; /* at an entry after the IRET */
		return;
	}
	vcpu->svm.iret_rip = SVM_NO_CALL;
	if (!svm_can_take_event(control)) {
		vcpu->interrupts = 1; /* at the next entry */
		return;
	}
	__atomic_fetch_and(&vcpu->lapic.events, (uint8_t)~LAPIC_EVENT_NMI, __ATOMIC_ACQ_REL);
	inject(vcpu, EVENT_TYPE_NMI, X86_NMI);
	vcpu->svm.nmi_blocked = true;
	set_bit(vcpu, &control->intercept_misc1, INTERCEPT_IRET, true);
}

/* The IRET is still to be run: a further NMI waits until RIP has gone on. */
void svm_end_of_nmi(struct arch_vcpu *vcpu)
{
	vcpu->svm.iret_rip = vcpu->svm.vmcb->save.rip;
	vcpu->interrupts = 1;
	vcpu->svm.nmi_blocked = false;
	set_bit(vcpu, &vcpu->svm.vmcb->control.intercept_misc1, INTERCEPT_IRET, false);
}

/* A higher task priority than the one that it was compared with makes an exit. */
static void offer(struct arch_vcpu *vcpu, unsigned vector)
{
	struct vmcb_control *control = &vcpu->svm.vmcb->control;
	control->virtual_interrupt = (control->virtual_interrupt & ~V_INTR_VECTOR_MASK) | V_IRQ | V_IGN_TPR |
	                             (uint64_t)vector << V_INTR_VECTOR_SHIFT;
	svm_dirty(vcpu, CLEAN_TPR);
	vcpu->svm.offered = (uint8_t)vector;
	lapic_accept(&vcpu->lapic, vector);
}

static void try_interrupt(struct arch_vcpu *vcpu)
{
	struct vmcb *vmcb = vcpu->svm.vmcb;
	int vector = lapic_pending(&vcpu->lapic);
	bool held_back = vector == LAPIC_NO_VECTOR && lapic_candidate(&vcpu->lapic) != LAPIC_NO_VECTOR;
	bool now = (vmcb->save.rflags & RFLAGS_IF) && svm_can_take_event(&vmcb->control);
	bool waits = vector != LAPIC_NO_VECTOR && !now;

	if (svm_features.virtual_interrupts) {
		set_bit(vcpu, &vmcb->control.intercept_cr, INTERCEPT_CR8_WRITE, held_back || waits);
		if (vector != LAPIC_NO_VECTOR) {
			kvm_eoi_offer(vcpu, (unsigned)vector);
			offer(vcpu, (unsigned)vector);
		}
		return;
	}
	set_bit(vcpu, &vmcb->control.intercept_cr, INTERCEPT_CR8_WRITE, held_back);
	if (vector != LAPIC_NO_VECTOR && now) {
		inject(vcpu, EVENT_TYPE_INTERRUPT, (unsigned)vector);
		kvm_eoi_offer(vcpu, (unsigned)vector);
		lapic_accept(&vcpu->lapic, (unsigned)vector);
	}
	set_window(vcpu, waits);
	if (waits) {
		vcpu->interrupts = 1; /* the window is for when nothing else exits; whatever does is as good */
	}
}

void svm_inject_interrupts(struct arch_vcpu *vcpu)
{
	svm_sync_apic(vcpu);
	__atomic_store_n(&vcpu->interrupts, 0, __ATOMIC_SEQ_CST); /* before the look: what comes later sets it again */
	try_nmi(vcpu);
	try_interrupt(vcpu);
}
