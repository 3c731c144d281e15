/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual GIC's registers: distributor of version 2 (IHI 0048 4.3) and 3 (IHI 0069 12.9) and redistributors
 * (12.11), as a machine with a single Security state has them. Called by vcpu.c for a guest's access that stage 2
 * did not translate; every offset, width and value is the guest's.
 */
#include "vgic.h"

#include "lib/util.h"

/* Offsets in the distributor; those from IGROUPR to ICFGR are the same in a redistributor's SGI frame. */
#define GICD_CTLR          0x0000
#define GICD_TYPER         0x0004
#define GICD_IIDR          0x0008
#define GIC_IGROUPR        0x0080
#define GIC_ISENABLER      0x0100
#define GIC_ICENABLER      0x0180
#define GIC_ISPENDR        0x0200
#define GIC_ICPENDR        0x0280
#define GIC_ISACTIVER      0x0300
#define GIC_ICACTIVER      0x0380
#define GIC_IPRIORITYR     0x0400
#define GICD_ITARGETSR     0x0800
#define GIC_ICFGR          0x0c00
#define GIC_ICFGR_END      0x0d00
#define GICD_SGIR          0x0f00
#define GICD_CPENDSGIR     0x0f10
#define GICD_SPENDSGIR     0x0f20
#define GICD_SPENDSGIR_END 0x0f30
#define GICD_IROUTER       0x6000
#define GICD_IROUTER_END   0x8000
#define GICD_V2_ICPIDR2    0x0fe8
#define GIC_PIDR2          0xffe8
/* A redistributor: two frames of 64 KiB. */
#define GICR_FRAME 0x10000
#define GICR_CTLR  0x0000
#define GICR_IIDR  0x0004
#define GICR_TYPER 0x0008
#define GICR_WAKER 0x0014

#define PIDR2_ARCH_V2           0x20U
#define PIDR2_ARCH_V3           0x30U
#define CTLR_ARE                BIT(4) /* affinity routing: always */
#define CTLR_DS                 BIT(6) /* one Security state */
#define TYPER_CPUS_LOW          5
#define TYPER_IDBITS_LOW        19
#define TYPER_IDBITS            9U /* INTIDs have 10 bits */
#define GICR_TYPER_LAST         BIT(4)
#define GICR_TYPER_NUMBER_LOW   8
#define GICR_TYPER_AFFINITY_LOW 32
#define WAKER_PROCESSOR_SLEEP   BIT(1)
#define WAKER_CHILDREN_ASLEEP   BIT(2)
#define PRIORITY_MASK           0xf8U /* five bits, what every GIC with list registers has */
#define IROUTER_VALID           (BITS(39, 32) | BIT(31) | BITS(23, 0))
#define SGIR_FILTER_HIGH        25
#define SGIR_FILTER_LOW         24
#define SGIR_TARGETS_HIGH       23
#define SGIR_TARGETS_LOW        16
#define SGIR_INTID              BITS(3, 0)
enum sgir_filter { SGIR_LISTED, SGIR_OTHERS, SGIR_SELF };
#define CONFIG_INTIDS 16 /* in one ICFGR */

struct gic_access {
	uint32_t offset;
	unsigned width;
	bool write;
	uint64_t value;
};

/* ---- what both frames of a bank have ---- */

/* ICFGR: two bits an INTID, the higher one for edge-triggered. */
static uint32_t read_config(const struct vgic_bank *bank, unsigned half)
{
	uint32_t value = 0;
	for (unsigned i = 0; i < CONFIG_INTIDS; i++) {
		if (bank->edge & (UINT32_C(1) << (half * CONFIG_INTIDS + i))) {
			value |= UINT32_C(2) << (2 * i);
		}
	}
	return value;
}

static void write_config(struct vgic_bank *bank, unsigned half, uint32_t value)
{
	for (unsigned i = 0; i < CONFIG_INTIDS; i++) {
		uint32_t bit = UINT32_C(1) << (half * CONFIG_INTIDS + i);
		bank->edge = value & (UINT32_C(2) << (2 * i)) ? bank->edge | bit : bank->edge & ~bit;
	}
}

static uint32_t read_word(const struct vgic_bank *bank, uint32_t reg)
{
	switch (reg) {
	case GIC_IGROUPR:
		return bank->group;
	case GIC_ISENABLER:
	case GIC_ICENABLER:
		return bank->enabled;
	case GIC_ISPENDR:
	case GIC_ICPENDR:
		return bank->latched | (bank->line & ~bank->edge);
	case GIC_ISACTIVER:
	case GIC_ICACTIVER:
		return bank->active;
	default:
		return 0;
	}
}

