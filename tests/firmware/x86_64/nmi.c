/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NMIs all the time, whoever runs: the 8254's channel 0, by way of the I/O APIC, as a watchdog would send them. The
 * firmware gets a handler that returns, and loses the timer interrupts that it had from the same channel.
 */
#include "arch/x86_64/cpu.h"
#include "lib/io.h"
#include "tests/firmware/state.h"

#define NMI 2 /* its vector */

/* The 8254's data sheet; the 8259's interrupt mask register, OCW1. */
#define PIT_CHANNEL0   0x40
#define PIT_COMMAND    0x43
#define PIT_RATE_0     0x34 /* channel 0, low byte then high byte, mode 2, binary */
#define PIT_HZ         1193182
#define NMI_HZ         8000
#define PIC_MASK       0x21
#define PIC_MASK_TIMER 0x01

/* 82093AA data sheet, 3.1 and 3.2.4; ACPI's MADT and all chip sets have ISA's IRQ 0 at input 2. */
#define IOAPIC_SELECT     UINT64_C(0xfec00000)
#define IOAPIC_WINDOW     UINT64_C(0xfec00010)
#define IOAPIC_ENTRY(n)   (0x10u + 2 * (n))
#define TIMER_INPUT       2
#define ENTRY_NMI         (4u << 8) /* edge, physical destination, not masked */
#define ENTRY_DESTINATION 24        /* of the high half */
#define CPUID_1_EBX_APIC  24

/* Interrupt gates: SDM vol. 3A 6.14.1. */
#define GATE_INTERRUPT 0x8e

struct __attribute__((packed)) gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};

__attribute__((interrupt)) static void on_nmi(void *frame)
{
	(void)frame;
}

static void take_vector(void)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		struct gate *gates;
	} idtr;
	uintptr_t entry = (uintptr_t)on_nmi;
	uint16_t code;
	__asm__ volatile("sidt %0" : "=m"(idtr));
	__asm__ volatile("mov %%cs, %0" : "=r"(code));
	idtr.gates[NMI] = (struct gate){
		.offset_low = (uint16_t)entry,
		.selector = code,
		.type = GATE_INTERRUPT,
		.offset_middle = (uint16_t)(entry >> 16),
		.offset_high = (uint32_t)(entry >> 32),
	};
}

static void write_ioapic(uint32_t index, uint32_t value)
{
	mmio_write32(IOAPIC_SELECT, index);
	mmio_write32(IOAPIC_WINDOW, value);
}

const char *state_enter(void)
{
	const uint16_t count = PIT_HZ / NMI_HZ;
	take_vector();
	port_write8(PIC_MASK, port_read8(PIC_MASK) | PIC_MASK_TIMER);
	port_write8(PIT_COMMAND, PIT_RATE_0);
	port_write8(PIT_CHANNEL0, (uint8_t)count);
	port_write8(PIT_CHANNEL0, count >> 8);
	write_ioapic(IOAPIC_ENTRY(TIMER_INPUT) + 1, cpuid(1, 0).ebx >> CPUID_1_EBX_APIC << ENTRY_DESTINATION);
	write_ioapic(IOAPIC_ENTRY(TIMER_INPUT), ENTRY_NMI);
	return NULL;
}
