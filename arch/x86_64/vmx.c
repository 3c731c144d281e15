/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmx_ops: Intel VMX behind the interface that VMX and SVM share (vcpu.h). Turns VMX on and off, owns each VM's
 * EPTP and each vCPU's VMCS, and gives access to the guest's registers. Called by vcpu.c and arch.c. A VMCS is active
 * on at most one CPU, and then current there: load makes it so, put ends it.
 */
#include "vmx.h"
#include "lib/log.h"
#include "lib/panic.h"
#include "lib/printf.h"
#include "lib/string.h"
#include "vmx_names.h"

#define EPT_LEVELS 4
#define VMCS_ORDER 1 /* the VMCS, and the MSR bitmap behind it */
#define DR7_FIXED  BIT(10)
#define NO_CURRENT UINT64_MAX /* what VMPTRST stores when no VMCS is current */

/* vmx_asm.S */
_Static_assert(offsetof(struct arch_vcpu, gpr) == VCPU_GPR(0), "vmx.h, for vmx_asm.S");
_Static_assert(offsetof(struct arch_vcpu, vmx.exit) == VCPU_VMX_EXIT, "vmx.h, for vmx_asm.S");
_Static_assert(offsetof(struct arch_vcpu, vmx.stack) == VCPU_VMX_STACK, "vmx.h, for vmx_asm.S");
_Static_assert(offsetof(struct arch_vcpu, request) == VCPU_REQUEST, "vmx.h, for vmx_asm.S");
_Static_assert(offsetof(struct arch_vcpu, interrupts) == VCPU_REQUEST + 1, "vmx.h, for vmx_asm.S");
_Static_assert(offsetof(struct arch_vcpu, exits) == VCPU_EXITS, "vmx.h, for vmx_asm.S");
_Static_assert(offsetof(struct vm_exit, call.number) == EXIT_CALL_NUMBER, "vmx.h, for vmx_asm.S");
_Static_assert(offsetof(struct vm_exit, call.argument) == EXIT_CALL_ARGUMENT, "vmx.h, for vmx_asm.S");
_Static_assert(VM_EXIT_HYPERCALL == KIND_HYPERCALL && X86_RUN_ON == (int)VMX_RUN_ON, "vmx.h, for vmx_asm.S");
_Static_assert(EXIT_VMCALL == REASON_VMCALL && RFLAGS_TF == RFLAGS_TF_BIT, "vmx.h, for vmx_asm.S");
_Static_assert(BITS(6, 5) == RIGHTS_DPL_BITS, "ACCESS_RIGHTS_DPL");
_Static_assert(VMCS_EXIT_REASON == FIELD_EXIT_REASON && VMCS_INSTRUCTION_ERROR == FIELD_INSTRUCTION_ERROR,
               "vmx.h, for vmx_asm.S");
_Static_assert(VMCS_EXIT_INSTRUCTION_LENGTH == FIELD_EXIT_INSTRUCTION_LENGTH, "vmx.h, for vmx_asm.S");
_Static_assert(VMCS_GUEST_ACCESS_RIGHTS + 2 * X86_SS == FIELD_GUEST_SS_RIGHTS, "vmx.h, for vmx_asm.S");
_Static_assert(VMCS_GUEST_INTERRUPTIBILITY == FIELD_GUEST_INTERRUPTIBILITY, "vmx.h, for vmx_asm.S");
_Static_assert(VMCS_GUEST_RIP == FIELD_GUEST_RIP && VMCS_GUEST_RFLAGS == FIELD_GUEST_RFLAGS, "vmx.h, for vmx_asm.S");
_Static_assert(VMCS_HOST_RSP == FIELD_HOST_RSP, "vmx.h, for vmx_asm.S");

/* ---- this CPU ---- */

/* A VMXON region or a VMCS, in the first one of the frames. */
static hpa_t alloc_region(struct mm_hal *hal, unsigned order)
{
	hpa_t region = hal->alloc_frames(hal, order, FRAME_KERNEL);
	if (region != HPA_NONE) {
		memset(mm_pointer(hal, region), 0, FRAME_SIZE);
		memcpy(mm_pointer(hal, region), &vmx_capabilities.revision, sizeof(vmx_capabilities.revision));
	}
	return region;
}

