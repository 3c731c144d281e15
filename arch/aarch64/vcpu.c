/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vCPUs: their state, loading it into the CPU and taking it back, and the answers to exits that are neither aborts
 * (fault.c) nor system registers (sysreg.c). arch_vcpu_run itself is in world_switch.S and calls what is here.
 */
#include "vcpu.h"

#include "firmware.h"
#include "gic_host.h"
#include "lib/log.h"
#include "lib/string.h"
#include "timer.h"

/* What a guest's HCR_EL2 has on every CPU. */
#define GUEST_HCR                                                                                                      \
	(HCR_VM | HCR_SWIO | HCR_PTW | HCR_FMO | HCR_IMO | HCR_AMO | HCR_FB | HCR_BSU_INNER | HCR_TWI | HCR_TID3 |     \
	 HCR_TSC | HCR_TIDCP | HCR_TACR | HCR_TSW | HCR_RW)
#define WFX_WFI   0
#define VDISR_EL2 S3_4_C12_C1_1 /* by its encoding: newer than the assembler's default architecture */

static uint64_t guest_hcr(void)
{
	uint64_t hcr = GUEST_HCR;
	hcr |= arm_features.lor ? HCR_TLOR : 0;
	hcr |= arm_features.ras ? HCR_TERR | HCR_TEA : 0;
	/* Without forced write-back a guest starts with its caches off, and we want to see them go on: vm.c. */
	return hcr | (arm_features.force_write_back ? HCR_FWB : HCR_TVM);
}

/* ---- life ---- */

int arch_vcpu_init(struct arch_vcpu *vcpu, struct arch_vm *vm, unsigned index)
{
	memset(vcpu, 0, sizeof(*vcpu));
	if (index >= vm->vcpus) {
		return MM_EINVAL;
	}
	vcpu->vm = vm;
	vcpu->space = vm->space;
	vcpu->index = index;
	vcpu->deadline = UINT64_MAX;
	vcpu->mmio.hpfar = ARM_MMIO_NONE;
	vm->vcpu[index] = vcpu;
	return MM_OK;
}

void arch_vcpu_destroy(struct arch_vcpu *vcpu)
{
	if (!vcpu->vm) {
		return; /* arch_vcpu_init had refused it */
	}
	if (vcpu->loaded) {
		arch_vcpu_put(vcpu);
	}
	vcpu->vm->vcpu[vcpu->index] = NULL;
}

void arch_vcpu_start(struct arch_vcpu *vcpu, const struct arch_entry *entry)
{
	bool loaded = vcpu->loaded;
	if (loaded) {
		arch_vcpu_put(vcpu);
	}
	memset(vcpu->x, 0, sizeof(vcpu->x));
	memset(&vcpu->el1, 0, sizeof(vcpu->el1));
	memset(&vcpu->fp, 0, sizeof(vcpu->fp));
	memset(&vcpu->debug, 0, sizeof(vcpu->debug));
	vcpu->cleaning.unfinished = false;
	for (unsigned i = 0; i < ARRAY_SIZE(entry->argument); i++) {
		vcpu->x[i] = entry->argument[i];
	}
	vcpu->pc = entry->pc;
	vcpu->pstate = PSTATE_EL1H | PSTATE_DAIF;
	vcpu->el1.sctlr = SCTLR_EL1_RES1;
	vcpu->cntp_ctl = 0;
	vcpu->cntp_cval = 0;
	vcpu->serror = false;
	vcpu->hcr = guest_hcr();
	vgic_reset(vcpu);
	gpa_t from = 0;
	while (!arm_features.force_write_back && !arm_clean_guest_part(vcpu->vm, &from)) {
	}
	arm_empty_instruction_caches();
	if (loaded) {
		arch_vcpu_load(vcpu);
	}
}

/* ---- load and put ---- */

/*
 * Until a vCPU is loaded with all that belongs to it, EL1's addresses must lead nowhere. A CPU may execute an AT
 * instruction ahead (Cortex-A57 and A72, erratum 1319367; early A55 and A76 too), and what it finds in a regime of
 * which one half is another guest's, or has no stage 2, stays in its TLB under the VMID of that moment. With the walks
 * off, and the MMU on, or addresses would be taken as they are, it finds nothing.
 */
static void stop_el1_walks(void)
{
	sysreg_write(tcr_el1, TCR_EL1_EPD0 | TCR_EL1_EPD1);
	isb();
	sysreg_write(sctlr_el1, SCTLR_EL1_RES1 | SCTLR_M);
	isb();
}

/* When all other registers are the guest's, stage 2's too. */
static void start_el1_walks(const struct arm_el1 *el1)
{
	isb();
	sysreg_write(sctlr_el1, el1->sctlr);
	isb();
	sysreg_write(tcr_el1, el1->tcr);
}

