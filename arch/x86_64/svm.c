/* SPDX-License-Identifier: Apache-2.0 */
/*
 * svm_ops: AMD SVM behind the interface that VMX and SVM share (vcpu.h). Turns SVM on and off, owns the permission
 * maps and each vCPU's VMCB, and gives access to the guest's registers. Called by vcpu.c and arch.c; the exits are
 * in svm_exits.c. APM vol. 2 chapter 15.
 */
#include "svm.h"

#include "lib/log.h"
#include "lib/printf.h"
#include "lib/string.h"

#define DR6_RESET       UINT64_C(0xffff0ff0)
#define DR7_RESET       UINT64_C(0x400)
#define PAT_RESET       UINT64_C(0x0007040600070406)
#define DPL(attributes) ((uint8_t)field(attributes, 6, 5))

#define IOPM_ORDER  2 /* 12 KiB are needed; runs of frames come in powers of two */
#define MSRPM_ORDER 1
/* This CPU's host save area, and behind it the VMSAVE area: 15.5.1, 15.5.2. */
#define HOST_AREA_ORDER 1

_Static_assert(offsetof(struct arch_vcpu, gpr) == 0, "svm_asm.S");
_Static_assert(offsetof(struct arch_vcpu, svm.vmcb) == VCPU_SVM_VMCB, "svm_asm.S");
_Static_assert(offsetof(struct arch_vcpu, svm.host_vmcb) == VCPU_SVM_HOST_VMCB, "svm_asm.S");
_Static_assert(offsetof(struct arch_vcpu, svm.exit) == VCPU_SVM_EXIT, "svm_asm.S");
_Static_assert(offsetof(struct arch_vcpu, svm.call_rip) == VCPU_SVM_CALL_RIP, "svm_asm.S");
_Static_assert(offsetof(struct arch_vcpu, request) == VCPU_REQUEST, "svm_asm.S");
_Static_assert(offsetof(struct arch_vcpu, interrupts) == VCPU_REQUEST + 1 && VCPU_REQUEST % 2 == 0, "svm_asm.S");
_Static_assert(offsetof(struct arch_vcpu, exits) == SVM_VCPU_EXITS, "svm_asm.S");
_Static_assert(offsetof(struct vm_exit, call.number) == EXIT_CALL_NUMBER, "svm_asm.S");
_Static_assert(offsetof(struct vm_exit, call.argument) == EXIT_CALL_ARGUMENT, "svm_asm.S");
_Static_assert(offsetof(struct vmcb, control.exit_code) == VMCB_EXIT_CODE, "svm_asm.S");
_Static_assert(offsetof(struct vmcb, control.owner) == VMCB_VCPU, "svm_asm.S");
_Static_assert(offsetof(struct vmcb, save.cpl) == VMCB_CPL, "svm_asm.S");
_Static_assert(offsetof(struct vmcb, save.rip) == VMCB_RIP, "svm_asm.S");
_Static_assert(offsetof(struct vmcb, save.rax) == VMCB_RAX, "svm_asm.S");
_Static_assert(VM_EXIT_HYPERCALL == KIND_HYPERCALL, "svm_asm.S");
_Static_assert(X86_RUN_ON < 0, "svm_asm.S");

struct svm_features svm_features;

/* The same for every VM: nothing is passed through but what x86_msr_passthrough names. */
static hpa_t iopm, msrpm;

/* ---- this CPU ---- */

