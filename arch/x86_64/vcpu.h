/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What VMX (vmx.c) and SVM (svm.c) have in common, inside arch/x86_64. vcpu.c implements arch.h's VM and vCPU
 * calls by way of `struct virt_ops`, chosen once by asking the CPU; the x86_* helpers are the answers to exits
 * that are the same on both.
 */
#pragma once

#include "arch/arch.h"

/* ModRM numbers, indexes of arch_vcpu.gpr. */
enum x86_gpr {
	GPR_RAX,
	GPR_RCX,
	GPR_RDX,
	GPR_RBX,
	GPR_RSP,
	GPR_RBP,
	GPR_RSI,
	GPR_RDI,
	GPR_R8,
	GPR_R9,
	GPR_R10,
	GPR_R11,
	GPR_R12,
	GPR_R13,
	GPR_R14,
	GPR_R15,
};

/* State that lives in the VMCS or VMCB. */
enum x86_register {
	X86_RIP,
	X86_RSP,
	X86_RFLAGS,
	X86_CR0,
	X86_CR2,
	X86_CR3,
	X86_CR4,
	X86_CR8,
	X86_EFER,
	X86_DR7,
	X86_PAT,
	X86_SPEC_CTRL, /* VMX: SVM has it without an exit or not at all */
};

enum x86_segment_name { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_LDTR, X86_TR, X86_GDTR, X86_IDTR };

/* `attributes` are bits 8..15 and 20..23 of a descriptor's second word, moved to 0..7 and 8..11 (the VMCB's
 * layout), plus X86_SEGMENT_UNUSABLE. */
#define X86_SEGMENT_UNUSABLE BIT(16)
struct x86_segment {
	uint16_t selector;
	uint32_t attributes;
	uint32_t limit;
	uint64_t base;
};

enum x86_vector {
	X86_DB = 1,
	X86_NMI = 2,
	X86_BP = 3,
	X86_OF = 4,
	X86_UD = 6,
	X86_NM = 7,
	X86_DF = 8,
	X86_STACK_FAULT = 12, /* #SS */
	X86_GP = 13,
	X86_PF = 14,
	X86_AC = 17,
	X86_MC = 18
};
#define X86_NO_ERROR_CODE UINT32_MAX
#define X86_RAW_NPF       0x400 /* vm_exit.raw of X86_EXIT_COUNTER_NPF */

/* All that finding and reading the code at CS:RIP needs. */
struct x86_code_state {
	uint64_t rip, cs_base, cr0, cr3, cr4, efer;
	uint32_t cs_attributes; /* as in struct x86_segment */
};

struct virt_ops {
	const char *name; /* "VMX", "SVM" */
	/* Is it there, unlocked, and complete enough (nested paging, unrestricted guest)? One line if not. Asked
	 * while the firmware owns the machine: changes nothing but an unlocked FEATURE_CONTROL. */
	bool (*check)(char *message, size_t size);
	bool (*enable)(struct mm_hal *hal, char *message, size_t size); /* this CPU: VMXON / EFER.SVME */
	void (*disable)(void);                                          /* VMXOFF, for a call into the firmware */
	void (*nested_format)(struct npt_format *format);
	int (*vm_init)(struct arch_vm *vm); /* nested_root, permission maps */
	void (*flush)(struct arch_vm *vm);
	int (*vcpu_init)(struct arch_vcpu *vcpu);
	void (*vcpu_destroy)(struct arch_vcpu *vcpu);
	void (*start)(struct arch_vcpu *vcpu, const struct arch_entry *entry);
	void (*load)(struct arch_vcpu *vcpu); /* VMPTRLD, host FS/GS/TR save, what only this side needs */
	void (*put)(struct arch_vcpu *vcpu);
	enum vm_exit_kind (*run)(struct arch_vcpu *vcpu, struct vm_exit *exit);
	uint64_t (*get)(struct arch_vcpu *vcpu, enum x86_register name);
	void (*set)(struct arch_vcpu *vcpu, enum x86_register name, uint64_t value);
	void (*get_segment)(struct arch_vcpu *vcpu, enum x86_segment_name name, struct x86_segment *segment);
	void (*set_segment)(struct arch_vcpu *vcpu, enum x86_segment_name name, const struct x86_segment *segment);
	/* Every MMIO exit asks for it, so at once. NULL: fetch.c asks `get` and `get_segment` instead. */
	void (*get_code)(struct arch_vcpu *vcpu, struct x86_code_state *state);
	/* Steps over an instruction of `length` bytes that was emulated. NULL: vcpu.c asks `get` and `set` for it. */
	void (*skip)(struct arch_vcpu *vcpu, unsigned length);
	/* Queues an exception for the next entry; error_code X86_NO_ERROR_CODE where the vector has none. */
	void (*inject)(struct arch_vcpu *vcpu, enum x86_vector vector, uint32_t error_code);
	/* The local APIC's TPR, IRR and ISR as the guest has made them without an exit. NULL: they are so always. */
	void (*sync_apic)(struct arch_vcpu *vcpu);
	const char *(*exit_name)(uint64_t raw);
	/* How many tags (ASIDs, VPIDs) there are, 0 among them. NULL: more than we ever need. */
	unsigned (*tag_count)(void);
};

