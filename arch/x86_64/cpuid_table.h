/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest may see of the CPU: for each CPUID leaf the bits of the host's answer that are shown. A leaf that is
 * not here reads as zeros. Only cpuid.c includes this. What is shown must work without the hypervisor's help or
 * with what it has; what is left out, and why:
 *
 *	SVM, VMX, SMX, SGX, TDX, SEV	no nesting, no enclaves
 *	MONITOR, MWAIT, WAITPKG		would let a guest put the CPU to sleep
 *	PMU, PERFCTR, IBS, DS, LBR, PT	counters and traces that would show the host or other guests
 *	power, thermal, HWP, EST, RDT	the host's business
 *	TSX				host's TSX_CTRL decides; deprecated
 *	PKU, CET, AMX, MPX, PASID, XSAVES	state that is not switched
 *	LA57				the nested format's input has 48 bits
 *	SPEC_CTRL of AMD		where SVM does not virtualize it; nor VIRT_SSBD, nor automatic IBRS
 *
 * SDM vol. 2A "CPUID"; APM vol. 3 appendix E.
 */
#pragma once

#include <stdint.h>

#include "lib/util.h"

#define ALL  UINT32_MAX
#define B(n) (UINT32_C(1) << (n))

/* Leaf 1. */
#define LEAF1_ECX                                                                                                      \
	(B(0) /* SSE3 */ | B(1) /* PCLMULQDQ */ | B(9) /* SSSE3 */ | B(12) /* FMA */ | B(13) /* CMPXCHG16B */ |        \
	 B(17) /* PCID */ | B(19) /* SSE4.1 */ | B(20) /* SSE4.2 */ | B(22) /* MOVBE */ | B(23) /* POPCNT */ |         \
	 B(25) /* AES */ | B(26) /* XSAVE */ | B(28) /* AVX */ | B(29) /* F16C */ | B(30) /* RDRAND */)
/* MCE and MCA: an architecture without a bank to report from (msr.c), for kernels that miss it. None ever comes. */
#define LEAF1_EDX_MACHINE_CHECK (B(7) | B(14))
#define LEAF1_EDX                                                                                                      \
	(B(0) /* FPU */ | B(1) /* VME */ | B(2) /* DE */ | B(3) /* PSE */ | B(4) /* TSC */ | B(5) /* MSR */ |          \
	 B(6) /* PAE */ | LEAF1_EDX_MACHINE_CHECK | B(8) /* CX8 */ | B(11) /* SEP */ | B(13) /* PGE */ |               \
	 B(15) /* CMOV */ | B(16) /* PAT */ | B(17) /* PSE36 */ | B(19) /* CLFSH */ | B(23) /* MMX */ |                \
	 B(24) /* FXSR */ | B(25) /* SSE */ | B(26) /* SSE2 */ | B(27) /* SS */)
/* Ours, whatever the host has. */
#define LEAF1_ECX_OWN (B(21) /* x2APIC */ | B(24) /* TSC-deadline */)
/* MTRRs without a range: all is write-back (msr.c). Without any, Linux leaves PAT or huge pages in its mappings. */
#define LEAF1_EDX_OWN        (B(9) /* APIC */ | B(12) /* MTRR */)
#define LEAF1_ECX_OSXSAVE    B(27)
#define LEAF1_ECX_HYPERVISOR B(31)
#define LEAF1_EBX_CONSTANT   BITS(15, 0) /* brand, CLFLUSH size; the IDs are the vCPU's */
#define LEAF1_EBX_ONE_CPU    (UINT32_C(1) << 16)

/* Leaf 6: the local APIC's timer never stops. */
#define LEAF6_EAX_ARAT B(2)

/* Leaf 7. What XCR0 does not let a guest turn on is taken off in cpuid.c. */
#define LEAF7_EBX_AVX2   B(5)
#define LEAF7_EBX_AVX512 (B(16) | B(17) | B(21) | B(26) | B(27) | B(28) | B(30) | B(31))
#define LEAF7_EBX                                                                                                      \
	(B(0) /* FSGSBASE */ | B(3) /* BMI1 */ | LEAF7_EBX_AVX2 | B(6) /* FDP_EXCPTN_ONLY */ | B(7) /* SMEP */ |       \
	 B(8) /* BMI2 */ | B(9) /* ERMS */ | B(10) /* INVPCID */ | B(13) /* no FCS, FDS */ | B(18) /* RDSEED */ |      \
	 B(19) /* ADX */ | B(20) /* SMAP */ | B(23) /* CLFLUSHOPT */ | B(24) /* CLWB */ | B(29) /* SHA */ |            \
	 LEAF7_EBX_AVX512)