static void log_capabilities(void)
{
	uint64_t ept = vmx_capabilities.ept_vpid, cpu2 = vmx_capabilities.cpu2;
	log_line("vmx", "VMCS revision 0x%x, unrestricted guest, EPT%s%s%s%s%s%s%s%s", vmx_capabilities.revision,
	         ept & EPT_CAP_2M ? " 2M" : "", ept & EPT_CAP_1G ? " 1G" : "",
	         ept & EPT_CAP_EXECUTE_ONLY ? " execute-only" : "", ept & EPT_CAP_ACCESSED_DIRTY ? " A/D" : "",
	         cpu2 & CPU2_VPID ? ", VPID" : "", vmx_capabilities.cpu & CPU_TPR_SHADOW ? ", TPR shadow" : "",
	         vmx_capabilities.virtual_eoi ? ", virtual EOI" : "",
	         vmx_capabilities.pin & PIN_PREEMPTION_TIMER ? ", preemption timer" : "");
}

static bool vmx_enable(struct mm_hal *hal, char *message, size_t size)
{
	struct x86_cpu *cpu = this_cpu();
	if (!vmx_unlock()) {
		(void)snprintf(message, size, "VMX: CPU %u is locked out of it by its IA32_FEATURE_CONTROL",
		               cpu->index);
		return false;
	}
	if (!cpu->virt_area) {
		hpa_t region = alloc_region(hal, 0);
		if (region == HPA_NONE) {
			(void)snprintf(message, size, "VMX: no memory for the VMXON region");
			return false;
		}
		cpu->virt_area = region;
		if (cpu->index == 0) {
			log_capabilities();
		}
	}
	/* SDM vol. 3C 23.8. */
	write_cr0((read_cr0() | vmx_capabilities.cr0_fixed0) & vmx_capabilities.cr0_fixed1);
	x86_cr4_allowed &= vmx_capabilities.cr4_fixed1;
	write_cr4((read_cr4() | vmx_capabilities.cr4_fixed0 | CR4_VMXE) & vmx_capabilities.cr4_fixed1);
	if (!vmxon(&cpu->virt_area)) {
		(void)snprintf(message, size, "VMX: VMXON failed on CPU %u", cpu->index);
		return false;
	}
	return true;
}

static void vmx_disable(void)
{
	uint64_t current;
	__asm__ volatile("vmptrst %0" : "=m"(current));
	if (current != NO_CURRENT) {
		(void)vmclear(&current);
	}
	if (this_cpu()->loaded) {
		this_cpu()->loaded->vmx.cpu = NULL;
	}
	vmxoff();
	write_cr4(read_cr4() & ~CR4_VMXE);
}

static void vmx_nested_format(struct npt_format *format)
{
	uint64_t ept = vmx_capabilities.ept_vpid;
	npt_format_ept(format, &(struct ept_capabilities){
				       .leaf_2m = ept & EPT_CAP_2M,
				       .leaf_1g = ept & EPT_CAP_1G,
				       .execute_only = ept & EPT_CAP_EXECUTE_ONLY,
				       .accessed_dirty = ept & EPT_CAP_ACCESSED_DIRTY,
				       .physical_bits = x86_features.physical_bits,
			       });
}

/* ---- VMs ---- */

static void flush_ept(uint64_t eptp)
{
	bool single = vmx_capabilities.ept_vpid & EPT_CAP_INVEPT_SINGLE;
	struct invalidation what = {.target = single ? eptp : 0};
	if (!invept(single ? INVEPT_SINGLE : INVEPT_ALL, &what)) {
		panic("INVEPT failed for EPTP 0x%llx", (unsigned long long)eptp);
	}
}

void vmx_flush_vpid(const struct arch_vm *vm)
{
	if (!(vmx_capabilities.cpu2 & CPU2_VPID)) {
		return; /* then every entry and exit flushes */
	}
	bool single = vmx_capabilities.ept_vpid & EPT_CAP_INVVPID_SINGLE;
	struct invalidation what = {.target = single ? vm->tag : 0};
	if (!invvpid(single ? INVVPID_SINGLE : INVVPID_ALL, &what)) {
		panic("INVVPID failed for VPID %u", vm->tag);
	}
}

static void vmx_flush(struct arch_vm *vm)
{
	flush_ept(vm->nested_root);
}

static int vmx_vm_init(struct arch_vm *vm)
{
	vm->nested_root = addr_space_root(vm->space) | EPTP_WRITE_BACK | EPTP_WALK(EPT_LEVELS) |
	                  (vmx_capabilities.ept_vpid & EPT_CAP_ACCESSED_DIRTY ? EPTP_ACCESSED_DIRTY : 0);
	return MM_OK;
}

