/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answers to #VMEXITs, one function per kind and a table by exit code (APM vol. 2 appendix C). Called by
 * svm_asm.S with GIF = 0 and the host's FS, GS and TR back in place. The first half is the hot path: no log, no
 * lock, no field read that the exit does not need. Nothing a guest does may reach a panic.
 */
#include "svm.h"

#include "decode.h"
#include "interrupts.h"
#include "lib/log.h"

#define RFLAGS_TF BIT(8)
#define RFLAGS_RF BIT(16)
#define DR6_BS    BIT(14)

typedef int exit_handler(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb);

/* ---- before an entry ---- */

int svm_prepare(struct arch_vcpu *vcpu)
{
	struct vmcb_control *control = &vcpu->svm.vmcb->control;
	uint8_t next = 0;

	if (vcpu->request & X86_REQUEST_ACCESS) {
		return x86_second_access(vcpu, vcpu->svm.exit);
	}
	if (vcpu->interrupts) {
		svm_inject_interrupts(vcpu);
	}
	uint8_t request = vcpu->request;
	if (likely(request == 0)) {
		return X86_RUN_ON;
	}
	control->tlb_control = TLB_CONTROL_NONE;
	if (request & SVM_REQUEST_FLUSH) {
		control->tlb_control = svm_features.flush_by_asid ? TLB_CONTROL_FLUSH_ASID : TLB_CONTROL_FLUSH_ALL;
		next = SVM_REQUEST_SETTLE;
	}
	if (svm_features.clean_bits) {
		control->clean = (uint32_t)(CLEAN_ALL & ~vcpu->svm.dirty);
		next = vcpu->svm.dirty ? SVM_REQUEST_SETTLE : next;
	}
	vcpu->svm.dirty = 0;
	vcpu->request = next;
	if (request & SVM_REQUEST_CLOSE) {
		(void)x86_timer_arm(vcpu, rdtsc());
		svm_close(vcpu);
	}
	return X86_RUN_ON;
}

/* ---- stepping over the instruction, and exceptions ---- */

void svm_inject(struct vmcb *vmcb, enum x86_vector vector, uint32_t error_code)
{
	uint64_t event = (uint64_t)vector | EVENT_TYPE_EXCEPTION << EVENT_TYPE_SHIFT | EVENT_VALID;
	/* Real mode pushes no error codes. */
	if (error_code != X86_NO_ERROR_CODE && (vmcb->save.cr0 & CR0_PE)) {
		event |= EVENT_HAS_ERROR_CODE | (uint64_t)error_code << EVENT_ERROR_CODE_SHIFT;
	}
	vmcb->control.event_injection = event;
	/* The CPU sets RF in the image that it pushes for a fault; an injection does not. */
	if (vector != X86_DB && vector != X86_DF) {
		vmcb->save.rflags |= RFLAGS_RF;
	}
}

static __attribute__((noinline)) void step_slowly(struct arch_vcpu *vcpu, struct vmcb *vmcb)
{
	bool long_code = (vmcb->save.efer & EFER_LMA) && (vmcb->save.cs.attributes & SEGMENT_LONG);
	if (!long_code) {
		vmcb->save.rip = (uint32_t)vmcb->save.rip;
	}
	if (vmcb->save.rflags & RFLAGS_TF) {
		vmcb->save.dr6 |= DR6_BS;
		svm_dirty(vcpu, CLEAN_DEBUG_REGISTERS);
		svm_inject(vmcb, X86_DB, X86_NO_ERROR_CODE);
	}
}

/* Whether `next` and the flags want more than a new RIP. */
static inline bool is_plain_step(const struct vmcb *vmcb, uint64_t next)
{
	return likely(!(vmcb->save.rflags & RFLAGS_TF) && (uint32_t)next >= X86_INSTRUCTION_MAX);
}

/* The instruction that ends at `next` was emulated. */
static inline void step_to(struct arch_vcpu *vcpu, struct vmcb *vmcb, uint64_t next)
{
	vmcb->save.rip = next;
	vmcb->control.interrupt_shadow = 0;
	if (!is_plain_step(vmcb, next)) {
		step_slowly(vcpu, vmcb);
	}
}