/* All but what start_el1_walks loads. */
static void load_el1(const struct arch_vcpu *vcpu)
{
	const struct arm_el1 *el1 = &vcpu->el1;
	sysreg_write(cpacr_el1, el1->cpacr);
	sysreg_write(ttbr0_el1, el1->ttbr0);
	sysreg_write(ttbr1_el1, el1->ttbr1);
	sysreg_write(mair_el1, el1->mair);
	sysreg_write(amair_el1, el1->amair);
	sysreg_write(contextidr_el1, el1->contextidr);
	sysreg_write(vbar_el1, el1->vbar);
	sysreg_write(esr_el1, el1->esr);
	sysreg_write(far_el1, el1->far);
	sysreg_write(afsr0_el1, el1->afsr0);
	sysreg_write(afsr1_el1, el1->afsr1);
	sysreg_write(elr_el1, el1->elr);
	sysreg_write(spsr_el1, el1->spsr);
	sysreg_write(par_el1, el1->par);
	sysreg_write(sp_el0, el1->sp_el0);
	sysreg_write(sp_el1, el1->sp_el1);
	sysreg_write(tpidr_el0, el1->tpidr_el0);
	sysreg_write(tpidrro_el0, el1->tpidrro_el0);
	sysreg_write(tpidr_el1, el1->tpidr_el1);
	sysreg_write(csselr_el1, el1->csselr);
	sysreg_write(cntkctl_el1, el1->cntkctl);
	sysreg_write(cntv_cval_el0, el1->cntv_cval);
	sysreg_write(vmpidr_el2, MPIDR_RES1 | vcpu->index);
}

static void save_el1(struct arm_el1 *el1)
{
	el1->sctlr = sysreg_read(sctlr_el1);
	el1->cpacr = sysreg_read(cpacr_el1);
	el1->ttbr0 = sysreg_read(ttbr0_el1);
	el1->ttbr1 = sysreg_read(ttbr1_el1);
	el1->tcr = sysreg_read(tcr_el1);
	el1->mair = sysreg_read(mair_el1);
	el1->amair = sysreg_read(amair_el1);
	el1->contextidr = sysreg_read(contextidr_el1);
	el1->vbar = sysreg_read(vbar_el1);
	el1->esr = sysreg_read(esr_el1);
	el1->far = sysreg_read(far_el1);
	el1->afsr0 = sysreg_read(afsr0_el1);
	el1->afsr1 = sysreg_read(afsr1_el1);
	el1->elr = sysreg_read(elr_el1);
	el1->spsr = sysreg_read(spsr_el1);
	el1->par = sysreg_read(par_el1);
	el1->sp_el0 = sysreg_read(sp_el0);
	el1->sp_el1 = sysreg_read(sp_el1);
	el1->tpidr_el0 = sysreg_read(tpidr_el0);
	el1->tpidrro_el0 = sysreg_read(tpidrro_el0);
	el1->tpidr_el1 = sysreg_read(tpidr_el1);
	el1->csselr = sysreg_read(csselr_el1);
	el1->cntkctl = sysreg_read(cntkctl_el1);
	el1->cntv_ctl = sysreg_read(cntv_ctl_el0);
	el1->cntv_cval = sysreg_read(cntv_cval_el0);
}

/*
 * A store that a device answers with an error becomes an SError whenever the answer comes: here all have come. One that
 * is pending stays so, for EL2 masks it, and is taken before the next guest's first instruction: serror() below.
 */
static bool serror_pending(void)
{
	dsb(sy);
	isb();
	return sysreg_read(isr_el1) & ISR_A;
}

void arch_vcpu_load(struct arch_vcpu *vcpu)
{
	struct arm_cpu *cpu = this_cpu();
	if (cpu->loaded == vcpu) {
		return;
	}
	if (cpu->loaded) {
		arch_vcpu_put(cpu->loaded);
	}
	arm_firmware_forget_branches();
	stop_el1_walks(); /* the first time these are the firmware's */
	load_el1(vcpu);
	arm_debug_load(vcpu);
	sysreg_write(cptr_el2, sysreg_read(cptr_el2) | CPTR_TFP); /* until the guest's first use: use_fp */
	if (arm_features.ras) {
		sysreg_write(VDISR_EL2, 0); /* a guest's DISR_EL1, which no ID register offers */
	}
	sysreg_write(elr_el2, vcpu->pc);
	sysreg_write(spsr_el2, vcpu->pstate);
	sysreg_write(vtcr_el2, vcpu->vm->vtcr);
	sysreg_write(vttbr_el2, vcpu->vm->vttbr);
	sysreg_write(hcr_el2, vcpu->hcr);
	start_el1_walks(&vcpu->el1);
	cpu->loaded = vcpu;
	vcpu->loaded = true;
	vgic_load(vcpu);
	cpu->serror_before = serror_pending();
	sysreg_write(cntv_ctl_el0, vcpu->el1.cntv_ctl); /* last: it may fire at once */
	isb();
}

