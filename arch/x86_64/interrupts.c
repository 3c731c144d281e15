/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the guest reaches its local APIC and IOAPIC, how its timer keeps the host's, and the interrupt calls of arch.h.
 * Called by vcpu.c and msr.c on exits and by hv/. The models are lapic.c and ioapic.c; how an interrupt enters the
 * guest is each side's own: svm_interrupts.c, vmx_interrupts.c.
 */
#include "interrupts.h"

#include "cpu.h"
#include "vcpu.h"

/* How often hv hears of interrupts that were the guest's own timer: it looks at the console's input then. Who types to
 * a busy guest notices nothing, and a guest that waits is looked after by hv itself. */
#define LOOKS_PER_SECOND 20

/* ---- the timer ---- */

int x86_timer_arm(struct arch_vcpu *vcpu, uint64_t now)
{
	return x86_host_timer_set(MIN(vcpu->deadline, vcpu->lapic.due), now);
}

int x86_host_interrupt(struct arch_vcpu *vcpu, uint64_t now)
{
	if (unlikely(now >= vcpu->lapic.due)) {
		lapic_timer_expire(vcpu, now);
	}
	if (unlikely(now >= vcpu->deadline)) {
		return VM_EXIT_DEADLINE;
	}
	(void)x86_timer_arm(vcpu, now); /* it may have been this timer, for the guest or before its time */
	if (likely(now < vcpu->look_around)) {
		return X86_RUN_ON;
	}
	vcpu->look_around = MIN(now + arch_counter_hz() / LOOKS_PER_SECOND, vcpu->deadline);
	return VM_EXIT_INTERRUPT;
}

/* Whatever the guest has written: its timer may be due sooner, later, or already. */
static void look_at_timer(struct arch_vcpu *vcpu, uint64_t due_before)
{
	if (vcpu->lapic.due != due_before) {
		uint64_t now = rdtsc();
		lapic_timer_expire(vcpu, now);
		(void)x86_timer_arm(vcpu, now);
	}
}

/* A timer that is due by now has its interrupt before a write changes what it does. */
static void expire_before(struct arch_vcpu *vcpu, unsigned offset)
{
	if (offset != LAPIC_EOI && offset != LAPIC_TPR) {
		lapic_timer_expire(vcpu, rdtsc());
	}
}

static __attribute__((noinline)) int write_odd_deadline(struct arch_vcpu *vcpu, uint64_t value, uint64_t now)
{
	lapic_deadline_write(vcpu, value, now);
	return x86_timer_arm(vcpu, now);
}

int x86_deadline_write(struct arch_vcpu *vcpu, uint64_t value)
{
	uint64_t now = rdtsc();
	if (likely(lapic_deadline_next(&vcpu->lapic, value, now))) {
		return x86_host_timer_set(MIN(vcpu->deadline, value), now);
	}
	return write_odd_deadline(vcpu, value, now);
}

/* ---- the guest's accesses ---- */

static inline void sync_apic(struct arch_vcpu *vcpu)
{
	if (vcpu->vm->ops->sync_apic) {
		vcpu->vm->ops->sync_apic(vcpu);
	}
}

/* After a write: the task priority may have become another one. */
static void publish(struct arch_vcpu *vcpu, unsigned offset, uint64_t due_before)
{
	if (offset == LAPIC_TPR) {
		vcpu->vm->ops->set(vcpu, X86_CR8, LAPIC_CLASS(lapic_get(&vcpu->lapic, LAPIC_TPR)));
	}
	look_at_timer(vcpu, due_before);
}

/* What is not one of the two registers' 32 bits reads as zero and ignores writes, as the chip does. */
static void access_ioapic(struct arch_vcpu *vcpu, struct io_access *io)
{
	unsigned offset = (unsigned)(io->address - IOAPIC_BASE);
	if (io->write) {
		ioapic_write(vcpu->vm, offset, io->width, (uint32_t)io->value);
	} else {
		io->value = ioapic_read(vcpu->vm, offset) & BITS(8U * io->width - 1, 0);
	}
}