void svm_step(struct arch_vcpu *vcpu, uint64_t next)
{
	step_to(vcpu, vcpu->svm.vmcb, next);
}

void svm_skip(struct arch_vcpu *vcpu, unsigned length)
{
	step_to(vcpu, vcpu->svm.vmcb, vcpu->svm.vmcb->save.rip + length);
}

/* Back to hv/ for something that is not hot: the host's interrupt state as it usually is. */
static int leave(struct arch_vcpu *vcpu, struct vm_exit *exit, const struct vmcb *vmcb, enum vm_exit_kind kind)
{
	exit->raw = vmcb->control.exit_code;
	svm_open(vcpu);
	return kind;
}

/* An opcode of two or three bytes: the first two as a little-endian number, and the third. */
struct opcode {
	uint16_t first;
	uint8_t third; /* 0: there is none */
};
static const struct opcode opcode_cpuid = {0xa20f, 0}, opcode_rdmsr = {0x320f, 0}, opcode_wrmsr = {0x300f, 0},
			   opcode_invd = {0x080f, 0}, opcode_wbinvd = {0x090f, 0}, opcode_xsetbv = {0x010f, 0xd1},
			   opcode_vmmcall = {0x010f, 0xd9};

/* Where the instruction ends that exited. 0: it is not where it exited. No instruction that exits can end at address 0
 * in 64-bit mode, and one that does so elsewhere ends at 2^32 here. */
static uint64_t find_end(struct arch_vcpu *vcpu, const struct vmcb *vmcb, struct opcode opcode)
{
	const uint8_t bytes[] = {(uint8_t)opcode.first, (uint8_t)(opcode.first >> 8), opcode.third};
	if (svm_features.next_rip) {
		return vmcb->control.next_rip;
	}
	unsigned length = x86_exit_length(vcpu, vmcb->save.rip, bytes, opcode.third ? 3 : 2);
	return length ? vmcb->save.rip + length : 0;
}

static __attribute__((noinline)) int code_is_gone(struct arch_vcpu *vcpu, struct vm_exit *exit, const struct vmcb *vmcb)
{
	log_line("svm", "vCPU %u of ASID %u: %s, and the code at its RIP is not that instruction", vcpu->index,
	         vcpu->vm->tag, svm_exit_name(vmcb->control.exit_code));
	return leave(vcpu, exit, vmcb, VM_EXIT_FAILED);
}

static __attribute__((noinline)) int skip_slowly(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb,
                                                 struct opcode opcode)
{
	uint64_t next = find_end(vcpu, vmcb, opcode);
	if (next == 0) {
		return code_is_gone(vcpu, exit, vmcb);
	}
	step_to(vcpu, vmcb, next);
	return X86_RUN_ON;
}

static inline bool stands_at(const struct arch_vcpu *vcpu, const struct code_view *view, uint64_t rip,
                             struct opcode opcode)
{
	uint64_t offset = rip - view->first_rip;
	return likely(offset < view->limit && view->generation == vcpu->vm->space->generation &&
	              *(const uint16_t *)(view->bytes + offset) == opcode.first);
}

/*
 * Steps over an opcode of two bytes. The short way is x86_exit_length's, in line: the exit tells the instruction, so
 * that the bytes on the cached code page prove that it has no prefix. False: skip_slowly.
 */
static inline bool skip(const struct arch_vcpu *vcpu, struct vmcb *vmcb, struct opcode opcode)
{
	uint64_t next = vmcb->save.rip + sizeof(opcode.first);
	if (svm_features.next_rip) {
		next = vmcb->control.next_rip;
	} else {
		uint64_t rip = vmcb->save.rip;
		if (!stands_at(vcpu, &vcpu->code.view, rip, opcode) &&
		    !stands_at(vcpu, &vcpu->code.recent[CODE_VIEW(rip)], rip, opcode)) {
			return false;
		}
	}
	if (unlikely(!is_plain_step(vmcb, next))) {
		return false;
	}
	vmcb->save.rip = next;
	vmcb->control.interrupt_shadow = 0;
	return true;
}

