/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time: the counter, the hypervisor's own timer (CNTHP, routed to EL2 by the host's GIC), and what the guest's two
 * timers say. The guest's virtual timer is the CPU's; its physical timer traps and is a number here (sysreg.c).
 */
#include "timer.h"
#include "cpu.h"
#include "vgic.h"

uint64_t arch_counter(void)
{
	isb(); /* or the counter might be read before what went before */
	return sysreg_read(cntpct_el0);
}

uint64_t arch_counter_hz(void)
{
	return sysreg_read(cntfrq_el0);
}

void arm_timer_arm(uint64_t counter)
{
	this_cpu()->armed = counter;
	if (counter == UINT64_MAX) {
		sysreg_write(cnthp_ctl_el2, 0);
		isb();
		return;
	}
	sysreg_write(cnthp_cval_el2, counter);
	sysreg_write(cnthp_ctl_el2, CNT_CTL_ENABLE);
	isb();
}

/* The guests' timers are off until a vCPU is loaded; the firmware may have used them. */
void arm_timer_init(void)
{
	sysreg_write(cntp_ctl_el0, 0);
	sysreg_write(cntv_ctl_el0, 0);
	arm_timer_arm(UINT64_MAX);
}

static bool running(uint64_t control)
{
	return (control & (CNT_CTL_ENABLE | CNT_CTL_IMASK)) == CNT_CTL_ENABLE;
}

bool arm_virtual_timer_asserted(void)
{
	uint64_t control = sysreg_read(cntv_ctl_el0);
	return running(control) && (control & CNT_CTL_ISTATUS);
}

bool arm_physical_timer_asserted(const struct arch_vcpu *vcpu)
{
	return running(vcpu->cntp_ctl) && arm_counter_relaxed() >= vcpu->cntp_cval;
}

uint64_t arm_physical_timer_due(const struct arch_vcpu *vcpu)
{
	return running(vcpu->cntp_ctl) ? vcpu->cntp_cval : UINT64_MAX;
}

uint64_t arch_vcpu_wake_time(struct arch_vcpu *vcpu)
{
	uint64_t control = vcpu->loaded ? sysreg_read(cntv_ctl_el0) : vcpu->el1.cntv_ctl;
	uint64_t compare = vcpu->loaded ? sysreg_read(cntv_cval_el0) : vcpu->el1.cntv_cval;
	uint64_t due = UINT64_MAX;

	/* A timer whose interrupt is not enabled wakes nobody. CNTVOFF_EL2 is 0: virtual time is physical time. */
	if (running(control) && vgic_is_enabled(vcpu, VGIC_VIRTUAL_TIMER)) {
		due = compare;
	}
	if (vgic_is_enabled(vcpu, VGIC_PHYSICAL_TIMER)) {
		due = MIN(due, arm_physical_timer_due(vcpu));
	}
	return due;
}
