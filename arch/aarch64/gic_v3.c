/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GIC version 3 and 4 (IHI 0069): the distributor and this CPU's redistributor by memory, the CPU interface and the
 * virtual interface by system registers. Called through gic_host.c only.
 */
#include "cpu.h"
#include "gic_host.h"
#include "lib/io.h"
#include "lib/printf.h"

/* Distributor, 12.9 */
#define GICD_CTLR               0x0000
#define GICD_TYPER              0x0004
#define GICD_IGROUPR            0x0080
#define GICD_ICENABLER          0x0180
#define GICD_CTLR_ENABLES       BITS(1, 0) /* of either group, or of group 1 in both ways where group 0 is Secure */
#define GICD_CTLR_ENABLE_GROUP1 BIT(1)
#define GICD_CTLR_ARE           BIT(4)
#define GICD_CTLR_RWP           BIT(31)
#define GICD_TYPER_LINES        BITS(4, 0)
/* Redistributor, 12.11: RD_base, then SGI_base; four frames with VLPIs (version 4) */
#define GICR_TYPER                 0x0008
#define GICR_WAKER                 0x0014
#define GICR_SGI_FRAME             0x10000
#define GICR_IGROUPR0              0x0080
#define GICR_ISENABLER0            0x0100
#define GICR_ICENABLER0            0x0180
#define GICR_ICPENDR0              0x0280
#define GICR_ISACTIVER0            0x0300
#define GICR_ICACTIVER0            0x0380
#define GICR_IPRIORITYR            0x0400
#define GICR_CTLR                  0x0000
#define GICR_CTLR_RWP              BIT(3)
#define GICR_TYPER_VLPIS           BIT(1)
#define GICR_TYPER_LAST            BIT(4)
#define GICR_TYPER_AFFINITY_LOW    32
#define GICR_FRAMES_BYTES          UINT64_C(0x20000)
#define GICR_WAKER_PROCESSOR_SLEEP BIT(1)
#define GICR_WAKER_CHILDREN_ASLEEP BIT(2)
#define DEFAULT_PRIORITY           0xa0a0a0a0U
/* Registers */
#define ICC_SRE_SRE          BIT(0)
#define ICC_SRE_DFB          BIT(1)
#define ICC_SRE_DIB          BIT(2)
#define ICC_CTLR_EOIMODE     BIT(1)
#define ICC_PMR_ALL          UINT64_C(0xff)
#define ICH_VTR_LISTREGS     BITS(4, 0)
#define ICH_VTR_PREBITS_HIGH 28
#define ICH_VTR_PREBITS_LOW  26
/* ICH_LR<n>_EL2, 12.4.5 */
#define LR_INTID        BITS(31, 0)
#define LR_EOI          BIT(41)
#define LR_PHYSICAL_LOW 32
#define LR_PRIORITY_LOW 48
#define LR_GROUP1       BIT(60)
#define LR_HARDWARE     BIT(61)
#define LR_PENDING      BIT(62)
#define LR_ACTIVE       BIT(63)

#define WAIT_ROUNDS 1000000U

static uintptr_t redistributor; /* this CPU's RD_base */
static unsigned active_priority_registers;

static bool wait_clear(uintptr_t address, uint64_t bits)
{
	for (unsigned i = 0; i < WAIT_ROUNDS; i++) {
		if (!(mmio_read32(address) & bits)) {
			return true;
		}
	}
	return false;
}

/* MPIDR_EL1's Aff3 to Aff0 packed as GICR_TYPER has them. */
static uint64_t own_affinity(void)
{
	uint64_t mpidr = sysreg_read(mpidr_el1);
	return field(mpidr, 23, 0) | field(mpidr, 39, 32) << 24;
}

static bool find_redistributor(void)
{
	const struct gic_description *gic = &gic_host.description;
	uint64_t own = own_affinity();

	for (unsigned i = 0; i < gic->redistributors; i++) {
		uint64_t base = gic->redistributor[i].base;
		uint64_t end = base + gic->redistributor[i].bytes;
		uint64_t type = 0;
		for (; base + GICR_FRAMES_BYTES <= end && !(type & GICR_TYPER_LAST); base += GICR_FRAMES_BYTES) {
			type = mmio_read64(base + GICR_TYPER);
			if (type >> GICR_TYPER_AFFINITY_LOW == own) {
				redistributor = base;
				return true;
			}
			base += type & GICR_TYPER_VLPIS ? GICR_FRAMES_BYTES : 0;
		}
	}
	return false;
}

static bool map(void)
{
	const struct gic_description *gic = &gic_host.description;
	bool mapped = arch_map_device(gic->distributor.base, MAX(gic->distributor.bytes, VGIC_DISTRIBUTOR_BYTES));
	for (unsigned i = 0; i < gic->redistributors; i++) {
		mapped = mapped && arch_map_device(gic->redistributor[i].base, gic->redistributor[i].bytes);
	}
	return mapped;
}