/*
 * An exit in the middle of delivering an event to the guest: the event comes first when it goes on. INTn, INT3 and
 * INTO are run again, for RIP still points at them; 15.7.2. A virtual interrupt that still waits is taken again.
 */
static inline void requeue_event(struct vmcb *vmcb)
{
	uint64_t event = vmcb->control.exit_interrupt_info, virtual = vmcb->control.virtual_interrupt;
	if (likely(!(event & EVENT_VALID))) {
		return;
	}
	unsigned type = EVENT_TYPE(event), vector = EVENT_VECTOR(event);
	bool by_instruction =
		type == EVENT_TYPE_SOFTWARE || (type == EVENT_TYPE_EXCEPTION && (vector == X86_BP || vector == X86_OF));
	bool waits = (virtual & V_IRQ) && vector == V_INTR_VECTOR(virtual);
	if (!by_instruction && !waits) {
		vmcb->control.event_injection = event;
	}
}

/* ---- the hot ones ---- */

static __attribute__((noinline)) int cpuid_slowly(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	(void)x86_cpuid_cr4(vcpu, vmcb->save.cr4);
	return skip_slowly(vcpu, exit, vmcb, opcode_cpuid);
}

static int exit_cpuid(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	if (unlikely(!skip(vcpu, vmcb, opcode_cpuid))) {
		return cpuid_slowly(vcpu, exit, vmcb);
	}
	return x86_cpuid_cr4(vcpu, vmcb->save.cr4);
}

static inline uint64_t edx_eax(const struct arch_vcpu *vcpu)
{
	return vcpu->gpr[GPR_RDX] << 32 | (uint32_t)vcpu->gpr[GPR_RAX];
}

static __attribute__((noinline)) int exit_wrmsr(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	uint32_t msr = (uint32_t)vcpu->gpr[GPR_RCX];
	uint64_t rip = vmcb->save.rip;
	if (unlikely(!x86_msr_write(vcpu, msr, edx_eax(vcpu)))) {
		svm_inject(vmcb, X86_GP, 0);
		return X86_RUN_ON;
	}
	if (msr == MSR_IA32_TSC_DEADLINE) {
		int kind = skip_slowly(vcpu, exit, vmcb, opcode_wrmsr);
		bool bare = vmcb->save.rip - rip == sizeof(opcode_wrmsr.first) && is_plain_step(vmcb, vmcb->save.rip);
		vcpu->deadline_rip = bare ? rip : SVM_NO_CALL;
		return kind;
	}
	return likely(skip(vcpu, vmcb, opcode_wrmsr)) ? X86_RUN_ON : skip_slowly(vcpu, exit, vmcb, opcode_wrmsr);
}

static __attribute__((noinline)) int exit_rdmsr(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	uint64_t value;
	if (unlikely(!x86_msr_read(vcpu, (uint32_t)vcpu->gpr[GPR_RCX], &value))) {
		svm_inject(vmcb, X86_GP, 0);
		return X86_RUN_ON;
	}
	vcpu->gpr[GPR_RAX] = (uint32_t)value;
	vcpu->gpr[GPR_RDX] = value >> 32;
	return likely(skip(vcpu, vmcb, opcode_rdmsr)) ? X86_RUN_ON : skip_slowly(vcpu, exit, vmcb, opcode_rdmsr);
}

/* A guest's clock sets its timer anew at each tick, at one place: the same instruction once more. */
static int exit_msr(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	uint64_t rip = vmcb->save.rip;
	if (!(vmcb->control.exit_info1 & MSR_WRITE)) {
		return exit_rdmsr(vcpu, exit, vmcb);
	}
	if (rip != vcpu->deadline_rip || (uint32_t)vcpu->gpr[GPR_RCX] != MSR_IA32_TSC_DEADLINE ||
	    (vmcb->save.rflags & RFLAGS_TF)) {
		return exit_wrmsr(vcpu, exit, vmcb);
	}
	vmcb->save.rip = rip + sizeof(opcode_wrmsr.first);
	vmcb->control.interrupt_shadow = 0;
	return x86_deadline_write(vcpu, edx_eax(vcpu));
}

