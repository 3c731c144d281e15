/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel VMX by the manual's names: capability MSRs, VMCS fields, control bits, exit reasons, qualifications and
 * the VMX instructions as inline functions. Included by the vmx*.c files only. Numbers are SDM vol. 3C chapters
 * 24 to 30 and appendices A to C.
 */
#pragma once

#include "lib/util.h"

/* ---- capability MSRs: SDM vol. 3D appendix A ---- */

#define MSR_IA32_FEATURE_CONTROL         0x3a
#define MSR_IA32_VMX_BASIC               0x480
#define MSR_IA32_VMX_PINBASED_CTLS       0x481
#define MSR_IA32_VMX_PROCBASED_CTLS      0x482
#define MSR_IA32_VMX_EXIT_CTLS           0x483
#define MSR_IA32_VMX_ENTRY_CTLS          0x484
#define MSR_IA32_VMX_MISC                0x485
#define MSR_IA32_VMX_CR0_FIXED0          0x486
#define MSR_IA32_VMX_CR0_FIXED1          0x487
#define MSR_IA32_VMX_CR4_FIXED0          0x488
#define MSR_IA32_VMX_CR4_FIXED1          0x489
#define MSR_IA32_VMX_PROCBASED_CTLS2     0x48b
#define MSR_IA32_VMX_EPT_VPID_CAP        0x48c
#define MSR_IA32_VMX_TRUE_PINBASED_CTLS  0x48d
#define MSR_IA32_VMX_TRUE_PROCBASED_CTLS 0x48e
#define MSR_IA32_VMX_TRUE_EXIT_CTLS      0x48f
#define MSR_IA32_VMX_TRUE_ENTRY_CTLS     0x490

/* IA32_FEATURE_CONTROL: SDM vol. 3C 23.7. */
#define FEATURE_CONTROL_LOCK              BIT(0)
#define FEATURE_CONTROL_VMXON_OUTSIDE_SMX BIT(2)

/* IA32_VMX_BASIC: A.1. */
#define VMX_BASIC_REVISION(basic)     ((uint32_t)field(basic, 30, 0))
#define VMX_BASIC_REGION_BYTES(basic) field(basic, 44, 32)
#define VMX_BASIC_MEMORY_TYPE(basic)  field(basic, 53, 50)
#define VMX_BASIC_TRUE_CONTROLS       BIT(55)
#define VMX_MEMORY_TYPE_WB            6

/* IA32_VMX_MISC: A.6. */
#define VMX_MISC_TIMER_SHIFT(misc) ((uint32_t)field(misc, 4, 0))
#define VMX_MISC_STORES_LMA        BIT(5)

/* IA32_VMX_EPT_VPID_CAP: A.10. */
#define EPT_CAP_EXECUTE_ONLY   BIT(0)
#define EPT_CAP_WALK_4         BIT(6)
#define EPT_CAP_WRITE_BACK     BIT(14)
#define EPT_CAP_2M             BIT(16)
#define EPT_CAP_1G             BIT(17)
#define EPT_CAP_INVEPT         BIT(20)
#define EPT_CAP_ACCESSED_DIRTY BIT(21)
#define EPT_CAP_INVEPT_SINGLE  BIT(25)
#define EPT_CAP_INVEPT_ALL     BIT(26)
#define EPT_CAP_INVVPID        BIT(32)
#define EPT_CAP_INVVPID_SINGLE BIT(41)
#define EPT_CAP_INVVPID_ALL    BIT(42)

/* EPTP: 24.6.11. */
#define EPTP_WRITE_BACK     UINT64_C(6)
#define EPTP_WALK(levels)   ((uint64_t)((levels)-1) << 3)
#define EPTP_ACCESSED_DIRTY BIT(6)

/* ---- controls: 24.6 to 24.8 ---- */

#define PIN_EXTERNAL_INTERRUPT BIT(0)
#define PIN_NMI                BIT(3)
#define PIN_VIRTUAL_NMI        BIT(5)
#define PIN_PREEMPTION_TIMER   BIT(6)

