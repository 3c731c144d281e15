/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual distributor's state and its way into the list registers. Interrupts stay in the list registers across
 * exits; only when something changes are they folded back into the banks and the list registers filled anew.
 * Called by vcpu.c, vgic_mmio.c and whoever raises a line; everything in the banks is the guest's to choose.
 */
#include "vgic.h"

#include "lib/string.h"
#include "lib/util.h"

#define SGI_MASK      UINT32_C(0x0000ffff)
#define PRIORITY_BITS 8
/* ICC_SGI1R_EL1, GIC architecture (IHI 0069) 12.2.20 */
#define SGI1R_TARGETS    BITS(15, 0)
#define SGI1R_AFF1       BITS(23, 16)
#define SGI1R_INTID_HIGH 27
#define SGI1R_INTID_LOW  24
#define SGI1R_AFF2       BITS(39, 32)
#define SGI1R_IRM        BIT(40)
#define SGI1R_RS         BITS(47, 44)
#define SGI1R_AFF3       BITS(55, 48)
/* ICH_VMCR_EL2 and GICH_VMCR have these at the same places; 12.4.8, IHI 0048 5.3.3. */
#define VMCR_PRIORITY_MASK_LOW 24
/* GICD_IROUTER: any CPU may take it. 12.9.22 */
#define ROUTER_ANY BIT(31)

struct vgic_bank *vgic_bank(struct arch_vcpu *vcpu, unsigned index)
{
	if (index == 0) {
		return &vcpu->vgic.private;
	}
	return index <= VGIC_SPI_BANKS ? &vcpu->vm->vgic.spi[index - 1] : NULL;
}

void vgic_changed(struct arch_vm *vm)
{
	for (unsigned i = 0; i < vm->vcpus; i++) {
		if (vm->vcpu[i]) {
			vm->vcpu[i]->work = true;
		}
	}
}

void vgic_init(struct arch_vm *vm, unsigned version)
{
	memset(&vm->vgic, 0, sizeof(vm->vgic));
	vm->vgic.version = (uint8_t)version;
	for (unsigned i = 0; i < ARRAY_SIZE(vm->vgic.router); i++) {
		vm->vgic.router[i] = version == 2; /* v2: a mask of CPUs, v3: an affinity; CPU 0 either way */
	}
}

void vgic_reset(struct arch_vcpu *vcpu)
{
	memset(&vcpu->vgic, 0, sizeof(vcpu->vgic));
	vcpu->vgic.private.edge = SGI_MASK;
	vcpu->vgic.asleep = true;
	vcpu->work = true;
}

/* ---- from list registers to banks ---- */

static void fold_one(struct arch_vcpu *vcpu, const struct vgic_list_register *lr)
{
	struct vgic_bank *bank = vgic_bank(vcpu, lr->intid / VGIC_BANK_INTIDS);
	uint32_t bit = UINT32_C(1) << (lr->intid % VGIC_BANK_INTIDS);

	bank->active = lr->active ? bank->active | bit : bank->active & ~bit;
	if (bank->edge & bit) {
		if (lr->pending) {
			bank->latched |= bit;
			if (lr->intid < VGIC_SGIS) {
				vcpu->vgic.sgi_sources[lr->intid] |= (uint8_t)(1U << lr->source);
			}
		}
	} else if (!lr->pending) {
		bank->latched &= ~bit; /* acknowledged: what a write to ISPENDR asked for is done */
	}
	if (lr->hardware && !lr->active && !lr->pending) {
		/* The guest's end of interrupt went to the physical one as well; a line still high fires again. */
		vcpu->vgic.timer_held = false;
		bank->line &= ~bit;
	}
}

void vgic_fold(struct arch_vcpu *vcpu)
{
	struct vgic_cpu *vgic = &vcpu->vgic;
	struct vgic_list_register lr;

	for (unsigned i = 0; vgic->lr_used != 0; i++) {
		if (!(vgic->lr_used & (1U << i))) {
			continue;
		}
		gic_list_register_read(i, &lr);
		lr.intid = vgic->lr_intid[i]; /* ours, in the banks' range */
		fold_one(vcpu, &lr);
		if (lr.pending || lr.active || lr.eoi) { /* else there is nothing in it that anybody sees */
			gic_list_register_write(i, NULL);
		}
		vgic->lr_used &= (uint16_t) ~(1U << i);
		vcpu->work = true;
	}
}

/* ---- from banks to list registers ---- */

