/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answers to VM exits, one function per kind and a table that has one for every basic exit reason (SDM vol.
 * 3D appendix C). Called by vmx_asm.S with interrupts off and the vCPU's VMCS current. The first half is the hot
 * path: no log, no lock, no field read that the exit does not need. Nothing a guest does may reach a panic.
 */
#include "interrupts.h"
#include "lib/log.h"
#include "vmx.h"
#include "vmx_names.h"

#define RFLAGS_RF               BIT(16)
#define TIMER_SLICES_PER_SECOND 1000
#define DR7_GD                  BIT(13)
#define NMI                     2

_Static_assert(EPT_VIOLATION_READ == MM_READ && EPT_VIOLATION_WRITE == MM_WRITE && EPT_VIOLATION_FETCH == MM_EXECUTE,
               "an EPT violation's qualification names accesses as mm does");
_Static_assert(EXIT_REASONS <= X86_EXIT_COUNTERS, "every basic exit reason is counted");

typedef int exit_handler(struct arch_vcpu *vcpu, struct vm_exit *exit);

/* ---- stepping over the instruction, and exceptions ---- */

__attribute__((noinline)) void vmx_move_slowly(uint64_t next_rip)
{
	uint64_t interruptibility = vmread(VMCS_GUEST_INTERRUPTIBILITY);
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, interruptibility & ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS));
	if (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_TF) {
		vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
	}
	vmwrite(VMCS_GUEST_RIP, next_rip);
}

__attribute__((noinline)) void vmx_inject(enum x86_vector vector, uint32_t error_code)
{
	uint64_t pending = vmread(VMCS_ENTRY_INTERRUPTION);
	if ((pending & INTERRUPTION_VALID) && INTERRUPTION_TYPE(pending) == INTERRUPTION_HARDWARE_EXCEPTION) {
		vector = X86_DF; /* SDM vol. 3A table 6-5, with every pair taken for a double fault */
		error_code = 0;
	}
	uint64_t info = INTERRUPTION_INFO(vector, INTERRUPTION_HARDWARE_EXCEPTION);
	/* Real mode pushes no error codes, and the entry fails if one is asked for: SDM vol. 3C 26.2.1.3. */
	if (error_code != X86_NO_ERROR_CODE && (vmread(VMCS_GUEST_CR0) & CR0_PE)) {
		info |= INTERRUPTION_ERROR_CODE;
		vmwrite(VMCS_ENTRY_ERROR_CODE, error_code);
	}
	vmwrite(VMCS_ENTRY_INTERRUPTION, info);
	/* What we inject are faults: the CPU would set RF in the image that it pushes, an injection does not. */
	if (vector != X86_DB && vector != X86_DF) {
		vmwrite(VMCS_GUEST_RFLAGS, vmread(VMCS_GUEST_RFLAGS) | RFLAGS_RF);
	}
}

/* Makes the next entry deliver the event that `info` (of an exit or the IDT-vectoring field) describes. */
static void deliver_again(uint64_t info, uint64_t error_code)
{
	uint64_t type = INTERRUPTION_TYPE(info);
	if (info & INTERRUPTION_ERROR_CODE) {
		vmwrite(VMCS_ENTRY_ERROR_CODE, error_code);
	}
	if (type == INTERRUPTION_SOFTWARE_INTERRUPT || type == INTERRUPTION_SOFTWARE_EXCEPTION ||
	    type == INTERRUPTION_PRIVILEGED_SOFTWARE_EXCEPTION) {
		vmwrite(VMCS_ENTRY_INSTRUCTION_LENGTH, vmread(VMCS_EXIT_INSTRUCTION_LENGTH));
	}
	if (type == INTERRUPTION_NMI) { /* its delivery had blocked NMIs already, and an entry would refuse it */
		vmwrite(VMCS_GUEST_INTERRUPTIBILITY, vmread(VMCS_GUEST_INTERRUPTIBILITY) & ~BLOCKING_BY_NMI);
	}
	vmwrite(VMCS_ENTRY_INTERRUPTION, info & ~INTERRUPTION_RESERVED);
}

/* An exit in the middle of delivering an event to the guest: the event comes first when it goes on. */
static __attribute__((noinline)) bool requeue_event(void)
{
	uint64_t vectoring = vmread(VMCS_VECTORING);
	if (likely(!(vectoring & INTERRUPTION_VALID))) {
		return false;
	}
	deliver_again(vectoring, vmread(VMCS_VECTORING_ERROR_CODE));
	return true;
}