#define LEAF7_ECX_AVX512 (B(1) | B(6) | B(11) | B(12) | B(14)) /* VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
#define LEAF7_ECX_AVX    (B(9) | B(10))                        /* VAES, VPCLMULQDQ */
#define LEAF7_ECX                                                                                                      \
	(B(0) /* PREFETCHWT1 */ | B(2) /* UMIP */ | B(8) /* GFNI */ | B(22) /* RDPID */ | B(25) /* CLDEMOTE */ |       \
	 B(27) /* MOVDIRI */ | B(28) /* MOVDIR64B */ | LEAF7_ECX_AVX | LEAF7_ECX_AVX512)
#define LEAF7_EDX_AVX512 (B(2) | B(3) | B(8) | B(23)) /* 4VNNIW, 4FMAPS, VP2INTERSECT, FP16 */
/* Intel's MSRs against speculation: msr.c. AMD has its own bits. */
#define LEAF7_EDX_SPECULATION                                                                                          \
	(B(26) /* IBRS, IBPB */ | B(27) /* STIBP */ | B(28) /* L1D_FLUSH */ | B(29) /* ARCH_CAPABILITIES */ |          \
	 B(31) /* SSBD */)
#define LEAF7_EDX                                                                                                      \
	(B(4) /* FSRM */ | B(10) /* MD_CLEAR */ | B(14) /* SERIALIZE */ | LEAF7_EDX_AVX512 | LEAF7_EDX_SPECULATION)
#define LEAF7_1_EAX_AVX    B(4) /* AVX-VNNI */
#define LEAF7_1_EAX_AVX512 B(5) /* BF16 */
#define LEAF7_1_EAX        (LEAF7_1_EAX_AVX | LEAF7_1_EAX_AVX512 | B(10) /* FZRM */ | B(11) /* FSRS */ | B(12) /* FSRCS */)

/* Leaf 0xd, subleaf 1: neither XSAVES nor XFD. */
#define LEAFD_1_EAX_XSAVEC B(1)
#define LEAFD_1_EAX        (B(0) /* XSAVEOPT */ | B(1) /* XSAVEC */ | B(2) /* XGETBV with ECX = 1 */)

/* Leaf 0x80000001. AMD repeats part of leaf 1 in EDX. */
#define EXT1_ECX_AVX (B(11) | B(16)) /* XOP, FMA4 */
#define EXT1_ECX                                                                                                       \
	(B(0) /* LAHF in 64-bit mode */ | B(4) /* MOV CR8 by LOCK */ | B(5) /* ABM */ | B(6) /* SSE4A */ |             \
	 B(7) /* misaligned SSE */ | B(8) /* PREFETCHW */ | EXT1_ECX_AVX | B(21) /* TBM */ | B(22) /* topology */)
#define EXT1_EDX                                                                                                       \
	((LEAF1_EDX & 0x0183ffff & ~B(11)) | B(11) /* SYSCALL */ | B(20) /* NX */ | B(22) /* MMX extensions */ |       \
	 B(25) /* FFXSR */ | B(26) /* 1 GiB pages */ | B(27) /* RDTSCP */ | B(29) /* long mode */ |                    \
	 B(30) /* 3DNow! extensions */ | B(31) /* 3DNow! */)
#define EXT7_EDX B(8) /* invariant TSC; the only bit of the leaf that is shown */
/* What is done by SPEC_CTRL: IBRS, STIBP, how both are best used, SSBD, PSFD. */
#define EXT8_EBX_SPEC_CTRL (B(14) | B(15) | B(16) | B(17) | B(18) | B(19) | B(24) | B(28))
#define EXT8_EBX                                                                                                       \
	(B(0) /* CLZERO */ | B(2) /* error pointers always saved */ | B(9) /* WBNOINVD */ | B(12) /* IBPB */ |         \
	 B(26) /* SSB_NO */ | B(29) /* BTC_NO */ | B(30) /* IBPB clears returns */ | EXT8_EBX_SPEC_CTRL)
