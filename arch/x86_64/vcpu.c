/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM and vCPU calls of arch.h for x86-64, by way of VMX or SVM (struct virt_ops), and the answers to exits that
 * are the same on both. Called by hv/, vmx*.c and svm*.c. On the exit path it neither allocates nor logs.
 */
#include "vcpu.h"

#include "cpu.h"
#include "decode.h"
#include "interrupts.h"
#include "lib/string.h"

#define TAGS_MAX     64 /* VMs that can exist at a time, and one for the host */
#define LINEAR_BYTES 6  /* of a linear address with 4 levels, all that guests have */

#define PRED_CMD_IBPB BIT(0)
#define FLUSH_CMD_L1D BIT(0)

struct mm_hal *x86_hal;

/* ---- tags ---- */

/* Creating a VM is rare and done by one CPU at a time; a bit per tag. Tag 0 is the host's. */
static uint64_t tags_taken = 1;

uint16_t x86_tag_alloc(unsigned limit)
{
	for (unsigned tag = 1; tag < MIN(limit, (unsigned)TAGS_MAX); tag++) {
		if (!(tags_taken & BIT(tag))) {
			tags_taken |= BIT(tag);
			return (uint16_t)tag;
		}
	}
	return 0;
}

void x86_tag_free(uint16_t tag)
{
	tags_taken &= ~BIT(tag);
}

/* ---- virtual machines ---- */

bool arch_has_pages(uint64_t bytes)
{
	return bytes == FRAME_SIZE;
}

unsigned arch_gpa_bits(void)
{
	struct npt_format format;
	x86_ops->nested_format(&format);
	return MIN(format.input_bits, x86_features.physical_bits);
}

void arch_nested_format(struct npt_format *format, gpa_t end)
{
	(void)end;
	x86_ops->nested_format(format);
}

const char *arch_virtualization(void)
{
	return x86_ops->name;
}

int arch_vm_init(struct arch_vm *vm, struct addr_space *space, unsigned vcpus)
{
	static uint64_t last_number;
	unsigned tags = x86_ops->tag_count ? x86_ops->tag_count() : TAGS_MAX;
	*vm = (struct arch_vm){
		.space = space,
		.hal = space->npt.hal,
		.ops = x86_ops,
		.vcpus = vcpus,
		.tag = x86_tag_alloc(tags),
		.number = ++last_number,
	};
	if (vm->tag == 0) {
		return MM_ENOMEM;
	}
	ioapic_reset(&vm->ioapic);
	int status = x86_ops->vm_init(vm);
	if (status != MM_OK) {
		x86_tag_free(vm->tag);
	}
	return status;
}

void arch_vm_destroy(struct arch_vm *vm)
{
	x86_tag_free(vm->tag);
}

/* One CPU runs all vCPUs in this version, so nobody else needs to be told. */
void arch_vm_flush(struct arch_vm *vm, const struct gpa_range *ranges, unsigned count)
{
	(void)ranges;
	(void)count;
	vm->ops->flush(vm);
}

unsigned arch_vm_gic_version(const struct arch_vm *vm)
{
	(void)vm;
	return 0;
}

void arch_clean_guest_memory(const void *memory, size_t bytes)
{
	(void)memory;
	(void)bytes;
}

/* ---- vCPUs ---- */

int arch_vcpu_init(struct arch_vcpu *vcpu, struct arch_vm *vm, unsigned index)
{
	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->deadline = UINT64_MAX;
	vcpu->mmio.page = X86_MMIO_NONE;
	hpa_t page = vm->hal->alloc_frames(vm->hal, 0, FRAME_KERNEL);
	if (page == HPA_NONE) {
		return MM_ENOMEM;
	}
	vcpu->lapic.registers = mm_pointer(vm->hal, page);
	lapic_reset(vcpu);
	int status = x86_lazy_init(vcpu);
	if (status != MM_OK) {
		goto no_state;
	}
	status = vm->ops->vcpu_init(vcpu);
	if (status != MM_OK) {
		goto no_control;
	}
	vcpu->next = vm->first_vcpu;
	vm->first_vcpu = vcpu;
	return MM_OK;

no_control:
	x86_lazy_destroy(vcpu);
no_state:
	vm->hal->free_frames(vm->hal, page, 0, FRAME_KERNEL);
	return status;
}

void arch_vcpu_destroy(struct arch_vcpu *vcpu)
{
	struct arch_vcpu **link = &vcpu->vm->first_vcpu;
	while (*link && *link != vcpu) {
		link = &(*link)->next;
	}
	if (*link) {
		*link = vcpu->next;
	}
	vcpu->vm->ops->vcpu_destroy(vcpu);
	x86_lazy_destroy(vcpu);
	vcpu->vm->hal->free_frames(vcpu->vm->hal, (uintptr_t)vcpu->lapic.registers, 0, FRAME_KERNEL);
}

void arch_vcpu_start(struct arch_vcpu *vcpu, const struct arch_entry *entry)
{
	memset(vcpu->gpr, 0, sizeof(vcpu->gpr));
	memset(&vcpu->code, 0, sizeof(vcpu->code));
	x86_lazy_reset(vcpu);
	lapic_reset(vcpu);
	vcpu->eoi = (struct kvm_eoi){0};
	vcpu->request &= (uint8_t)~X86_REQUEST_ACCESS;
	vcpu->vm->ops->start(vcpu, entry);
}

