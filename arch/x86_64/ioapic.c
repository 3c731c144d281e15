/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O APIC's registers and pins. Called by interrupts.c for the guest's accesses and the devices' lines, and by
 * lapic.c at the end of an interrupt. A message is sent with the lock held: lapic_send takes none.
 */
#include "ioapic.h"

#include "arch/arch.h"

/* Offsets in the page. */
enum ioapic_window { IOREGSEL = 0x00, IOWIN = 0x10, IOEOI = 0x40 };
/* What IOREGSEL chooses. */
enum ioapic_register { IOAPICID = 0, IOAPICVER = 1, IOAPICARB = 2, IOREDTBL = 0x10 };

#define VERSION_VALUE ((IOAPIC_PINS - 1U) << 16 | 0x20U) /* 0x20: with an EOI register */
#define ID_MASK       UINT32_C(0x0f000000)

/* Redirection entries. */
#define RTE_VECTOR(rte)      ((uint8_t)(rte))
#define RTE_DELIVERY(rte)    ((uint8_t)field(rte, 10, 8))
#define RTE_LOGICAL          BIT(11)
#define RTE_REMOTE_IRR       BIT(14)
#define RTE_LEVEL            BIT(15)
#define RTE_MASKED           BIT(16)
#define RTE_DESTINATION(rte) ((uint32_t)field(rte, 63, 56))
#define RTE_WRITABLE         (BITS(63, 56) | BITS(16, 15) | BITS(13, 13) | BITS(11, 0))
#define EVERYONE             UINT8_MAX

void ioapic_reset(struct ioapic *ioapic)
{
	*ioapic = (struct ioapic){0};
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		ioapic->redirection[i] = RTE_MASKED;
	}
}

/* A pin's interrupt to the local APICs; a level-triggered one that was taken waits for its end. */
static void send(struct arch_vm *vm, unsigned pin)
{
	uint64_t *entry = &vm->ioapic.redirection[pin];
	struct apic_message message = {
		.destination = RTE_DESTINATION(*entry),
		.vector = RTE_VECTOR(*entry),
		.delivery = RTE_DELIVERY(*entry),
		.logical = *entry & RTE_LOGICAL,
		.everyone = RTE_DESTINATION(*entry) == EVERYONE,
		.level = *entry & RTE_LEVEL,
	};
	bool taken = lapic_send(vm, &message);
	if (taken && message.level && message.delivery <= APIC_LOWEST_PRIORITY) {
		*entry |= RTE_REMOTE_IRR;
	}
}

/* A level-triggered pin interrupts while its line is asserted, once until the end of the interrupt. */
static void send_level(struct arch_vm *vm, unsigned pin)
{
	uint64_t entry = vm->ioapic.redirection[pin];
	if ((vm->ioapic.lines & BIT(pin)) && (entry & (RTE_LEVEL | RTE_MASKED | RTE_REMOTE_IRR)) == RTE_LEVEL) {
		send(vm, pin);
	}
}

void ioapic_send_waiting(struct arch_vm *vm)
{
	spin_lock(&vm->ioapic.lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		send_level(vm, pin);
	}
	spin_unlock(&vm->ioapic.lock);
}

void ioapic_set_line(struct arch_vm *vm, unsigned pin, bool level)
{
	struct ioapic *ioapic = &vm->ioapic;
	if (pin >= IOAPIC_PINS) {
		return;
	}
	uint32_t bit = UINT32_C(1) << pin;
	spin_lock(&ioapic->lock);
	bool rises = level && !(ioapic->lines & bit);
	ioapic->lines = level ? ioapic->lines | bit : ioapic->lines & ~bit;
	if (ioapic->redirection[pin] & RTE_LEVEL) {
		send_level(vm, pin);
	} else if (rises && !(ioapic->redirection[pin] & RTE_MASKED)) {
		send(vm, pin);
	}
	spin_unlock(&ioapic->lock);
}

void ioapic_end_of_interrupt(struct arch_vm *vm, unsigned vector)
{
	struct ioapic *ioapic = &vm->ioapic;
	spin_lock(&ioapic->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if ((ioapic->redirection[pin] & RTE_REMOTE_IRR) && RTE_VECTOR(ioapic->redirection[pin]) == vector) {
			ioapic->redirection[pin] &= ~RTE_REMOTE_IRR;
			send_level(vm, pin);
		}
	}
	spin_unlock(&ioapic->lock);
}

/* ---- registers ---- */

static uint32_t read_register(const struct ioapic *ioapic)
{
	unsigned index = ioapic->select - IOREDTBL;
	if (index < 2 * IOAPIC_PINS) {
		return (uint32_t)(ioapic->redirection[index / 2] >> (index % 2 * 32));
	}
	switch (ioapic->select) {
	case IOAPICID:
	case IOAPICARB:
		return ioapic->id;
	case IOAPICVER:
		return VERSION_VALUE;
	default:
		return 0;
	}
}

static void write_redirection(struct arch_vm *vm, unsigned index, uint32_t value)
{
	unsigned pin = index / 2, shift = index % 2 * 32;
	uint64_t *entry = &vm->ioapic.redirection[pin];
	uint64_t writable = RTE_WRITABLE & (UINT64_C(0xffffffff) << shift);
	*entry = (*entry & ~writable) | (((uint64_t)value << shift) & writable);
	if (!(*entry & RTE_LEVEL)) {
		*entry &= ~RTE_REMOTE_IRR; /* how kernels get rid of one that hangs */
	}
	send_level(vm, pin);
}

static void write_register(struct arch_vm *vm, uint32_t value)
{
	unsigned index = vm->ioapic.select - IOREDTBL;
	if (index < 2 * IOAPIC_PINS) {
		write_redirection(vm, index, value);
	} else if (vm->ioapic.select == IOAPICID) {
		vm->ioapic.id = value & ID_MASK;
	}
}

uint32_t ioapic_read(struct arch_vm *vm, unsigned offset)
{
	struct ioapic *ioapic = &vm->ioapic;
	uint32_t value = 0;
	spin_lock(&ioapic->lock);
	if (offset == IOREGSEL) {
		value = ioapic->select;
	} else if (offset == IOWIN) {
		value = read_register(ioapic);
	}
	spin_unlock(&ioapic->lock);
	return value;
}

/* The index register has 8 bits, of whatever is written there; the others have 32, to be written as such or not at all.
 */
void ioapic_write(struct arch_vm *vm, unsigned offset, unsigned width, uint32_t value)
{
	struct ioapic *ioapic = &vm->ioapic;
	if (offset != IOREGSEL && width < sizeof(value)) {
		return;
	}
	if (offset == IOEOI) {
		ioapic_end_of_interrupt(vm, (uint8_t)value);
		return;
	}
	spin_lock(&ioapic->lock);
	if (offset == IOREGSEL) {
		ioapic->select = (uint8_t)value;
	} else if (offset == IOWIN) {
		write_register(vm, value);
	}
	spin_unlock(&ioapic->lock);
}