static uint32_t bank_pending(const struct vgic_bank *bank)
{
	return bank->latched | (bank->line & ~bank->edge);
}

/* Pending, enabled, and of a group that the distributor forwards. */
static uint32_t bank_deliverable(const struct vgic *vgic, const struct vgic_bank *bank)
{
	uint32_t groups = (vgic->control & VGIC_CONTROL_GROUP0 ? ~bank->group : 0) |
	                  (vgic->control & VGIC_CONTROL_GROUP1 ? bank->group : 0);
	return bank_pending(bank) & bank->enabled & groups;
}

/* The SPIs of a bank that go to `vcpu`: version 2's mask means its lowest CPU, version 3's "any" means CPU 0. */
static bool targets(const struct arch_vcpu *vcpu, unsigned intid)
{
	const struct vgic *vgic = &vcpu->vm->vgic;
	uint64_t router = vgic->router[intid - VGIC_BANK_INTIDS];
	if (vgic->version == 2) {
		return router != 0 && (unsigned)__builtin_ctzll(router) == vcpu->index;
	}
	return router & ROUTER_ANY ? vcpu->index == 0 : router == vcpu->index;
}

/* Most urgent first: active ones before pending ones, then by priority, then by INTID. */
static uint32_t urgency(const struct vgic_bank *bank, unsigned intid)
{
	uint32_t bit = intid % VGIC_BANK_INTIDS;
	uint32_t waiting = !(bank->active & (UINT32_C(1) << bit));
	return ((waiting << PRIORITY_BITS) | bank->priority[bit]) << 16 | intid;
}

static unsigned gather(struct arch_vcpu *vcpu, uint32_t *candidates)
{
	unsigned count = 0;
	for (unsigned i = 0; i <= VGIC_SPI_BANKS; i++) {
		const struct vgic_bank *bank = vgic_bank(vcpu, i);
		uint32_t wanted = bank->active | ((bank->latched | bank->line) & bank->enabled);
		if (likely(wanted == 0)) {
			continue;
		}
		wanted = bank_deliverable(&vcpu->vm->vgic, bank) | bank->active;
		while (wanted != 0) {
			unsigned intid = i * VGIC_BANK_INTIDS + (unsigned)__builtin_ctz(wanted);
			wanted &= wanted - 1;
			if (i == 0 || targets(vcpu, intid)) {
				candidates[count++] = urgency(bank, intid);
			}
		}
	}
	return count;
}

/* Brings the `wanted` smallest of `count` to the front. */
static void select_first(uint32_t *candidates, unsigned count, unsigned wanted)
{
	for (unsigned i = 0; i < wanted; i++) {
		for (unsigned j = i + 1; j < count; j++) {
			if (candidates[j] < candidates[i]) {
				uint32_t swap = candidates[i];
				candidates[i] = candidates[j];
				candidates[j] = swap;
			}
		}
	}
}

/* A pending edge moves into the list register; a version 2 SGI moves one source at a time. */
static void take_edge(struct arch_vcpu *vcpu, struct vgic_bank *bank, struct vgic_list_register *lr)
{
	uint32_t bit = UINT32_C(1) << (lr->intid % VGIC_BANK_INTIDS);
	if (lr->intid < VGIC_SGIS) {
		uint8_t *sources = &vcpu->vgic.sgi_sources[lr->intid];
		if (*sources != 0) {
			lr->source = (uint8_t)__builtin_ctz(*sources);
			*sources &= (uint8_t)(*sources - 1);
			if (vcpu->vm->vgic.version == 2 && *sources != 0) {
				lr->eoi = true; /* the next source waits */
				return;
			}
			*sources = 0;
		}
	}
	bank->latched &= ~bit;
}

static void place(struct arch_vcpu *vcpu, unsigned index, unsigned intid)
{
	struct vgic_bank *bank = vgic_bank(vcpu, intid / VGIC_BANK_INTIDS);
	uint32_t bit = UINT32_C(1) << (intid % VGIC_BANK_INTIDS);
	bool edge = bank->edge & bit;
	struct vgic_list_register lr = {
		.intid = (uint16_t)intid,
		.priority = bank->priority[intid % VGIC_BANK_INTIDS],
		.group1 = bank->group & bit,
		.active = bank->active & bit,
		.hardware = intid == VGIC_VIRTUAL_TIMER && vcpu->vgic.timer_held,
	};
	/* A level that is active is looked at again at the guest's end of interrupt. */
	lr.pending = (bank_deliverable(&vcpu->vm->vgic, bank) & bit) && (edge || !lr.active);
	lr.eoi = !edge && !lr.hardware;
	if (edge && lr.pending) {
		take_edge(vcpu, bank, &lr);
	}
	gic_list_register_write(index, &lr);
	vcpu->vgic.lr_intid[index] = (uint16_t)intid;
	vcpu->vgic.lr_used |= (uint16_t)(1U << index);
}

