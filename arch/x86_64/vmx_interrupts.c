/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How interrupts get into a guest under VMX: by the entry's interruption information when the guest can take one, else
 * by an exit as soon as it can. Called before an entry when something may be new, with the VMCS current. SDM vol. 3C
 * 26.6, 25.2.
 */
#include "vmx.h"

#define WINDOWS  (CPU_INTERRUPT_WINDOW | CPU_NMI_WINDOW)
#define EXITS    (WINDOWS | CPU_CR8_LOAD)
#define SHADOWS  (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)
#define IN_QUEUE INTERRUPTION_VALID

/* The exit that must be waited for, 0: none. */
static uint64_t try_nmi(struct arch_vcpu *vcpu, uint64_t blocking)
{
	if (!(__atomic_load_n(&vcpu->lapic.events, __ATOMIC_ACQUIRE) & LAPIC_EVENT_NMI)) {
		return 0;
	}
	/* Whether STI keeps an NMI window closed is the CPU's choice (25.2): where it does not, nothing but exits would
	 * come, before any interrupt of the host's. */
	if (blocking & BLOCKING_BY_STI) {
		return CPU_INTERRUPT_WINDOW;
	}
	if ((vmread(VMCS_ENTRY_INTERRUPTION) & IN_QUEUE) || (blocking & (SHADOWS | BLOCKING_BY_NMI))) {
		return CPU_NMI_WINDOW;
	}
	__atomic_fetch_and(&vcpu->lapic.events, (uint8_t)~LAPIC_EVENT_NMI, __ATOMIC_ACQ_REL);
	vmwrite(VMCS_ENTRY_INTERRUPTION, INTERRUPTION_INFO(X86_NMI, INTERRUPTION_NMI));
	return 0;
}

static uint64_t try_interrupt(struct arch_vcpu *vcpu, uint64_t blocking)
{
	int vector = lapic_candidate(&vcpu->lapic);
	if (vector == LAPIC_NO_VECTOR) {
		return 0;
	}
	if (LAPIC_CLASS((unsigned)vector) <= LAPIC_CLASS(lapic_get(&vcpu->lapic, LAPIC_TPR))) {
		return CPU_CR8_LOAD;
	}
	if ((vmread(VMCS_ENTRY_INTERRUPTION) & IN_QUEUE) || (blocking & SHADOWS) ||
	    !(vmread(VMCS_GUEST_RFLAGS) & RFLAGS_IF)) {
		return CPU_INTERRUPT_WINDOW;
	}
	vmwrite(VMCS_ENTRY_INTERRUPTION, INTERRUPTION_INFO((unsigned)vector, INTERRUPTION_EXTERNAL));
	lapic_accept(&vcpu->lapic, (unsigned)vector);
	return 0;
}

/* ---- EOI without an exit ---- */

/*
 * With virtual-interrupt delivery an EOI in x2APIC mode changes the page of the local APIC's registers and makes an
 * exit only where the EOI-exit bitmap says so. What is to be delivered the CPU never learns (RVI stays 0): that is
 * injected as ever, so that a fault in the middle of it is told as ever.
 */
static void switch_virtual_eoi(struct arch_vcpu *vcpu, bool on)
{
	uint64_t controls = vmread(VMCS_CPU2_CONTROLS) & ~VMX_VIRTUAL_EOI;
	vmwrite(VMCS_CPU2_CONTROLS, controls | (on ? VMX_VIRTUAL_EOI : 0));
	vmwrite(VMCS_GUEST_INTERRUPT_STATUS, 0);
	for (unsigned i = 0; i < 4; i++) { /* what is in service already, below the highest, may be level-triggered */
		uint64_t low = lapic_get(&vcpu->lapic, LAPIC_TMR + 32 * i);
		uint64_t high = lapic_get(&vcpu->lapic, LAPIC_TMR + 32 * i + 16);
		vmwrite(VMCS_EOI_EXIT_BITMAP + VMCS_SEGMENT(i), low | high << 32);
	}
	vmx_intercept_write(vcpu, LAPIC_MSR_EOI, !on);
	vcpu->vmx.virtual_eoi = on;
}

/* Only the highest vector in service can end next; by then whoever waits behind it has been through here. */
static void follow_service(struct arch_vcpu *vcpu)
{
	int vector = lapic_in_service(&vcpu->lapic);
	if (vector == LAPIC_NO_VECTOR) {
		return;
	}
	enum vmcs_field field = VMCS_EOI_EXIT_BITMAP + VMCS_SEGMENT((unsigned)vector / 64);
	uint64_t bit = BIT((unsigned)vector % 64), bitmap = vmread(field);
	if (!!(bitmap & bit) != lapic_end_matters(&vcpu->lapic, (unsigned)vector)) {
		vmwrite(field, bitmap ^ bit);
	}
	vmwrite(VMCS_GUEST_INTERRUPT_STATUS, IN_SERVICE_VECTOR(vector));
}

static void prepare_eoi(struct arch_vcpu *vcpu)
{
	bool on = lapic_enabled(&vcpu->lapic) && !lapic_has_page(&vcpu->lapic);
	if (unlikely(vcpu->vmx.virtual_eoi != on)) {
		switch_virtual_eoi(vcpu, on);
	}
	if (on) {
		follow_service(vcpu);
	}
}

/* ---- before an entry ---- */

int vmx_prepare(struct arch_vcpu *vcpu)
{
	if (vcpu->request & X86_REQUEST_ACCESS) {
		return x86_second_access(vcpu, vcpu->vmx.exit);
	}
	__atomic_store_n(&vcpu->interrupts, 0, __ATOMIC_SEQ_CST); /* before the look: what comes later sets it again */
	uint64_t blocking = vmread(VMCS_GUEST_INTERRUPTIBILITY);
	/* Where there is no TPR shadow CR8 always exits; else it is the guest's, in the page of the local APIC's
	 * registers, but for when a vector waits for a lower task priority. */
	uint64_t exits = vmx_capabilities.cpu & CPU_CR8_LOAD;
	exits |= try_nmi(vcpu, blocking);
	exits |= try_interrupt(vcpu, blocking);
	if (vmx_capabilities.virtual_eoi) {
		prepare_eoi(vcpu);
	}
	if (exits & WINDOWS) {
		vcpu->interrupts = 1; /* the windows are for when nothing else exits; whatever does is as good */
	}
	uint64_t controls = vmread(VMCS_CPU_CONTROLS);
	if ((controls & EXITS) != exits) {
		vmwrite(VMCS_CPU_CONTROLS, (controls & ~EXITS) | exits);
	}
	return X86_RUN_ON;
}
