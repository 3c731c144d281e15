/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See gic.h.
 */
#include "gic.h"

#define GICD              0x08000000ul
#define GICC              0x08010000ul
#define GICR              0x080a0000ul
#define GICR_SGI          (GICR + 0x10000)
#define GICD_CTLR         0x000
#define GICD_SGIR         0xf00
#define GICD_PIDR2        0xffe8
#define PIDR2_VERSION_3   0x30u
#define GICR_WAKER        0x014
#define GIC_IGROUPR       0x080
#define GIC_ISENABLER     0x100
#define GIC_ICENABLER     0x180
#define GIC_IPRIORITYR    0x400
#define GICC_CTLR         0x00
#define GICC_PMR          0x04
#define GICC_IAR          0x0c
#define GICC_EOIR         0x10
#define BOTH_GROUPS       3u
#define SGIS              0xffffu
#define DEFAULT_PRIORITY  0x80u
#define PRIORITY_ALL      0xf8u
#define SGIR_SELF         (2u << 24)
#define SGI1R_INTID_SHIFT 24

#define ICC_IAR1_EL1    s3_0_c12_c12_0
#define ICC_EOIR1_EL1   s3_0_c12_c12_1
#define ICC_SRE_EL1     s3_0_c12_c12_5
#define ICC_IGRPEN1_EL1 s3_0_c12_c12_7
#define ICC_PMR_EL1     s3_0_c4_c6_0
#define ICC_SGI1R_EL1   s3_0_c12_c11_5
#define READ(name)      READ_REGISTER(name)
#define WRITE(name, v)  WRITE_REGISTER(name, v)

void (*on_interrupt)(uint64_t now);
static bool version_3;
static uintptr_t private_frame; /* the registers of SGIs and PPIs */

/* By instructions that the CPU can describe to the hypervisor: no write-back of the address, which gcc likes in loops.
 */
static void write32(uintptr_t address, uint32_t value)
{
	__asm__ volatile("str %w0, [%1]" : : "r"(value), "r"(address) : "memory");
}

static uint32_t read32(uintptr_t address)
{
	uint32_t value;
	__asm__ volatile("ldr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
	return value;
}

unsigned gic_init(void)
{
	version_3 = (read32(GICD + GICD_PIDR2) & 0xf0u) == PIDR2_VERSION_3;
	private_frame = version_3 ? GICR_SGI : GICD;
	write32(GICD + GICD_CTLR, BOTH_GROUPS);
	if (version_3) {
		write32(GICR + GICR_WAKER, 0);
		write32(GICR_SGI + GIC_IGROUPR, ~0u);
		WRITE(ICC_PMR_EL1, PRIORITY_ALL);
		WRITE(ICC_IGRPEN1_EL1, 1);
	} else {
		write32(GICC + GICC_PMR, PRIORITY_ALL);
		write32(GICC + GICC_CTLR, 1);
	}
	for (unsigned i = 0; i < 32; i++) {
		gic_set_priority(i, DEFAULT_PRIORITY);
	}
	write32(private_frame + GIC_ISENABLER, SGIS | 1u << VIRTUAL_TIMER | 1u << PHYSICAL_TIMER);
	return version_3 ? 3 : 2;
}

void gic_set_priority(unsigned intid, unsigned priority)
{
	__asm__ volatile("strb %w0, [%1]" : : "r"(priority), "r"(private_frame + GIC_IPRIORITYR + intid) : "memory");
}

void gic_enable(unsigned intid, bool enable)
{
	write32(private_frame + (enable ? GIC_ISENABLER : GIC_ICENABLER), 1u << intid);
}

void gic_send_self(unsigned intid)
{
	if (version_3) {
		WRITE(ICC_SGI1R_EL1, (uint64_t)intid << SGI1R_INTID_SHIFT | 1);
	} else {
		write32(GICD + GICD_SGIR, SGIR_SELF | intid);
	}
}

unsigned gic_acknowledge(void)
{
	return (unsigned)(version_3 ? READ(ICC_IAR1_EL1) : read32(GICC + GICC_IAR)) & GIC_NONE;
}

void gic_end(unsigned intid)
{
	if (version_3) {
		WRITE(ICC_EOIR1_EL1, intid);
	} else {
		write32(GICC + GICC_EOIR, intid);
	}
}
