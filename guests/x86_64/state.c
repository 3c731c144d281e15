/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86-64's registers that no control structure of VMX or SVM switches by itself, or only some: x87, SSE, AVX, XCR0,
 * debug registers, the MSRs of SYSCALL and SWAPGS, IA32_SPEC_CTRL. SDM vol. 3A table 9-1 has the values after reset.
 */
#include "guest.h"

#define CR4_OSFXSR    (1u << 9)
#define CR4_OSXMM     (1u << 10)
#define CR4_OSXSAVE   (1u << 18)
#define CPUID_XSAVE   (1u << 26)
#define FCW_RESET     0x037f
#define MXCSR_RESET   0x1f80
#define DR6_RESET     0xffff0ff0u
#define DR7_RESET     0x400u
#define XCR0_X87      1u
#define XCR0_SSE      2u
#define PATTERN       0x5a5a5a5a5a5a5a5aul
#define DEBUG_ADDRESS 0x123456780ul
#define CPUID_IBRS    (1u << 26) /* leaf 7, EDX */
#define SPEC_CTRL     0x48
#define IBRS          1

static const uint32_t msrs[] = {0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102}; /* STAR … KERNEL_GS_BASE */

/* FXSAVE's area: FCW at 0, MXCSR at 24, ST0 at 32, XMM0 at 160. SDM vol. 1 table 10-2. */
#define FX_FCW   0
#define FX_MXCSR 24
#define FX_ST    32
#define FX_XMM   160
#define FX_END   416
static uint8_t area[512] __attribute__((aligned(16)));

static bool have_xsave, have_spec_ctrl, spec_ctrl_lost;

static void enable(void)
{
	uint32_t eax = 1, ebx, ecx = 0, edx;
	uint64_t cr4;
	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	have_xsave = ecx & CPUID_XSAVE;
	eax = 7;
	ecx = 0;
	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	have_spec_ctrl = edx & CPUID_IBRS;
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	cr4 |= CR4_OSFXSR | CR4_OSXMM | (have_xsave ? CR4_OSXSAVE : 0);
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
}

static unsigned differs(const char *name, uint64_t is, uint64_t should)
{
	if (is == should) {
		return 0;
	}
	print("state: %s is %lx\n", name, (unsigned long)is);
	return 1;
}

static uint64_t value_at(unsigned offset, unsigned bytes)
{
	uint64_t value = 0;
	memcpy(&value, area + offset, bytes);
	return value;
}

static unsigned foreign_fpu(void)
{
	unsigned count = 0;
	__asm__ volatile("fxsave64 %0" : "=m"(area));
	count += differs("FCW", value_at(FX_FCW, 2), FCW_RESET);
	count += differs("MXCSR", value_at(FX_MXCSR, 4), MXCSR_RESET);
	for (unsigned at = FX_ST; at < FX_END; at += 16) {
		const char *name = at < FX_XMM ? "a register of the x87" : "an XMM register";
		count += differs(name, value_at(at, 8) | value_at(at + 8, at < FX_XMM ? 2 : 8), 0);
	}
	return count;
}

static unsigned foreign_xcr0(void)
{
	uint32_t low, high;
	if (!have_xsave) {
		return 0;
	}
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return differs("XCR0", ((uint64_t)high << 32) | low, XCR0_X87);
}

static unsigned foreign_debug(void)
{
	uint64_t dr[6];
	__asm__ volatile("mov %%dr0, %0" : "=r"(dr[0]));
	__asm__ volatile("mov %%dr1, %0" : "=r"(dr[1]));
	__asm__ volatile("mov %%dr2, %0" : "=r"(dr[2]));
	__asm__ volatile("mov %%dr3, %0" : "=r"(dr[3]));
	__asm__ volatile("mov %%dr6, %0" : "=r"(dr[4]));
	__asm__ volatile("mov %%dr7, %0" : "=r"(dr[5]));
	return differs("DR0", dr[0], 0) + differs("DR1", dr[1], 0) + differs("DR2", dr[2], 0) +
	       differs("DR3", dr[3], 0) + differs("DR6", dr[4], DR6_RESET) + differs("DR7", dr[5], DR7_RESET);
}

static uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static void wrmsr(uint32_t msr, uint32_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"(value), "d"(0));
}

static unsigned foreign_msrs(void)
{
	unsigned count = 0;
	for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
		count += differs("an MSR of SYSCALL", rdmsr(msrs[i]), 0);
	}
	return count + (have_spec_ctrl && !spec_ctrl_lost ? differs("IA32_SPEC_CTRL", rdmsr(SPEC_CTRL), 0) : 0);
}

unsigned foreign_state(void)
{
	enable();
	return foreign_fpu() + foreign_xcr0() + foreign_debug() + foreign_msrs();
}

/* The second value goes past the hypervisor, the CPUID does not; if it is lost by then, what is left does not count. */
static void leave_spec_ctrl(void)
{
	wrmsr(SPEC_CTRL, IBRS);
	wrmsr(SPEC_CTRL, 0);
	enable();
	spec_ctrl_lost = rdmsr(SPEC_CTRL) != 0;
	wrmsr(SPEC_CTRL, IBRS);
}

void leave_state(void)
{
	for (unsigned at = FX_ST; at < FX_END; at++) {
		area[at] = (uint8_t)PATTERN;
	}
	__asm__ volatile("fxrstor64 %0" : : "m"(area));
	if (have_xsave) {
		__asm__ volatile("xsetbv" : : "c"(0), "a"(XCR0_X87 | XCR0_SSE), "d"(0));
	}
	__asm__ volatile("mov %0, %%dr0; mov %0, %%dr1; mov %0, %%dr2; mov %0, %%dr3" : : "r"(DEBUG_ADDRESS));
	for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
		wrmsr(msrs[i], 0x5a5a5a);
	}
	if (have_spec_ctrl) {
		leave_spec_ctrl();
	}
}
