/* SPDX-License-Identifier: Apache-2.0 */
/*
 * struct arch_vm and struct arch_vcpu of x86-64, which hv/ embeds and never looks into. What VMX and SVM share
 * stands in the open; what only one of them has is in the union, filled by vmx.c or svm.c.
 */
#pragma once

#include "decode.h"
#include "ioapic.h"
#include "kvm_clock.h"
#include "lapic.h"

#include "mm/types.h"

struct virt_ops;
struct vmcb;
struct addr_space;

/* Exits counted one by one: by VMX basic reason or SVM exit code, then SVM's VMEXIT_NPF and all that is beyond. */
#define X86_EXIT_COUNTERS      192
#define X86_EXIT_COUNTER_NPF   190
#define X86_EXIT_COUNTER_OTHER 191

struct arch_vm {
	struct addr_space *space;
	struct mm_hal *hal; /* the space's: what the VM's own structures come from too */
	const struct virt_ops *ops;
	unsigned vcpus;
	struct arch_vcpu *first_vcpu; /* the list of those that exist, by arch_vcpu.next */
	/* VPID (VMX) or ASID (SVM), unique among the VMs that live; never 0. */
	uint16_t tag;
	uint64_t number;      /* no other VM has had it, or will */
	hpa_t msr_bitmap;     /* SVM MSRPM: 8 KiB; VMX has one for each vCPU */
	hpa_t io_bitmap;      /* SVM IOPM: 12 KiB; unused by VMX (unconditional I/O exiting) */
	uint64_t nested_root; /* EPTP or nCR3 */
	struct ioapic ioapic;
};

/* An instruction that was decoded, under the bytes from its start on: what the same bytes mean does not change. */
struct decoded_code {
	uint64_t bytes[2]; /* 15 and what follows */
	uint64_t mode;     /* enum x86_code_mode + 1; 0: nothing here */
	struct x86_instruction instruction;
};
#define DECODED_CODE_ENTRIES 8 /* a power of two */

/* Where a page of code lies in the host. They take turns: a kernel writes the one MSR here and the next one there. */
struct code_view {
	const uint8_t *bytes; /* the page */
	uint64_t first_rip;   /* the RIP of its first byte */
	uint64_t limit;       /* offsets below it have room for an opcode of 3 bytes; 0: nothing cached */
	uint64_t generation;  /* of the address space */
};
#define CODE_VIEWS     8 /* a power of two */
#define CODE_VIEW(rip) (((rip) >> FRAME_SHIFT) % CODE_VIEWS)

/*
 * The code page that was translated last, so that decoding need not walk the guest's tables each time, and others in
 * which instructions have exited whose length was asked for. fetch.c's own; all zero is empty.
 */
struct code_page {
	struct code_view view;
	uint64_t page; /* linear address >> 12 */
	uint64_t cr3;
	uint64_t mode;        /* paging mode bits: CR0.PG, CR4.PSE/PAE/LA57, EFER.LMA */
	unsigned levels;      /* of the walk that led there; 0 without paging */
	const void *entry[5]; /* the guest's table entries on the way, in the host */
	uint64_t value[5];    /* and what they said */
	struct code_view recent[CODE_VIEWS];
	struct decoded_code decoded[DECODED_CODE_ENTRIES];
	struct x86_instruction odd; /* the last one that could not be kept there */
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
struct vm_exit;

/* vmx_asm.S knows the offsets of the first two. */
struct vmx_vcpu {
	struct vm_exit *exit;      /* of the run under way */
	uint64_t stack;            /* the host's RSP while the guest runs */
	hpa_t vmcs;                /* one frame, and one behind it for the MSR bitmap */
	const struct x86_cpu *cpu; /* whose current VMCS it is; NULL: of none */
	uint64_t cr2;              /* while not loaded; else the CPU holds it */
	uint16_t last_cpu;         /* that loaded it: index + 1; 0: none yet */
	bool virtual_eoi;          /* the CPU ends interrupts by itself: vmx_interrupts.c */
	uint32_t cr4_shadow;       /* the bits of CR4 that it has set and the host owns */
};

/* An MSR that the CPU moves at entries and exits: SDM vol. 3C table 24-12. */
struct vmx_msr {
	uint32_t index, reserved;
	uint64_t value;
} __attribute__((aligned(16)));

/* svm_asm.S knows the offsets of the first four. */
struct svm_vcpu {
	struct vmcb *vmcb;    /* one frame; virtual = physical */
	hpa_t host_vmcb;      /* this CPU's VMSAVE area for the host's FS, GS, TR, LDTR */
	struct vm_exit *exit; /* of the run under way */
	uint64_t call_rip;    /* where the last bare VMMCALL of supervisor code stood; 1: nowhere */
	bool mce_hidden;      /* CR4.MCE is set for the host, and the guest reads 0 */
	bool nmi_blocked;     /* an NMI's handler runs, up to its IRET */
	uint8_t offered;      /* the vector of the last virtual interrupt, until it is known to be taken; 0: none */
	uint32_t dirty;       /* VMCB clean bits that the next VMRUN must do without */
	uint64_t iret_rip;    /* of the IRET that ended an NMI's handler: no NMI before it is run; 1: none */
};

/* An INS, OUTS, MOVS or STOS between its exit and arch_vcpu_finish_io. string_io.c's own. */
struct string_io {
	uint64_t gpa[2];      /* of the element in memory, and of what lies on the next page */
	uint8_t first;        /* bytes of it at gpa[0] */
	uint8_t length;       /* of the instruction, bytes */
	uint8_t address_size; /* bytes: 2, 4, 8 */
	bool repeat;
	bool source, destination; /* RSI and RDI go on to the next element */
};

/* An instruction that computes with what it reads from a device. device_access.c's own. */
struct device_compute {
	struct x86_instruction instruction;
	uint64_t address, read, result, flags;
};

/* A page that mm was last asked for in vain: device registers. Holds while the space's layout is the same. */
#define X86_MMIO_NONE UINT64_C(1)
struct x86_mmio_page {
	gpa_t page; /* or X86_MMIO_NONE, which no page is */
	uint64_t layout;
};

struct arch_vcpu {
	/* RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8..R15 as ModRM numbers them. The world switch's assembly
	 * knows this is the first member. gpr[4] is not kept up: RSP lives in the VMCS or VMCB. With SVM, RAX
	 * lives in the VMCB while the guest runs and is copied here on every exit and back on entry. */
	uint64_t gpr[16];
	union {
		struct vmx_vcpu vmx;
		struct svm_vcpu svm;
	};
	/* What must be done before the next entry: while both are 0 it takes the short way. The second one says that
	 * there may be something new for the guest in its local APIC; any CPU sets it. */
	uint8_t request; /* enum x86_request, enum svm_request */
	uint8_t interrupts;
	struct arch_vm *vm;
	struct arch_vcpu *next; /* of the same VM */
	unsigned index;
	uint64_t deadline;    /* arch_counter() value, UINT64_MAX: none */
	uint64_t look_around; /* from when on an interrupt is a VM_EXIT_INTERRUPT; no later than the deadline */
	uint64_t exits[X86_EXIT_COUNTERS];
	struct code_page code;
	struct x86_mmio_page mmio;
	uint64_t deadline_rip; /* where a bare WRMSR to the deadline stood last; SVM_NO_CALL: nowhere */
	struct lapic lapic;
	struct kvm_eoi eoi;
	struct x86_lazy_state lazy;
	struct string_io string;
	struct device_compute compute;
	struct vmx_msr spec_ctrl[2]; /* IA32_SPEC_CTRL, the guest's and the host's: vmx_msrs.c's own */
};
