/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual machine control block of AMD SVM: APM vol. 2 appendix B, its bits, exit codes and SVM's MSRs. Data
 * only, for svm*.c; the part above the C types is for svm_asm.S as well.
 */
#pragma once

/* Exit codes, APM vol. 2 appendix C. */
#define VMEXIT_CR4_READ          0x04
#define VMEXIT_CR4_WRITE         0x14
#define VMEXIT_CR8_WRITE         0x18
#define VMEXIT_EXCP_BASE         0x40 /* + vector */
#define VMEXIT_INTR              0x60
#define VMEXIT_NMI               0x61
#define VMEXIT_SMI               0x62
#define VMEXIT_INIT              0x63
#define VMEXIT_VINTR             0x64
#define VMEXIT_RDPMC             0x6f
#define VMEXIT_CPUID             0x72
#define VMEXIT_IRET              0x74
#define VMEXIT_INVD              0x76
#define VMEXIT_HLT               0x78
#define VMEXIT_INVLPGA           0x7a
#define VMEXIT_IOIO              0x7b
#define VMEXIT_MSR               0x7c
#define VMEXIT_SHUTDOWN          0x7f
#define VMEXIT_VMRUN             0x80
#define VMEXIT_VMMCALL           0x81
#define VMEXIT_VMLOAD            0x82
#define VMEXIT_VMSAVE            0x83
#define VMEXIT_STGI              0x84
#define VMEXIT_CLGI              0x85
#define VMEXIT_SKINIT            0x86
#define VMEXIT_ICEBP             0x88
#define VMEXIT_WBINVD            0x89
#define VMEXIT_MONITOR           0x8a
#define VMEXIT_MWAIT             0x8b
#define VMEXIT_MWAIT_CONDITIONAL 0x8c
#define VMEXIT_XSETBV            0x8d
#define VMEXIT_RDPRU             0x8e
#define VMEXIT_MCOMMIT           0xa3
#define VMEXIT_LAST              0xa5 /* the last of the small ones */
#define VMEXIT_NPF               0x400

/* Offsets for svm_asm.S, held to the truth by svm.c. */
#define VMCB_VCPU      0x3e0
#define VMCB_EXIT_CODE 0x070
#define VMCB_CPL       0x4cb
#define VMCB_RIP       0x578
#define VMCB_RAX       0x5f8

#ifndef __ASSEMBLER__

#include <stddef.h>
#include <stdint.h>

#include "lib/util.h"

#define VMEXIT_INVALID UINT64_MAX

struct vmcb_control {
	uint32_t intercept_cr; /* reads in 15:0, writes in 31:16 */
	uint32_t intercept_dr;
	uint32_t intercept_exceptions;
	uint32_t intercept_misc1, intercept_misc2, intercept_misc3;
	uint8_t reserved_018[0x3c - 0x18];
	uint16_t pause_filter_threshold, pause_filter_count;
	uint64_t iopm_base, msrpm_base;
	uint64_t tsc_offset;
	uint32_t asid;
	uint8_t tlb_control;
	uint8_t reserved_05d[3];
	uint64_t virtual_interrupt;
	uint64_t interrupt_shadow;
	uint64_t exit_code, exit_info1, exit_info2, exit_interrupt_info;
	uint64_t nested_control;
	uint8_t reserved_098[0xa8 - 0x98];
	uint64_t event_injection;
	uint64_t nested_cr3;
	uint64_t virtualization_extensions; /* LBR and VMLOAD/VMSAVE virtualization */
	uint32_t clean;
	uint32_t reserved_0c4;
	uint64_t next_rip;
	uint8_t fetched_count, fetched[15];
	uint8_t reserved_0e0[0x3e0 - 0xe0];
	void *owner; /* from here on it is software's: the struct arch_vcpu */
	uint8_t software[0x400 - 0x3e8];
};

struct vmcb_segment {
	uint16_t selector;
	uint16_t attributes; /* descriptor bits 55:52 and 47:40 as one 12-bit value */
	uint32_t limit;
	uint64_t base;
};

