/* SPDX-License-Identifier: Apache-2.0 */
/*
 * struct arch_vm and struct arch_vcpu of AArch64, which hv/ embeds and never looks into. A vCPU's registers are in
 * three places: x0 to x30 here on every exit; PC and PSTATE in ELR_EL2 and SPSR_EL2 for as long as the vCPU is
 * loaded (the hypervisor takes no exception of its own); EL1's registers, FP and timers in the CPU while loaded.
 */
#pragma once

#include "lib/spinlock.h"
#include "mm/types.h"

struct addr_space;
struct arch_vcpu;

#define ARM_VCPUS_MAX 8 /* GICv2's limit */

/* Exits by exception class (64), then IRQ, FIQ, SError. */
#define ARM_EXIT_COUNTERS 67

/* ---- virtual GIC: vgic.h ---- */

#define VGIC_BANK_INTIDS        32
#define VGIC_SPI_BANKS          3 /* INTIDs 32 to 127 */
#define VGIC_LIST_REGISTERS_MAX 16
#define VGIC_SGIS               16

/* 32 INTIDs, a bit each, as the distributor's registers show them. */
struct vgic_bank {
	uint32_t group; /* 1: group 1 */
	uint32_t enabled;
	uint32_t latched; /* pending by an edge, or by a write to ISPENDR */
	uint32_t line;    /* input level */
	uint32_t active;
	uint32_t edge; /* configured as edge-triggered */
	uint8_t priority[VGIC_BANK_INTIDS];
};

struct vgic {
	struct spinlock lock;
	uint8_t version;  /* 2 or 3 */
	uint32_t control; /* GICD_CTLR's two enable bits */
	struct vgic_bank spi[VGIC_SPI_BANKS];
	uint64_t router[VGIC_SPI_BANKS * VGIC_BANK_INTIDS]; /* v3: GICD_IROUTER; v2: GICD_ITARGETSR's byte */
};

struct vgic_cpu {
	struct vgic_bank private;       /* SGIs and PPIs */
	uint8_t sgi_sources[VGIC_SGIS]; /* v2: which CPUs' SGI is pending */
	uint16_t lr_intid[VGIC_LIST_REGISTERS_MAX];
	uint16_t lr_used; /* list registers of the CPU that hold something; 0 unless loaded */
	bool asleep;      /* GICR_WAKER.ProcessorSleep */
	bool overflow;    /* more interrupts than list registers */
	bool timer_held;  /* the virtual timer's physical interrupt is active on our behalf */
	uint32_t vmcr;    /* the virtual CPU interface's state while not loaded */
	uint32_t active_priorities[2][4];
};

/* ---- the rest ---- */

struct arch_vm {
	struct addr_space *space;
	struct arch_vcpu *vcpu[ARM_VCPUS_MAX];
	unsigned vcpus;
	uint16_t vmid;  /* never 0 */
	uint64_t vttbr; /* VTTBR_EL2: root and VMID */
	uint64_t vtcr;  /* VTCR_EL2: how that root is walked */
	struct vgic vgic;
};

/* EL1's registers that the hypervisor itself never uses. */
struct arm_el1 {
	uint64_t sctlr, cpacr, ttbr0, ttbr1, tcr, mair, amair, contextidr;
	uint64_t vbar, esr, far, afsr0, afsr1, elr, spsr, par;
	uint64_t sp_el0, sp_el1, tpidr_el0, tpidrro_el0, tpidr_el1;
	uint64_t csselr, cntkctl, cntv_ctl, cntv_cval;
};

/* The guest's own breakpoints and watchpoints, Arm ARM D2: debug.c. */
#define ARM_DEBUG_REGISTERS 16
enum arm_debug_kind { ARM_BREAKPOINT, ARM_WATCHPOINT };
struct arm_debug {
	uint64_t value[2][ARM_DEBUG_REGISTERS]; /* by kind: DBGBVR<n>, DBGWVR<n> */
	uint64_t control[2][ARM_DEBUG_REGISTERS];
	uint64_t mdscr;
	bool os_lock;
	bool used; /* value and control were ever written, or enabled: they are loaded with the vCPU */
};

struct arm_fp {
	uint64_t v[32][2];
	uint64_t fpcr, fpsr;
} __attribute__((aligned(16)));

/* A page that mm was last asked for in vain: device registers. Holds while the space's layout is the same. */
#define ARM_MMIO_NONE UINT64_C(1)
struct arm_mmio_page {
	uint64_t hpfar; /* HPFAR_EL2, or ARM_MMIO_NONE, which that never is */
	uint64_t layout;
};

/* An instruction that asks for all of the guest's memory to be cleaned is executed until that is done: sysreg.c. */
struct arm_cleaning {
	bool unfinished;
	uint64_t pc; /* of the instruction */
	gpa_t next;
};

struct arch_vcpu {
	uint64_t x[31];   /* layout.h knows the places of the first four */
	uint64_t host_sp; /* while the guest runs */
	bool work;        /* something to do before the next entry: arm_prepare */
	uint64_t exits[ARM_EXIT_COUNTERS];
	bool loaded;
	bool serror; /* left one behind: it must not run on */
	unsigned index;
	struct arch_vm *vm;
	struct addr_space *space;     /* the VM's */
	uint64_t hcr;                 /* HCR_EL2 while loaded */
	uint64_t deadline;            /* arch_counter() value, UINT64_MAX: none */
	uint64_t pc, pstate;          /* while not loaded */
	uint64_t cntp_ctl, cntp_cval; /* the emulated physical timer */
	struct arm_el1 el1;
	struct vgic_cpu vgic;
	struct arm_mmio_page mmio;
	struct arm_cleaning cleaning;
	struct arm_debug debug;
	bool fp_loaded; /* while loaded: the CPU holds `fp`, and the guest may use it */
	struct arm_fp fp;
} __attribute__((aligned(16)));