static __attribute__((noinline)) int exit_string_io(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	uint64_t info = vmcb->control.exit_info1;
	exit->raw = VMEXIT_IOIO; /* the memory may be refused */
	int kind = x86_string_io(vcpu, exit, IOIO_PORT(info), IOIO_WIDTH(info), !(info & IOIO_IN));
	return kind == VM_EXIT_FAILED ? code_is_gone(vcpu, exit, vmcb) : kind;
}

static __attribute__((noinline)) int step_over_io(struct arch_vcpu *vcpu, struct vmcb *vmcb)
{
	step_to(vcpu, vmcb, vmcb->control.exit_info2);
	return VM_EXIT_PORT;
}

static int exit_ioio(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	uint64_t info = vmcb->control.exit_info1;
	uint64_t next = vmcb->control.exit_info2;
	struct io_access *io = &exit->io;
	if (unlikely(info & IOIO_STRING)) {
		return exit_string_io(vcpu, exit, vmcb);
	}
	io->address = IOIO_PORT(info);
	x86_io_set_shape(io, X86_IO_PORT(IOIO_WIDTH(info), !(info & IOIO_IN)));
	if (!(info & IOIO_IN)) {
		io->value = vcpu->gpr[GPR_RAX] & BITS(8U * IOIO_WIDTH(info) - 1, 0);
	}
	if (unlikely(!is_plain_step(vmcb, next))) {
		return step_over_io(vcpu, vmcb);
	}
	vmcb->save.rip = next;
	vmcb->control.interrupt_shadow = 0;
	return VM_EXIT_PORT;
}

/* Hypercalls of supervisor code, as in KVM. The next one at the same place is answered in svm_asm.S. */
static int exit_vmmcall(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	uint64_t rip = vmcb->save.rip;
	if (vmcb->save.cpl != 0) {
		svm_inject(vmcb, X86_UD, X86_NO_ERROR_CODE);
		return X86_RUN_ON;
	}
	uint64_t next = find_end(vcpu, vmcb, opcode_vmmcall);
	if (next == 0) {
		return code_is_gone(vcpu, exit, vmcb);
	}
	if (next - rip == VMMCALL_BYTES && !(vmcb->save.rflags & RFLAGS_TF)) {
		vcpu->svm.call_rip = rip;
	}
	exit->call = (struct hypercall){
		.number = vcpu->gpr[GPR_RAX],
		.argument = {vcpu->gpr[GPR_RBX], vcpu->gpr[GPR_RCX], vcpu->gpr[GPR_RDX], vcpu->gpr[GPR_RSI]},
	};
	step_to(vcpu, vmcb, next);
	return VM_EXIT_HYPERCALL;
}

/* The access was the CPU's own, to deliver an event: the instruction at RIP has nothing to do with it. */
static __attribute__((noinline)) int fault_in_delivery(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	requeue_event(vmcb);
	exit->status = addr_space_handle_fault(vcpu->vm->space, &exit->fault);
	return exit->status == MM_OK ? X86_RUN_ON : leave(vcpu, exit, vmcb, VM_EXIT_NESTED_FAULT);
}

static int exit_npf(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	uint64_t info = vmcb->control.exit_info1;
	vcpu->exits[X86_EXIT_COUNTER_NPF]++;
	exit->raw = VMEXIT_NPF;
	exit->fault = (struct nested_fault){
		.gpa = vmcb->control.exit_info2,
		.access = info & NPF_FETCH   ? MM_EXECUTE
	                  : info & NPF_WRITE ? MM_WRITE
	                                     : MM_READ,
		.table_walk = info & NPF_TABLE_WALK,
	};
	if (unlikely(vmcb->control.exit_interrupt_info & EVENT_VALID)) {
		return fault_in_delivery(vcpu, exit, vmcb);
	}
	return x86_fault_exit(vcpu, exit);
}

