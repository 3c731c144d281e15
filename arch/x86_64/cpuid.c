/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID as guests see it. x86_cpuid_init asks the host once, by the rules of cpuid_table.h; x86_cpuid, called on every
 * CPUID exit, only looks the answer up and mends what depends on the vCPU's own state. It executes no CPUID, which
 * under another hypervisor would be an exit of its own.
 */
#include "cpuid_table.h"

#include "cpu.h"
#include "kvm_clock.h"
#include "lib/string.h"
#include "vcpu.h"

#define LEAF_BASIC      0x00000000
#define LEAF_FEATURES   0x00000001
#define LEAF_CACHES     0x00000004
#define LEAF_POWER      0x00000006
#define LEAF_STRUCTURED 0x00000007
#define LEAF_TOPOLOGY   0x0000000b
#define LEAF_XSAVE      0x0000000d
#define LEAF_HYPERVISOR 0x40000000
#define LEAF_TIMING     0x40000010 /* VMware's: kHz of the TSC in EAX, of the local APIC's timer in EBX */
#define LEAF_EXTENDED   0x80000000
#define LEAF_AMD_POWER  0x80000007
#define LEAF_SIZES      0x80000008
#define LEAF_SVM        0x8000000a
#define LEAF_AMD_CACHES 0x8000001d

/* How many leaves of each range are looked up; the last ones are the highest that guests are told of. */
#define BASIC_LEAVES      (LEAF_XSAVE + 1)
#define HYPERVISOR_LEAVES (LEAF_TIMING - LEAF_HYPERVISOR + 1)
#define KVM_LEAVES        2
#define EXTENDED_LEAVES   0x22

#define SIGNATURE "CaissonHV\0\0" /* 12 bytes with the terminating one: EBX, ECX, EDX of LEAF_HYPERVISOR */

/* SDM vol. 1 13.4: the legacy region and the header; compacted components that want it are aligned to 64 bytes. */
#define XSAVE_FIXED_BYTES 576U
#define XSAVE_FIRST       2U
#define XSAVE_COMPONENTS  8U
#define XSAVE_ALIGNED     BIT(1)
#define XSAVE_ALIGNMENT   64U
#define XCR0_AVX          BIT(2)
#define XCR0_AVX512       BITS(7, 5)

/* Topology, SDM vol. 2A leaf 0xb: the level's type in ECX[15:8]. */
#define TOPOLOGY_LEVELS 2U
#define TOPOLOGY_SMT    1U
#define TOPOLOGY_CORE   2U

#define LEAF_SVM_EDX_SPEC_CTRL B(20) /* SPEC_CTRL virtualization */

/* LEAF_SIZES, EAX: what a linear address has without LA57. */
#define LINEAR_SHIFT 8
#define LINEAR_BITS  48U

#define LEAF1_EBX_ID_SHIFT  24
#define LEAF1_OSXSAVE_SHIFT 9 /* from its place in CR4 */

struct leaf_index {
	struct cpuid_result *value; /* the first subleaf's */
	uint32_t subleaves;         /* 0: ECX does not matter */
	bool own_state;             /* mended by mend() */
};

static struct cpuid_result values[ARRAY_SIZE(cpuid_rules) + 5]; /* zeros, signature, frequencies, KVM's two */
static struct leaf_index basic[BASIC_LEAVES], hypervisor[HYPERVISOR_LEAVES], kvm[KVM_LEAVES], extended[EXTENDED_LEAVES];

/* ---- once ---- */

static struct leaf_index *find(uint32_t leaf)
{
	static struct leaf_index none = {.value = &values[0]};
	if (likely(leaf < BASIC_LEAVES)) {
		return &basic[leaf];
	}
	if (leaf - LEAF_EXTENDED < EXTENDED_LEAVES) {
		return &extended[leaf - LEAF_EXTENDED];
	}
	if (leaf - LEAF_HYPERVISOR < HYPERVISOR_LEAVES) {
		return &hypervisor[leaf - LEAF_HYPERVISOR];
	}
	if (leaf - KVM_CPUID_BASE < KVM_LEAVES) {
		return &kvm[leaf - KVM_CPUID_BASE];
	}
	return &none;
}

/* Vector instructions need registers that XCR0 can turn on. */
static void hide_without_registers(uint32_t leaf, uint32_t subleaf, struct cpuid_result *r)
{
	const uint32_t leaf1_avx = B(12) | B(28) | B(29); /* FMA, AVX, F16C */
	bool avx = x86_xcr0_allowed() & XCR0_AVX;
	bool avx512 = x86_xcr0_allowed() & XCR0_AVX512;
	if (leaf == LEAF_FEATURES && !avx) {
		r->ecx &= ~leaf1_avx;
	} else if (leaf == LEAF_STRUCTURED && subleaf == 0) {
		r->ebx &= ~((avx ? 0 : LEAF7_EBX_AVX2) | (avx512 ? 0 : LEAF7_EBX_AVX512));
		r->ecx &= ~((avx ? 0 : LEAF7_ECX_AVX) | (avx512 ? 0 : LEAF7_ECX_AVX512));
		r->edx &= ~(avx512 ? 0 : LEAF7_EDX_AVX512);
	} else if (leaf == LEAF_STRUCTURED) {
		r->eax &= ~((avx ? 0 : LEAF7_1_EAX_AVX) | (avx512 ? 0 : LEAF7_1_EAX_AVX512));
	} else if (leaf == LEAF_EXTENDED + 1 && !avx) {
		r->ecx &= ~EXT1_ECX_AVX;
	}
}