#define EXT21_EAX                                                                                                      \
	(B(0) /* no nested data breakpoints */ | B(2) /* LFENCE serializes */ | B(6) /* null selectors clear */ |      \
	 B(27) /* SBPB */ | B(28) /* IBPB clears branch types */ | B(29) /* SRSO_NO */)

/* Fields that describe how CPUs share a cache or a core: one CPU shares with none. */
#define CACHE_SHARING BITS(31, 14) /* leaf 4 and 0x8000001d, EAX */

struct cpuid_rule {
	uint32_t leaf;
	uint8_t subleaves; /* how many are listed one after the other, each with its own rule; 0: ECX does not matter */
	uint32_t eax, ebx, ecx, edx;
};

/* Ascending by leaf. The rows of a leaf with subleaves follow each other. */
static const struct cpuid_rule cpuid_rules[] = {
	{0x00000000, 0, 0, ALL, ALL, ALL}, /* EAX: the last leaf of ours */
	{0x00000001, 0, ALL, LEAF1_EBX_CONSTANT, LEAF1_ECX, LEAF1_EDX},
	{0x00000002, 0, ALL, ALL, ALL, ALL}, /* cache descriptors */
	{0x00000004, 5, (uint32_t)~CACHE_SHARING, ALL, ALL, ALL},
	{0x00000004, 5, (uint32_t)~CACHE_SHARING, ALL, ALL, ALL},
	{0x00000004, 5, (uint32_t)~CACHE_SHARING, ALL, ALL, ALL},
	{0x00000004, 5, (uint32_t)~CACHE_SHARING, ALL, ALL, ALL},
	{0x00000004, 5, 0, 0, 0, 0}, /* no more caches */
	{0x00000006, 0, 0, 0, 0, 0},
	{0x00000007, 2, 0, LEAF7_EBX, LEAF7_ECX, LEAF7_EDX},
	{0x00000007, 2, LEAF7_1_EAX, 0, 0, 0},
	{0x0000000b, 2, 0, 0, 0, 0}, /* topology: made in cpuid.c */
	{0x0000000b, 2, 0, 0, 0, 0},
	{0x0000000d, 8, ALL, ALL, ALL, ALL}, /* EAX, EBX, ECX, EDX: made in cpuid.c */
	{0x0000000d, 8, LEAFD_1_EAX, ALL, 0, 0},
	{0x0000000d, 8, ALL, ALL, ALL, 0}, /* AVX */
	{0x0000000d, 8, 0, 0, 0, 0},       /* MPX */
	{0x0000000d, 8, 0, 0, 0, 0},
	{0x0000000d, 8, ALL, ALL, ALL, 0}, /* AVX-512 */
	{0x0000000d, 8, ALL, ALL, ALL, 0},
	{0x0000000d, 8, ALL, ALL, ALL, 0},
	{0x80000000, 0, 0, ALL, ALL, ALL},
	{0x80000001, 0, ALL, ALL, EXT1_ECX, EXT1_EDX},
	{0x80000002, 0, ALL, ALL, ALL, ALL}, /* brand */
	{0x80000003, 0, ALL, ALL, ALL, ALL},
	{0x80000004, 0, ALL, ALL, ALL, ALL},
	{0x80000005, 0, ALL, ALL, ALL, ALL}, /* caches and TLBs */
	{0x80000006, 0, ALL, ALL, ALL, ALL},
	{0x80000007, 0, 0, 0, 0, 0},
	{0x80000008, 0, BITS(15, 0), EXT8_EBX, 0, 0},
	{0x80000019, 0, ALL, ALL, 0, 0},      /* TLBs for 1 GiB pages */
	{0x8000001a, 0, BITS(2, 0), 0, 0, 0}, /* widths of the vector units */
	{0x8000001d, 5, (uint32_t)~CACHE_SHARING, ALL, ALL, ALL},
	{0x8000001d, 5, (uint32_t)~CACHE_SHARING, ALL, ALL, ALL},
	{0x8000001d, 5, (uint32_t)~CACHE_SHARING, ALL, ALL, ALL},
	{0x8000001d, 5, (uint32_t)~CACHE_SHARING, ALL, ALL, ALL},
	{0x8000001d, 5, 0, 0, 0, 0},
	{0x8000001e, 0, 0, 0, 0, 0}, /* core and node 0 */
	{0x80000021, 0, EXT21_EAX, 0, 0, 0},
};