static __attribute__((noinline)) int interrupted(struct arch_vcpu *vcpu, uint64_t now)
{
	int kind = x86_host_interrupt(vcpu, now);
	return kind == X86_RUN_ON ? kind : leave(vcpu, vcpu->svm.exit, vcpu->svm.vmcb, (enum vm_exit_kind)kind);
}

/* What waits for the host comes in right here, through our own IDT. */
static inline void let_host_in(void)
{
	__asm__ volatile("stgi; nop; clgi" : : : "memory");
}

/* An interrupt, SMI or INIT for the host. */
static int exit_intr(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	(void)exit;
	requeue_event(vmcb);
	let_host_in();
	uint64_t now = rdtsc();
	if (likely(now >= vcpu->lapic.due && svm_timer_again(vcpu, vmcb)) && likely(now < vcpu->look_around)) {
		/* The guest will set its timer anew, and if not, the host's comes again before hv wants it. */
		return likely(vcpu->deadline - now > this_cpu()->timer_repeats) ? X86_RUN_ON : x86_timer_arm(vcpu, now);
	}
	return interrupted(vcpu, now);
}

/* NMIs are counted where they come in, and hv is to hear of them at once. */
static int exit_nmi(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	vcpu->look_around = 0;
	return exit_intr(vcpu, exit, vmcb);
}

static int exit_hlt(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	static const uint8_t opcode[] = {0xf4};
	uint64_t next = vmcb->control.next_rip;
	if (!svm_features.next_rip) {
		unsigned length = x86_exit_length(vcpu, vmcb->save.rip, opcode, sizeof(opcode));
		if (length == 0) {
			return code_is_gone(vcpu, exit, vmcb);
		}
		next = vmcb->save.rip + length;
	}
	step_to(vcpu, vmcb, next);
	return leave(vcpu, exit, vmcb, VM_EXIT_HALT);
}

/* ---- the rest ---- */

/* The guest can take now what it could not before: the next entry looks, as it does while a window is open. */
static int exit_window(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	(void)exit;
	(void)vmcb;
	(void)vcpu;
	return X86_RUN_ON;
}

static int exit_iret(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	(void)exit;
	(void)vmcb;
	svm_end_of_nmi(vcpu);
	return X86_RUN_ON;
}

/* Its delivery may raise the next one, which comes before any interrupt: those of the host are let in right here. */
static int reflect(struct arch_vcpu *vcpu, struct vmcb *vmcb, enum x86_vector vector, uint32_t error_code)
{
	svm_inject(vmcb, vector, error_code);
	let_host_in();
	return interrupted(vcpu, rdtsc());
}

/* The CPU has updated DR6 and raised nothing else: 15.12.2. */
static int exit_db(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	(void)exit;
	return reflect(vcpu, vmcb, X86_DB, X86_NO_ERROR_CODE);
}

static int exit_ac(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	(void)exit;
	return reflect(vcpu, vmcb, X86_AC, 0);
}

/* The machine's, whoever ran: the host's own handler decides. */
static int exit_mc(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	(void)vcpu;
	(void)exit;
	requeue_event(vmcb);
	__asm__ volatile("int %0" : : "i"(X86_MC) : "memory");
	return X86_RUN_ON;
}

/*
 * INVD would lose the host's data and WBINVD everybody's time; guests' memory is write-back and coherent. QEMU's TCG
 * calls both WBINVD.
 */
static int exit_invalidate(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	uint64_t next = find_end(vcpu, vmcb, opcode_wbinvd);
	if (next == 0) {
		return skip_slowly(vcpu, exit, vmcb, opcode_invd);
	}
	step_to(vcpu, vmcb, next);
	return X86_RUN_ON;
}

static int exit_xsetbv(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	if (x86_xsetbv(vcpu)) {
		return skip_slowly(vcpu, exit, vmcb, opcode_xsetbv);
	}
	svm_inject(vmcb, X86_GP, 0);
	return X86_RUN_ON;
}