static void access_lapic(struct arch_vcpu *vcpu, struct io_access *io)
{
	unsigned offset = (unsigned)(io->address - LAPIC_BASE);
	uint64_t due = vcpu->lapic.due;
	sync_apic(vcpu);
	if (io->write) {
		expire_before(vcpu, offset);
		lapic_mmio_write(vcpu, offset, io->width, io->value);
		publish(vcpu, offset, due);
	} else {
		io->value = lapic_mmio_read(vcpu, offset, io->width);
	}
}

bool x86_apic_mmio(struct arch_vcpu *vcpu, struct io_access *io)
{
	if (io->address - IOAPIC_BASE < IOAPIC_BYTES) {
		access_ioapic(vcpu, io);
		return true;
	}
	if (io->address - LAPIC_BASE < LAPIC_BYTES && lapic_has_page(&vcpu->lapic)) {
		access_lapic(vcpu, io);
		return true;
	}
	return false;
}

bool x86_apic_msr_read(struct arch_vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	sync_apic(vcpu);
	return lapic_msr_read(vcpu, msr, value);
}

bool x86_apic_msr_write(struct arch_vcpu *vcpu, uint32_t msr, uint64_t value)
{
	uint64_t due = vcpu->lapic.due;
	sync_apic(vcpu);
	if (likely(msr == LAPIC_MSR_EOI && value == 0 && lapic_has_msrs(&vcpu->lapic))) {
		lapic_end_of_interrupt(vcpu);
		return true;
	}
	expire_before(vcpu, (msr - LAPIC_MSR_FIRST) << 4);
	if (!lapic_msr_write(vcpu, msr, value)) {
		return false;
	}
	publish(vcpu, (msr - LAPIC_MSR_FIRST) << 4, due);
	return true;
}

bool x86_apic_base_write(struct arch_vcpu *vcpu, uint64_t value)
{
	uint64_t due = vcpu->lapic.due;
	sync_apic(vcpu);
	lapic_timer_expire(vcpu, rdtsc());
	if (!lapic_base_write(vcpu, value)) {
		return false;
	}
	publish(vcpu, LAPIC_TPR, due);
	return true;
}

/* ---- arch.h ---- */

void arch_vm_set_irq(struct arch_vm *vm, unsigned line, bool level)
{
	ioapic_set_line(vm, line, level);
}

unsigned arch_vm_devices(const struct arch_vm *vm, struct arch_vm_device *devices, unsigned count)
{
	static const struct arch_vm_device own[] = {
		{"ioapic", IOAPIC_BASE, IOAPIC_BYTES},
		{"lapic", LAPIC_BASE, LAPIC_BYTES},
	};
	(void)vm;
	for (unsigned i = 0; i < MIN(count, (unsigned)ARRAY_SIZE(own)); i++) {
		devices[i] = own[i];
	}
	return ARRAY_SIZE(own);
}

bool arch_vcpu_interrupt_pending(struct arch_vcpu *vcpu)
{
	struct lapic *lapic = &vcpu->lapic;
	sync_apic(vcpu);
	lapic_timer_expire(vcpu, rdtsc());
	return lapic_pending(lapic) != LAPIC_NO_VECTOR ||
	       (__atomic_load_n(&lapic->events, __ATOMIC_ACQUIRE) & LAPIC_EVENT_NMI);
}

/* The other vCPUs that could send an NMI do not exist yet. */
bool arch_vcpu_wakeable(struct arch_vcpu *vcpu)
{
	return (vcpu->vm->ops->get(vcpu, X86_RFLAGS) & RFLAGS_IF) && lapic_enabled(&vcpu->lapic);
}

uint64_t arch_vcpu_wake_time(struct arch_vcpu *vcpu)
{
	return vcpu->lapic.due;
}