/* IRET had unblocked NMIs when it faulted, and will be run again: SDM vol. 3C 27.2.3. */
static __attribute__((noinline)) void block_nmi_again(void)
{
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, vmread(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKING_BY_NMI);
}

/* ---- the hot ones ---- */

static int exit_cpuid(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	x86_cpuid(vcpu);
	vmx_skip();
	return X86_RUN_ON;
}

/* What vmx_asm.S leaves over. Hypercalls are supervisor code's, as in KVM. */
static int exit_vmcall(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	if (ACCESS_RIGHTS_DPL(vmread(VMCS_GUEST_ACCESS_RIGHTS + VMCS_SEGMENT(X86_SS))) != 0) {
		vmx_inject(X86_UD, X86_NO_ERROR_CODE);
		return X86_RUN_ON;
	}
	exit->call = (struct hypercall){
		.number = vcpu->gpr[GPR_RAX],
		.argument = {vcpu->gpr[GPR_RBX], vcpu->gpr[GPR_RCX], vcpu->gpr[GPR_RDX], vcpu->gpr[GPR_RSI]},
	};
	vmx_skip();
	return VM_EXIT_HYPERCALL;
}

static int exit_rdmsr(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	uint64_t *value = &vcpu->gpr[GPR_RAX]; /* untouched where the MSR is refused */
	if (unlikely(!x86_msr_read(vcpu, (uint32_t)vcpu->gpr[GPR_RCX], value))) {
		vmx_inject(X86_GP, 0);
		return X86_RUN_ON;
	}
	vcpu->gpr[GPR_RDX] = *value >> 32;
	*value = (uint32_t)*value;
	vmx_skip();
	return X86_RUN_ON;
}

static int exit_wrmsr(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	uint64_t value = vcpu->gpr[GPR_RDX] << 32 | (uint32_t)vcpu->gpr[GPR_RAX];
	if (unlikely(!x86_msr_write(vcpu, (uint32_t)vcpu->gpr[GPR_RCX], value))) {
		vmx_inject(X86_GP, 0);
		return X86_RUN_ON;
	}
	vmx_skip();
	return X86_RUN_ON;
}

static int exit_io(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	uint32_t qualification = (uint32_t)vmread(VMCS_EXIT_QUALIFICATION);
	if (unlikely(qualification & IO_STRING)) {
		return x86_string_io(vcpu, exit, IO_PORT(qualification), IO_WIDTH(qualification),
		                     !(qualification & IO_IN));
	}
	/* Skipped below, so length is 0. */
	exit->io = (struct io_access){
		.address = IO_PORT(qualification),
		.width = IO_WIDTH(qualification),
		.write = !(qualification & IO_IN),
		.target = GPR_RAX,
	};
	if (exit->io.write) {
		exit->io.value = vcpu->gpr[GPR_RAX] & BITS(8U * exit->io.width - 1, 0);
	}
	vmx_skip();
	return VM_EXIT_PORT;
}

/* The access was the CPU's own, for the event: the instruction at RIP has nothing to do with it. */
static __attribute__((noinline)) int fault_in_delivery(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	exit->status = addr_space_handle_fault(vcpu->vm->space, &exit->fault);
	return exit->status == MM_OK ? X86_RUN_ON : VM_EXIT_NESTED_FAULT;
}

static int exit_ept_violation(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION);
	struct nested_fault *fault = &exit->fault;
	fault->gpa = vmread(VMCS_GUEST_PHYSICAL_ADDRESS);
	fault->access = qualification & MM_RWX;
	fault->linear_valid = qualification & EPT_VIOLATION_LINEAR_VALID;
	fault->table_walk =
		(qualification & (EPT_VIOLATION_LINEAR_VALID | EPT_VIOLATION_FINAL)) == EPT_VIOLATION_LINEAR_VALID;
	fault->linear_address = vmread(VMCS_GUEST_LINEAR_ADDRESS); /* undefined where it is not valid */
	if (unlikely(vmread(VMCS_VECTORING) & INTERRUPTION_VALID)) {
		(void)requeue_event();
		return fault_in_delivery(vcpu, exit);
	}
	if (unlikely(qualification & EPT_VIOLATION_NMI_UNBLOCK)) { /* undefined in a delivery: 27.2.3 */
		block_nmi_again();
	}
	return x86_fault_exit(vcpu, exit);
}