static void write_word(struct vgic_bank *bank, uint32_t reg, uint32_t value)
{
	switch (reg) {
	case GIC_IGROUPR:
		bank->group = value;
		break;
	case GIC_ISENABLER:
		bank->enabled |= value;
		break;
	case GIC_ICENABLER:
		bank->enabled &= ~value;
		break;
	case GIC_ISPENDR:
		bank->latched |= value;
		break;
	case GIC_ICPENDR:
		bank->latched &= ~value;
		break;
	case GIC_ISACTIVER:
		bank->active |= value;
		break;
	case GIC_ICACTIVER:
		bank->active &= ~value;
		break;
	default:
		break;
	}
}

/* In version 2 an SGI's pending state is read only here: it has a source, GICD_SPENDSGIR tells it. */
static uint32_t writable(const struct arch_vcpu *vcpu, unsigned index, uint32_t reg, uint32_t value)
{
	bool pending = reg == GIC_ISPENDR || reg == GIC_ICPENDR;
	if (index == 0 && pending && vcpu->vm->vgic.version == 2) {
		value &= ~((UINT32_C(1) << VGIC_SGIS) - 1);
	}
	return value;
}

/* IPRIORITYR: a byte an INTID, by bytes, half-words or words. */
static void priority_access(struct vgic_bank *bank, unsigned first, struct gic_access *access)
{
	for (unsigned i = 0; i < access->width && first + i < VGIC_BANK_INTIDS; i++) {
		if (access->write) {
			bank->priority[first + i] = (uint8_t)((access->value >> (8 * i)) & PRIORITY_MASK);
		} else {
			access->value |= (uint64_t)bank->priority[first + i] << (8 * i);
		}
	}
}

/* A bank of those that a frame has, `lowest` to `highest`, or NULL. */
static struct vgic_bank *bank_in(struct arch_vcpu *vcpu, unsigned index, unsigned lowest, unsigned highest)
{
	return index >= lowest && index <= highest ? vgic_bank(vcpu, index) : NULL;
}

/*
 * The registers from IGROUPR to ICFGR. Version 2's distributor has all banks, version 3's all but the private one,
 * which is what the redistributors have.
 */
static void bank_access(struct arch_vcpu *vcpu, unsigned lowest, unsigned highest, struct gic_access *access)
{
	uint32_t offset = access->offset;
	struct vgic_bank *bank;
	unsigned index;

	if (offset >= GIC_IPRIORITYR && offset < GICD_ITARGETSR) {
		index = (offset - GIC_IPRIORITYR) / VGIC_BANK_INTIDS;
		bank = bank_in(vcpu, index, lowest, highest);
		if (bank && access->width <= sizeof(uint32_t)) {
			priority_access(bank, offset % VGIC_BANK_INTIDS, access);
		}
		return;
	}
	if (access->width != sizeof(uint32_t)) {
		return;
	}
	if (offset >= GIC_ICFGR) {
		unsigned word = (offset - GIC_ICFGR) / (unsigned)sizeof(uint32_t);
		index = word / 2;
		bank = bank_in(vcpu, index, lowest, highest);
		if (!bank) {
			return;
		}
		if (!access->write) {
			access->value = read_config(bank, word % 2);
		} else if (index > 0) { /* SGIs are edges, our PPIs levels */
			write_config(bank, word % 2, (uint32_t)access->value);
		}
		return;
	}
	index = (offset % (GIC_ISENABLER - GIC_IGROUPR)) / (unsigned)sizeof(uint32_t);
	bank = bank_in(vcpu, index, lowest, highest);
	if (!bank) {
		return;
	}
	uint32_t reg = offset - offset % (GIC_ISENABLER - GIC_IGROUPR);
	if (access->write) {
		write_word(bank, reg, writable(vcpu, index, reg, (uint32_t)access->value));
	} else {
		access->value = read_word(bank, reg);
	}
}

static bool is_bank_register(uint32_t offset)
{
	return (offset >= GIC_IGROUPR && offset < GICD_ITARGETSR) || (offset >= GIC_ICFGR && offset < GIC_ICFGR_END);
}

/* ---- version 2's own ---- */