/*
 * Of the loaded vCPU, by the timer's own word: the physical interrupt that is held must not outlive the reason for it,
 * and a timer that is due need not be waited for. A vCPU in WFI that is woken because its timer is due finds it so.
 */
static void check_timer(struct arch_vcpu *vcpu)
{
	struct vgic_bank *bank = &vcpu->vgic.private;
	uint32_t bit = UINT32_C(1) << VGIC_VIRTUAL_TIMER;
	bool held = vcpu->vgic.timer_held;
	if ((held && (bank->active & bit)) || arm_virtual_timer_asserted() == held) {
		return;
	}
	bank->line = held ? bank->line & ~bit : bank->line | bit;
	vcpu->vgic.timer_held = !held;
	gic_hold_virtual_timer(!held);
	vcpu->work = true;
}

void vgic_update(struct arch_vcpu *vcpu)
{
	uint32_t candidates[(1 + VGIC_SPI_BANKS) * VGIC_BANK_INTIDS];
	unsigned registers = gic_list_registers();

	spin_lock(&vcpu->vm->vgic.lock);
	vgic_fold(vcpu);
	check_timer(vcpu);
	unsigned count = gather(vcpu, candidates);
	bool overflow = count > registers;
	if (overflow) {
		select_first(candidates, count, registers);
		count = registers;
	}
	for (unsigned i = 0; i < count; i++) {
		place(vcpu, i, candidates[i] & UINT16_MAX);
	}
	if (overflow != vcpu->vgic.overflow) {
		vcpu->vgic.overflow = overflow;
		gic_virtual_enable(overflow);
	}
	spin_unlock(&vcpu->vm->vgic.lock);
}

/* ---- load and put ---- */

void vgic_load(struct arch_vcpu *vcpu)
{
	struct vgic_cpu *vgic = &vcpu->vgic;
	gic_virtual_load(vgic);
	if (vgic->timer_held) {
		gic_hold_virtual_timer(true); /* the guest is in its handler */
	}
	vgic->overflow = false;
	gic_virtual_enable(false);
	vcpu->work = true;
}

void vgic_put(struct arch_vcpu *vcpu)
{
	struct vgic_cpu *vgic = &vcpu->vgic;
	uint32_t bit = UINT32_C(1) << VGIC_VIRTUAL_TIMER;

	spin_lock(&vcpu->vm->vgic.lock);
	vgic_fold(vcpu);
	if (vgic->timer_held) {
		gic_hold_virtual_timer(false);
		if (!(vgic->private.active & bit)) {
			/* Not taken yet: the line fires again when the timer is loaded. */
			vgic->private.line &= ~bit;
			vgic->timer_held = false;
		}
	}
	spin_unlock(&vcpu->vm->vgic.lock);
	gic_virtual_save(vgic);
	gic_virtual_disable();
}

/* ---- questions ---- */

bool vgic_pending(struct arch_vcpu *vcpu)
{
	uint32_t vmcr = vcpu->loaded ? gic_virtual_vmcr() : vcpu->vgic.vmcr;
	uint32_t mask = vmcr >> VMCR_PRIORITY_MASK_LOW;
	uint32_t candidates[(1 + VGIC_SPI_BANKS) * VGIC_BANK_INTIDS];
	bool found = false;

	spin_lock(&vcpu->vm->vgic.lock);
	vgic_fold(vcpu);
	if (vcpu->loaded) {
		check_timer(vcpu);
	}
	unsigned count = gather(vcpu, candidates);
	for (unsigned i = 0; i < count && !found; i++) {
		unsigned intid = candidates[i] & UINT16_MAX;
		const struct vgic_bank *bank = vgic_bank(vcpu, intid / VGIC_BANK_INTIDS);
		uint32_t bit = UINT32_C(1) << (intid % VGIC_BANK_INTIDS);
		/* The enables of group 0 and 1 are bits 0 and 1 of VMCR. */
		bool interface_on = vmcr & (bank->group & bit ? VGIC_CONTROL_GROUP1 : VGIC_CONTROL_GROUP0);
		found = interface_on && !(bank->active & bit) && bank->priority[intid % VGIC_BANK_INTIDS] < mask;
	}
	spin_unlock(&vcpu->vm->vgic.lock);
	return found;
}

