/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page-table formats, one file each in mm/formats/. A format is data plus a few tiny encoders; the
 * walker (npt.h) knows nothing else about an ISA. Each function below fills a `struct npt_format` for one
 * machine: a leaf size that its CPU lacks is cleared there, so that the walker never makes one.
 */
#pragma once

#include "mm/npt.h"

/* Intel EPT, SDM vol. 3C 29.3 "The extended page table mechanism (EPT)". From IA32_VMX_EPT_VPID_CAP. */
struct ept_capabilities {
	bool leaf_2m, leaf_1g;
	bool execute_only;
	bool five_level;       /* use 5 levels (57-bit GPA) */
	bool accessed_dirty;   /* EPTP bit 6 will be set */
	uint8_t physical_bits; /* MAXPHYADDR */
};
void npt_format_ept(struct npt_format *format, const struct ept_capabilities *capabilities);

/* AMD nested paging, APM vol. 2 15.25: the long-mode format, every entry "user". */
struct amd_npt_capabilities {
	bool leaf_1g;
	bool no_execute;       /* EFER.NXE is set in the host */
	uint8_t physical_bits; /* CPUID 8000_0008 EAX[7:0] */
};
void npt_format_amd(struct npt_format *format, const struct amd_npt_capabilities *capabilities);

/*
 * Arm stage 2, 4 KiB granule, Arm ARM D8.2. The start level and the number of concatenated root tables
 * follow from ipa_bits (32 to 48, no more than physical_bits; else MM_ERANGE): the caller reads them back from
 * `levels` and `root_order` for VTCR_EL2.
 */
struct arm_stage2_capabilities {
	uint8_t ipa_bits;
	uint8_t physical_bits; /* at most 48: no LPA2 */
	bool force_write_back; /* FEAT_S2FWB, and HCR_EL2.FWB will be set */
	bool hardware_dirty;   /* FEAT_HAFDBS with dirty state, and VTCR_EL2.HA and HD will be set */
};
int npt_format_arm_stage2(struct npt_format *format, const struct arm_stage2_capabilities *capabilities);

/*
 * RISC-V G-stage, Sv39x4 (3 levels) and Sv48x4 (4 levels; else MM_EINVAL), privileged specification "hypervisor
 * extension".
 */
struct riscv_gstage_capabilities {
	uint8_t levels;        /* 3 or 4 */
	uint8_t physical_bits; /* at most 56 */
	bool svpbmt;           /* Svpbmt, and henvcfg.PBMTE set: memory types reach the hardware */
};
int npt_format_riscv(struct npt_format *format, const struct riscv_gstage_capabilities *capabilities);

/* The hypervisor's own tables: x86-64 long mode (SDM vol. 3A 4.5), supervisor pages. PAT as set by arch. */
struct x86_host_capabilities {
	bool leaf_1g;
	uint8_t physical_bits;
};
void npt_format_x86_host(struct npt_format *format, const struct x86_host_capabilities *capabilities);

/* The hypervisor's own tables: EL2 stage 1 (one VA range when HCR_EL2.E2H = 0), 48-bit, 4 KiB granule. */
struct arm_el2_capabilities {
	uint8_t physical_bits;
};
void npt_format_arm_el2(struct npt_format *format, const struct arm_el2_capabilities *capabilities);

/*
 * MAIR_EL2 / IA32_PAT indexes that the two host formats use for each enum mm_memory_type; arch programs the
 * registers to match: index = (enum value). x86 IA32_PAT: 0 WB, 1 WT, 2 WC, 3 UC, 4 UC; MAIR_EL2: 0 normal
 * WB (0xff), 1 normal WT (0xbb), 2 normal NC (0x44), 3 device-nGnRE (0x04), 4 device-nGnRnE (0x00).
 */
#define X86_HOST_PAT UINT64_C(0x0000000000010406)
#define ARM_EL2_MAIR UINT64_C(0x000000000444bbff)