/* Of another VM's branches nothing may steer this one's, and none of its data may be read by speculation. */
static void forget(unsigned traces)
{
	const uint16_t selector = HOST_DS;
	if (traces & X86_TRACE_BRANCHES) {
		wrmsr(MSR_IA32_PRED_CMD, PRED_CMD_IBPB);
	}
	if (traces & X86_TRACE_L1D) {
		wrmsr(MSR_IA32_FLUSH_CMD, FLUSH_CMD_L1D);
	}
	if (traces & X86_TRACE_BUFFERS) { /* where it does not empty them, VERW only tests the selector */
		__asm__ volatile("verw %0" : : "m"(selector) : "cc");
	}
}

void arch_vcpu_load(struct arch_vcpu *vcpu)
{
	forget(x86_foreign_traces(this_cpu(), vcpu->vm));
	x86_lazy_load(vcpu);
	vcpu->vm->ops->load(vcpu);
	(void)x86_timer_arm(vcpu, rdtsc());
}

void arch_vcpu_put(struct arch_vcpu *vcpu)
{
	if (this_cpu()->loaded != vcpu) {
		return; /* a call into the firmware has done it */
	}
	(void)x86_host_timer_set(UINT64_MAX, 0);
	vcpu->vm->ops->put(vcpu);
	x86_lazy_put(vcpu);
}

enum vm_exit_kind arch_vcpu_run(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	return x86_ops->run(vcpu, exit);
}

void arch_vcpu_finish_hypercall(struct arch_vcpu *vcpu, uint64_t result)
{
	vcpu->gpr[GPR_RAX] = result;
}

/* VM entry wants a canonical RIP in 64-bit code and 32 bits in any other: SDM vol. 3C 26.3.1.4. */
bool arch_vcpu_resume_at(struct arch_vcpu *vcpu, uint64_t pc, uint64_t result)
{
	uint64_t valid = x86_code_mode(vcpu) == X86_CODE_64 ? x86_sign_extend(pc, LINEAR_BYTES) : (uint32_t)pc;
	if (pc != valid) {
		return false;
	}
	vcpu->gpr[GPR_RAX] = result;
	vcpu->vm->ops->set(vcpu, X86_RIP, pc);
	return true;
}

void arch_vcpu_set_deadline(struct arch_vcpu *vcpu, uint64_t counter)
{
	vcpu->deadline = counter;
	vcpu->look_around = MIN(vcpu->look_around, counter);
	if (this_cpu()->loaded == vcpu) {
		(void)x86_timer_arm(vcpu, rdtsc());
	}
}

const char *arch_exit_name(uint64_t raw)
{
	return x86_ops->exit_name(raw);
}

/* ---- nested faults ---- */

/* The guest's interrupt controllers: answered here. */
static __attribute__((noinline)) int apic_fault(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	int kind = x86_device_fault(vcpu, exit);
	while (kind == VM_EXIT_MMIO && x86_apic_mmio(vcpu, &exit->io)) {
		arch_vcpu_finish_io(vcpu, &exit->io);
		kind = vcpu->request & X86_REQUEST_ACCESS ? x86_second_access(vcpu, exit) : X86_RUN_ON;
	}
	return kind;
}

static inline bool known_device_page(const struct arch_vcpu *vcpu, gpa_t gpa)
{
	return align_down(gpa, FRAME_SIZE) == vcpu->mmio.page && vcpu->vm->space->layout == vcpu->mmio.layout;
}

int x86_fault_exit(struct arch_vcpu *vcpu, struct vm_exit *exit)
{
	if (known_device_page(vcpu, exit->fault.gpa)) {
		return x86_device_fault(vcpu, exit);
	}
	if (unlikely(exit->fault.gpa - X86_APIC_WINDOW < X86_APIC_WINDOW_BYTES)) {
		return apic_fault(vcpu, exit);
	}
	int status = addr_space_handle_fault(vcpu->vm->space, &exit->fault);
	if (likely(status == MM_OK)) {
		return X86_RUN_ON;
	}
	if (status == MM_EFAULT) {
		vcpu->mmio.page = align_down(exit->fault.gpa, FRAME_SIZE);
		vcpu->mmio.layout = vcpu->vm->space->layout;
		return x86_device_fault(vcpu, exit);
	}
	exit->status = status;
	return VM_EXIT_NESTED_FAULT;
}

/* ---- XSETBV ---- */

/* SDM vol. 1 13.3; APM vol. 2 11.5.2. */
#define XCR0_X87    BIT(0)
#define XCR0_SSE    BIT(1)
#define XCR0_AVX    BIT(2)
#define XCR0_AVX512 BITS(7, 5) /* opmask, ZMM_Hi256, Hi16_ZMM: all or none */

uint64_t x86_xcr0_allowed(void)
{
	return x86_features.xcr0_mask & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512);
}

bool x86_xcr0_valid(uint64_t value)
{
	if (!(value & XCR0_X87) || (value & ~x86_xcr0_allowed())) {
		return false;
	}
	if ((value & XCR0_AVX) && !(value & XCR0_SSE)) {
		return false;
	}
	return !(value & XCR0_AVX512) || ((value & XCR0_AVX512) == XCR0_AVX512 && (value & XCR0_AVX));
}

bool x86_xsetbv(struct arch_vcpu *vcpu)
{
	uint64_t value = vcpu->gpr[GPR_RDX] << 32 | (uint32_t)vcpu->gpr[GPR_RAX];
	if ((uint32_t)vcpu->gpr[GPR_RCX] != 0 || x86_cpl(vcpu) != 0 || !x86_xcr0_valid(value)) {
		return false;
	}
	vcpu->lazy.xcr0 = value;
	xsetbv(0, value);
	return true;
}