#define CPU_INTERRUPT_WINDOW BIT(2)
#define CPU_HLT              BIT(7)
#define CPU_MWAIT            BIT(10)
#define CPU_RDPMC            BIT(11)
#define CPU_CR8_LOAD         BIT(19)
#define CPU_CR8_STORE        BIT(20)
#define CPU_TPR_SHADOW       BIT(21)
#define CPU_NMI_WINDOW       BIT(22)
#define CPU_UNCONDITIONAL_IO BIT(24)
#define CPU_MSR_BITMAPS      BIT(28)
#define CPU_MONITOR          BIT(29)
#define CPU_SECONDARY        BIT(31)

#define CPU2_EPT                BIT(1)
#define CPU2_RDTSCP             BIT(3)
#define CPU2_X2APIC             BIT(4) /* virtualize x2APIC mode */
#define CPU2_VPID               BIT(5)
#define CPU2_WBINVD             BIT(6)
#define CPU2_UNRESTRICTED       BIT(7)
#define CPU2_VIRTUAL_INTERRUPTS BIT(9) /* virtual-interrupt delivery */
#define CPU2_INVPCID            BIT(12)
#define CPU2_ENCLS              BIT(15)
#define CPU2_XSAVES             BIT(20)

#define EXIT_SAVE_DEBUG BIT(2)
#define EXIT_HOST_64    BIT(9)
#define EXIT_SAVE_PAT   BIT(18)
#define EXIT_LOAD_PAT   BIT(19)
#define EXIT_SAVE_EFER  BIT(20)
#define EXIT_LOAD_EFER  BIT(21)
#define EXIT_SAVE_TIMER BIT(22)

#define ENTRY_LOAD_DEBUG BIT(2)
#define ENTRY_IA32E      BIT(9)
#define ENTRY_LOAD_PAT   BIT(14)
#define ENTRY_LOAD_EFER  BIT(15)

/* ---- VMCS fields: appendix B ---- */