/* ITARGETSR: of private INTIDs it tells who is asking. */
static void target_access(struct arch_vcpu *vcpu, struct gic_access *access)
{
	struct vgic *vgic = &vcpu->vm->vgic;
	uint32_t cpus = (1U << vcpu->vm->vcpus) - 1;
	unsigned intid = access->offset - GICD_ITARGETSR;

	for (unsigned i = 0; i < access->width; i++, intid++) {
		if (intid < VGIC_BANK_INTIDS) {
			access->value |= access->write ? 0 : (uint64_t)1 << vcpu->index << (8 * i);
		} else if (intid - VGIC_BANK_INTIDS < ARRAY_SIZE(vgic->router)) {
			uint64_t *target = &vgic->router[intid - VGIC_BANK_INTIDS];
			if (access->write) {
				*target = (access->value >> (8 * i)) & cpus;
			} else {
				access->value |= *target << (8 * i);
			}
		}
	}
}

/* CPENDSGIR and SPENDSGIR: a byte an SGI, a bit a source. */
static void sgi_pending_access(struct arch_vcpu *vcpu, struct gic_access *access)
{
	bool set = access->offset >= GICD_SPENDSGIR;
	unsigned intid = access->offset - (set ? GICD_SPENDSGIR : GICD_CPENDSGIR);

	for (unsigned i = 0; i < access->width && intid < VGIC_SGIS; i++, intid++) {
		uint8_t *sources = &vcpu->vgic.sgi_sources[intid];
		uint8_t value = (uint8_t)(access->value >> (8 * i));
		uint32_t bit = UINT32_C(1) << intid;
		if (!access->write) {
			access->value |= (uint64_t)*sources << (8 * i);
			continue;
		}
		*sources = (uint8_t)(set ? *sources | value : *sources & ~value);
		vcpu->vgic.private.latched =
			*sources ? vcpu->vgic.private.latched | bit : vcpu->vgic.private.latched & ~bit;
	}
}

/* Leaves the lock's protection for vgic_send_sgi: the caller holds no lock. */
static void write_sgir(struct arch_vcpu *vcpu, uint32_t value)
{
	uint32_t self = 1U << vcpu->index;
	uint32_t wanted = 0;

	switch (field(value, SGIR_FILTER_HIGH, SGIR_FILTER_LOW)) {
	case SGIR_LISTED:
		wanted = (uint32_t)field(value, SGIR_TARGETS_HIGH, SGIR_TARGETS_LOW);
		break;
	case SGIR_OTHERS:
		wanted = ~self;
		break;
	case SGIR_SELF:
		wanted = self;
		break;
	default:
		break;
	}
	vgic_send_sgi(vcpu, wanted, value & SGIR_INTID, true);
}

/* ---- version 3's own ---- */

/* IROUTER: 64 bits, or its halves. */
static void router_access(struct vgic *vgic, struct gic_access *access)
{
	unsigned intid = (access->offset - GICD_IROUTER) / (unsigned)sizeof(uint64_t);
	unsigned shift = 8 * (access->offset % (unsigned)sizeof(uint64_t));
	unsigned spi = intid - VGIC_BANK_INTIDS;

	if (spi >= ARRAY_SIZE(vgic->router) || access->width < sizeof(uint32_t)) {
		return;
	}
	if (!access->write) {
		access->value = vgic->router[spi] >> shift;
		return;
	}
	uint64_t mask = access->width == sizeof(uint64_t) ? UINT64_MAX : (uint64_t)UINT32_MAX << shift;
	uint64_t value = (vgic->router[spi] & ~mask) | ((access->value << shift) & mask);
	vgic->router[spi] = value & IROUTER_VALID;
}

/* ---- the frames ---- */

static uint64_t distributor_type(const struct arch_vm *vm)
{
	uint64_t type = VGIC_SPI_BANKS;
	if (vm->vgic.version == 2) {
		return type | (uint64_t)(vm->vcpus - 1) << TYPER_CPUS_LOW;
	}
	return type | (uint64_t)TYPER_IDBITS << TYPER_IDBITS_LOW;
}

static void distributor_identity(struct arch_vcpu *vcpu, struct gic_access *access)
{
	struct vgic *vgic = &vcpu->vm->vgic;
	bool v2 = vgic->version == 2;

	if (access->width != sizeof(uint32_t)) {
		return;
	}
	switch (access->offset) {
	case GICD_CTLR:
		if (access->write) {
			vgic->control = access->value & (VGIC_CONTROL_GROUP0 | VGIC_CONTROL_GROUP1);
		} else {
			access->value = vgic->control | (v2 ? 0 : CTLR_ARE | CTLR_DS);
		}
		break;
	case GICD_TYPER:
		access->value = distributor_type(vcpu->vm);
		break;
	case GICD_V2_ICPIDR2:
		access->value = v2 ? PIDR2_ARCH_V2 : 0;
		break;
	case GIC_PIDR2:
		access->value = v2 ? 0 : PIDR2_ARCH_V3;
		break;
	default: /* GICD_IIDR and reserved ones */
		break;
	}
}

