/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GIC version 2 (IHI 0048): everything by memory. The guest gets the virtual CPU interface (GICV) in place of a CPU
 * interface of its own. Called through gic_host.c only.
 */
#include "cpu.h"
#include "gic_host.h"
#include "lib/io.h"
#include "lib/printf.h"

/* Distributor, 4.3 */
#define GICD_CTLR        0x000
#define GICD_TYPER       0x004
#define GICD_ISENABLER   0x100
#define GICD_ICENABLER   0x180
#define GICD_ICPENDR     0x280
#define GICD_ISACTIVER   0x300
#define GICD_ICACTIVER   0x380
#define GICD_IPRIORITYR  0x400
#define GICD_BYTES       UINT64_C(0x1000)
#define GICD_CTLR_ENABLE 1U
#define GICD_TYPER_LINES BITS(4, 0)
#define DEFAULT_PRIORITY 0xa0a0a0a0U
/* CPU interface, 4.4 */
#define GICC_CTLR         0x0000
#define GICC_PMR          0x0004
#define GICC_BPR          0x0008
#define GICC_IAR          0x000c
#define GICC_EOIR         0x0010
#define GICC_DIR          0x1000
#define GICC_BYTES        UINT64_C(0x2000)
#define GICC_CTLR_ENABLE  BIT(0)
#define GICC_CTLR_EOIMODE BIT(9)
#define GICC_PMR_ALL      0xffU
#define GICC_IAR_INTID    BITS(9, 0)
/* Virtual interface control, 5.3 */
#define GICH_HCR          0x000
#define GICH_VTR          0x004
#define GICH_VMCR         0x008
#define GICH_APR          0x0f0
#define GICH_LR           0x100
#define GICH_BYTES        UINT64_C(0x200)
#define GICH_VTR_LISTREGS BITS(5, 0)
/* GICH_LR<n>, 5.3.10 */
#define LR_INTID            BITS(9, 0)
#define LR_PHYSICAL_LOW     10 /* with LR_HARDWARE; else the source of an SGI, and LR_EOI */
#define LR_SOURCE_HIGH      12
#define LR_EOI              BIT(19)
#define LR_PRIORITY_LOW     23
#define LR_PRIORITY_DROPPED 3 /* it holds the upper five bits */
#define LR_PENDING          BIT(28)
#define LR_ACTIVE           BIT(29)
#define LR_GROUP1           BIT(30)
#define LR_HARDWARE         BIT(31)

static uintptr_t gicd, gicc, gich;

static bool init(char *message, size_t size)
{
	const struct gic_description *gic = &gic_host.description;
	gicd = gic->distributor.base;
	gicc = gic->cpu_interface.base;
	gich = gic->hypervisor.base;
	if (gicc == 0 || gich == 0 || gic->virtual_cpu.base == 0) {
		snprintf(message, size, "GICv2: the firmware's tables name no GICC, GICH or GICV");
		return false;
	}
	if (!arch_map_device(gicd, GICD_BYTES) || !arch_map_device(gicc, GICC_BYTES) ||
	    !arch_map_device(gich, GICH_BYTES)) {
		snprintf(message, size, "GICv2: no memory to map its registers");
		return false;
	}
	unsigned banks = (unsigned)(mmio_read32(gicd + GICD_TYPER) & GICD_TYPER_LINES) + 1;
	for (unsigned i = 0; i < banks; i++) {
		mmio_write32(gicd + GICD_ICENABLER + i * sizeof(uint32_t), UINT32_MAX);
	}
	mmio_write32(gicd + GICD_ICPENDR, UINT32_MAX);
	mmio_write32(gicd + GICD_ICACTIVER, UINT32_MAX);
	for (unsigned i = 0; i < VGIC_BANK_INTIDS / sizeof(uint32_t); i++) {
		mmio_write32(gicd + GICD_IPRIORITYR + i * sizeof(uint32_t), DEFAULT_PRIORITY);
	}
	mmio_write32(gicd + GICD_CTLR, GICD_CTLR_ENABLE);
	mmio_write32(gicc + GICC_PMR, GICC_PMR_ALL);
	mmio_write32(gicc + GICC_BPR, 0);
	mmio_write32(gicc + GICC_CTLR, (uint32_t)(GICC_CTLR_ENABLE | GICC_CTLR_EOIMODE));
	gic_host.list_registers =
		MIN((unsigned)(mmio_read32(gich + GICH_VTR) & GICH_VTR_LISTREGS) + 1, VGIC_LIST_REGISTERS_MAX);
	return true;
}