/* SPEC_CTRL must be the guest's own: VMX moves it at entries and exits, SVM keeps two of them or does not care. */
static void hide_speculation(uint32_t leaf, struct cpuid_result *r)
{
	bool two = x86_features.svm && (x86_cpuid_leaf(LEAF_SVM, 0).edx & LEAF_SVM_EDX_SPEC_CTRL);
	if (leaf == LEAF_STRUCTURED && x86_features.svm) {
		r->edx &= ~LEAF7_EDX_SPECULATION;
	} else if (leaf == LEAF_EXTENDED + 8 && !two) {
		r->ebx &= ~EXT8_EBX_SPEC_CTRL;
	}
}

/* Bytes of an XSAVE area for the components in `xcr0`, from the leaf's own rows. */
static uint32_t xsave_bytes(uint64_t xcr0, bool compacted)
{
	const struct cpuid_result *component = basic[LEAF_XSAVE].value;
	uint32_t bytes = XSAVE_FIXED_BYTES;
	for (unsigned i = XSAVE_FIRST; i < XSAVE_COMPONENTS; i++) {
		if (!(xcr0 & BIT(i))) {
			continue;
		}
		uint32_t start = bytes;
		if (compacted && (component[i].ecx & XSAVE_ALIGNED)) {
			start = (uint32_t)align_up(start, XSAVE_ALIGNMENT);
		} else if (!compacted) {
			start = component[i].ebx;
		}
		bytes = MAX(bytes, start + component[i].eax);
	}
	return bytes;
}

/* What no mask can make of the host's answer. */
static void make_special_leaves(void)
{
	uint64_t allowed = x86_xcr0_allowed();
	struct cpuid_result *leaf = basic[LEAF_BASIC].value;
	leaf->eax = MIN(cpuid(LEAF_BASIC, 0).eax, (uint32_t)LEAF_XSAVE);

	leaf = extended[0].value;
	leaf->eax = MIN(cpuid(LEAF_EXTENDED, 0).eax, (uint32_t)(LEAF_EXTENDED + EXTENDED_LEAVES - 1));

	leaf = basic[LEAF_FEATURES].value;
	leaf->ebx |= LEAF1_EBX_ONE_CPU;
	leaf->ecx |= LEAF1_ECX_HYPERVISOR | LEAF1_ECX_OWN;
	leaf->edx |= LEAF1_EDX_OWN;
	basic[LEAF_POWER].value->eax = LEAF6_EAX_ARAT;
	/* Time is counted by it here as well: a host whose TSC is not invariant keeps nobody's time. */
	extended[LEAF_AMD_POWER - LEAF_EXTENDED].value->edx = EXT7_EDX;

	leaf = extended[LEAF_SIZES - LEAF_EXTENDED].value;
	leaf->eax = (leaf->eax & UINT8_MAX) | MIN(leaf->eax >> LINEAR_SHIFT, LINEAR_BITS) << LINEAR_SHIFT;

	if (x86_cpuid_leaf(LEAF_STRUCTURED, 1).eax != 0) {
		basic[LEAF_STRUCTURED].value->eax = 1; /* the last subleaf */
	}
	leaf = basic[LEAF_TOPOLOGY].value;
	for (uint32_t level = 0; level < TOPOLOGY_LEVELS; level++) {
		bool there = x86_cpuid_leaf(LEAF_TOPOLOGY, 0).ebx != 0;
		uint32_t type = level == 0 ? TOPOLOGY_SMT : TOPOLOGY_CORE;
		leaf[level] = (struct cpuid_result){.ebx = there ? 1 : 0, .ecx = there ? type << 8 | level : 0};
	}
	leaf = basic[LEAF_XSAVE].value;
	for (unsigned i = XSAVE_FIRST; i < XSAVE_COMPONENTS; i++) {
		if (!(allowed & BIT(i))) {
			leaf[i] = (struct cpuid_result){0};
		}
	}
	leaf[0] = (struct cpuid_result){.eax = (uint32_t)allowed, .edx = (uint32_t)(allowed >> 32)};
	if (allowed) {
		leaf[0].ecx = xsave_bytes(allowed, false);
	}
}