/* An interrupt is still in the local APIC: it comes in through our own IDT right here. */
static inline int let_host_in(struct arch_vcpu *vcpu)
{
	__asm__ volatile("sti; nop; cli" : : : "memory");
	return x86_host_interrupt(vcpu, rdtsc());
}

static int exit_external_interrupt(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	(void)requeue_event();
	return let_host_in(vcpu);
}

void vmx_arm_timer(const struct arch_vcpu *vcpu)
{
	uint64_t now = rdtsc();
	uint64_t slice = arch_counter_hz() / TIMER_SLICES_PER_SECOND;
	uint64_t due = MIN(vcpu->deadline, vcpu->lapic.due);
	if (due > now) {
		slice = MIN(slice, due - now);
	}
	if (vmx_capabilities.pin & PIN_PREEMPTION_TIMER) {
		vmwrite(VMCS_PREEMPTION_TIMER, MIN(slice >> vmx_capabilities.timer_shift, UINT32_MAX));
	}
}

static int exit_preemption_timer(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	lapic_timer_expire(vcpu, rdtsc());
	vmx_arm_timer(vcpu);
	return rdtsc() >= vcpu->deadline ? (int)VM_EXIT_DEADLINE : X86_RUN_ON;
}

/* The guest can take now what it could not before: the next entry looks, as it does while a window is open. */
static int exit_window(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	(void)vcpu;
	return X86_RUN_ON;
}

/* The instruction is done: 29.1.4. */
static int exit_virtualized_eoi(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	lapic_ended(vcpu, EOI_VECTOR(vmread(VMCS_EXIT_QUALIFICATION)));
	return X86_RUN_ON;
}

static int exit_hlt(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)vcpu;
	(void)exit;
	vmx_skip();
	return VM_EXIT_HALT;
}

/* ---- the rest ---- */

static int exit_triple_fault(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)vcpu;
	(void)exit;
	return VM_EXIT_SHUTDOWN;
}

/* The CPU leaves DR6 and DR7 as they were when a #DB exits: SDM vol. 3C 27.1. */
static void complete_debug_exception(void)
{
	uint64_t conditions = vmread(VMCS_EXIT_QUALIFICATION) & DEBUG_QUALIFICATION;
	write_dr6((read_dr6() & ~PENDING_DEBUG_CONDITIONS) | conditions);
	vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~DR7_GD);
}

static int exit_exception_or_nmi(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	uint64_t info = vmread(VMCS_EXIT_INTERRUPTION);
	uint64_t type = INTERRUPTION_TYPE(info);
	uint8_t vector = INTERRUPTION_VECTOR(info);
	if (type == INTERRUPTION_NMI) {
		(void)requeue_event();
		__asm__ volatile("int %0" : : "i"(X86_NMI) : "memory"); /* NMIs are blocked until the handler's IRET */
		return VM_EXIT_INTERRUPT;
	}
	if (vector == X86_MC) {
		(void)requeue_event();
		__asm__ volatile("int %0" : : "i"(X86_MC) : "memory");
		return X86_RUN_ON;
	}
	/* #DB and #AC are the guest's own. What was being delivered when they came gives way: it is raised again by
	 * the instruction that they return to. */
	if (vector == X86_DB && type == INTERRUPTION_HARDWARE_EXCEPTION) {
		complete_debug_exception();
	}
	if ((info & INTERRUPTION_NMI_UNBLOCK) && !(vmread(VMCS_VECTORING) & INTERRUPTION_VALID)) {
		block_nmi_again();
	}
	/* In a shadow with TF set an entry insists on the pending single step: 26.3.1.5. The injection replaces it. */
	if ((vmread(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)) &&
	    (vmread(VMCS_GUEST_RFLAGS) & RFLAGS_TF)) {
		vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
	}
	deliver_again(info, vmread(VMCS_EXIT_ERROR_CODE));
	/* The delivery may raise the next one, which comes before any interrupt: vol. 3A table 6-2. */
	return let_host_in(vcpu);
}

