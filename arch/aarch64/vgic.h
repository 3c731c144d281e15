/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual interrupt controller: a distributor (and redistributors, version 3) in software, whose answers reach
 * the guest through the list registers of the machine's GIC. vgic.c holds the state and fills the list registers,
 * vgic_mmio.c is the register interface; gic_host.c gives the list registers, a test gives false ones.
 */
#pragma once

#include "arch_types.h"

/* Where the guest finds it: QEMU's virt machine has it there. */
#define VGIC_DISTRIBUTOR_BASE    UINT64_C(0x08000000)
#define VGIC_DISTRIBUTOR_BYTES   UINT64_C(0x10000)
#define VGIC_CPU_INTERFACE_BASE  UINT64_C(0x08010000) /* v2 */
#define VGIC_CPU_INTERFACE_BYTES UINT64_C(0x2000)
#define VGIC_REDISTRIBUTOR_BASE  UINT64_C(0x080a0000) /* v3, two frames of 64 KiB per vCPU */
#define VGIC_REDISTRIBUTOR_BYTES UINT64_C(0x20000)

/* All of it from the distributor on, whichever version. */
#define VGIC_WINDOW_BYTES (VGIC_REDISTRIBUTOR_BASE + ARM_VCPUS_MAX * VGIC_REDISTRIBUTOR_BYTES - VGIC_DISTRIBUTOR_BASE)

/* INTIDs of the guest's timers: the Base System Architecture's. */
#define VGIC_VIRTUAL_TIMER  27
#define VGIC_PHYSICAL_TIMER 30

/* GICD_CTLR */
#define VGIC_CONTROL_GROUP0 0x1U
#define VGIC_CONTROL_GROUP1 0x2U

/* A list register, whatever its format. */
struct vgic_list_register {
	uint16_t intid;
	uint8_t priority;
	uint8_t source; /* v2, SGIs */
	bool group1, pending, active;
	bool hardware; /* the guest's deactivation also deactivates the timer's physical interrupt */
	bool eoi;      /* tell us of the guest's end of interrupt */
};

/* ---- what the machine's GIC does for it: gic_host.c ---- */

unsigned gic_list_registers(void);
void gic_list_register_read(unsigned index, struct vgic_list_register *to);
/* NULL empties it. */
void gic_list_register_write(unsigned index, const struct vgic_list_register *from);
/* Turns the virtual CPU interface on; `underflow`: interrupt us when at most one list register is in use. */
void gic_virtual_enable(bool underflow);
void gic_virtual_disable(void);
void gic_virtual_load(const struct vgic_cpu *vgic);
void gic_virtual_save(struct vgic_cpu *vgic);
/* The virtual CPU interface's priority mask and enables, of the loaded vCPU. */
uint32_t gic_virtual_vmcr(void);
/* Makes the virtual timer's physical interrupt active (so that it stays quiet) or inactive. */
void gic_hold_virtual_timer(bool hold);
/* Whether the loaded vCPU's virtual timer asserts its line. */
bool arm_virtual_timer_asserted(void);

/* ---- vgic.c ---- */

void vgic_init(struct arch_vm *vm, unsigned version);
/* To the state after reset. */
void vgic_reset(struct arch_vcpu *vcpu);
void vgic_load(struct arch_vcpu *vcpu);
void vgic_put(struct arch_vcpu *vcpu);
/* Takes what is in the list registers back into the banks: before anything looks at the banks. */
void vgic_fold(struct arch_vcpu *vcpu);
/* Folds, and fills the list registers anew. */
void vgic_update(struct arch_vcpu *vcpu);
/* Whether the loaded vCPU has an interrupt that its CPU interface would signal. */
bool vgic_pending(struct arch_vcpu *vcpu);
/* Whether any interrupt is enabled at all. */
bool vgic_any_enabled(struct arch_vcpu *vcpu);
bool vgic_is_enabled(const struct arch_vcpu *vcpu, unsigned intid);
/* SPIs; others are ignored. */
void vgic_set_line(struct arch_vm *vm, unsigned intid, bool level);
/* PPIs of one vCPU. */
void vgic_set_private_line(struct arch_vcpu *vcpu, unsigned intid, bool level);
/* The virtual timer's physical interrupt was acknowledged and is ours to hold. */
void vgic_virtual_timer_fired(struct arch_vcpu *vcpu);
/* `target_mask`: a bit per vCPU, more is ignored. Where the SGI is of group 1 it comes only if `group1` may be sent. */
void vgic_send_sgi(struct arch_vcpu *sender, uint32_t target_mask, unsigned intid, bool group1);
/* The value of ICC_SGI1R_EL1, or (`group1` false) of ICC_SGI0R_EL1 or ICC_ASGI1R_EL1, to vgic_send_sgi. */
void vgic_send_sgi_register(struct arch_vcpu *sender, uint64_t value, bool group1);

/* The bank of INTIDs 32 * index onward as `vcpu` sees it, or NULL. */
struct vgic_bank *vgic_bank(struct arch_vcpu *vcpu, unsigned index);
/* Every vCPU of the VM looks at its interrupts again before it runs on. */
void vgic_changed(struct arch_vm *vm);

/* ---- vgic_mmio.c ---- */

/*
 * A guest's access of `width` bytes at `address`, if that is one of the controller's registers: then true, and for
 * a read *value is filled. Reserved registers read as zero and ignore writes.
 */
bool vgic_access(struct arch_vcpu *vcpu, gpa_t address, unsigned width, bool write, uint64_t *value);
