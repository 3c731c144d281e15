/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's GIC, version 2 or 3, inside arch/aarch64: interrupts for the hypervisor (its timer, the guest's
 * virtual timer, maintenance) and the list registers that vgic.h names. gic_host.c finds it and chooses between
 * gic_v2.c and gic_v3.c.
 */
#pragma once

#include "arch/arch.h"
#include "drivers/arm_platform.h"
#include "vgic.h"

#define GIC_INTID_PPIS     16
#define GIC_INTID_SPIS     32
#define GIC_INTID_SPECIAL  1020 /* to 1023: no interrupt */
#define GIC_INTID_EXTENDED 1024 /* from here on, version 3: extended PPIs and SPIs, LPIs; nobody here enables them */

struct gic_ops {
	/* The distributor and this CPU's interface, all interrupts off. */
	bool (*init)(char *message, size_t size);
	void (*enable_private)(unsigned intid, bool enable); /* PPIs */
	void (*disable_shared)(unsigned intid);              /* SPIs */
	void (*set_active)(unsigned intid, bool active);     /* PPIs */
	uint32_t (*acknowledge)(void);
	void (*drop)(uint32_t acknowledged);       /* end of interrupt: drops the priority */
	void (*deactivate)(uint32_t acknowledged); /* the second half of the end of interrupt */
	uint64_t (*read_lr)(unsigned index);
	void (*write_lr)(unsigned index, uint64_t value);
	uint64_t (*encode)(const struct vgic_list_register *lr);
	void (*decode)(uint64_t value, struct vgic_list_register *lr);
	void (*set_control)(uint32_t value); /* ICH_HCR_EL2, GICH_HCR */
	uint32_t (*read_vmcr)(void);
	void (*load)(const struct vgic_cpu *vgic);
	void (*save)(struct vgic_cpu *vgic);
};

extern const struct gic_ops gic_v2_ops, gic_v3_ops;

struct gic_host {
	const struct gic_ops *ops;
	struct gic_description description;
	unsigned version;        /* 2 or 3 */
	unsigned list_registers; /* set by init */
	/* INTIDs of private interrupts */
	uint32_t timer, virtual_timer, maintenance;
};
extern struct gic_host gic_host;

/* Finds the GIC and the timers' interrupts by ACPI or device tree, takes it, and enables what we serve. */
bool gic_host_init(const struct arch_host *host, char *message, size_t size);

enum gic_served {
	GIC_SERVED_TIMER = 1, /* the hypervisor's own timer */
	GIC_SERVED_OTHER = 2,
};
/* Takes and serves every interrupt that is pending on this CPU; which they were, by enum gic_served. */
unsigned gic_serve(void);

/* ICH_HCR_EL2 (IHI 0069 12.4.4) and GICH_HCR (IHI 0048 5.3.2) */
#define GICH_HCR_EN  0x1U
#define GICH_HCR_UIE 0x2U