/* INVD would lose the host's data and WBINVD everybody's time; guests' memory is write-back and coherent. */
static int exit_skip(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)vcpu;
	(void)exit;
	vmx_skip();
	return X86_RUN_ON;
}

static int exit_xsetbv(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	if (x86_xsetbv(vcpu)) {
		vmx_skip();
	} else {
		vmx_inject(X86_GP, 0);
	}
	return X86_RUN_ON;
}

/* Instructions of features that the guest's CPUID does not show. */
static int exit_undefined(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)vcpu;
	(void)exit;
	vmx_inject(X86_UD, X86_NO_ERROR_CODE);
	return X86_RUN_ON;
}

static int exit_general_protection(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)vcpu;
	(void)exit;
	vmx_inject(X86_GP, 0);
	return X86_RUN_ON;
}

/* INIT is blocked in root operation and means nothing to a guest here. */
static int exit_ignored(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)vcpu;
	(void)exit;
	(void)requeue_event();
	return X86_RUN_ON;
}

static int exit_task_switch(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	log_line("vmx", "vCPU %u of VPID %u: hardware task switches are not supported", vcpu->index, vcpu->vm->tag);
	return VM_EXIT_FAILED;
}

static int exit_ept_misconfiguration(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	(void)exit;
	vmx_report_misconfiguration(vcpu, vmread(VMCS_GUEST_PHYSICAL_ADDRESS));
	return VM_EXIT_FAILED;
}

/* Reasons that the manual reserves, or whose control is off on every vCPU. */
static int exit_unexpected(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	log_line("vmx", "vCPU %u of VPID %u: unexpected exit: %s (exit reason %u, qualification 0x%llx)", vcpu->index,
	         vcpu->vm->tag, vmx_exit_name(exit->raw), (unsigned)exit->raw,
	         (unsigned long long)vmread(VMCS_EXIT_QUALIFICATION));
	return VM_EXIT_FAILED;
}

/* EIP has wrapped at 4 GiB behind an instruction that was skipped: mended here, so that no skip has to look. */
static bool mend_eip(void)
{
	uint64_t rip = vmread(VMCS_GUEST_RIP);
	bool long_code = (vmread(VMCS_ENTRY_CONTROLS) & ENTRY_IA32E) &&
	                 (vmread(VMCS_GUEST_ACCESS_RIGHTS + VMCS_SEGMENT(X86_CS)) & ACCESS_RIGHTS_L);
	if (long_code || !(rip >> 32)) {
		return false;
	}
	vmwrite(VMCS_GUEST_RIP, (uint32_t)rip);
	return true;
}

static int entry_failed(struct arch_vcpu *vcpu, uint64_t reason)
{
	if (EXIT_REASON_BASIC(reason) == EXIT_ENTRY_GUEST_STATE && mend_eip()) {
		return X86_RUN_ON;
	}
	if (EXIT_REASON_BASIC(reason) == EXIT_ENTRY_MACHINE_CHECK) {
		__asm__ volatile("int %0" : : "i"(X86_MC) : "memory");
	}
	vmx_report_entry_failure(vcpu, reason);
	return VM_EXIT_FAILED;
}

enum vm_exit_kind vmx_entry_refused(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	vmx_report_refusal(vcpu);
	exit->raw = VMX_ENTRY_REFUSED;
	return VM_EXIT_FAILED;
}

#define UNEXPECTED(first, last) [first... last] = exit_unexpected

