/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System registers' fields and exception classes by the names of the Arm Architecture Reference Manual (DDI 0487)
 * and the GIC specifications (IHI 0048, IHI 0069), and access to the registers. Included inside arch/aarch64 only;
 * the fields can be used on any host, the accessors on AArch64.
 */
#pragma once

#include "lib/util.h"

#if defined(__aarch64__)
/* `name` may be a macro for an encoding, where the assembler does not know the name. */
#define SYSREG_TEXT_(name) #name
#define SYSREG_TEXT(name)  SYSREG_TEXT_(name)
#define sysreg_read(name)                                                                                              \
	({                                                                                                             \
		uint64_t sysreg_value_;                                                                                \
		__asm__ volatile("mrs %0, " SYSREG_TEXT(name) : "=r"(sysreg_value_));                                  \
		sysreg_value_;                                                                                         \
	})
#define sysreg_write(name, value)                                                                                      \
	__asm__ volatile("msr " SYSREG_TEXT(name) ", %0" : : "r"((uint64_t)(value)) : "memory")

static inline void isb(void)
{
	__asm__ volatile("isb" : : : "memory");
}
#define dsb(domain)                    __asm__ volatile("dsb " #domain : : : "memory")
#define tlbi(operation)                __asm__ volatile("tlbi " #operation : : : "memory")
#define tlbi_address(operation, value) __asm__ volatile("tlbi " #operation ", %0" : : "r"((uint64_t)(value)) : "memory")
#endif

/* CurrentEL, D19.2.31 */
#define CURRENTEL_EL_HIGH 3
#define CURRENTEL_EL_LOW  2

/* HCR_EL2, D19.2.48 */
#define HCR_VM        BIT(0) /* stage 2 on */
#define HCR_SWIO      BIT(1) /* DC ISW acts as DC CISW */
#define HCR_PTW       BIT(2) /* a stage-1 walk into device memory faults */
#define HCR_FMO       BIT(3) /* physical FIQ to EL2, virtual FIQ for EL1 */
#define HCR_IMO       BIT(4) /* physical IRQ to EL2, virtual IRQ for EL1 */
#define HCR_AMO       BIT(5) /* SError to EL2 */
#define HCR_FB        BIT(9) /* broadcast TLB maintenance */
#define HCR_BSU_INNER BIT(10)
#define HCR_TWI       BIT(13) /* trap WFI */
#define HCR_TID3      BIT(18) /* trap ID group 3 */
#define HCR_TSC       BIT(19) /* trap SMC */
#define HCR_TIDCP     BIT(20) /* trap implementation-defined registers */
#define HCR_TACR      BIT(21) /* trap ACTLR_EL1 */
#define HCR_TSW       BIT(22) /* trap cache maintenance by set and way */
#define HCR_TVM       BIT(26) /* trap writes of the stage-1 controls */
#define HCR_TGE       BIT(27)
#define HCR_RW        BIT(31) /* EL1 is AArch64 */
#define HCR_E2H       BIT(34) /* VHE */
#define HCR_TLOR      BIT(35) /* trap the LORegion registers */
#define HCR_TERR      BIT(36) /* trap the error-record registers */
#define HCR_TEA       BIT(37) /* synchronous external aborts to EL2 */
#define HCR_FWB       BIT(46) /* FEAT_S2FWB: stage 2 decides cacheability */

/* SCTLR_EL2 with E2H = 0 and SCTLR_EL1, D19.2.134 and D19.2.132 */
#define SCTLR_M         BIT(0)
#define SCTLR_C         BIT(2)
#define SCTLR_SA        BIT(3)
#define SCTLR_I         BIT(12)
#define SCTLR_WXN       BIT(19)
#define SCTLR_EL1_SPAN  BIT(23)
#define SCTLR_EL1_EE    BIT(25)
#define SCTLR_EL1_DSSBS BIT(44)
#define SCTLR_EL2_RES1  (BITS(5, 4) | BIT(11) | BIT(16) | BIT(18) | BITS(23, 22) | BITS(29, 28))
#define SCTLR_EL1_RES1  (BIT(11) | BIT(20) | BITS(23, 22) | BITS(29, 28))

/* TCR_EL2 with E2H = 0, D19.2.144, and VTCR_EL2, D19.2.160: same places, but PS, T0SZ's meaning and SL0 */
#define TCR_T0SZ(input_bits) ((uint64_t)(64 - (input_bits)))
#define TCR_IRGN0_WRITE_BACK BIT(8)
#define TCR_ORGN0_WRITE_BACK BIT(10)
#define TCR_SH0_INNER        BITS(13, 12)
#define TCR_TG0_4K           UINT64_C(0)
#define TCR_PS_LOW           16
#define TCR_EL2_RES1         (BIT(31) | BIT(23))
#define VTCR_SL0_LOW         6
#define VTCR_HA              BIT(21)
#define VTCR_HD              BIT(22)
#define VTCR_RES1            BIT(31)
#define VTTBR_VMID_LOW       48