struct vmcb_save {
	struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	uint8_t reserved_0a0[0xcb - 0xa0];
	uint8_t cpl;
	uint32_t reserved_0cc;
	uint64_t efer;
	uint8_t reserved_0d8[0x148 - 0xd8];
	uint64_t cr4, cr3, cr0;
	uint64_t dr7, dr6;
	uint64_t rflags, rip;
	uint8_t reserved_180[0x1d8 - 0x180];
	uint64_t rsp;
	uint64_t s_cet, ssp, isst_address;
	uint64_t rax;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t cr2;
	uint8_t reserved_248[0x268 - 0x248];
	uint64_t pat;
	uint64_t debugctl, branch_from, branch_to, exception_from, exception_to;
	uint8_t reserved_298[0xc00 - 0x298];
};

struct vmcb {
	struct vmcb_control control;
	struct vmcb_save save;
};

_Static_assert(sizeof(struct vmcb) == 4096, "a VMCB is one page");
_Static_assert(offsetof(struct vmcb_control, iopm_base) == 0x40, "appendix B, table B-1");
_Static_assert(offsetof(struct vmcb_control, asid) == 0x58, "appendix B, table B-1");
_Static_assert(offsetof(struct vmcb_control, virtual_interrupt) == 0x60, "appendix B, table B-1");
_Static_assert(offsetof(struct vmcb_control, nested_control) == 0x90, "appendix B, table B-1");
_Static_assert(offsetof(struct vmcb_control, event_injection) == 0xa8, "appendix B, table B-1");
_Static_assert(offsetof(struct vmcb_control, clean) == 0xc0, "appendix B, table B-1");
_Static_assert(offsetof(struct vmcb_control, fetched_count) == 0xd0, "appendix B, table B-1");
_Static_assert(offsetof(struct vmcb_save, tr) == 0x90, "appendix B, table B-2");
_Static_assert(offsetof(struct vmcb_save, efer) == 0xd0, "appendix B, table B-2");
_Static_assert(offsetof(struct vmcb_save, cr4) == 0x148, "appendix B, table B-2");
_Static_assert(offsetof(struct vmcb_save, rsp) == 0x1d8, "appendix B, table B-2");
_Static_assert(offsetof(struct vmcb_save, star) == 0x200, "appendix B, table B-2");
_Static_assert(offsetof(struct vmcb_save, pat) == 0x268, "appendix B, table B-2");

/* intercept_cr, at 000h. */
#define INTERCEPT_CR4_READ  BIT(4)
#define INTERCEPT_CR4_WRITE BIT(20)
#define INTERCEPT_CR8_WRITE BIT(24)

/* intercept_misc1, at 00Ch. */
#define INTERCEPT_INTR      BIT(0)
#define INTERCEPT_NMI       BIT(1)
#define INTERCEPT_SMI       BIT(2)
#define INTERCEPT_INIT      BIT(3)
#define INTERCEPT_VINTR     BIT(4)
#define INTERCEPT_RDPMC     BIT(15)
#define INTERCEPT_CPUID     BIT(18)
#define INTERCEPT_IRET      BIT(20)
#define INTERCEPT_INVD      BIT(22)
#define INTERCEPT_HLT       BIT(24)
#define INTERCEPT_INVLPGA   BIT(26)
#define INTERCEPT_IOIO_PROT BIT(27)
#define INTERCEPT_MSR_PROT  BIT(28)
#define INTERCEPT_SHUTDOWN  BIT(31)
/* intercept_misc2, at 010h. */
#define INTERCEPT_VMRUN             BIT(0)
#define INTERCEPT_VMMCALL           BIT(1)
#define INTERCEPT_VMLOAD            BIT(2)
#define INTERCEPT_VMSAVE            BIT(3)
#define INTERCEPT_STGI              BIT(4)
#define INTERCEPT_CLGI              BIT(5)
#define INTERCEPT_SKINIT            BIT(6)
#define INTERCEPT_WBINVD            BIT(9)
#define INTERCEPT_MONITOR           BIT(10)
#define INTERCEPT_MWAIT             BIT(11)
#define INTERCEPT_MWAIT_CONDITIONAL BIT(12)
#define INTERCEPT_XSETBV            BIT(13)
#define INTERCEPT_RDPRU             BIT(14)
/* intercept_misc3, at 014h. */
#define INTERCEPT_MCOMMIT BIT(3)

/* tlb_control, 15.16.1. */
#define TLB_CONTROL_NONE       0
#define TLB_CONTROL_FLUSH_ALL  1
#define TLB_CONTROL_FLUSH_ASID 3

