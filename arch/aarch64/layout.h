/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offsets and numbers that C and assembly share inside arch/aarch64. cpu.c asserts that the structures agree.
 */
#pragma once

/* struct arch_vcpu: x[31], the host's stack pointer while the guest runs, work, exits[]. */
#define VCPU_X       0
#define VCPU_HOST_SP 248
#define VCPU_WORK    256
#define VCPU_EXITS   264

/* struct vm_exit */
#define EXIT_CALL_NUMBER    40
#define EXIT_CALL_ARGUMENT  48
#define EXIT_KIND_HYPERCALL 3

/* Exception classes that have a way of their own, and where ESR_EL2 has the class. */
#define CLASS_HVC64      0x16
#define CLASS_DATA_ABORT 0x24
#define CLASS_LOW        26
#define CLASS_BITS       6

/* Bits 31:24 of an SMCCC function number: a fast call to owner 6, the vendor-specific hypervisor service. */
#define SMCCC_CLASS_LOW        24
#define SMCCC_CLASS_64BIT      0x40 /* either convention */
#define SMCCC_CLASS_HYPERVISOR 0x86

/* Which of the vectors for a lower Exception level was taken. */
#define ARM_EXIT_SYNCHRONOUS 0
#define ARM_EXIT_IRQ         1
#define ARM_EXIT_FIQ         2
#define ARM_EXIT_SERROR      3

/* The frame of arch_vcpu_run: x29, x30, x19 to x28, the vCPU and the exit. */
#define RUN_FRAME      112
#define RUN_FRAME_VCPU 96
#define RUN_FRAME_EXIT 104

/* struct arm_cpu, found by TPIDR_EL2. */
#define CPU_CRASH_STACK  0
#define CPU_CRASH_X      8
#define CPU_CRASH_SP     256
#define CPU_CRASH_VECTOR 264

/* struct arm_fp: v[32], FPCR, FPSR. */
#define FP_FPCR 512
#define FP_FPSR 520

/* struct arm_translation, in the order in which arm_switch_translation loads it. */
#define TRANSLATION_HCR   0
#define TRANSLATION_MAIR  8
#define TRANSLATION_TCR   16
#define TRANSLATION_TTBR0 24
#define TRANSLATION_SCTLR 32