static bool svm_check(char *message, size_t size)
{
	if (!(x86_cpuid_leaf(CPUID_EXTENDED_FEATURES, 0).ecx & CPUID_EXTENDED_ECX_SVM)) {
		(void)snprintf(message, size, "SVM: this CPU has none (CPUID 8000_0001 ECX bit 2)");
		return false;
	}
	uint64_t vm_cr = rdmsr(MSR_VM_CR);
	if ((vm_cr & VM_CR_SVMDIS) && (vm_cr & VM_CR_LOCK)) {
		(void)snprintf(message, size,
		               "SVM: disabled and locked by the firmware (VM_CR 0x%llx): enable it in "
		               "the firmware's setup, where it may be called SVM mode",
		               (unsigned long long)vm_cr);
		return false;
	}
	struct cpuid_result leaf = x86_cpuid_leaf(CPUID_SVM, 0);
	if (!(leaf.edx & CPUID_SVM_EDX_NP)) {
		(void)snprintf(message, size, "SVM: this CPU has no nested paging (CPUID 8000_000A EDX bit 0)");
		return false;
	}
	/* The CPU walks the nested tables in the host's own paging mode (15.25.3), and ours have four levels. */
	if (read_cr4() & CR4_LA57) {
		(void)snprintf(message, size,
		               "SVM: the firmware runs with 5-level paging, which nested tables would have to follow: "
		               "turn it off in its setup");
		return false;
	}
	if (leaf.ebx < 2) {
		(void)snprintf(message, size, "SVM: this CPU has no ASID for guests (CPUID 8000_000A EBX is %u)",
		               leaf.ebx);
		return false;
	}
	svm_features = (struct svm_features){
		.asids = leaf.ebx,
		.next_rip = leaf.edx & CPUID_SVM_EDX_NRIPS,
		.clean_bits = leaf.edx & CPUID_SVM_EDX_CLEAN,
		.flush_by_asid = leaf.edx & CPUID_SVM_EDX_FLUSH_ASID,
		.decode_assists = leaf.edx & CPUID_SVM_EDX_DECODE,
		.virtual_interrupts = !(leaf.edx & (CPUID_SVM_EDX_NRIPS | CPUID_SVM_EDX_CLEAN)),
	};
	return true;
}

/* 15.11: two bits an MSR, read and write, for three ranges; a set bit makes the access exit. */
static void allow_msr(void *context, uint32_t msr, bool read, bool write)
{
	static const uint32_t bases[] = {0, 0xc0000000, 0xc0010000};
	const uint32_t range = 0x2000;
	uint8_t *map = context;
	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
		uint32_t index = msr - bases[i];
		if (index < range) {
			unsigned bits = (read ? 1U : 0U) | (write ? 2U : 0U);
			map[i * (range / 4) + index / 4] &= (uint8_t) ~(bits << (index % 4 * 2));
		}
	}
}

static bool alloc_maps(struct mm_hal *hal)
{
	if (iopm) {
		return true;
	}
	hpa_t io = hal->alloc_frames(hal, IOPM_ORDER, FRAME_KERNEL);
	hpa_t msr = hal->alloc_frames(hal, MSRPM_ORDER, FRAME_KERNEL);
	if (io == HPA_NONE || msr == HPA_NONE) {
		if (io != HPA_NONE) {
			hal->free_frames(hal, io, IOPM_ORDER, FRAME_KERNEL);
		}
		if (msr != HPA_NONE) {
			hal->free_frames(hal, msr, MSRPM_ORDER, FRAME_KERNEL);
		}
		return false;
	}
	memset(mm_pointer(hal, io), UINT8_MAX, FRAME_SIZE << IOPM_ORDER);
	memset(mm_pointer(hal, msr), UINT8_MAX, FRAME_SIZE << MSRPM_ORDER);
	x86_msr_passthrough(allow_msr, mm_pointer(hal, msr));
	iopm = io;
	msrpm = msr;
	return true;
}

static bool alloc_host_area(struct x86_cpu *cpu, struct mm_hal *hal)
{
	if (!cpu->virt_area) {
		hpa_t area = hal->alloc_frames(hal, HOST_AREA_ORDER, FRAME_KERNEL);
		if (area == HPA_NONE) {
			return false;
		}
		memset(mm_pointer(hal, area), 0, FRAME_SIZE << HOST_AREA_ORDER);
		cpu->virt_area = area;
	}
	return true;
}

