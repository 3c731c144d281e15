/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offsets and numbers that C and assembly share inside arch/aarch64. cpu.c asserts that the structures agree.
 */
#pragma once

/* struct arch_vcpu: x[31], then the host's stack pointer while the guest runs. */
#define VCPU_X	     0
#define VCPU_HOST_SP 248

/* What arm_enter_guest returns: which of the vectors for a lower Exception level was taken. */
#define ARM_EXIT_SYNCHRONOUS 0
#define ARM_EXIT_IRQ	     1
#define ARM_EXIT_FIQ	     2
#define ARM_EXIT_SERROR	     3

/* struct arm_cpu, found by TPIDR_EL2. */
#define CPU_CRASH_STACK	 0
#define CPU_CRASH_X	 8
#define CPU_CRASH_SP	 256
#define CPU_CRASH_VECTOR 264

/* struct arm_fp: v[32], FPCR, FPSR. */
#define FP_FPCR 512
#define FP_FPSR 520

/* struct arm_translation, in the order in which arm_switch_translation loads it. */
#define TRANSLATION_HCR	  0
#define TRANSLATION_MAIR  8
#define TRANSLATION_TCR	  16
#define TRANSLATION_TTBR0 24
#define TRANSLATION_SCTLR 32