static void enable_private(unsigned intid, bool enable)
{
	mmio_write32(gicd + (enable ? GICD_ISENABLER : GICD_ICENABLER), UINT32_C(1) << intid);
}

static void disable_shared(unsigned intid)
{
	mmio_write32(gicd + GICD_ICENABLER + intid / VGIC_BANK_INTIDS * sizeof(uint32_t),
	             UINT32_C(1) << (intid % VGIC_BANK_INTIDS));
}

static void set_active(unsigned intid, bool active)
{
	mmio_write32(gicd + (active ? GICD_ISACTIVER : GICD_ICACTIVER), UINT32_C(1) << intid);
}

/* With an SGI's source, which its end wants to be told. */
static uint32_t acknowledge(void)
{
	return mmio_read32(gicc + GICC_IAR);
}

static void drop(uint32_t acknowledged)
{
	mmio_write32(gicc + GICC_EOIR, acknowledged);
}

static void deactivate(uint32_t acknowledged)
{
	mmio_write32(gicc + GICC_DIR, acknowledged);
}

/* ---- the virtual interface ---- */

static uint64_t read_lr(unsigned index)
{
	return mmio_read32(gich + GICH_LR + index * sizeof(uint32_t));
}

static void write_lr(unsigned index, uint64_t value)
{
	mmio_write32(gich + GICH_LR + index * sizeof(uint32_t), (uint32_t)value);
}

static uint64_t encode(const struct vgic_list_register *lr)
{
	uint64_t value = lr->intid | (uint64_t)(lr->priority >> LR_PRIORITY_DROPPED) << LR_PRIORITY_LOW;
	value |= lr->group1 ? LR_GROUP1 : 0;
	value |= lr->pending ? LR_PENDING : 0;
	value |= lr->active ? LR_ACTIVE : 0;
	if (lr->hardware) {
		return value | LR_HARDWARE | (uint64_t)gic_host.virtual_timer << LR_PHYSICAL_LOW;
	}
	return value | (uint64_t)lr->source << LR_PHYSICAL_LOW | (lr->eoi ? LR_EOI : 0);
}

static void decode(uint64_t value, struct vgic_list_register *lr)
{
	*lr = (struct vgic_list_register){
		.intid = (uint16_t)(value & LR_INTID),
		.pending = value & LR_PENDING,
		.active = value & LR_ACTIVE,
		.hardware = value & LR_HARDWARE,
		.eoi = (value & (LR_HARDWARE | LR_EOI)) == LR_EOI,
	};
	lr->source = lr->hardware ? 0 : (uint8_t)field(value, LR_SOURCE_HIGH, LR_PHYSICAL_LOW);
}

static void set_control(uint32_t value)
{
	mmio_write32(gich + GICH_HCR, value);
}

static uint32_t read_vmcr(void)
{
	return mmio_read32(gich + GICH_VMCR);
}

static void load(const struct vgic_cpu *vgic)
{
	mmio_write32(gich + GICH_VMCR, vgic->vmcr);
	mmio_write32(gich + GICH_APR, vgic->active_priorities[0][0]);
}

static void save(struct vgic_cpu *vgic)
{
	vgic->vmcr = mmio_read32(gich + GICH_VMCR);
	vgic->active_priorities[0][0] = mmio_read32(gich + GICH_APR);
}

const struct gic_ops gic_v2_ops = {
	.init = init,
	.enable_private = enable_private,
	.disable_shared = disable_shared,
	.set_active = set_active,
	.acknowledge = acknowledge,
	.drop = drop,
	.deactivate = deactivate,
	.read_lr = read_lr,
	.write_lr = write_lr,
	.encode = encode,
	.decode = decode,
	.set_control = set_control,
	.read_vmcr = read_vmcr,
	.load = load,
	.save = save,
};