enum vmcs_field {
	VMCS_VPID = 0x0000,
	VMCS_GUEST_SELECTOR = 0x0800, /* of ES; + VMCS_SEGMENT(n) */
	VMCS_GUEST_INTERRUPT_STATUS = 0x0810,
	VMCS_HOST_ES = 0x0c00,
	VMCS_HOST_CS = 0x0c02,
	VMCS_HOST_SS = 0x0c04,
	VMCS_HOST_DS = 0x0c06,
	VMCS_HOST_FS = 0x0c08,
	VMCS_HOST_GS = 0x0c0a,
	VMCS_HOST_TR = 0x0c0c,
	VMCS_MSR_BITMAPS = 0x2004,
	VMCS_EXIT_MSR_STORE = 0x2006,
	VMCS_EXIT_MSR_LOAD = 0x2008,
	VMCS_ENTRY_MSR_LOAD = 0x200a,
	VMCS_VIRTUAL_APIC = 0x2012,
	VMCS_EPTP = 0x201a,
	VMCS_EOI_EXIT_BITMAP = 0x201c, /* of vectors 0 to 63; + 2 n */
	VMCS_XSS_EXITING_BITMAP = 0x202c,
	VMCS_ENCLS_EXITING_BITMAP = 0x202e,
	VMCS_GUEST_PHYSICAL_ADDRESS = 0x2400,
	VMCS_LINK_POINTER = 0x2800,
	VMCS_GUEST_DEBUGCTL = 0x2802,
	VMCS_GUEST_PAT = 0x2804,
	VMCS_GUEST_EFER = 0x2806,
	VMCS_GUEST_PDPTE0 = 0x280a, /* + 2 n */
	VMCS_HOST_PAT = 0x2c00,
	VMCS_HOST_EFER = 0x2c02,
	VMCS_PIN_CONTROLS = 0x4000,
	VMCS_CPU_CONTROLS = 0x4002,
	VMCS_EXCEPTION_BITMAP = 0x4004,
	VMCS_PAGE_FAULT_MASK = 0x4006,
	VMCS_PAGE_FAULT_MATCH = 0x4008,
	VMCS_CR3_TARGET_COUNT = 0x400a,
	VMCS_EXIT_CONTROLS = 0x400c,
	VMCS_EXIT_MSR_STORE_COUNT = 0x400e,
	VMCS_EXIT_MSR_LOAD_COUNT = 0x4010,
	VMCS_ENTRY_CONTROLS = 0x4012,
	VMCS_ENTRY_MSR_LOAD_COUNT = 0x4014,
	VMCS_ENTRY_INTERRUPTION = 0x4016,
	VMCS_ENTRY_ERROR_CODE = 0x4018,
	VMCS_ENTRY_INSTRUCTION_LENGTH = 0x401a,
	VMCS_TPR_THRESHOLD = 0x401c,
	VMCS_CPU2_CONTROLS = 0x401e,
	VMCS_INSTRUCTION_ERROR = 0x4400,
	VMCS_EXIT_REASON = 0x4402,
	VMCS_EXIT_INTERRUPTION = 0x4404,
	VMCS_EXIT_ERROR_CODE = 0x4406,
	VMCS_VECTORING = 0x4408,
	VMCS_VECTORING_ERROR_CODE = 0x440a,
	VMCS_EXIT_INSTRUCTION_LENGTH = 0x440c,
	VMCS_EXIT_INSTRUCTION_INFO = 0x440e,
	VMCS_GUEST_LIMIT = 0x4800, /* of ES; + VMCS_SEGMENT(n); GDTR and IDTR follow TR */
	VMCS_GUEST_ACCESS_RIGHTS = 0x4814,
	VMCS_GUEST_INTERRUPTIBILITY = 0x4824,
	VMCS_GUEST_ACTIVITY = 0x4826,
	VMCS_GUEST_SYSENTER_CS = 0x482a,
	VMCS_PREEMPTION_TIMER = 0x482e,
	VMCS_HOST_SYSENTER_CS = 0x4c00,
	VMCS_CR0_MASK = 0x6000,
	VMCS_CR4_MASK = 0x6002,
	VMCS_CR0_SHADOW = 0x6004,
	VMCS_CR4_SHADOW = 0x6006,
	VMCS_EXIT_QUALIFICATION = 0x6400,
	VMCS_GUEST_LINEAR_ADDRESS = 0x640a,
	VMCS_GUEST_CR0 = 0x6800,
	VMCS_GUEST_CR3 = 0x6802,
	VMCS_GUEST_CR4 = 0x6804,
	VMCS_GUEST_BASE = 0x6806, /* of ES; + VMCS_SEGMENT(n); GDTR and IDTR follow TR */
	VMCS_GUEST_DR7 = 0x681a,
	VMCS_GUEST_RSP = 0x681c,
	VMCS_GUEST_RIP = 0x681e,
	VMCS_GUEST_RFLAGS = 0x6820,
	VMCS_GUEST_PENDING_DEBUG = 0x6822,
	VMCS_GUEST_SYSENTER_ESP = 0x6824,
	VMCS_GUEST_SYSENTER_EIP = 0x6826,
	VMCS_HOST_CR0 = 0x6c00,
	VMCS_HOST_CR3 = 0x6c02,
	VMCS_HOST_CR4 = 0x6c04,
	VMCS_HOST_FS_BASE = 0x6c06,
	VMCS_HOST_GS_BASE = 0x6c08,
	VMCS_HOST_TR_BASE = 0x6c0a,
	VMCS_HOST_GDTR_BASE = 0x6c0c,
	VMCS_HOST_IDTR_BASE = 0x6c0e,
	VMCS_HOST_SYSENTER_ESP = 0x6c10,
	VMCS_HOST_SYSENTER_EIP = 0x6c12,
	VMCS_HOST_RSP = 0x6c14,
	VMCS_HOST_RIP = 0x6c16,
};

/* The fields of segment n (enum x86_segment_name counts as the VMCS does). */
#define VMCS_SEGMENT(n) ((enum vmcs_field)(2 * (n)))

/* Access rights: 24.4.1. Bits 7:0 and 15:12 are the descriptor's, bit 16 says unusable. */
#define ACCESS_RIGHTS_TYPE(rights) ((rights)&0xfU)
#define ACCESS_RIGHTS_S            BIT(4)
#define ACCESS_RIGHTS_DPL(rights)  field(rights, 6, 5)
#define ACCESS_RIGHTS_P            BIT(7)
#define ACCESS_RIGHTS_L            BIT(13)
#define ACCESS_RIGHTS_DB           BIT(14)
#define ACCESS_RIGHTS_G            BIT(15)
#define ACCESS_RIGHTS_UNUSABLE     BIT(16)

/* Interruptibility and activity: 24.4.2. */
#define BLOCKING_BY_STI    BIT(0)
#define BLOCKING_BY_MOV_SS BIT(1)
#define BLOCKING_BY_SMI    BIT(2)
#define BLOCKING_BY_NMI    BIT(3)
#define ENCLAVE_INTERRUPT  BIT(4)
enum vmx_activity { ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN, ACTIVITY_WAIT_FOR_SIPI };