extern const struct virt_ops vmx_ops; /* vmx.c */
extern const struct virt_ops svm_ops; /* svm.c */

/* The one of the two that this CPU has, chosen by arch_check (arch.c); NULL before. */
extern const struct virt_ops *x86_ops;

/* ---- vcpu.c: shared by both ---- */

/* The frames' source for VMCSs, VMCBs, permission maps, XSAVE areas: set by arch_init. */
extern struct mm_hal *x86_hal;

/*
 * A nested fault, in exit->fault: asks mm. X86_RUN_ON, VM_EXIT_MMIO where nothing is there and the instruction could be
 * decoded, else VM_EXIT_NESTED_FAULT with exit->status.
 */
int x86_fault_exit(struct arch_vcpu *vcpu, struct vm_exit *exit);

/*
 * io_access.detail, for arch_vcpu_finish_io. A plain IN or OUT has 0: IN fills RAX. io_access.length is what
 * RIP still has to move on (0: it has moved already). MMIO reads say how the register is filled.
 */
#define X86_IO_STRING       BIT(0) /* INS or OUTS: goes on by what string_io.c remembers */
#define X86_IO_MMIO         BIT(1)
#define X86_IO_SIGN_EXTEND  BIT(2)
#define X86_IO_HIGH_BYTE    BIT(3)                        /* AH, CH, DH, BH */
#define X86_IO_RESULT(bits) ((unsigned)field(bits, 7, 4)) /* bytes of the register that are written */
#define X86_IO_RESULT_SHIFT 4
#define X86_IO_RSP          BIT(8) /* the register that is not in gpr */
#define X86_IO_COMPUTE      BIT(9) /* goes on by what device_access.c remembers */
#define X86_IO_ODD          (X86_IO_STRING | X86_IO_SIGN_EXTEND | X86_IO_HIGH_BYTE | X86_IO_RSP | X86_IO_COMPUTE)

/* width, write, length, target and detail as one number: hot paths set and compare them at once. */
_Static_assert(sizeof(struct io_access) - offsetof(struct io_access, width) == sizeof(uint64_t), "the rest of it");
_Static_assert(offsetof(struct io_access, write) - offsetof(struct io_access, width) == 1, "X86_IO_PORT");
#define X86_IO_PORT(width, write) ((uint64_t)(width) | (uint64_t)(write) << 8) /* IN or OUT, stepped over already */

static inline uint64_t x86_io_shape(const struct io_access *io)
{
	uint64_t shape;
	__builtin_memcpy(&shape, &io->width, sizeof(shape));
	return shape;
}

static inline void x86_io_set_shape(struct io_access *io, uint64_t shape)
{
	__builtin_memcpy(&io->width, &shape, sizeof(shape));
}

#define X86_RUN_ON (-1) /* beside enum vm_exit_kind: answered, enter the guest again */

/* `bytes` of the value as a signed number. */
static inline uint64_t x86_sign_extend(uint64_t value, unsigned bytes)
{
	unsigned unused = 64 - 8 * bytes;
	return (uint64_t)((int64_t)(value << unused) >> unused);
}

/* ---- device_access.c: what a nested fault is about where no memory is ---- */

/* arch_vcpu.request, beside enum svm_request. */
enum x86_request {
	X86_REQUEST_ACCESS =
		16, /* an instruction has read a device and has to write it, before anything else happens */
};

/* VM_EXIT_MMIO with the access in exit->io; VM_EXIT_NESTED_FAULT: it is none of those that reach device registers. */
int x86_device_fault(struct arch_vcpu *vcpu, struct vm_exit *exit);
/* X86_REQUEST_ACCESS: VM_EXIT_MMIO with that access. */
int x86_second_access(struct arch_vcpu *vcpu, struct vm_exit *exit);

/* ---- string_io.c ---- */

struct x86_instruction;
/* MOVS or STOS at exit->fault, one element at a time: VM_EXIT_MMIO with it in exit->io, or what x86_string_io returns.
 */
int x86_string_mmio(struct arch_vcpu *vcpu, struct vm_exit *exit, const struct x86_instruction *instruction);