/* ---- which VMCS is current ---- */

static bool is_current(const struct arch_vcpu *vcpu)
{
	return vcpu->vmx.cpu == this_cpu();
}

static void make_current(struct arch_vcpu *vcpu)
{
	if (!vmptrld(&vcpu->vmx.vmcs)) {
		panic("VMPTRLD failed for the VMCS at 0x%llx", (unsigned long long)vcpu->vmx.vmcs);
	}
	vcpu->vmx.cpu = this_cpu();
}

static void make_inactive(struct arch_vcpu *vcpu)
{
	vcpu->vmx.cpu = NULL;
	if (!vmclear(&vcpu->vmx.vmcs)) {
		panic("VMCLEAR failed for the VMCS at 0x%llx", (unsigned long long)vcpu->vmx.vmcs);
	}
}

/* Makes the vCPU's VMCS current up to release_vmcs, which takes what this returns. For cold paths. */
#define WAS_CURRENT UINT64_C(1) /* no VMCS lies there */

static uint64_t borrow_vmcs(struct arch_vcpu *vcpu)
{
	uint64_t previous;
	if (is_current(vcpu)) {
		return WAS_CURRENT;
	}
	__asm__ volatile("vmptrst %0" : "=m"(previous));
	make_current(vcpu);
	return previous;
}

static void release_vmcs(struct arch_vcpu *vcpu, uint64_t previous)
{
	if (previous == WAS_CURRENT) {
		return;
	}
	make_inactive(vcpu);
	if (previous != NO_CURRENT && !vmptrld(&previous)) {
		panic("VMPTRLD failed for the VMCS at 0x%llx", (unsigned long long)previous);
	}
}

/* The root table and the VPID may have been another VM's when something last ran here; a VM's vCPUs share both. */
static void forget_others(const struct arch_vcpu *vcpu)
{
	flush_ept(vcpu->vm->nested_root);
	vmx_flush_vpid(vcpu->vm);
}

static void vmx_load(struct arch_vcpu *vcpu)
{
	uint16_t cpu = (uint16_t)(this_cpu()->index + 1);
	make_current(vcpu);
	vmx_setup_host();
	write_cr2(vcpu->vmx.cr2);
	if (vcpu->vmx.last_cpu != cpu || vcpu->vm->vcpus > 1) {
		forget_others(vcpu);
		vcpu->vmx.last_cpu = cpu;
	}
}

static void vmx_put(struct arch_vcpu *vcpu)
{
	vcpu->vmx.cr2 = read_cr2();
	make_inactive(vcpu);
}

/* ---- vCPUs ---- */

static int vmx_vcpu_init(struct arch_vcpu *vcpu)
{
	memset(&vcpu->vmx, 0, sizeof(vcpu->vmx));
	vcpu->vmx.vmcs = alloc_region(vcpu->vm->hal, VMCS_ORDER);
	if (vcpu->vmx.vmcs == HPA_NONE) {
		return MM_ENOMEM;
	}
	if (!vmclear(&vcpu->vmx.vmcs)) {
		panic("VMCLEAR failed for the VMCS at 0x%llx", (unsigned long long)vcpu->vmx.vmcs);
	}
	uint64_t previous = borrow_vmcs(vcpu);
	vmx_setup(vcpu);
	release_vmcs(vcpu, previous);
	return MM_OK;
}

static void vmx_vcpu_destroy(struct arch_vcpu *vcpu)
{
	vcpu->vm->hal->free_frames(vcpu->vm->hal, vcpu->vmx.vmcs, VMCS_ORDER, FRAME_KERNEL);
	vcpu->vmx.vmcs = HPA_NONE;
}

static void vmx_start(struct arch_vcpu *vcpu, const struct arch_entry *entry)
{
	uint64_t previous = borrow_vmcs(vcpu);
	vmx_setup(vcpu);
	x86_reset_state(vcpu, entry);
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
	vmx_flush_vpid(vcpu->vm);
	release_vmcs(vcpu, previous);
}

/* ---- registers ---- */

/* Where a register is one field of the VMCS and nothing else; the other ones have 0. */
static const uint16_t plain_field[X86_SPEC_CTRL + 1] = {
	[X86_RIP] = VMCS_GUEST_RIP, [X86_RSP] = VMCS_GUEST_RSP,   [X86_RFLAGS] = VMCS_GUEST_RFLAGS,
	[X86_CR3] = VMCS_GUEST_CR3, [X86_EFER] = VMCS_GUEST_EFER, [X86_DR7] = VMCS_GUEST_DR7,
	[X86_PAT] = VMCS_GUEST_PAT,
};