/* TCR_EL1: no walks for the lower, the upper half of addresses */
#define TCR_EL1_EPD0 BIT(7)
#define TCR_EL1_EPD1 BIT(23)

/* CPTR_EL2 with E2H = 0, D19.2.34 */
#define CPTR_RES1 (BITS(7, 0) | BIT(9) | BIT(13))
#define CPTR_TZ   BIT(8)  /* trap SVE */
#define CPTR_TFP  BIT(10) /* trap floating point and SIMD, at EL2 too */
#define CPTR_TSM  BIT(12) /* trap SME */
#define CPTR_TTA  BIT(20) /* trap trace registers */
#define CPTR_TAM  BIT(30) /* trap activity monitors */

/* MDCR_EL2, D19.3.18 */
#define MDCR_HPMN_HIGH 4
#define MDCR_TPMCR     BIT(5)
#define MDCR_TPM       BIT(6) /* trap performance monitors */
#define MDCR_TDA       BIT(9) /* trap debug registers */
#define MDCR_TDOSA     BIT(10)
#define MDCR_TDRA      BIT(11)
#define MDCR_TPMS      BIT(14) /* trap statistical profiling */
#define MDCR_TTRF      BIT(19) /* trap trace filter controls */

/* MDSCR_EL1, D19.3.20 */
#define MDSCR_SS   BIT(0)
#define MDSCR_TDCC BIT(12)
#define MDSCR_KDE  BIT(13)
#define MDSCR_MDE  BIT(15)

/* CNTHCT_EL2 with E2H = 0, D19.12.11; CNT*_CTL, D19.12.10 */
#define CNTHCT_EL1PCTEN BIT(0) /* the guest reads the physical counter; its physical timer (bit 1) traps */
#define CNT_CTL_ENABLE  BIT(0)
#define CNT_CTL_IMASK   BIT(1)
#define CNT_CTL_ISTATUS BIT(2)

/* SPSR and PSTATE, C5.2.19 */
#define PSTATE_SP           BIT(0)
#define PSTATE_EL1H         UINT64_C(5)
#define PSTATE_MODE         BITS(4, 0)
#define PSTATE_MODE_EL_HIGH 3
#define PSTATE_MODE_EL_LOW  2
#define PSTATE_AARCH32      BIT(4)
#define PSTATE_DAIF         BITS(9, 6)
#define PSTATE_I            BIT(7)
#define PSTATE_BTYPE        BITS(11, 10)
#define PSTATE_SSBS         BIT(12)
#define PSTATE_SS           BIT(21)
#define PSTATE_PAN          BIT(22)
#define PSTATE_DIT          BIT(24)
#define PSTATE_NZCV         BITS(31, 28)

/* ISR_EL1: an SError is pending, at EL2 the physical one */
#define ISR_A BIT(8)

/* PAR_EL1, D19.2.119 */
#define PAR_F  BIT(0)
#define PAR_PA BITS(47, 12)

/* MPIDR_EL1, D19.2.111 */
#define MPIDR_RES1     BIT(31)
#define MPIDR_AFFINITY (BITS(39, 32) | BITS(23, 0))

/* HPFAR_EL2, D19.2.58: bits 43:4 are IPA[51:12] */
#define HPFAR_FIPA_HIGH 43
#define HPFAR_FIPA_LOW  4
#define IPA_PAGE_SHIFT  12

/* ESR_ELx, D19.2.40 */
#define ESR_EC_LOW   26
#define ESR_EC_HIGH  31
#define ESR_EC_COUNT 64
#define ESR_IL       BIT(25)
/* EC 0x24 and 0x20, ISS of aborts */
#define ESR_ABORT_ISV      BIT(24)
#define ESR_ABORT_SAS_HIGH 23
#define ESR_ABORT_SAS_LOW  22
#define ESR_ABORT_SSE      BIT(21)
#define ESR_ABORT_SRT_HIGH 20
#define ESR_ABORT_SRT_LOW  16
#define ESR_ABORT_SF       BIT(15)
#define ESR_ABORT_FNV      BIT(10)
#define ESR_ABORT_EA       BIT(9)
#define ESR_ABORT_CM       BIT(8)
#define ESR_ABORT_S1PTW    BIT(7)
#define ESR_ABORT_WNR      BIT(6)
#define ESR_ABORT_FSC      BITS(5, 0)
/* Fault status codes without their level */
#define ESR_ABORT_TYPE    BITS(5, 2)
#define ESR_ABORT_KIND    BITS(8, 2) /* CM, S1PTW, WnR and the type: one comparison */
#define FSC_ADDRESS_SIZE  0x00
#define FSC_TRANSLATION   0x04
#define FSC_ACCESS_FLAG   0x08
#define FSC_PERMISSION    0x0c
#define FSC_EXTERNAL      0x10 /* synchronous external abort, not on a walk */
#define FSC_EXTERNAL_WALK 0x14 /* on a walk, by level */
/* EC 0x01 */
#define ESR_WFX_TI BITS(1, 0)
/* EC 0x18, ISS of a trapped MSR, MRS or SYS: Op0 21:20, Op2 19:17, Op1 16:14, CRn 13:10, Rt 9:5, CRm 4:1, read 0 */
#define ESR_SYS_RT_HIGH  9
#define ESR_SYS_RT_LOW   5
#define ESR_SYS_READ     BIT(0)
#define ESR_SYS_ENCODING (BITS(21, 10) | BITS(4, 1))