static void distributor_access(struct arch_vcpu *vcpu, struct gic_access *access)
{
	bool v2 = vcpu->vm->vgic.version == 2;
	uint32_t offset = access->offset;

	if (is_bank_register(offset)) {
		bank_access(vcpu, v2 ? 0 : 1, VGIC_SPI_BANKS, access);
	} else if (v2 && offset >= GICD_ITARGETSR && offset < GIC_ICFGR) {
		target_access(vcpu, access);
	} else if (v2 && offset >= GICD_CPENDSGIR && offset < GICD_SPENDSGIR_END) {
		sgi_pending_access(vcpu, access);
	} else if (!v2 && offset >= GICD_IROUTER && offset < GICD_IROUTER_END) {
		router_access(&vcpu->vm->vgic, access);
	} else {
		distributor_identity(vcpu, access);
	}
}

/* The vCPU's number and affinity are the same small number. */
static uint64_t redistributor_type(const struct arch_vcpu *vcpu)
{
	uint64_t type = (uint64_t)vcpu->index << GICR_TYPER_AFFINITY_LOW | (uint64_t)vcpu->index
	                                                                           << GICR_TYPER_NUMBER_LOW;
	return vcpu->index + 1 == vcpu->vm->vcpus ? type | GICR_TYPER_LAST : type;
}

/* The first frame; `vcpu` is the one that the redistributor belongs to. */
static void redistributor_access(struct arch_vcpu *vcpu, struct gic_access *access)
{
	switch (access->offset) {
	case GICR_TYPER:
		access->value = redistributor_type(vcpu);
		break;
	case GICR_TYPER + sizeof(uint32_t):
		access->value = redistributor_type(vcpu) >> GICR_TYPER_AFFINITY_LOW;
		break;
	case GICR_WAKER:
		if (access->write) {
			vcpu->vgic.asleep = access->value & WAKER_PROCESSOR_SLEEP;
		} else {
			access->value = vcpu->vgic.asleep ? WAKER_PROCESSOR_SLEEP | WAKER_CHILDREN_ASLEEP : 0;
		}
		break;
	case GIC_PIDR2:
		access->value = PIDR2_ARCH_V3;
		break;
	default: /* GICR_CTLR, GICR_IIDR, LPIs: none */
		break;
	}
}

/* Which frame; `from` is whoever asks. False: none. */
static bool dispatch(struct arch_vcpu *from, gpa_t address, struct gic_access *access)
{
	struct arch_vm *vm = from->vm;
	uint64_t offset = address - VGIC_DISTRIBUTOR_BASE;

	if (offset < VGIC_DISTRIBUTOR_BYTES) {
		access->offset = (uint32_t)offset;
		if (vm->vgic.version == 2 && offset == GICD_SGIR) {
			return true; /* vgic_access does it without the lock */
		}
		distributor_access(from, access);
		return true;
	}
	offset = address - VGIC_REDISTRIBUTOR_BASE;
	if (vm->vgic.version == 2 || offset >= vm->vcpus * VGIC_REDISTRIBUTOR_BYTES) {
		return false;
	}
	struct arch_vcpu *owner = vm->vcpu[offset / VGIC_REDISTRIBUTOR_BYTES];
	access->offset = (uint32_t)(offset % GICR_FRAME);
	if (!owner) {
		return true;
	}
	if (offset % VGIC_REDISTRIBUTOR_BYTES < GICR_FRAME) {
		redistributor_access(owner, access);
	} else if (is_bank_register(access->offset)) {
		bank_access(owner, 0, 0, access);
	}
	return true;
}

bool vgic_access(struct arch_vcpu *vcpu, gpa_t address, unsigned width, bool write, uint64_t *value)
{
	struct arch_vm *vm = vcpu->vm;
	struct gic_access access = {.width = width, .write = write, .value = write ? *value : 0};

	if (address - VGIC_DISTRIBUTOR_BASE >= VGIC_WINDOW_BYTES || !is_aligned(address, width)) {
		return false;
	}
	spin_lock(&vm->vgic.lock);
	vgic_fold(vcpu);
	bool ours = dispatch(vcpu, address, &access);
	if (ours && write) {
		vgic_changed(vm);
	}
	spin_unlock(&vm->vgic.lock);
	if (!ours) {
		return false;
	}
	if (write && vm->vgic.version == 2 && address == VGIC_DISTRIBUTOR_BASE + GICD_SGIR &&
	    width == sizeof(uint32_t)) {
		write_sgir(vcpu, (uint32_t)access.value);
	}
	if (!write) {
		*value = access.value;
	}
	return true;
}