bool vgic_any_enabled(struct arch_vcpu *vcpu)
{
	uint32_t enabled = 0;
	for (unsigned i = 0; i <= VGIC_SPI_BANKS; i++) {
		enabled |= vgic_bank(vcpu, i)->enabled;
	}
	return enabled != 0 && vcpu->vm->vgic.control != 0;
}

bool vgic_is_enabled(const struct arch_vcpu *vcpu, unsigned intid)
{
	return intid < VGIC_BANK_INTIDS && (vcpu->vgic.private.enabled & (UINT32_C(1) << intid));
}

/* ---- lines and SGIs ---- */

static void set_bank_line(struct vgic_bank *bank, unsigned bit, bool level)
{
	uint32_t mask = UINT32_C(1) << bit;
	if (level && !(bank->line & mask) && (bank->edge & mask)) {
		bank->latched |= mask;
	}
	bank->line = level ? bank->line | mask : bank->line & ~mask;
}

void vgic_set_line(struct arch_vm *vm, unsigned intid, bool level)
{
	unsigned spi = intid - VGIC_BANK_INTIDS;
	if (spi >= VGIC_SPI_BANKS * VGIC_BANK_INTIDS) {
		return;
	}
	spin_lock(&vm->vgic.lock);
	set_bank_line(&vm->vgic.spi[spi / VGIC_BANK_INTIDS], spi % VGIC_BANK_INTIDS, level);
	vgic_changed(vm);
	spin_unlock(&vm->vgic.lock);
}

void vgic_set_private_line(struct arch_vcpu *vcpu, unsigned intid, bool level)
{
	struct vgic_bank *bank = &vcpu->vgic.private;
	uint32_t bit = UINT32_C(1) << intid;
	if (!!(bank->line & bit) == level) {
		return;
	}
	spin_lock(&vcpu->vm->vgic.lock);
	set_bank_line(bank, intid, level);
	vcpu->work = true;
	spin_unlock(&vcpu->vm->vgic.lock);
}

void vgic_virtual_timer_fired(struct arch_vcpu *vcpu)
{
	spin_lock(&vcpu->vm->vgic.lock);
	vgic_fold(vcpu); /* the list register of the time before tells of that one's end */
	vcpu->vgic.timer_held = true;
	set_bank_line(&vcpu->vgic.private, VGIC_VIRTUAL_TIMER, true);
	vcpu->work = true;
	spin_unlock(&vcpu->vm->vgic.lock);
}

void vgic_send_sgi(struct arch_vcpu *sender, uint32_t target_mask, unsigned intid, bool group1)
{
	struct arch_vm *vm = sender->vm;
	uint32_t wanted = target_mask & ((1U << vm->vcpus) - 1);
	uint32_t bit = UINT32_C(1) << (intid % VGIC_SGIS);
	uint32_t refused = group1 ? 0 : bit;
	if (intid >= VGIC_SGIS) {
		return;
	}
	spin_lock(&vm->vgic.lock);
	for (; wanted != 0; wanted &= wanted - 1) {
		struct arch_vcpu *to = vm->vcpu[__builtin_ctz(wanted)];
		if (to && !(to->vgic.private.group & refused)) {
			to->vgic.private.latched |= bit;
			to->vgic.sgi_sources[intid] |= (uint8_t)(1U << sender->index);
			to->work = true;
		}
	}
	spin_unlock(&vm->vgic.lock);
}

/* IHI 0069 12.2.18 to 12.2.20: with one security state ICC_ASGI1R_EL1 is for group 0, as ICC_SGI0R_EL1 is. */
void vgic_send_sgi_register(struct arch_vcpu *sender, uint64_t value, bool group1)
{
	uint32_t wanted = (uint32_t)(value & SGI1R_TARGETS);
	if (value & SGI1R_IRM) {
		wanted = ~(1U << sender->index);
	} else if (value & (SGI1R_AFF1 | SGI1R_AFF2 | SGI1R_AFF3 | SGI1R_RS)) {
		return; /* our vCPUs differ in Aff0 only, and that is below 16 */
	}
	vgic_send_sgi(sender, wanted, (unsigned)field(value, SGI1R_INTID_HIGH, SGI1R_INTID_LOW), group1);
}
