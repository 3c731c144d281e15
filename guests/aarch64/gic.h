/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interrupt controller and the timers as a guest finds them, GICv3 or v2 alike. Used by interrupts.c and storms.c.
 */
#pragma once

#include "guest.h"

#define READ_REGISTER(name)                                                                                            \
	({                                                                                                             \
		uint64_t value_;                                                                                       \
		__asm__ volatile("mrs %0, " #name : "=r"(value_) : : "memory");                                        \
		value_;                                                                                                \
	})
#define WRITE_REGISTER(name, value) __asm__ volatile("msr " #name ", %0\n\tisb" : : "r"((uint64_t)(value)) : "memory")

#define GIC_NONE       1023u
#define VIRTUAL_TIMER  27u
#define PHYSICAL_TIMER 30u

/* Called for each IRQ, IRQs masked; `now` is CNTVCT_EL0 as the vector's second instruction read it. */
extern void (*on_interrupt)(uint64_t now);

/* Takes the controller: all SGIs and both timers' interrupts enabled, all priorities 0x80. Returns its version. */
unsigned gic_init(void);
void gic_set_priority(unsigned intid, unsigned priority);
void gic_enable(unsigned intid, bool enable);
void gic_send_self(unsigned intid);
unsigned gic_acknowledge(void); /* GIC_NONE: none */
void gic_end(unsigned intid);

static inline void unmask_interrupts(void)
{
	__asm__ volatile("msr daifclr, #2" : : : "memory");
}

static inline void mask_interrupts(void)
{
	__asm__ volatile("msr daifset, #2" : : : "memory");
}