/* Instructions of features that the guest's CPUID does not show. */
static int exit_undefined(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	(void)vcpu;
	(void)exit;
	svm_inject(vmcb, X86_UD, X86_NO_ERROR_CODE);
	return X86_RUN_ON;
}

static int exit_rdpmc(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	(void)vcpu;
	(void)exit;
	svm_inject(vmcb, X86_GP, 0);
	return X86_RUN_ON;
}

/* Triple fault. The VMCB's guest state is undefined by the manual (15.14.3), so the report may be off. */
static int exit_shutdown(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	return leave(vcpu, exit, vmcb, VM_EXIT_SHUTDOWN);
}

/* MOV to and from CR4, and to CR8. */
static int exit_mov_cr(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	bool refused;
	unsigned length = svm_mov_cr(vcpu, vmcb->control.exit_code, &refused);
	if (length == 0) {
		return code_is_gone(vcpu, exit, vmcb);
	}
	if (refused) {
		svm_inject(vmcb, X86_GP, 0);
	} else {
		svm_skip(vcpu, length);
	}
	return X86_RUN_ON;
}

/* VMRUN refused the state. */
static int exit_invalid(struct arch_vcpu *vcpu, struct vm_exit *exit, const struct vmcb *vmcb)
{
	const char *rule = svm_broken_rule(vmcb, x86_features.physical_bits);
	log_line("svm", "vCPU %u of ASID %u: VMRUN refused the guest's state: %s", vcpu->index, vcpu->vm->tag,
	         rule ? rule : "no rule of APM vol. 2 15.5.1 that is known here");
	exit->raw = VMEXIT_INVALID;
	svm_open(vcpu);
	return VM_EXIT_FAILED;
}

/* An exit for which no intercept was set. */
static __attribute__((noinline)) int exit_unexpected(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	const struct vmcb_control *control = &vmcb->control;
	log_line("svm", "vCPU %u of ASID %u: unexpected exit: %s (0x%llx, info 0x%llx, 0x%llx)", vcpu->index,
	         vcpu->vm->tag, svm_exit_name(control->exit_code), (unsigned long long)control->exit_code,
	         (unsigned long long)control->exit_info1, (unsigned long long)control->exit_info2);
	return leave(vcpu, exit, vmcb, VM_EXIT_FAILED);
}

static __attribute__((noinline)) int exit_unknown(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	vcpu->exits[X86_EXIT_COUNTER_OTHER]++;
	/* The code is of 64 bits; QEMU's TCG fills the lower half only. */
	bool invalid = (uint32_t)vmcb->control.exit_code == (uint32_t)VMEXIT_INVALID;
	return invalid ? exit_invalid(vcpu, exit, vmcb) : exit_unexpected(vcpu, exit, vmcb);
}

#define UNEXPECTED(first, last) [first... last] = exit_unexpected

