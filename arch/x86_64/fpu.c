/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state that neither VMX nor SVM switches: FPU and vector registers, XCR0, debug registers, system-call
 * MSRs. The host uses none of it, so it stays in the registers while a vCPU is loaded and moves only between
 * vCPUs. What one vCPU leaves behind must never be seen by another, in no register that either of them can turn on.
 * SDM vol. 1 chapter 13; APM vol. 2 11.5.
 */
#include "arch/x86_64/cpu.h"

#include "arch/x86_64/vcpu.h"
#include "lib/string.h"

#define XCR0_X87 BIT(0)

/* The legacy region of an XSAVE area, and all there is of an FXSAVE one: SDM vol. 1 13.4.1. */
#define FCW_RESET   0x37f /* FNINIT's value: what every boot protocol lets a kernel find */
#define MXCSR_RESET 0x1f80
#define DR6_RESET   UINT64_C(0xffff0ff0)

struct fpu_legacy {
	uint16_t fcw, fsw;
	uint8_t ftw, reserved;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
};
_Static_assert(offsetof(struct fpu_legacy, mxcsr) == 24, "the XSAVE area's layout");

/*
 * XCR0 is opened for all that the CPU has while registers are saved or loaded, whatever the guest's own XCR0:
 * what that one leaves out, and may have had in use before, must be kept apart as well.
 */
static void save_registers(void *area)
{
	if (x86_features.xsave) {
		xsetbv(0, x86_features.xcr0_mask);
		__asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(UINT32_MAX), "d"(UINT32_MAX) : "memory");
	} else {
		__asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
	}
}

static void load_registers(const void *area, uint64_t xcr0)
{
	/* AMD's restore leaves the last instruction's and operand's addresses alone when no exception is pending
	 * (APM vol. 2 11.4.4): FNINIT forgets the other guest's. */
	__asm__ volatile("fninit");
	if (x86_features.xsave) {
		xsetbv(0, x86_features.xcr0_mask);
		__asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(UINT32_MAX), "d"(UINT32_MAX) : "memory");
		xsetbv(0, xcr0);
	} else {
		__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
	}
}

/* The VMCB has the system-call MSRs, the VMCS has not. */
static bool keeps_syscall_msrs(void)
{
	return x86_ops == &vmx_ops;
}

static unsigned area_order(void)
{
	unsigned order = 0;
	while ((FRAME_SIZE << order) < x86_features.xsave_size) {
		order++;
	}
	return order;
}

int x86_lazy_init(struct arch_vcpu *vcpu)
{
	struct x86_lazy_state *lazy = &vcpu->lazy;
	lazy->fpu_order = area_order();
	lazy->fpu_area = vcpu->vm->hal->alloc_frames(vcpu->vm->hal, lazy->fpu_order, FRAME_KERNEL);
	if (lazy->fpu_area == HPA_NONE) {
		return MM_ENOMEM;
	}
	x86_lazy_reset(vcpu);
	return MM_OK;
}

void x86_lazy_destroy(struct arch_vcpu *vcpu)
{
	struct x86_lazy_state *lazy = &vcpu->lazy;
	if (this_cpu()->loaded == vcpu) {
		this_cpu()->loaded = NULL;
	}
	if (lazy->fpu_area != HPA_NONE) {
		vcpu->vm->hal->free_frames(vcpu->vm->hal, lazy->fpu_area, lazy->fpu_order, FRAME_KERNEL);
		lazy->fpu_area = HPA_NONE;
	}
}

void x86_lazy_reset(struct arch_vcpu *vcpu)
{
	struct x86_lazy_state *lazy = &vcpu->lazy;
	struct fpu_legacy *legacy = mm_pointer(x86_hal, lazy->fpu_area);
	/* An XSAVE header of zeros stands for "all in initial state"; MXCSR is taken from memory even then. */
	memset(legacy, 0, FRAME_SIZE << lazy->fpu_order);
	legacy->fcw = FCW_RESET;
	legacy->mxcsr = MXCSR_RESET;
	*lazy = (struct x86_lazy_state){
		.xcr0 = XCR0_X87,
		.dr6 = DR6_RESET,
		.fpu_area = lazy->fpu_area,
		.fpu_order = lazy->fpu_order,
	};
	if (this_cpu()->loaded == vcpu) {
		x86_lazy_load(vcpu);
	}
}

uint64_t x86_current_xcr0(const struct arch_vcpu *vcpu)
{
	uint32_t low, high;
	if (this_cpu()->loaded != vcpu || !x86_features.xsave) {
		return vcpu->lazy.xcr0;
	}
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

void x86_lazy_load(struct arch_vcpu *vcpu)
{
	const struct x86_lazy_state *lazy = &vcpu->lazy;
	load_registers(mm_pointer(x86_hal, lazy->fpu_area), lazy->xcr0);
	write_dr0(lazy->dr[0]);
	write_dr1(lazy->dr[1]);
	write_dr2(lazy->dr[2]);
	write_dr3(lazy->dr[3]);
	write_dr6(lazy->dr6);
	if (keeps_syscall_msrs()) {
		wrmsr(MSR_STAR, lazy->star);
		wrmsr(MSR_LSTAR, lazy->lstar);
		wrmsr(MSR_CSTAR, lazy->cstar);
		wrmsr(MSR_SFMASK, lazy->sfmask);
		wrmsr(MSR_KERNEL_GS_BASE, lazy->kernel_gs_base);
	}
	if (x86_features.rdtscp) {
		wrmsr(MSR_TSC_AUX, lazy->tsc_aux);
	}
	this_cpu()->loaded = vcpu;
}

void x86_lazy_put(struct arch_vcpu *vcpu)
{
	struct x86_lazy_state *lazy = &vcpu->lazy;
	lazy->xcr0 = x86_current_xcr0(vcpu);
	save_registers(mm_pointer(x86_hal, lazy->fpu_area));
	lazy->dr[0] = read_dr0();
	lazy->dr[1] = read_dr1();
	lazy->dr[2] = read_dr2();
	lazy->dr[3] = read_dr3();
	lazy->dr6 = read_dr6();
	if (keeps_syscall_msrs()) {
		lazy->star = rdmsr(MSR_STAR);
		lazy->lstar = rdmsr(MSR_LSTAR);
		lazy->cstar = rdmsr(MSR_CSTAR);
		lazy->sfmask = rdmsr(MSR_SFMASK);
		lazy->kernel_gs_base = rdmsr(MSR_KERNEL_GS_BASE);
	}
	if (x86_features.rdtscp) {
		lazy->tsc_aux = rdmsr(MSR_TSC_AUX);
	}
	this_cpu()->loaded = NULL;
}