/*
 * Each step waits for the one before: a GIC may ignore a write of GICD_CTLR while others are pending (GIC-600 does),
 * and groups may be changed only of what is off (GICD_CTLR.RWP, 12.9.4).
 */
static bool init_distributor(void)
{
	uintptr_t base = gic_host.description.distributor.base;
	uintptr_t control = base + GICD_CTLR;
	unsigned banks = (unsigned)(mmio_read32(base + GICD_TYPER) & GICD_TYPER_LINES);

	mmio_write32(control, mmio_read32(control) & ~(uint32_t)GICD_CTLR_ENABLES);
	if (!wait_clear(control, GICD_CTLR_RWP)) {
		return false;
	}
	for (unsigned i = 1; i <= banks; i++) {
		mmio_write32(base + GICD_ICENABLER + i * sizeof(uint32_t), UINT32_MAX);
	}
	if (!wait_clear(control, GICD_CTLR_RWP)) {
		return false;
	}
	for (unsigned i = 1; i <= banks; i++) {
		mmio_write32(base + GICD_IGROUPR + i * sizeof(uint32_t), UINT32_MAX);
	}
	mmio_write32(control, (uint32_t)(GICD_CTLR_ARE | GICD_CTLR_ENABLE_GROUP1));
	return wait_clear(control, GICD_CTLR_RWP);
}

static bool init_redistributor(void)
{
	uintptr_t sgi = redistributor + GICR_SGI_FRAME;
	uint32_t waker = mmio_read32(redistributor + GICR_WAKER);

	mmio_write32(redistributor + GICR_WAKER, waker & ~(uint32_t)GICR_WAKER_PROCESSOR_SLEEP);
	if (!wait_clear(redistributor + GICR_WAKER, GICR_WAKER_CHILDREN_ASLEEP)) {
		return false;
	}
	mmio_write32(sgi + GICR_ICENABLER0, UINT32_MAX);
	if (!wait_clear(redistributor + GICR_CTLR, GICR_CTLR_RWP)) {
		return false;
	}
	mmio_write32(sgi + GICR_ICPENDR0, UINT32_MAX);
	mmio_write32(sgi + GICR_ICACTIVER0, UINT32_MAX);
	mmio_write32(sgi + GICR_IGROUPR0, UINT32_MAX);
	for (unsigned i = 0; i < VGIC_BANK_INTIDS / sizeof(uint32_t); i++) {
		mmio_write32(sgi + GICR_IPRIORITYR + i * sizeof(uint32_t), DEFAULT_PRIORITY);
	}
	return true;
}

/* ICC_SRE_EL2.Enable stays 0: a guest's use of ICC_SRE_EL1 traps, so that it cannot leave this interface. */
static bool init_cpu_interface(void)
{
	sysreg_write(ICC_SRE_EL2, ICC_SRE_SRE | ICC_SRE_DFB | ICC_SRE_DIB);
	isb();
	if (!(sysreg_read(ICC_SRE_EL2) & ICC_SRE_SRE)) {
		return false;
	}
	sysreg_write(ICC_SRE_EL1, ICC_SRE_SRE | ICC_SRE_DFB | ICC_SRE_DIB);
	isb();
	sysreg_write(ICC_PMR_EL1, ICC_PMR_ALL);
	sysreg_write(ICC_BPR1_EL1, 0);
	sysreg_write(ICC_CTLR_EL1, ICC_CTLR_EOIMODE);
	sysreg_write(ICC_IGRPEN1_EL1, 1);
	isb();
	return true;
}

static bool init(char *message, size_t size)
{
	if (!map() || !find_redistributor()) {
		snprintf(message, size, "GICv3: no redistributor for this CPU in the firmware's tables");
		return false;
	}
	if (!init_cpu_interface()) {
		snprintf(message, size,
		         "GICv3: ICC_SRE_EL2.SRE stays 0: the firmware keeps the system register interface "
		         "for itself");
		return false;
	}
	if (!init_distributor() || !init_redistributor()) {
		snprintf(message, size, "GICv3: the distributor or redistributor at 0x%llx does not answer",
		         (unsigned long long)redistributor);
		return false;
	}
	uint64_t vtr = sysreg_read(ICH_VTR_EL2);
	gic_host.list_registers = MIN((unsigned)(vtr & ICH_VTR_LISTREGS) + 1, VGIC_LIST_REGISTERS_MAX);
	/* PREbits is one less than 5, 6 or 7 bits: 1, 2 or 4 registers of 32 priorities. */
	active_priority_registers = 1U << (field(vtr, ICH_VTR_PREBITS_HIGH, ICH_VTR_PREBITS_LOW) + 1 - 5);
	return true;
}

static void enable_private(unsigned intid, bool enable)
{
	mmio_write32(redistributor + GICR_SGI_FRAME + (enable ? GICR_ISENABLER0 : GICR_ICENABLER0), UINT32_C(1)
	                                                                                                    << intid);
}

