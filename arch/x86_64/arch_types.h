/* SPDX-License-Identifier: Apache-2.0 */
/*
 * struct arch_vm and struct arch_vcpu of x86-64, which hv/ embeds and never looks into. What VMX and SVM share
 * stands in the open; what only one of them has is in the union, filled by vmx.c or svm.c.
 */
#pragma once

#include "mm/types.h"

struct virt_ops;
struct vmcb;
struct addr_space;

/* Exit reasons counted one by one: VMX basic reasons and SVM codes below 0xa5, then NPF and the rest. */
#define X86_EXIT_COUNTERS 192

struct arch_vm {
	struct addr_space *space;
	const struct virt_ops *ops;
	unsigned vcpus;
	/* VPID (VMX) or ASID (SVM), unique among the VMs that live; never 0. */
	uint16_t tag;
	bool flush_pending;   /* SVM: the next VMRUN flushes this ASID; VMX: INVEPT is immediate */
	hpa_t msr_bitmap;     /* VMX: 4 KiB; SVM MSRPM: 8 KiB */
	hpa_t io_bitmap;      /* SVM IOPM: 12 KiB; unused by VMX (unconditional I/O exiting) */
	uint64_t nested_root; /* EPTP or nCR3 */
};

/* The code page that was translated last, so that decoding need not walk the guest's tables each time. */
struct code_page {
	const uint8_t *bytes; /* the page, in the host; NULL: nothing cached */
	uint64_t page;        /* linear address >> 12 */
	uint64_t cr3;
	uint64_t mode;        /* paging mode bits: CR0.PG, CR4.PAE/LA57, EFER.LMA */
	uint64_t generation;  /* of the address space */
};

/* State that the CPU does not switch by itself and that is only kept apart between vCPUs: load and put. */
struct x86_lazy_state {
	uint64_t xcr0;
	uint64_t dr[4], dr6;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux; /* SVM keeps the first five in the VMCB */
	hpa_t fpu_area;                                               /* XSAVE area, one or more frames */
	unsigned fpu_order;
};

struct x86_cpu;

struct vmx_vcpu {
	hpa_t vmcs;
	uint64_t host_rsp; /* the HOST_RSP that the VMCS holds, so that it is written only when it changes */
	uint64_t launched; /* the VMCS's launch state: VMRESUME, else VMLAUNCH */
	const struct x86_cpu *cpu; /* whose current VMCS it is; NULL: of none */
	uint64_t cr2, cr8;         /* what no VMCS field holds; CR2 is in the CPU while loaded */
	uint64_t cr4_allowed;      /* the bits that the guest's CPUID lets it set */
};

struct svm_vcpu {
	struct vmcb *vmcb;
	hpa_t vmcb_address;
	hpa_t host_vmcb; /* VMSAVE area for the host's FS, GS, TR, LDTR */
};

struct arch_vcpu {
	/* RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8..R15 as ModRM numbers them. The world switch's assembly
	 * knows this is the first member. gpr[4] is not kept up: RSP lives in the VMCS or VMCB. With SVM, RAX
	 * lives in the VMCB while the guest runs and is copied here on every exit and back on entry. */
	uint64_t gpr[16];
	struct arch_vm *vm;
	unsigned index;
	uint64_t deadline; /* arch_counter() value, UINT64_MAX: none */
	struct code_page code;
	struct x86_lazy_state lazy;
	uint64_t exits[X86_EXIT_COUNTERS];
	union {
		struct vmx_vcpu vmx;
		struct svm_vcpu svm;
	};
};