static exit_handler *const handlers[EXIT_REASONS] = {
	[EXIT_EXCEPTION_OR_NMI] = exit_exception_or_nmi,
	[EXIT_EXTERNAL_INTERRUPT] = exit_external_interrupt,
	[EXIT_TRIPLE_FAULT] = exit_triple_fault,
	[EXIT_INIT] = exit_ignored,
	UNEXPECTED(EXIT_INIT + 1, EXIT_INTERRUPT_WINDOW - 1), /* SIPI, SMIs */
	[EXIT_INTERRUPT_WINDOW] = exit_window,
	[EXIT_NMI_WINDOW] = exit_window,
	[EXIT_TASK_SWITCH] = exit_task_switch,
	[EXIT_CPUID] = exit_cpuid,
	[EXIT_GETSEC] = exit_undefined,
	[EXIT_HLT] = exit_hlt,
	[EXIT_INVD] = exit_skip,
	UNEXPECTED(EXIT_INVD + 1, EXIT_RDPMC - 1), /* INVLPG */
	[EXIT_RDPMC] = exit_general_protection,
	UNEXPECTED(EXIT_RDPMC + 1, EXIT_RSM - 1), /* RDTSC */
	[EXIT_RSM] = exit_undefined,
	[EXIT_VMCALL] = exit_vmcall,
	[EXIT_VMCLEAR] = exit_undefined,
	[EXIT_VMLAUNCH] = exit_undefined,
	[EXIT_VMPTRLD] = exit_undefined,
	[EXIT_VMPTRST] = exit_undefined,
	[EXIT_VMREAD] = exit_undefined,
	[EXIT_VMRESUME] = exit_undefined,
	[EXIT_VMWRITE] = exit_undefined,
	[EXIT_VMXOFF] = exit_undefined,
	[EXIT_VMXON] = exit_undefined,
	[EXIT_CONTROL_REGISTER] = vmx_exit_control_register,
	UNEXPECTED(EXIT_CONTROL_REGISTER + 1, EXIT_IO - 1), /* MOV DR */
	[EXIT_IO] = exit_io,
	[EXIT_RDMSR] = exit_rdmsr,
	[EXIT_WRMSR] = exit_wrmsr,
	UNEXPECTED(EXIT_WRMSR + 1, EXIT_MWAIT - 1), /* failed VM entries */
	[EXIT_MWAIT] = exit_undefined,
	UNEXPECTED(EXIT_MWAIT + 1, EXIT_MONITOR - 1), /* monitor trap flag */
	[EXIT_MONITOR] = exit_undefined,
	[EXIT_PAUSE] = exit_skip,
	UNEXPECTED(EXIT_PAUSE + 1, EXIT_VIRTUALIZED_EOI - 1), /* TPR, APIC access */
	[EXIT_VIRTUALIZED_EOI] = exit_virtualized_eoi,
	UNEXPECTED(EXIT_VIRTUALIZED_EOI + 1, EXIT_EPT_VIOLATION - 1), /* descriptor tables */
	[EXIT_EPT_VIOLATION] = exit_ept_violation,
	[EXIT_EPT_MISCONFIGURATION] = exit_ept_misconfiguration,
	[EXIT_INVEPT] = exit_undefined,
	UNEXPECTED(EXIT_INVEPT + 1, EXIT_PREEMPTION_TIMER - 1), /* RDTSCP */
	[EXIT_PREEMPTION_TIMER] = exit_preemption_timer,
	[EXIT_INVVPID] = exit_undefined,
	[EXIT_WBINVD] = exit_skip,
	[EXIT_XSETBV] = exit_xsetbv,
	UNEXPECTED(EXIT_XSETBV + 1, EXIT_VMFUNC - 1), /* APIC write, RDRAND, INVPCID */
	[EXIT_VMFUNC] = exit_undefined,
	[EXIT_ENCLS] = exit_undefined,
	UNEXPECTED(EXIT_ENCLS + 1, EXIT_PCONFIG - 1), /* RDSEED, PML, XSAVES, XRSTORS */
	[EXIT_PCONFIG] = exit_undefined,
	UNEXPECTED(EXIT_PCONFIG + 1, EXIT_UMWAIT - 1), /* sub-page permissions */
	[EXIT_UMWAIT] = exit_undefined,
	[EXIT_TPAUSE] = exit_undefined,
	[EXIT_LOADIWKEY] = exit_undefined,
	[EXIT_ENCLV] = exit_undefined,
	UNEXPECTED(EXIT_ENCLV + 1, EXIT_SEAMCALL - 1), /* ENQCMD, bus lock, instruction timeout */
	[EXIT_SEAMCALL] = exit_undefined,
	[EXIT_TDCALL] = exit_undefined,
};

static __attribute__((noinline)) int unknown_reason(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t reason)
{
	return reason & EXIT_REASON_ENTRY_FAILURE ? entry_failed(vcpu, reason) : exit_unexpected(vcpu, exit);
}

int vmx_handle_exit(struct arch_vcpu *vcpu, struct vm_exit *exit, uint64_t reason)
{
	exit->raw = reason;
	if (unlikely(reason >= EXIT_REASONS)) {
		return unknown_reason(vcpu, exit, reason);
	}
	vcpu->exits[reason]++;
	return handlers[reason](vcpu, exit);
}