/* virtual_interrupt, 15.21. */
#define VIRTUAL_TPR         BITS(3, 0)
#define V_IRQ               BIT(8)
#define V_IGN_TPR           BIT(20)
#define V_INTR_MASKING      BIT(24)
#define V_INTR_VECTOR(v)    ((unsigned)field(v, 39, 32))
#define V_INTR_VECTOR_MASK  BITS(39, 32)
#define V_INTR_VECTOR_SHIFT 32
#define INTERRUPT_SHADOW    BIT(0) /* interrupt_shadow */
#define NESTED_PAGING       BIT(0) /* nested_control */

/* clean, 15.15.3: a bit that is set lets the CPU use what it has kept of that part of the VMCB. */
#define CLEAN_INTERCEPTS        BIT(0)
#define CLEAN_MAPS              BIT(1)
#define CLEAN_ASID              BIT(2)
#define CLEAN_TPR               BIT(3)
#define CLEAN_NESTED            BIT(4)
#define CLEAN_CONTROL_REGISTERS BIT(5)
#define CLEAN_DEBUG_REGISTERS   BIT(6)
#define CLEAN_TABLES            BIT(7) /* GDTR and IDTR */
#define CLEAN_SEGMENTS          BIT(8)
#define CLEAN_CR2               BIT(9)
#define CLEAN_LBR               BIT(10)
#define CLEAN_ALL               BITS(10, 0)

/* event_injection and exit_interrupt_info, 15.20 and 15.7.2. */
#define EVENT_VECTOR(event)    ((unsigned)field(event, 7, 0))
#define EVENT_TYPE(event)      ((unsigned)field(event, 10, 8))
#define EVENT_TYPE_INTERRUPT   0u
#define EVENT_TYPE_NMI         2u
#define EVENT_TYPE_EXCEPTION   3u
#define EVENT_TYPE_SOFTWARE    4u
#define EVENT_TYPE_SHIFT       8
#define EVENT_HAS_ERROR_CODE   BIT(11)
#define EVENT_VALID            BIT(31)
#define EVENT_ERROR_CODE_SHIFT 32

/* exit_info1 of IOIO, 15.10.2. */
#define IOIO_IN            BIT(0)
#define IOIO_STRING        BIT(2)
#define IOIO_REP           BIT(3)
#define IOIO_WIDTH(info)   ((uint8_t)field(info, 6, 4)) /* one of three bits is set, and its value is the width */
#define IOIO_ADDRESS(info) ((uint8_t)(field(info, 9, 7) << 1)) /* likewise, in units of two bytes */
#define IOIO_SEGMENT(info) ((uint8_t)field(info, 12, 10))
#define IOIO_PORT(info)    ((uint16_t)field(info, 31, 16))

/* exit_info1 of MSR: 0 RDMSR, 1 WRMSR; of NPF, 15.25.6: a page fault's error code and where it came from. */
#define MSR_WRITE      BIT(0)
#define NPF_WRITE      BIT(1)
#define NPF_FETCH      BIT(4)
#define NPF_FINAL      BIT(32)
#define NPF_TABLE_WALK BIT(33)

/* The segment attributes that SVM and the boot protocols speak of. */
#define SEGMENT_PRESENT BIT(7)
#define SEGMENT_LONG    BIT(9)
#define SEGMENT_DEFAULT BIT(10)

/* CPUID 8000_0001 ECX and leaf 8000_000A, APM vol. 3 appendix E. */
#define CPUID_EXTENDED_FEATURES  0x80000001
#define CPUID_EXTENDED_ECX_SVM   BIT(2)
#define CPUID_SVM                0x8000000a
#define CPUID_SVM_EDX_NP         BIT(0)
#define CPUID_SVM_EDX_LOCK       BIT(2)
#define CPUID_SVM_EDX_NRIPS      BIT(3)
#define CPUID_SVM_EDX_CLEAN      BIT(5)
#define CPUID_SVM_EDX_FLUSH_ASID BIT(6)
#define CPUID_SVM_EDX_DECODE     BIT(7)

/* 15.30. */
#define MSR_VM_CR       0xc0010114
#define VM_CR_LOCK      BIT(3)
#define VM_CR_SVMDIS    BIT(4)
#define MSR_VM_HSAVE_PA 0xc0010117

/* Permission maps, 15.10.1 and 15.11. */
#define IOPM_FRAMES  3
#define MSRPM_FRAMES 2

#endif