void arch_vcpu_put(struct arch_vcpu *vcpu)
{
	if (!vcpu->loaded) {
		return;
	}
	vcpu->serror = vcpu->serror || (serror_pending() && !this_cpu()->serror_before);
	vcpu->pc = sysreg_read(elr_el2);
	vcpu->pstate = sysreg_read(spsr_el2);
	save_el1(&vcpu->el1);
	sysreg_write(cntv_ctl_el0, 0);
	stop_el1_walks();
	vgic_put(vcpu);
	if (vcpu->fp_loaded) {
		arm_fp_save(&vcpu->fp);
		vcpu->fp_loaded = false;
	}
	sysreg_write(cptr_el2, sysreg_read(cptr_el2) & ~CPTR_TFP);
	/* No stage 2 and no VMID: nothing of the guest's is walked any more. */
	sysreg_write(hcr_el2, ARM_HOST_HCR);
	sysreg_write(vttbr_el2, 0);
	isb();
	vcpu->loaded = false;
	this_cpu()->loaded = NULL;
	arm_timer_arm(UINT64_MAX);
}

/* ---- interrupts and time ---- */

void arch_vcpu_set_deadline(struct arch_vcpu *vcpu, uint64_t counter)
{
	vcpu->deadline = counter;
	vcpu->work = true;
}

/* Before the next entry, when something has changed: list registers and the timer. */
int arm_prepare(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	if (unlikely(vcpu->serror)) {
		exit->raw = ARM_RAW_ASYNCHRONOUS + ARM_EXIT_SERROR;
		return VM_EXIT_FAILED;
	}
	bool asserted = arm_physical_timer_asserted(vcpu);
	uint64_t due = asserted ? vcpu->deadline : MIN(vcpu->deadline, arm_physical_timer_due(vcpu));

	vgic_set_private_line(vcpu, VGIC_PHYSICAL_TIMER, asserted);
	vgic_update(vcpu);
	if (due != this_cpu()->armed) {
		arm_timer_arm(due);
	}
	vcpu->work = false;
	return ARM_RUN_ON;
}

bool arch_vcpu_interrupt_pending(struct arch_vcpu *vcpu)
{
	/* The virtual timer's may be waiting. A deadline that passes here is to come at the next entry. */
	if (vcpu->loaded && (gic_serve() & GIC_SERVED_TIMER)) {
		vcpu->work = true;
	}
	vgic_set_private_line(vcpu, VGIC_PHYSICAL_TIMER, arm_physical_timer_asserted(vcpu));
	return vgic_pending(vcpu);
}

bool arch_vcpu_wakeable(struct arch_vcpu *vcpu)
{
	return vgic_any_enabled(vcpu);
}

void arch_idle(uint64_t counter)
{
	struct arch_vcpu *vcpu = this_cpu()->loaded;
	arm_timer_arm(counter);
	dsb(sy);
	__asm__ volatile("wfi" : : : "memory"); /* ends for a pending interrupt though DAIF masks it */
	gic_serve();
	if (vcpu) {
		vcpu->work = true; /* its own deadline is to be set again */
	}
}

void arch_vm_set_irq(struct arch_vm *vm, unsigned line, bool level)
{
	vgic_set_line(vm, line, level);
}

unsigned arch_vm_gic_version(const struct arch_vm *vm)
{
	return vm->vgic.version;
}

unsigned arch_vm_devices(const struct arch_vm *vm, struct arch_vm_device *devices, unsigned count)
{
	const struct arch_vm_device all[] = {
		{"gicd", VGIC_DISTRIBUTOR_BASE, VGIC_DISTRIBUTOR_BYTES},
		vm->vgic.version == 2
			? (struct arch_vm_device){"gicc", VGIC_CPU_INTERFACE_BASE, VGIC_CPU_INTERFACE_BYTES}
			: (struct arch_vm_device){"gicr", VGIC_REDISTRIBUTOR_BASE,
	                                          vm->vcpus * VGIC_REDISTRIBUTOR_BYTES},
	};
	for (unsigned i = 0; i < MIN(count, (unsigned)ARRAY_SIZE(all)); i++) {
		devices[i] = all[i];
	}
	return ARRAY_SIZE(all);
}

/* ---- exits ---- */