static uint64_t get_current(const struct arch_vcpu *vcpu, enum x86_register name)
{
	enum vmcs_field plain = plain_field[name];
	if (likely(plain)) {
		return vmread(plain);
	}
	switch (name) {
	case X86_CR0:
		return vmx_guest_cr0();
	case X86_CR2:
		return this_cpu()->loaded == vcpu ? read_cr2() : vcpu->vmx.cr2;
	case X86_CR4:
		return vmx_guest_cr4(vcpu);
	case X86_SPEC_CTRL:
		return vmx_get_spec_ctrl(vcpu);
	default: /* CR8 */
		return LAPIC_CLASS(lapic_get(&vcpu->lapic, LAPIC_TPR));
	}
}

static __attribute__((noinline)) uint64_t get_borrowed(struct arch_vcpu *vcpu, enum x86_register name)
{
	uint64_t previous = borrow_vmcs(vcpu);
	uint64_t value = get_current(vcpu, name);
	release_vmcs(vcpu, previous);
	return value;
}

/* On hot paths: decoding, CPUID leaf 1. */
static uint64_t vmx_get(struct arch_vcpu *vcpu, enum x86_register name)
{
	return likely(is_current(vcpu)) ? get_current(vcpu, name) : get_borrowed(vcpu, name);
}

static void set_current(struct arch_vcpu *vcpu, enum x86_register name, uint64_t value)
{
	switch (name) {
	case X86_RSP:
	case X86_CR3:
	case X86_PAT:
		vmwrite(plain_field[name], value);
		break;
	case X86_RFLAGS:
		vmwrite(VMCS_GUEST_RFLAGS, value | RFLAGS_FIXED);
		break;
	case X86_DR7:
		vmwrite(VMCS_GUEST_DR7, (uint32_t)value | DR7_FIXED);
		break;
	case X86_EFER:
		vmx_put_efer(value);
		break;
	case X86_CR0:
		vmx_put_cr0(vcpu, value);
		break;
	case X86_CR4:
		vmx_put_cr4(vcpu, value);
		break;
	case X86_CR2:
		vcpu->vmx.cr2 = value;
		if (this_cpu()->loaded == vcpu) {
			write_cr2(value);
		}
		break;
	case X86_CR8:
		/* What a write of the local APIC's own register has put into the lower half stays there. */
		if (LAPIC_CLASS(lapic_get(&vcpu->lapic, LAPIC_TPR)) != value) {
			lapic_put(&vcpu->lapic, LAPIC_TPR, (uint32_t)value << 4);
		}
		vcpu->interrupts = 1;
		break;
	case X86_SPEC_CTRL:
		vmx_put_spec_ctrl(vcpu, value);
		break;
	case X86_RIP: /* vmx_set */
		vmx_move_to(value);
		break;
	}
}

static __attribute__((noinline)) void set_borrowed(struct arch_vcpu *vcpu, enum x86_register name, uint64_t value)
{
	uint64_t previous = borrow_vmcs(vcpu);
	set_current(vcpu, name, value);
	release_vmcs(vcpu, previous);
}

static void vmx_set(struct arch_vcpu *vcpu, enum x86_register name, uint64_t value)
{
	if (unlikely(!is_current(vcpu))) {
		set_borrowed(vcpu, name, value);
	} else if (likely(name == X86_RIP)) {
		vmx_move_to(value); /* past an instruction that was emulated */
	} else {
		set_current(vcpu, name, value);
	}
}

/* ---- segments: the VMCS counts them as enum x86_segment_name does ---- */

/* The VMCS's access rights as struct x86_segment has them. */
static uint32_t attributes_of(uint64_t rights)
{
	uint64_t unusable = rights & ACCESS_RIGHTS_UNUSABLE ? X86_SEGMENT_UNUSABLE : 0;
	return (uint32_t)((rights & BITS(7, 0)) | (rights & BITS(15, 12)) >> 4 | unusable);
}

static void get_current_segment(enum x86_segment_name name, struct x86_segment *segment)
{
	segment->base = vmread(VMCS_GUEST_BASE + VMCS_SEGMENT(name));
	segment->limit = (uint32_t)vmread(VMCS_GUEST_LIMIT + VMCS_SEGMENT(name));
	if (unlikely(name == X86_GDTR || name == X86_IDTR)) {
		segment->selector = 0;
		segment->attributes = 0;
		return;
	}
	segment->selector = (uint16_t)vmread(VMCS_GUEST_SELECTOR + VMCS_SEGMENT(name));
	segment->attributes = attributes_of(vmread(VMCS_GUEST_ACCESS_RIGHTS + VMCS_SEGMENT(name)));
}