static bool svm_enable(struct mm_hal *hal, char *message, size_t size)
{
	const struct svm_features *f = &svm_features;
	struct x86_cpu *cpu = this_cpu();
	bool first = cpu->index == 0 && !cpu->virt_area;
	uint64_t vm_cr = rdmsr(MSR_VM_CR);
	if (vm_cr & VM_CR_SVMDIS) {
		if (vm_cr & VM_CR_LOCK) {
			(void)snprintf(message, size, "SVM: CPU %u is locked out of it by its VM_CR", cpu->index);
			return false;
		}
		wrmsr(MSR_VM_CR, vm_cr & ~VM_CR_SVMDIS);
	}
	if (!alloc_maps(hal) || !alloc_host_area(cpu, hal)) {
		(void)snprintf(message, size, "SVM: no memory for the host save area and the permission maps");
		return false;
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, cpu->virt_area);
	if (first) {
		log_line("svm", "%u ASIDs, nested paging%s%s%s%s", f->asids, f->next_rip ? ", NRIPS" : "",
		         f->flush_by_asid ? ", FlushByAsid" : "", f->clean_bits ? ", VMCB clean bits" : "",
		         f->decode_assists ? ", decode assists" : "");
	}
	return true;
}

static void svm_disable(void)
{
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SVME);
}

static void svm_nested_format(struct npt_format *format)
{
	npt_format_amd(format, &(struct amd_npt_capabilities){
				       .leaf_1g = x86_features.leaf_1g,
				       .no_execute = x86_features.no_execute,
				       .physical_bits = x86_features.physical_bits,
			       });
}

static unsigned svm_tag_count(void)
{
	return svm_features.asids;
}

/* ---- VMs ---- */

static int svm_vm_init(struct arch_vm *vm)
{
	vm->io_bitmap = iopm;
	vm->msr_bitmap = msrpm;
	vm->nested_root = addr_space_root(vm->space);
	return MM_OK;
}

/* None of the vCPUs is in the guest when this is called: one CPU runs them all so far. */
static void svm_flush(struct arch_vm *vm)
{
	for (struct arch_vcpu *vcpu = vm->first_vcpu; vcpu; vcpu = vcpu->next) {
		vcpu->request |= SVM_REQUEST_FLUSH;
	}
}

/* ---- vCPUs ---- */

static void set_up_control(struct arch_vcpu *vcpu)
{
	/* #MC is the host's. #DB and #AC that a guest raises while it delivers #DB or #AC repeat for ever inside the
	 * CPU and keep interrupts and NMIs out of it, so both exit and go back to the guest one at a time. */
	vcpu->svm.vmcb->control = (struct vmcb_control){
		.intercept_cr = INTERCEPT_CR4_READ | INTERCEPT_CR4_WRITE,
		.intercept_exceptions = BIT(X86_DB) | BIT(X86_AC) | BIT(X86_MC),
		.intercept_misc1 = INTERCEPT_INTR | INTERCEPT_NMI | INTERCEPT_SMI | INTERCEPT_INIT | INTERCEPT_RDPMC |
	                           INTERCEPT_CPUID | INTERCEPT_INVD | INTERCEPT_HLT | INTERCEPT_INVLPGA |
	                           INTERCEPT_IOIO_PROT | INTERCEPT_MSR_PROT | INTERCEPT_SHUTDOWN,
		.intercept_misc2 = INTERCEPT_VMRUN | INTERCEPT_VMMCALL | INTERCEPT_VMLOAD | INTERCEPT_VMSAVE |
	                           INTERCEPT_STGI | INTERCEPT_CLGI | INTERCEPT_SKINIT | INTERCEPT_WBINVD |
	                           INTERCEPT_MONITOR | INTERCEPT_MWAIT | INTERCEPT_MWAIT_CONDITIONAL |
	                           INTERCEPT_XSETBV | INTERCEPT_RDPRU,
		.intercept_misc3 = INTERCEPT_MCOMMIT,
		.iopm_base = vcpu->vm->io_bitmap,
		.msrpm_base = vcpu->vm->msr_bitmap,
		.asid = vcpu->vm->tag,
		.virtual_interrupt = V_INTR_MASKING,
		.nested_control = NESTED_PAGING,
		.nested_cr3 = vcpu->vm->nested_root,
		.owner = vcpu,
	};
}

static int svm_vcpu_init(struct arch_vcpu *vcpu)
{
	struct mm_hal *hal = vcpu->vm->hal;
	hpa_t frame = hal->alloc_frames(hal, 0, FRAME_KERNEL);
	if (frame == HPA_NONE) {
		return MM_ENOMEM;
	}
	vcpu->svm = (struct svm_vcpu){.vmcb = mm_pointer(hal, frame)};
	vcpu->request = SVM_REQUEST_CLOSE;
	memset(vcpu->svm.vmcb, 0, sizeof(*vcpu->svm.vmcb));
	return MM_OK;
}