/* Guest interrupt status: 24.4.2. The lower half, RVI, is always 0 here. */
#define IN_SERVICE_VECTOR(vector) ((uint64_t)(vector) << 8)

/* Pending debug exceptions: 24.4.2, table 24-4; the low bits as in DR6. */
#define PENDING_DEBUG_CONDITIONS BITS(3, 0)
#define PENDING_DEBUG_ENABLED    BIT(12)
#define PENDING_DEBUG_BS         BIT(14)
#define PENDING_DEBUG_RTM        BIT(16)

/* Interruption information, on entry, on exit and in the IDT-vectoring field: 24.8.3, 24.9.2, 24.9.3. */
#define INTERRUPTION_VECTOR(info) ((uint8_t)(info))
#define INTERRUPTION_TYPE(info)   field(info, 10, 8)
#define INTERRUPTION_ERROR_CODE   BIT(11)
#define INTERRUPTION_NMI_UNBLOCK  BIT(12) /* on exit: IRET had unblocked NMIs */
#define INTERRUPTION_VALID        BIT(31)
#define INTERRUPTION_RESERVED     BITS(30, 12) /* on entry */
enum interruption_type {
	INTERRUPTION_EXTERNAL = 0,
	INTERRUPTION_NMI = 2,
	INTERRUPTION_HARDWARE_EXCEPTION = 3,
	INTERRUPTION_SOFTWARE_INTERRUPT = 4,
	INTERRUPTION_PRIVILEGED_SOFTWARE_EXCEPTION = 5,
	INTERRUPTION_SOFTWARE_EXCEPTION = 6,
	INTERRUPTION_OTHER = 7,
};
#define INTERRUPTION_INFO(vector, type) (INTERRUPTION_VALID | ((uint64_t)(type) << 8) | (vector))

/* ---- exit reasons: appendix C ---- */

enum vmx_exit_reason {
	EXIT_EXCEPTION_OR_NMI = 0,
	EXIT_EXTERNAL_INTERRUPT = 1,
	EXIT_TRIPLE_FAULT = 2,
	EXIT_INIT = 3,
	EXIT_INTERRUPT_WINDOW = 7,
	EXIT_NMI_WINDOW = 8,
	EXIT_TASK_SWITCH = 9,
	EXIT_CPUID = 10,
	EXIT_GETSEC = 11,
	EXIT_HLT = 12,
	EXIT_INVD = 13,
	EXIT_RDPMC = 15,
	EXIT_RSM = 17,
	EXIT_VMCALL = 18,
	EXIT_VMCLEAR = 19,
	EXIT_VMLAUNCH = 20,
	EXIT_VMPTRLD = 21,
	EXIT_VMPTRST = 22,
	EXIT_VMREAD = 23,
	EXIT_VMRESUME = 24,
	EXIT_VMWRITE = 25,
	EXIT_VMXOFF = 26,
	EXIT_VMXON = 27,
	EXIT_CONTROL_REGISTER = 28,
	EXIT_IO = 30,
	EXIT_RDMSR = 31,
	EXIT_WRMSR = 32,
	EXIT_ENTRY_GUEST_STATE = 33,
	EXIT_MWAIT = 36,
	EXIT_MONITOR = 39,
	EXIT_PAUSE = 40,
	EXIT_ENTRY_MACHINE_CHECK = 41,
	EXIT_VIRTUALIZED_EOI = 45,
	EXIT_EPT_VIOLATION = 48,
	EXIT_EPT_MISCONFIGURATION = 49,
	EXIT_INVEPT = 50,
	EXIT_PREEMPTION_TIMER = 52,
	EXIT_INVVPID = 53,
	EXIT_WBINVD = 54,
	EXIT_XSETBV = 55,
	EXIT_VMFUNC = 59,
	EXIT_ENCLS = 60,
	EXIT_PCONFIG = 65,
	EXIT_UMWAIT = 67,
	EXIT_TPAUSE = 68,
	EXIT_LOADIWKEY = 69,
	EXIT_ENCLV = 70,
	EXIT_SEAMCALL = 76,
	EXIT_TDCALL = 77,
	EXIT_REASONS = 78,
};
/* In the exit reason: this was a VM entry that failed (24.9.1). */
#define EXIT_REASON_ENTRY_FAILURE BIT(31)
#define EXIT_REASON_BASIC(reason) ((uint16_t)(reason))