static int firmware_call(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr)
{
	uint64_t result;
	const struct psci_machine machine = {.vcpus = vcpu->vm->vcpus, .workarounds = arm_workarounds};
	enum psci_action action = psci_call((uint32_t)vcpu->x[0], &vcpu->x[1], &machine, &result);

	exit->raw = esr;
	switch (action) {
	case PSCI_POWER_OFF:
		exit->power = VM_POWER_OFF;
		return VM_EXIT_POWER;
	case PSCI_POWER_RESET:
		exit->power = VM_POWER_RESET;
		return VM_EXIT_POWER;
	case PSCI_WAIT:
		vcpu->x[0] = result;
		/* Standby may end at any time, and with nothing that could end it, it does at once. */
		return arch_vcpu_interrupt_pending(vcpu) || !arch_vcpu_wakeable(vcpu) ? ARM_RUN_ON : VM_EXIT_HALT;
	case PSCI_FIRMWARE:
		arm_firmware_call((uint32_t)vcpu->x[0]);
		__attribute__((fallthrough));
	case PSCI_RETURN:
	default:
		vcpu->x[0] = result;
		return ARM_RUN_ON;
	}
}

void arch_vcpu_finish_hypercall(struct arch_vcpu *vcpu, uint64_t result)
{
	vcpu->x[0] = result;
}

/* Any address will do: one that cannot be fetched from is an exception at EL1. */
bool arch_vcpu_resume_at(struct arch_vcpu *vcpu, uint64_t pc, uint64_t result)
{
	vcpu->x[0] = result;
	sysreg_write(elr_el2, pc);
	return true;
}

static int wait(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr)
{
	arm_skip_instruction();
	exit->raw = esr;
	/* One with a timeout, which is not offered, may end at any time. */
	if ((esr & ESR_WFX_TI) != WFX_WFI || arch_vcpu_interrupt_pending(vcpu)) {
		return ARM_RUN_ON;
	}
	return VM_EXIT_HALT;
}

/* Floating point and SIMD, for the first time since the vCPU was loaded. */
static int use_fp(struct arch_vcpu *vcpu)
{
	sysreg_write(cptr_el2, sysreg_read(cptr_el2) & ~CPTR_TFP);
	isb();
	arm_fp_load(&vcpu->fp);
	vcpu->fp_loaded = true;
	return ARM_RUN_ON;
}

static int system_register(struct arch_vcpu *vcpu, uint64_t esr)
{
	if (!arm_system_register(vcpu, esr)) {
		arm_inject_undefined();
	} else if (likely(!vcpu->cleaning.unfinished)) {
		arm_skip_instruction();
	}
	return ARM_RUN_ON;
}

int arm_synchronous(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t esr)
{
	switch (field(esr, ESR_EC_HIGH, ESR_EC_LOW)) {
	case EC_INSTRUCTION_ABORT_LOWER:
		return arm_instruction_abort(vcpu, exit, esr);
	case EC_HVC64: /* PC is behind it already */
		return firmware_call(vcpu, exit, esr);
	case EC_SYSTEM_REGISTER:
		return system_register(vcpu, esr);
	case EC_WFX:
		return wait(vcpu, exit, esr);
	case EC_SMC64:
		arm_skip_instruction();
		return firmware_call(vcpu, exit, esr);
	case EC_FP:
		return use_fp(vcpu);
	case EC_UNKNOWN:
	case EC_CP15_MCR:
	case EC_CP15_MCRR:
	case EC_CP14_MCR:
	case EC_CP14_LDC:
	case EC_VMRS:
	case EC_PAUTH:
	case EC_LS64:
	case EC_CP14_MRRC:
	case EC_HVC32:
	case EC_SMC32:
	case EC_SVE:
	case EC_ERET:
	case EC_SME:
	case EC_MOPS:
		/* Trapped because it is not offered. */
		arm_inject_undefined();
		return ARM_RUN_ON;
	default:
		exit->raw = esr;
		return VM_EXIT_FAILED;
	}
}

/* The running guest's, unless it was there before it ran: then its cause was told of, or is the machine's. */
static int serror(void)
{
	struct arm_cpu *cpu = this_cpu();
	if (!cpu->serror_before) {
		return VM_EXIT_FAILED;
	}
	cpu->serror_before = false;
	log_line("cpu", "an SError from before this guest ran, ESR_EL2 %llx", (unsigned long long)sysreg_read(esr_el2));
	return VM_EXIT_INTERRUPT;
}

int arm_asynchronous(struct arch_vcpu *vcpu, struct vm_exit *exit, unsigned cause)
{
	exit->raw = ARM_RAW_ASYNCHRONOUS + cause;
	vcpu->exits[ARM_COUNTER(cause)]++;
	if (cause == ARM_EXIT_SERROR) {
		return serror();
	}
	unsigned served = gic_serve();
	if (served & GIC_SERVED_TIMER) {
		vcpu->work = true;
		if (arch_counter() >= vcpu->deadline) {
			return VM_EXIT_DEADLINE;
		}
	}
	return VM_EXIT_INTERRUPT;
}