static exit_handler *const handlers[VMEXIT_LAST + 1] = {
	UNEXPECTED(0, VMEXIT_CR4_READ - 1), /* other control registers */
	[VMEXIT_CR4_READ] = exit_mov_cr,
	UNEXPECTED(VMEXIT_CR4_READ + 1, VMEXIT_CR4_WRITE - 1),
	[VMEXIT_CR4_WRITE] = exit_mov_cr,
	UNEXPECTED(VMEXIT_CR4_WRITE + 1, VMEXIT_CR8_WRITE - 1),
	[VMEXIT_CR8_WRITE] = exit_mov_cr,
	UNEXPECTED(VMEXIT_CR8_WRITE + 1, VMEXIT_EXCP_BASE + X86_DB - 1), /* and debug registers, #DE */
	[VMEXIT_EXCP_BASE + X86_DB] = exit_db,
	UNEXPECTED(VMEXIT_EXCP_BASE + X86_DB + 1, VMEXIT_EXCP_BASE + X86_AC - 1), /* other exceptions */
	[VMEXIT_EXCP_BASE + X86_AC] = exit_ac,
	[VMEXIT_EXCP_BASE + X86_MC] = exit_mc,
	UNEXPECTED(VMEXIT_EXCP_BASE + X86_MC + 1, VMEXIT_INTR - 1),
	[VMEXIT_INTR] = exit_intr,
	[VMEXIT_NMI] = exit_nmi,
	[VMEXIT_SMI] = exit_intr,
	[VMEXIT_INIT] = exit_intr,
	[VMEXIT_VINTR] = exit_window,
	UNEXPECTED(VMEXIT_VINTR + 1, VMEXIT_RDPMC - 1), /* CR0_SEL_WRITE, descriptor tables, RDTSC */
	[VMEXIT_RDPMC] = exit_rdpmc,
	UNEXPECTED(VMEXIT_RDPMC + 1, VMEXIT_CPUID - 1), /* PUSHF, POPF */
	[VMEXIT_CPUID] = exit_cpuid,
	UNEXPECTED(VMEXIT_CPUID + 1, VMEXIT_IRET - 1), /* RSM */
	[VMEXIT_IRET] = exit_iret,
	UNEXPECTED(VMEXIT_IRET + 1, VMEXIT_INVD - 1), /* SWINT */
	[VMEXIT_INVD] = exit_invalidate,
	UNEXPECTED(VMEXIT_INVD + 1, VMEXIT_HLT - 1), /* PAUSE */
	[VMEXIT_HLT] = exit_hlt,
	UNEXPECTED(VMEXIT_HLT + 1, VMEXIT_INVLPGA - 1), /* INVLPG */
	[VMEXIT_INVLPGA] = exit_undefined,
	[VMEXIT_IOIO] = exit_ioio,
	[VMEXIT_MSR] = exit_msr,
	UNEXPECTED(VMEXIT_MSR + 1, VMEXIT_SHUTDOWN - 1), /* TASK_SWITCH, FERR_FREEZE */
	[VMEXIT_SHUTDOWN] = exit_shutdown,
	[VMEXIT_VMRUN] = exit_undefined,
	[VMEXIT_VMMCALL] = exit_vmmcall,
	[VMEXIT_VMLOAD] = exit_undefined,
	[VMEXIT_VMSAVE] = exit_undefined,
	[VMEXIT_STGI] = exit_undefined,
	[VMEXIT_CLGI] = exit_undefined,
	[VMEXIT_SKINIT] = exit_undefined,
	UNEXPECTED(VMEXIT_SKINIT + 1, VMEXIT_WBINVD - 1), /* RDTSCP, ICEBP */
	[VMEXIT_WBINVD] = exit_invalidate,
	[VMEXIT_MONITOR] = exit_undefined,
	[VMEXIT_MWAIT] = exit_undefined,
	[VMEXIT_MWAIT_CONDITIONAL] = exit_undefined,
	[VMEXIT_XSETBV] = exit_xsetbv,
	[VMEXIT_RDPRU] = exit_undefined,
	UNEXPECTED(VMEXIT_RDPRU + 1, VMEXIT_MCOMMIT - 1), /* write traps, INVLPGB, INVPCID */
	[VMEXIT_MCOMMIT] = exit_undefined,
	UNEXPECTED(VMEXIT_MCOMMIT + 1, VMEXIT_LAST), /* TLBSYNC, BUSLOCK */
};
_Static_assert(VMEXIT_LAST < X86_EXIT_COUNTER_NPF, "every exit code has a counter of its own");

int svm_exit(struct arch_vcpu *vcpu, struct vm_exit *exit, struct vmcb *vmcb)
{
	uint64_t code = vmcb->control.exit_code;
	if (likely(code <= VMEXIT_LAST)) {
		exit_handler *handler = handlers[code];
		vcpu->exits[code]++;
		return handler(vcpu, exit, vmcb);
	}
	return likely(code == VMEXIT_NPF) ? exit_npf(vcpu, exit, vmcb) : exit_unknown(vcpu, exit, vmcb);
}