/* ---- exit qualifications: 27.2.1 ---- */

/* EPT violation, table 27-7. */
#define EPT_VIOLATION_READ         BIT(0)
#define EPT_VIOLATION_WRITE        BIT(1)
#define EPT_VIOLATION_FETCH        BIT(2)
#define EPT_VIOLATION_LINEAR_VALID BIT(7)
#define EPT_VIOLATION_FINAL        BIT(8) /* the access itself; clear: the walk of the guest's tables */
#define EPT_VIOLATION_NMI_UNBLOCK  BIT(12)

/* Virtualized EOI: 29.1.4. */
#define EOI_VECTOR(qualification) ((uint8_t)(qualification))

/* I/O instruction, table 27-5. */
#define IO_WIDTH(qualification) ((uint8_t)(((qualification)&7) + 1))
#define IO_IN                   BIT(3)
#define IO_STRING               BIT(4)
#define IO_REP                  BIT(5)
#define IO_PORT(qualification)  ((uint16_t)((qualification) >> 16))

/* Control-register access, table 27-3. */
#define CR_NUMBER(qualification)      field(qualification, 3, 0)
#define CR_ACCESS(qualification)      field(qualification, 5, 4)
#define CR_LMSW_MEMORY                BIT(6)
#define CR_GPR(qualification)         field(qualification, 11, 8)
#define CR_LMSW_SOURCE(qualification) field(qualification, 31, 16)
enum cr_access { CR_ACCESS_MOV_TO, CR_ACCESS_MOV_FROM, CR_ACCESS_CLTS, CR_ACCESS_LMSW };

/* A #DB that exits: the conditions as in DR6, table 27-1. */
#define DEBUG_QUALIFICATION (BITS(3, 0) | BIT(13) | BIT(14))

/* What a VM entry that failed on the guest's state may say: 26.8. */
enum entry_failure_qualification { ENTRY_FAILURE_PDPTE = 2, ENTRY_FAILURE_NMI = 3, ENTRY_FAILURE_LINK_POINTER = 4 };

/* ---- instructions ---- */

/* Fields that this CPU lacks are never asked for, so neither of the two can fail with a VMCS current. */
static inline uint64_t vmread(enum vmcs_field name)
{
	uint64_t value;
	__asm__ volatile("vmread %1, %0" : "=r"(value) : "r"((uint64_t)name) : "cc");
	return value;
}

static inline void vmwrite(enum vmcs_field name, uint64_t value)
{
	__asm__ volatile("vmwrite %0, %1" : : "rm"(value), "r"((uint64_t)name) : "cc");
}

/* Each: whether the CPU took it (neither VMfailInvalid nor VMfailValid, 30.2). */
static inline bool vmxon(const uint64_t *region)
{
	bool failed;
	__asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(*region) : "memory");
	return !failed;
}

static inline void vmxoff(void)
{
	__asm__ volatile("vmxoff" : : : "cc", "memory");
}

static inline bool vmclear(const uint64_t *vmcs)
{
	bool failed;
	__asm__ volatile("vmclear %1" : "=@ccbe"(failed) : "m"(*vmcs) : "memory");
	return !failed;
}

static inline bool vmptrld(const uint64_t *vmcs)
{
	bool failed;
	__asm__ volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(*vmcs) : "memory");
	return !failed;
}

enum invept_type { INVEPT_SINGLE = 1, INVEPT_ALL = 2 };
enum invvpid_type { INVVPID_SINGLE = 1, INVVPID_ALL = 2 };

/* The descriptor of both: VPID or EPTP first, then the linear address or zero. */
struct invalidation {
	uint64_t target;
	uint64_t address;
};

static inline bool invept(enum invept_type type, const struct invalidation *what)
{
	bool failed;
	__asm__ volatile("invept %1, %2" : "=@ccbe"(failed) : "m"(*what), "r"((uint64_t)type) : "memory");
	return !failed;
}

static inline bool invvpid(enum invvpid_type type, const struct invalidation *what)
{
	bool failed;
	__asm__ volatile("invvpid %1, %2" : "=@ccbe"(failed) : "m"(*what), "r"((uint64_t)type) : "memory");
	return !failed;
}