enum exception_class {
	EC_UNKNOWN = 0x00,
	EC_WFX = 0x01,
	EC_CP15_MCR = 0x03,
	EC_CP15_MCRR = 0x04,
	EC_CP14_MCR = 0x05,
	EC_CP14_LDC = 0x06,
	EC_FP = 0x07,
	EC_VMRS = 0x08,
	EC_PAUTH = 0x09,
	EC_LS64 = 0x0a,
	EC_CP14_MRRC = 0x0c,
	EC_BTI = 0x0d,
	EC_ILLEGAL_STATE = 0x0e,
	EC_SVC32 = 0x11,
	EC_HVC32 = 0x12,
	EC_SMC32 = 0x13,
	EC_SVC64 = 0x15,
	EC_HVC64 = 0x16,
	EC_SMC64 = 0x17,
	EC_SYSTEM_REGISTER = 0x18,
	EC_SVE = 0x19,
	EC_ERET = 0x1a,
	EC_PAC_FAIL = 0x1c,
	EC_SME = 0x1d,
	EC_INSTRUCTION_ABORT_LOWER = 0x20,
	EC_INSTRUCTION_ABORT = 0x21,
	EC_PC_ALIGNMENT = 0x22,
	EC_DATA_ABORT_LOWER = 0x24,
	EC_DATA_ABORT = 0x25,
	EC_SP_ALIGNMENT = 0x26,
	EC_MOPS = 0x27,
	EC_FP_TRAP32 = 0x28,
	EC_FP_TRAP64 = 0x2c,
	EC_SERROR = 0x2f,
	EC_BREAKPOINT_LOWER = 0x30,
	EC_BREAKPOINT = 0x31,
	EC_STEP_LOWER = 0x32,
	EC_STEP = 0x33,
	EC_WATCHPOINT_LOWER = 0x34,
	EC_WATCHPOINT = 0x35,
	EC_BKPT32 = 0x38,
	EC_VECTOR_CATCH32 = 0x3a,
	EC_BRK64 = 0x3c,
};

/* Op0, Op1, CRn, CRm, Op2 of a system register or instruction, placed as in the ISS of EC 0x18. */
#define SYSTEM_REGISTER(op0, op1, crn, crm, op2)                                                                       \
	((uint32_t)(op0) << 20 | (uint32_t)(op2) << 17 | (uint32_t)(op1) << 14 | (uint32_t)(crn) << 10 |               \
	 (uint32_t)(crm) << 1)

/* Fields of the ID registers that the hypervisor itself asks for, D19.2.61 onward: low bit of each 4-bit field. */
#define ID_FIELD(value, low) ((unsigned)field((value), (low) + 3, (low)))
#define PFR0_GIC_LOW         24
#define PFR0_RAS_LOW         28
#define PFR0_SVE_LOW         32
#define PFR0_AMU_LOW         44
#define PFR1_SSBS_LOW        4
#define PFR1_SME_LOW         24
#define MMFR0_PARANGE_LOW    0
#define MMFR0_TGRAN16_LOW    20
#define MMFR0_TGRAN16_NONE   0
#define MMFR0_TGRAN64_LOW    24
#define MMFR0_TGRAN64_NONE   0xf
#define MMFR0_TGRAN4_LOW     28
#define MMFR0_TGRAN4_NONE    0xf
#define MMFR0_TGRAN4_2_LOW   40
#define MMFR0_TGRAN4_2_NONE  1
#define MMFR0_FGT_LOW        56
#define MMFR1_HAFDBS_LOW     0
#define MMFR1_HAFDBS_DIRTY   2
#define MMFR1_LO_LOW         16
#define MMFR1_PAN_LOW        20
#define MMFR1_HCX_LOW        40
#define MMFR2_FWB_LOW        40
#define MMFR4_E2H0_LOW       24
#define DFR0_BRPS_LOW        12
#define DFR0_WRPS_LOW        20
#define DFR0_TRACEFILT_LOW   40
#define DFR0_PMSVER_LOW      32