static void disable_shared(unsigned intid)
{
	uintptr_t base = gic_host.description.distributor.base + GICD_ICENABLER;
	mmio_write32(base + intid / VGIC_BANK_INTIDS * sizeof(uint32_t), UINT32_C(1) << (intid % VGIC_BANK_INTIDS));
}

static void set_active(unsigned intid, bool active)
{
	mmio_write32(redistributor + GICR_SGI_FRAME + (active ? GICR_ISACTIVER0 : GICR_ICACTIVER0), UINT32_C(1)
	                                                                                                    << intid);
}

static uint32_t acknowledge(void)
{
	uint32_t intid = (uint32_t)sysreg_read(ICC_IAR1_EL1);
	dsb(sy);
	return intid;
}

static void drop(uint32_t intid)
{
	sysreg_write(ICC_EOIR1_EL1, intid);
	isb();
}

static void deactivate(uint32_t intid)
{
	sysreg_write(ICC_DIR_EL1, intid);
	isb();
}

/* ---- the virtual interface ---- */

#define FOR_EACH_LR(do_)                                                                                               \
	do_(0) do_(1) do_(2) do_(3) do_(4) do_(5) do_(6) do_(7) do_(8) do_(9) do_(10) do_(11) do_(12) do_(13) do_(14)  \
		do_(15)

#define READ_LR(n)                                                                                                     \
	case n:                                                                                                        \
		return sysreg_read(ICH_LR##n##_EL2);
#define WRITE_LR(n)                                                                                                    \
	case n:                                                                                                        \
		sysreg_write(ICH_LR##n##_EL2, value);                                                                  \
		break;

static uint64_t read_lr(unsigned index)
{
	switch (index) {
		FOR_EACH_LR(READ_LR)
	default:
		return 0;
	}
}

static void write_lr(unsigned index, uint64_t value)
{
	switch (index) {
		FOR_EACH_LR(WRITE_LR)
	default:
		break;
	}
}

static uint64_t encode(const struct vgic_list_register *lr)
{
	uint64_t value = lr->intid | (uint64_t)lr->priority << LR_PRIORITY_LOW;
	value |= lr->group1 ? LR_GROUP1 : 0;
	value |= lr->pending ? LR_PENDING : 0;
	value |= lr->active ? LR_ACTIVE : 0;
	value |= lr->hardware ? LR_HARDWARE | (uint64_t)gic_host.virtual_timer << LR_PHYSICAL_LOW : 0;
	return value | (lr->eoi ? LR_EOI : 0);
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
}

static void set_control(uint32_t value)
{
	sysreg_write(ICH_HCR_EL2, value);
}

static uint32_t read_vmcr(void)
{
	return (uint32_t)sysreg_read(ICH_VMCR_EL2);
}

static void load(const struct vgic_cpu *vgic)
{
	sysreg_write(ICH_VMCR_EL2, vgic->vmcr);
	sysreg_write(ICH_AP0R0_EL2, vgic->active_priorities[0][0]);
	sysreg_write(ICH_AP1R0_EL2, vgic->active_priorities[1][0]);
	if (active_priority_registers > 1) {
		sysreg_write(ICH_AP0R1_EL2, vgic->active_priorities[0][1]);
		sysreg_write(ICH_AP1R1_EL2, vgic->active_priorities[1][1]);
	}
	if (active_priority_registers > 2) {
		sysreg_write(ICH_AP0R2_EL2, vgic->active_priorities[0][2]);
		sysreg_write(ICH_AP1R2_EL2, vgic->active_priorities[1][2]);
		sysreg_write(ICH_AP0R3_EL2, vgic->active_priorities[0][3]);
		sysreg_write(ICH_AP1R3_EL2, vgic->active_priorities[1][3]);
	}
}

static void save(struct vgic_cpu *vgic)
{
	vgic->vmcr = (uint32_t)sysreg_read(ICH_VMCR_EL2);
	vgic->active_priorities[0][0] = (uint32_t)sysreg_read(ICH_AP0R0_EL2);
	vgic->active_priorities[1][0] = (uint32_t)sysreg_read(ICH_AP1R0_EL2);
	if (active_priority_registers > 1) {
		vgic->active_priorities[0][1] = (uint32_t)sysreg_read(ICH_AP0R1_EL2);
		vgic->active_priorities[1][1] = (uint32_t)sysreg_read(ICH_AP1R1_EL2);
	}
	if (active_priority_registers > 2) {
		vgic->active_priorities[0][2] = (uint32_t)sysreg_read(ICH_AP0R2_EL2);
		vgic->active_priorities[1][2] = (uint32_t)sysreg_read(ICH_AP1R2_EL2);
		vgic->active_priorities[0][3] = (uint32_t)sysreg_read(ICH_AP0R3_EL2);
		vgic->active_priorities[1][3] = (uint32_t)sysreg_read(ICH_AP1R3_EL2);
	}
}

const struct gic_ops gic_v3_ops = {
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
