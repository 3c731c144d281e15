/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VM's I/O APIC: 24 pins, which are its GSIs 0 to 23. Pure but for lapic_send, so it is tested on the host. Its
 * lock is the only thing in it that vCPUs share. Intel 82093AA and its successors' data sheets.
 */
#pragma once

#include "lib/spinlock.h"

#include <stdint.h>

struct arch_vm;

#define IOAPIC_BASE  UINT64_C(0xfec00000)
#define IOAPIC_BYTES UINT64_C(0x1000)
#define IOAPIC_PINS  24

struct ioapic {
	struct spinlock lock;
	uint32_t select;                   /* IOREGSEL: which register IOWIN shows */
	uint32_t id;                       /* the ID register */
	uint32_t lines;                    /* a bit per pin: the line is asserted */
	uint64_t redirection[IOAPIC_PINS]; /* with the remote IRR of level-triggered pins */
};

void ioapic_reset(struct ioapic *ioapic);
/* The page. */
uint32_t ioapic_read(struct arch_vm *vm, unsigned offset);
void ioapic_write(struct arch_vm *vm, unsigned offset, unsigned width, uint32_t value);
/* Pins beyond the last are ignored. */
void ioapic_set_line(struct arch_vm *vm, unsigned pin, bool level);
/* A local APIC takes interrupts that it did not take before: lines that are asserted and found nobody are sent again.
 */
void ioapic_send_waiting(struct arch_vm *vm);
/* A local APIC's EOI broadcast of a level-triggered vector: lines that are still asserted interrupt again. */
void ioapic_end_of_interrupt(struct arch_vm *vm, unsigned vector);