static void add_hypervisor_leaves(unsigned next)
{
	const char signature[] = SIGNATURE, kvm_signature[] = KVM_SIGNATURE;
	_Static_assert(sizeof(signature) == 3 * sizeof(uint32_t), "EBX, ECX, EDX");
	_Static_assert(sizeof(kvm_signature) == 3 * sizeof(uint32_t), "EBX, ECX, EDX");
	_Static_assert(CR4_OSXSAVE << LEAF1_OSXSAVE_SHIFT == LEAF1_ECX_OSXSAVE, "what CPUID mirrors");
	values[next].eax = LEAF_TIMING;
	memcpy(&values[next].ebx, signature, sizeof(signature));
	values[next + 1].eax = (uint32_t)(arch_counter_hz() / 1000);
	values[next + 1].ebx = values[next + 1].eax; /* lapic.c counts the same */
	values[next + 2].eax = KVM_CPUID_BASE + 1;
	memcpy(&values[next + 2].ebx, kvm_signature, sizeof(kvm_signature));
	values[next + 3].eax = KVM_FEATURES | (x86_features.svm ? KVM_FEATURE_PV_EOI : 0);
	hypervisor[0].value = &values[next];
	hypervisor[LEAF_TIMING - LEAF_HYPERVISOR].value = &values[next + 1];
	kvm[0].value = &values[next + 2];
	kvm[1].value = &values[next + 3];
}

static void clear(struct leaf_index *range, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		range[i] = (struct leaf_index){.value = &values[0]};
	}
}

void x86_cpuid_init(void)
{
	unsigned next = 1;
	uint32_t subleaf = 0;
	clear(basic, BASIC_LEAVES);
	clear(hypervisor, HYPERVISOR_LEAVES);
	clear(kvm, KVM_LEAVES);
	clear(extended, EXTENDED_LEAVES);
	for (unsigned i = 0; i < ARRAY_SIZE(cpuid_rules); i++) {
		const struct cpuid_rule *rule = &cpuid_rules[i];
		struct leaf_index *index = find(rule->leaf);
		if (index->value == &values[0]) {
			*index = (struct leaf_index){.value = &values[next], .subleaves = rule->subleaves};
			subleaf = 0;
		}
		struct cpuid_result host = x86_cpuid_leaf(rule->leaf, subleaf);
		host.eax &= rule->eax;
		host.ebx &= rule->ebx;
		host.ecx &= rule->ecx;
		host.edx &= rule->edx;
		hide_without_registers(rule->leaf, subleaf, &host);
		hide_speculation(rule->leaf, &host);
		values[next++] = host;
		subleaf++;
	}
	make_special_leaves();
	add_hypervisor_leaves(next);
	basic[LEAF_TOPOLOGY].own_state = true;
	basic[LEAF_XSAVE].own_state = true;
	x86_msr_init();
}

/* ---- on each exit ---- */

static __attribute__((noinline)) int mend(struct arch_vcpu *vcpu, uint32_t leaf, uint32_t subleaf)
{
	uint64_t *gpr = vcpu->gpr;
	if (leaf == LEAF_TOPOLOGY) {
		gpr[GPR_RCX] |= subleaf & UINT8_MAX; /* echoed on every level, there or not */
		gpr[GPR_RDX] = vcpu->index;
	} else if (subleaf == 0 && x86_features.xsave) { /* LEAF_XSAVE */
		gpr[GPR_RBX] = xsave_bytes(x86_current_xcr0(vcpu), false);
	} else if (subleaf == 1) {
		gpr[GPR_RBX] = gpr[GPR_RAX] & LEAFD_1_EAX_XSAVEC ? xsave_bytes(x86_current_xcr0(vcpu), true) : 0;
	}
	return X86_RUN_ON;
}

static inline const struct cpuid_result *look_up(const struct leaf_index *index, uint32_t subleaf)
{
	if (index->subleaves) {
		return subleaf < index->subleaves ? index->value + subleaf : &values[0];
	}
	return index->value;
}

struct cpuid_result x86_guest_leaf(uint32_t leaf, uint32_t subleaf)
{
	return *look_up(find(leaf), subleaf);
}

int x86_cpuid_cr4(struct arch_vcpu *vcpu, uint64_t cr4)
{
	uint64_t *gpr = vcpu->gpr;
	uint32_t leaf = (uint32_t)gpr[GPR_RAX], subleaf = (uint32_t)gpr[GPR_RCX];
	const struct leaf_index *index = find(leaf);
	const struct cpuid_result *value = look_up(index, subleaf);
	gpr[GPR_RAX] = value->eax;
	gpr[GPR_RBX] = value->ebx;
	gpr[GPR_RCX] = value->ecx;
	gpr[GPR_RDX] = value->edx;
	if (leaf == LEAF_FEATURES) {
		gpr[GPR_RBX] |= (uint64_t)vcpu->index << LEAF1_EBX_ID_SHIFT;
		gpr[GPR_RCX] |= (cr4 & CR4_OSXSAVE) << LEAF1_OSXSAVE_SHIFT;
	} else if (unlikely(index->own_state)) {
		return mend(vcpu, leaf, subleaf);
	}
	return X86_RUN_ON;
}

void x86_cpuid(struct arch_vcpu *vcpu)
{
	bool features = (uint32_t)vcpu->gpr[GPR_RAX] == LEAF_FEATURES;
	(void)x86_cpuid_cr4(vcpu, features ? vcpu->vm->ops->get(vcpu, X86_CR4) : 0);
}