static void svm_vcpu_destroy(struct arch_vcpu *vcpu)
{
	vcpu->vm->hal->free_frames(vcpu->vm->hal, (uintptr_t)vcpu->svm.vmcb, 0, FRAME_KERNEL);
	vcpu->svm.vmcb = NULL;
}

static void svm_start(struct arch_vcpu *vcpu, const struct arch_entry *entry)
{
	struct vmcb_save *save = &vcpu->svm.vmcb->save;
	set_up_control(vcpu);
	*save = (struct vmcb_save){.dr6 = DR6_RESET, .dr7 = DR7_RESET, .pat = PAT_RESET, .efer = EFER_SVME};
	x86_reset_state(vcpu, entry);
	vcpu->svm.call_rip = SVM_NO_CALL;
	vcpu->deadline_rip = SVM_NO_CALL;
	vcpu->svm.nmi_blocked = false;
	vcpu->svm.iret_rip = SVM_NO_CALL;
	vcpu->svm.offered = 0;
	vcpu->request |= SVM_REQUEST_FLUSH;
	svm_dirty(vcpu, CLEAN_ALL);
}

/* What this CPU has kept of the VMCB or of the ASID may be older than what another CPU made of them. */
static void svm_load(struct arch_vcpu *vcpu)
{
	vcpu->svm.host_vmcb = this_cpu()->virt_area + FRAME_SIZE;
	__asm__ volatile("vmsave %%rax" : : "a"(vcpu->svm.host_vmcb) : "memory");
	vcpu->request |= SVM_REQUEST_FLUSH;
	svm_dirty(vcpu, CLEAN_ALL);
}

static void svm_put(struct arch_vcpu *vcpu)
{
	if (!(vcpu->request & SVM_REQUEST_CLOSE)) {
		svm_open(vcpu);
	}
}

/* ---- registers ---- */

/* Where the VMCB holds a register, the bits that are the guest's, and the clean bit to clear with it. */
struct place {
	uint16_t offset;
	uint16_t clean;
	uint64_t mask;
};
static const struct place registers[] = {
	[X86_RIP] = {offsetof(struct vmcb, save.rip), 0, UINT64_MAX},
	[X86_RSP] = {offsetof(struct vmcb, save.rsp), 0, UINT64_MAX},
	[X86_RFLAGS] = {offsetof(struct vmcb, save.rflags), 0, UINT64_MAX},
	[X86_CR0] = {offsetof(struct vmcb, save.cr0), CLEAN_CONTROL_REGISTERS, UINT64_MAX},
	[X86_CR2] = {offsetof(struct vmcb, save.cr2), CLEAN_CR2, UINT64_MAX},
	[X86_CR3] = {offsetof(struct vmcb, save.cr3), CLEAN_CONTROL_REGISTERS, UINT64_MAX},
	[X86_CR8] = {offsetof(struct vmcb, control.virtual_interrupt), CLEAN_TPR, VIRTUAL_TPR},
	/* VMRUN insists on SVME: 15.5.1. */
	[X86_EFER] = {offsetof(struct vmcb, save.efer), CLEAN_CONTROL_REGISTERS, ~EFER_SVME},
	[X86_DR7] = {offsetof(struct vmcb, save.dr7), CLEAN_DEBUG_REGISTERS, UINT64_MAX},
	[X86_PAT] = {offsetof(struct vmcb, save.pat), CLEAN_NESTED, UINT64_MAX},
};

static uint64_t svm_get(struct arch_vcpu *vcpu, enum x86_register name)
{
	const struct place *place = &registers[name];
	const uint8_t *vmcb = (const uint8_t *)vcpu->svm.vmcb;
	if (name == X86_CR4) {
		return svm_get_cr4(vcpu);
	}
	return *(const uint64_t *)(vmcb + place->offset) & place->mask;
}