/*
 * INS and OUTS, one element at a time: fills exit->io for the element and returns VM_EXIT_PORT. X86_RUN_ON:
 * there was nothing left to move, or a fault of the guest's own was injected. VM_EXIT_NESTED_FAULT: the memory cannot
 * be had, as exit->fault and exit->status say; nothing has been done yet. VM_EXIT_FAILED: the code is not there.
 */
int x86_string_io(struct arch_vcpu *vcpu, struct vm_exit *exit, uint16_t port, uint8_t width, bool write);
/* After it was answered. */
void x86_string_io_finish(struct arch_vcpu *vcpu, const struct io_access *io);

/* ENTRY_* to registers and segments, by way of ops->set and set_segment. For ops->start. */
void x86_reset_state(struct arch_vcpu *vcpu, const struct arch_entry *entry);

/* ASIDs and VPIDs: 1 to `limit` - 1, the lowest free one; 0: all are taken. */
uint16_t x86_tag_alloc(unsigned limit);
void x86_tag_free(uint16_t tag);

/* ---- cpuid.c ---- */

/* Reads the host's leaves once (arch_init). */
void x86_cpuid_init(void);
/* What that table shows, without what depends on a vCPU's state. */
struct cpuid_result x86_guest_leaf(uint32_t leaf, uint32_t subleaf);
/* CPUID of gpr RAX/RCX into RAX, RBX, RCX, RDX, filtered by the one table of what a guest may see. */
void x86_cpuid(struct arch_vcpu *vcpu);
/* The same for exit paths that have the guest's CR4 at hand. Always X86_RUN_ON. */
int x86_cpuid_cr4(struct arch_vcpu *vcpu, uint64_t cr4);

/* ---- msr.c ---- */

/* Reads what the table needs of the host once; part of x86_cpuid_init. */
void x86_msr_init(void);
/* What another VM may have left in the CPU: branch predictors, the L1D cache, store and fill buffers. */
enum x86_trace { X86_TRACE_BRANCHES = 1, X86_TRACE_L1D = 2, X86_TRACE_BUFFERS = 4 };
/* This CPU's turn goes to `vm`: what is to be emptied, 0 if it was its turn before. */
unsigned x86_foreign_traces(struct x86_cpu *cpu, const struct arch_vm *vm);
/* RDMSR/WRMSR exits: false means #GP(0). One table of known MSRs; unknown ones are #GP. */
bool x86_msr_read(struct arch_vcpu *vcpu, uint32_t msr, uint64_t *value);
bool x86_msr_write(struct arch_vcpu *vcpu, uint32_t msr, uint64_t value);
/* The MSRs that the guest may touch without an exit, for the MSR bitmap (VMX) or MSRPM (SVM): calls back for each. */
void x86_msr_passthrough(void (*allow)(void *context, uint32_t msr, bool read, bool write), void *context);

/* ---- control_registers.c ---- */

/* The bits of CR4 that the guest's CPUID, and the CPU under us, let it set. */
extern uint64_t x86_cr4_allowed;
/* Derives it from the guest's CPUID (arch_init). */
void x86_cr4_init(void);
/* Whether a guest with this EFER and CR3 may change CR4 from `old` to `value` (SDM vol. 2B "MOV"); false: #GP(0). */
bool x86_cr4_valid(uint64_t old, uint64_t value, uint64_t efer, uint64_t cr3);

/* SDM vol. 3A 4.10.4.1: changes of these invalidate TLBs. */
#define X86_CR4_INVALIDATES (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP | CR4_PCIDE | CR4_SMAP | CR4_LA57 | CR4_PKE)

/* ---- CPL, XSETBV: vcpu.c ---- */

/* The bits of XCR0 that guests may set: CPUID 0xd shows these. 0 where there is no XSAVE. */
uint64_t x86_xcr0_allowed(void);
/* Whether the guest may put `value` in XCR0 (SDM vol. 1 13.3); false means #GP(0). */
bool x86_xcr0_valid(uint64_t value);
/* The XSETBV exit, of a loaded vCPU. False means #GP(0). */
bool x86_xsetbv(struct arch_vcpu *vcpu);
/* 0 to 3. */
unsigned x86_cpl(struct arch_vcpu *vcpu);

/* ---- lazy state: fpu.c ---- */
int x86_lazy_init(struct arch_vcpu *vcpu);
void x86_lazy_destroy(struct arch_vcpu *vcpu);
void x86_lazy_reset(struct arch_vcpu *vcpu);
/* The guest's XCR0. It is in the register while the vCPU is loaded, and not every emulator makes XSETBV exit. */
uint64_t x86_current_xcr0(const struct arch_vcpu *vcpu);
void x86_lazy_load(struct arch_vcpu *vcpu);
void x86_lazy_put(struct arch_vcpu *vcpu);
