/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the machine's GIC, serves the few interrupts that the hypervisor takes, and gives vgic.c its list registers.
 * All other interrupts of the machine are off; one that comes nevertheless is turned off for good.
 */
#include "gic_host.h"

#include "cpu.h"
#include "drivers/acpi_tables.h"
#include "drivers/fdt.h"
#include "lib/log.h"
#include "lib/printf.h"

/* What Server Base System Architecture machines have, where firmware does not tell. */
#define DEFAULT_HYPERVISOR_TIMER 26
#define DEFAULT_VIRTUAL_TIMER    27
#define DEFAULT_MAINTENANCE      25
#define INTID_MASK               UINT32_C(0x3ff)
#define INTID_MASK_V3            UINT32_C(0xffffff)

struct gic_host gic_host;

/* ---- discovery ---- */

static bool discover(const struct arch_host *host, struct timer_description *timers)
{
	struct acpi_tables tables;
	struct fdt fdt;
	if (host->acpi_rsdp && acpi_open(&tables, host->acpi_rsdp, NULL, NULL) &&
	    acpi_gic(&tables, &gic_host.description)) {
		acpi_timers(&tables, timers);
		return true;
	}
	/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
	if (host->fdt && fdt_open(&fdt, (const void *)host->fdt, SIZE_MAX) && fdt_gic(&fdt, &gic_host.description)) {
		fdt_timers(&fdt, timers);
		return true;
	}
	return false;
}

static uint32_t private_or(uint32_t told, uint32_t otherwise)
{
	return told >= GIC_INTID_PPIS && told < GIC_INTID_SPIS ? told : otherwise;
}

static bool choose_version(char *message, size_t size)
{
	/* A version that is not told: redistributors are what tells them apart. */
	const struct gic_description *gic = &gic_host.description;
	bool v3 = gic->version >= 3 || (gic->version == 0 && gic->redistributors > 0);
	if (v3 && ID_FIELD(sysreg_read(id_aa64pfr0_el1), PFR0_GIC_LOW) == 0) {
		snprintf(message, size, "GICv3: the CPU has no system register interface (ID_AA64PFR0_EL1.GIC is 0)");
		return false;
	}
	gic_host.version = v3 ? 3 : 2;
	gic_host.ops = v3 ? &gic_v3_ops : &gic_v2_ops;
	return true;
}

bool gic_host_init(const struct arch_host *host, char *message, size_t size)
{
	struct timer_description timers = {0};
	if (!discover(host, &timers)) {
		snprintf(message, size, "no interrupt controller: neither an ACPI MADT nor a device tree names a GIC");
		return false;
	}
	gic_host.timer = private_or(timers.hypervisor, DEFAULT_HYPERVISOR_TIMER);
	gic_host.virtual_timer = private_or(timers.virtual, DEFAULT_VIRTUAL_TIMER);
	gic_host.maintenance = private_or(gic_host.description.maintenance, DEFAULT_MAINTENANCE);
	if (!choose_version(message, size) || !gic_host.ops->init(message, size)) {
		return false;
	}
	gic_host.ops->set_control(0);
	for (unsigned i = 0; i < gic_host.list_registers; i++) {
		gic_host.ops->write_lr(i, 0);
	}
	gic_host.ops->enable_private(gic_host.timer, true);
	gic_host.ops->enable_private(gic_host.virtual_timer, true);
	gic_host.ops->enable_private(gic_host.maintenance, true);
	log_line("gic", "GICv%u at 0x%llx, %u list registers, interrupts: timer %u, virtual timer %u, maintenance %u",
	         gic_host.version, (unsigned long long)gic_host.description.distributor.base, gic_host.list_registers,
	         gic_host.timer, gic_host.virtual_timer, gic_host.maintenance);
	return true;
}

/* ---- serving ---- */

/* The guest's: it deactivates the interrupt when it is done with it. */
static bool serve_virtual_timer(void)
{
	struct arch_vcpu *vcpu = this_cpu()->loaded;
	if (!vcpu) {
		return false;
	}
	vgic_virtual_timer_fired(vcpu);
	return true;
}

/* A level: its reasons (an end of interrupt, list registers running out) must be gone before it is deactivated. */
static void serve_maintenance(void)
{
	struct arch_vcpu *vcpu = this_cpu()->loaded;
	if (!vcpu) {
		gic_virtual_disable();
		return;
	}
	vgic_fold(vcpu);
	vcpu->vgic.overflow = false;
	gic_virtual_enable(false);
	vcpu->work = true;
}

static unsigned serve(uint32_t acknowledged, uint32_t intid)
{
	const struct gic_ops *ops = gic_host.ops;
	unsigned served = GIC_SERVED_OTHER;

	ops->drop(acknowledged);
	if (intid == gic_host.virtual_timer && serve_virtual_timer()) {
		return served;
	}
	if (intid == gic_host.timer) {
		arm_timer_arm(UINT64_MAX);
		served = GIC_SERVED_TIMER;
	} else if (intid == gic_host.maintenance) {
		serve_maintenance();
	} else if (intid >= GIC_INTID_EXTENDED) {
		return served; /* active it stays quiet, for good; of an LPI this was the end */
	} else if (intid >= GIC_INTID_SPIS) {
		ops->disable_shared(intid);
	} else if (intid != gic_host.virtual_timer && intid >= GIC_INTID_PPIS) {
		ops->enable_private(intid, false);
	}
	ops->deactivate(acknowledged);
	return served;
}

unsigned gic_serve(void)
{
	uint32_t mask = gic_host.version == 2 ? INTID_MASK : INTID_MASK_V3;
	unsigned served = 0;
	for (;;) {
		uint32_t acknowledged = gic_host.ops->acknowledge();
		uint32_t intid = acknowledged & mask;
		if (intid - GIC_INTID_SPECIAL < GIC_INTID_EXTENDED - GIC_INTID_SPECIAL) {
			return served;
		}
		served |= serve(acknowledged, intid);
	}
}

/* ---- for vgic.c ---- */

unsigned gic_list_registers(void)
{
	return gic_host.list_registers;
}

void gic_list_register_read(unsigned index, struct vgic_list_register *to)
{
	gic_host.ops->decode(gic_host.ops->read_lr(index), to);
}

void gic_list_register_write(unsigned index, const struct vgic_list_register *from)
{
	gic_host.ops->write_lr(index, from ? gic_host.ops->encode(from) : 0);
}

void gic_virtual_enable(bool underflow)
{
	gic_host.ops->set_control(underflow ? GICH_HCR_EN | GICH_HCR_UIE : GICH_HCR_EN);
}

void gic_virtual_disable(void)
{
	gic_host.ops->set_control(0);
}

void gic_virtual_load(const struct vgic_cpu *vgic)
{
	gic_host.ops->load(vgic);
}

void gic_virtual_save(struct vgic_cpu *vgic)
{
	gic_host.ops->save(vgic);
}

uint32_t gic_virtual_vmcr(void)
{
	return gic_host.ops->read_vmcr();
}

void gic_hold_virtual_timer(bool hold)
{
	gic_host.ops->set_active(gic_host.virtual_timer, hold);
}