static void svm_set(struct arch_vcpu *vcpu, enum x86_register name, uint64_t value)
{
	const struct place *place = &registers[name];
	uint64_t *to = (uint64_t *)((uint8_t *)vcpu->svm.vmcb + place->offset);
	if (likely(name == X86_RIP)) { /* it goes past an instruction that was emulated */
		svm_step(vcpu, value);
		return;
	}
	if (name == X86_CR4) {
		svm_put_cr4(vcpu, value);
		return;
	}
	*to = (*to & ~place->mask) | ((value | (name == X86_RFLAGS ? RFLAGS_FIXED : 0)) & place->mask);
	if (place->clean) {
		svm_dirty(vcpu, place->clean);
	}
}

static const uint16_t segments[] = {
	[X86_ES] = offsetof(struct vmcb, save.es),     [X86_CS] = offsetof(struct vmcb, save.cs),
	[X86_SS] = offsetof(struct vmcb, save.ss),     [X86_DS] = offsetof(struct vmcb, save.ds),
	[X86_FS] = offsetof(struct vmcb, save.fs),     [X86_GS] = offsetof(struct vmcb, save.gs),
	[X86_LDTR] = offsetof(struct vmcb, save.ldtr), [X86_TR] = offsetof(struct vmcb, save.tr),
	[X86_GDTR] = offsetof(struct vmcb, save.gdtr), [X86_IDTR] = offsetof(struct vmcb, save.idtr),
};

static inline struct vmcb_segment *find_segment(struct arch_vcpu *vcpu, enum x86_segment_name name)
{
	return (struct vmcb_segment *)((uint8_t *)vcpu->svm.vmcb + segments[name]);
}

static void svm_get_segment(struct arch_vcpu *vcpu, enum x86_segment_name name, struct x86_segment *segment)
{
	const struct vmcb_segment *from = find_segment(vcpu, name);
	segment->selector = from->selector;
	segment->attributes = from->attributes;
	segment->limit = from->limit;
	segment->base = from->base;
	if (unlikely(!(from->attributes & SEGMENT_PRESENT)) && name < X86_GDTR) {
		segment->attributes |= (uint32_t)X86_SEGMENT_UNUSABLE;
	}
}

static void svm_set_segment(struct arch_vcpu *vcpu, enum x86_segment_name name, const struct x86_segment *segment)
{
	/* The VMCB calls unusable what is not present: 15.5.1, "segment state". */
	bool unusable = segment->attributes & X86_SEGMENT_UNUSABLE;
	*find_segment(vcpu, name) = (struct vmcb_segment){
		.selector = segment->selector,
		.attributes = (uint16_t)(unusable ? 0 : segment->attributes & BITS(11, 0)),
		.limit = segment->limit,
		.base = segment->base,
	};
	if (name == X86_SS) {
		vcpu->svm.vmcb->save.cpl = DPL(segment->attributes);
	}
	svm_dirty(vcpu, CLEAN_SEGMENTS | CLEAN_TABLES);
}

static void svm_get_code(struct arch_vcpu *vcpu, struct x86_code_state *state)
{
	const struct vmcb_save *save = &vcpu->svm.vmcb->save;
	state->rip = save->rip;
	state->cs_base = save->cs.base;
	state->cr0 = save->cr0;
	state->cr3 = save->cr3;
	state->cr4 = save->cr4;
	state->efer = save->efer;
	state->cs_attributes = save->cs.attributes;
}

static void svm_inject_exception(struct arch_vcpu *vcpu, enum x86_vector vector, uint32_t error_code)
{
	svm_inject(vcpu->svm.vmcb, vector, error_code);
}

const struct virt_ops svm_ops = {
	.name = "SVM",
	.check = svm_check,
	.enable = svm_enable,
	.disable = svm_disable,
	.nested_format = svm_nested_format,
	.vm_init = svm_vm_init,
	.flush = svm_flush,
	.vcpu_init = svm_vcpu_init,
	.vcpu_destroy = svm_vcpu_destroy,
	.start = svm_start,
	.load = svm_load,
	.put = svm_put,
	.run = svm_run,
	.get = svm_get,
	.set = svm_set,
	.get_segment = svm_get_segment,
	.set_segment = svm_set_segment,
	.get_code = svm_get_code,
	.skip = svm_skip,
	.inject = svm_inject_exception,
	.sync_apic = svm_sync_apic,
	.exit_name = svm_exit_name,
	.tag_count = svm_tag_count,
};