static __attribute__((noinline)) void get_borrowed_segment(struct arch_vcpu *vcpu, enum x86_segment_name name,
                                                           struct x86_segment *segment)
{
	uint64_t previous = borrow_vmcs(vcpu);
	get_current_segment(name, segment);
	release_vmcs(vcpu, previous);
}

static void vmx_get_segment(struct arch_vcpu *vcpu, enum x86_segment_name name, struct x86_segment *segment)
{
	if (likely(is_current(vcpu))) {
		get_current_segment(name, segment);
	} else {
		get_borrowed_segment(vcpu, name, segment);
	}
}

static void vmx_set_segment(struct arch_vcpu *vcpu, enum x86_segment_name name, const struct x86_segment *segment)
{
	uint64_t previous = borrow_vmcs(vcpu);
	vmwrite(VMCS_GUEST_BASE + VMCS_SEGMENT(name), segment->base);
	vmwrite(VMCS_GUEST_LIMIT + VMCS_SEGMENT(name), segment->limit);
	if (name != X86_GDTR && name != X86_IDTR) {
		uint64_t rights = field(segment->attributes, 7, 0) | field(segment->attributes, 11, 8) << 12 |
		                  (segment->attributes & X86_SEGMENT_UNUSABLE ? ACCESS_RIGHTS_UNUSABLE : 0);
		vmwrite(VMCS_GUEST_SELECTOR + VMCS_SEGMENT(name), segment->selector);
		vmwrite(VMCS_GUEST_ACCESS_RIGHTS + VMCS_SEGMENT(name), rights);
	}
	release_vmcs(vcpu, previous);
}

/* The paging bits of CR0 and CR4 are the guest's own, so the real ones will do. */
static void get_current_code(struct x86_code_state *state)
{
	state->rip = vmread(VMCS_GUEST_RIP);
	state->cs_base = vmread(VMCS_GUEST_BASE + VMCS_SEGMENT(X86_CS));
	state->cr0 = vmread(VMCS_GUEST_CR0);
	state->cr3 = vmread(VMCS_GUEST_CR3);
	state->cr4 = vmread(VMCS_GUEST_CR4);
	state->efer = vmread(VMCS_GUEST_EFER);
	state->cs_attributes = attributes_of(vmread(VMCS_GUEST_ACCESS_RIGHTS + VMCS_SEGMENT(X86_CS)));
}

static __attribute__((noinline)) void get_borrowed_code(struct arch_vcpu *vcpu, struct x86_code_state *state)
{
	uint64_t previous = borrow_vmcs(vcpu);
	get_current_code(state);
	release_vmcs(vcpu, previous);
}

static void vmx_get_code(struct arch_vcpu *vcpu, struct x86_code_state *state)
{
	if (likely(is_current(vcpu))) {
		get_current_code(state);
	} else {
		get_borrowed_code(vcpu, state);
	}
}

/* Of the loaded vCPU. */
static void vmx_skip_length(struct arch_vcpu *vcpu, unsigned length)
{
	(void)vcpu;
	vmx_move_to(vmread(VMCS_GUEST_RIP) + length);
}

static void vmx_inject_exception(struct arch_vcpu *vcpu, enum x86_vector vector, uint32_t error_code)
{
	uint64_t previous = borrow_vmcs(vcpu);
	vmx_inject(vector, error_code);
	release_vmcs(vcpu, previous);
}

const struct virt_ops vmx_ops = {
	.name = "VMX",
	.check = vmx_check,
	.enable = vmx_enable,
	.disable = vmx_disable,
	.nested_format = vmx_nested_format,
	.vm_init = vmx_vm_init,
	.flush = vmx_flush,
	.vcpu_init = vmx_vcpu_init,
	.vcpu_destroy = vmx_vcpu_destroy,
	.start = vmx_start,
	.load = vmx_load,
	.put = vmx_put,
	.run = vmx_run,
	.get = vmx_get,
	.set = vmx_set,
	.get_segment = vmx_get_segment,
	.set_segment = vmx_set_segment,
	.get_code = vmx_get_code,
	.skip = vmx_skip_length,
	.inject = vmx_inject_exception,
	.exit_name = vmx_exit_name,
};
