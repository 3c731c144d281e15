/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hypercalls. Function numbers follow the SMC Calling Convention (Arm DEN0028) on every ISA: on Arm by HVC
 * with the number in x0 and arguments in x1 to x4, on x86 by VMCALL or VMMCALL with the number in RAX and
 * arguments in RBX, RCX, RDX, RSI. The result comes back in x0 or RAX.
 */
#pragma once

#include <stdint.h>

struct vm;

/* PSCI (Arm DEN0022), on x86 too: how a guest turns itself off. */
#define PSCI_VERSION      UINT64_C(0x84000000)
#define PSCI_SYSTEM_OFF   UINT64_C(0x84000008)
#define PSCI_SYSTEM_RESET UINT64_C(0x84000009)
#define PSCI_VERSION_1_1  UINT64_C(0x00010001)

/* Ours: fast calls, 64-bit convention, owner 6 (vendor-specific hypervisor service). */
#define CAISSON_CALL_BASE UINT64_C(0xc6000000)
enum caisson_call {
	/* Returns CAISSON_INTERFACE_VERSION. */
	CAISSON_CALL_VERSION,
	/* Returns how many lazy faults have been filled for this VM since it was created. */
	CAISSON_CALL_FAULTS,
	/* (GPA, bytes, permissions): the guest takes rights away from, or gives them back to, its own memory.
	 * Permissions as enum mm_permission. Returns 0 or a negative enum mm_status. */
	CAISSON_CALL_PROTECT,
	/* (GPA, bytes): the guest gives lazily backed memory back; its next access finds zeros. */
	CAISSON_CALL_RELEASE,
	/* (order, times): fills a scratch run of 2^order frames, 0 or 9, with zeros up to 8 times: the difference
	 * between two calls tells what zeroing costs. Returns 0, or -1 where there is no such run. */
	CAISSON_CALL_ZERO,
	/* (GPA): what addr_space_translate says of it, in the fields of enum call_translation, or a negative
	 * enum mm_status: MM_EFAULT for holes and guards. Fills nothing. */
	CAISSON_CALL_TRANSLATE,
	/* (PC): the vCPU's next access that mm refuses with MM_EACCES or MM_EFAULT does not stop the VM: the vCPU goes
	 * on at PC, with the fields of enum call_fault in x0 or RAX and all other registers as they were. Once; then,
	 * or with PC 0, all is as usual again. A PC that the CPU cannot run at stops the VM as well. Returns 0. */
	CAISSON_CALL_EXPECT_FAULT,
	CAISSON_CALLS,
};
#define CAISSON_INTERFACE_VERSION 2

/* Where the fields start of what CAISSON_CALL_TRANSLATE returns; enum mm_permission lies at bit 0. */
enum call_translation {
	CALL_TRANSLATION_TYPE = 4, /* enum mm_memory_type */
	CALL_TRANSLATION_LEAF = 8, /* log2 of the leaf's bytes */
};

/* The same of what comes after a fault that was expected; the access, as enum mm_permission, lies at bit 0. */
enum call_fault {
	CALL_FAULT_TABLE_WALK = 3, /* 1: in the guest's own page walk */
	CALL_FAULT_STATUS = 4,     /* the enum mm_status, its sign turned */
	CALL_FAULT_GPA = 8,        /* the GPA as a whole */
};

#define CALL_NOT_SUPPORTED UINT64_MAX /* -1, as SMCCC has it */

/*
 * The table behind enum caisson_call; vcpu_run goes through it without a detour, for this path is counted. Arguments
 * are the guest's, unchecked. Returns the result for x0 or RAX.
 */
typedef uint64_t hypercall_function(struct vm *vm, const uint64_t *argument);
extern hypercall_function *const caisson_calls[CAISSON_CALLS];
