/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MSRs that a guest has: one table of those that exit, and a list of those that it reaches without an exit
 * because the hardware or fpu.c keeps them apart. All others are #GP, as on a CPU without them.
 * Called on MSR exits. SDM vol. 4; APM vol. 2 appendix A.
 */
#include "cpu.h"
#include "interrupts.h"
#include "kvm_clock.h"
#include "vcpu.h"

#define MSR_IA32_TSC             0x10
#define MSR_IA32_PLATFORM_ID     0x17
#define MSR_IA32_FEATURE_CONTROL 0x3a
#define MSR_IA32_BIOS_UPDT_TRIG  0x79
#define MSR_IA32_BIOS_SIGN_ID    0x8b
#define MSR_IA32_SYSENTER_CS     0x174
#define MSR_IA32_SYSENTER_ESP    0x175
#define MSR_IA32_SYSENTER_EIP    0x176
#define MSR_IA32_MISC_ENABLE     0x1a0
#define MSR_IA32_DEBUGCTL        0x1d9
#define MSR_K7_EVNTSEL0          0xc0010000
#define MSR_K7_PERFCTR0          0xc0010004
#define MSR_AMD_HWCR             0xc0010015
#define MSR_AMD_NB_CFG           0xc001001f
#define MSR_AMD_PATCH_LOADER     0xc0010020
#define MSR_AMD_INT_PENDING      0xc0010055
#define MSR_AMD_MMIO_CFG_BASE    0xc0010058
#define MSR_AMD_LS_CFG           0xc0011020
#define MSR_AMD_IC_CFG           0xc0011021
#define MSR_AMD_DC_CFG           0xc0011022
#define MSR_AMD_BU_CFG           0xc0011023
#define MSR_AMD_DE_CFG           0xc0011029
#define MSR_AMD_BU_CFG2          0xc001102a

#define FEATURE_CONTROL_LOCK     BIT(0)
#define MISC_ENABLE_FAST_STRING  BIT(0)
#define MISC_ENABLE_NO_BTS       BIT(11)
#define MISC_ENABLE_NO_PEBS      BIT(12)
#define MTRR_DEF_TYPE_ENABLED    BIT(11)
#define MTRR_WRITE_BACK          UINT64_C(6)
#define HWCR_TSC_FREQ_SEL        BIT(24) /* the TSC counts at the P0 frequency */
#define DE_CFG_LFENCE            BIT(1)  /* LFENCE serializes dispatch */
#define EFER_FFXSR               BIT(14)
#define CPUID_EXTENDED_FEATURES  0x80000001
#define CPUID_EXTENDED_EDX_NX    BIT(20)
#define CPUID_EXTENDED_EDX_FFXSR BIT(25)
/* Speculation. What guests may know of the CPU: what it is immune to, or not (RSBA), and what its microcode does about
 * it. Not what is switched by MSRs that they do not have, and not what helps a nested hypervisor. */
#define MSR_IA32_ARCH_CAPABILITIES 0x10a
#define ARCH_CAPABILITIES_SHOWN                                                                                        \
	(BIT(0) /* RDCL_NO */ | BIT(1) /* IBRS_ALL */ | BIT(2) /* RSBA */ | BIT(4) /* SSB_NO */ |                      \
	 BIT(5) /* MDS_NO */ | BIT(6) /* PSCHANGE_MC_NO */ | BIT(8) /* TAA_NO */ | BIT(13) /* SBDR_SSDP_NO */ |        \
	 BIT(14) /* FBSDP_NO */ | BIT(15) /* PSDP_NO */ | BIT(17) /* FB_CLEAR */ | BIT(19) /* RRSBA */ |               \
	 BIT(20) /* BHI_NO */ | BIT(24) /* PBRSB_NO */ | BIT(26) /* GDS_NO */ | BIT(27) /* RFDS_NO */ |                \
	 BIT(28) /* RFDS_CLEAR */ | BIT(62) /* ITS_NO */)
/* Either says that a guest cannot read what others have left in the L1D cache (L1TF). */
#define ARCH_CAPABILITIES_L1D_SAFE (BIT(0) /* RDCL_NO */ | BIT(3) /* SKIP_L1DFL_VMENTRY */)

#define SPEC_CTRL_IBRS      BIT(0)
#define SPEC_CTRL_STIBP     BIT(1)
#define SPEC_CTRL_SSBD      BIT(2)
#define CPUID_7_EDX_IBRS    BIT(26)
#define CPUID_7_EDX_STIBP   BIT(27)
#define CPUID_7_EDX_FLUSH   BIT(28)
#define CPUID_7_EDX_CAPS    BIT(29) /* ARCH_CAPABILITIES */
#define CPUID_7_EDX_SSBD    BIT(31)
#define CPUID_AMD_SIZES     0x80000008
#define CPUID_AMD_EBX_IBPB  BIT(12)
#define CPUID_AMD_EBX_IBRS  BIT(14)
#define CPUID_AMD_EBX_STIBP BIT(15)
#define CPUID_AMD_EBX_SSBD  BIT(24)

/* Memory types that a PAT entry may hold: 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, 7 UC-. SDM vol. 3A 11.12.2. */
#define PAT_TYPES   (BIT(0) | BIT(1) | BIT(4) | BIT(5) | BIT(6) | BIT(7))
#define PAT_ENTRIES 8

/* What of the host shows in the table. */
static struct {
	uint64_t patch_level; /* of the microcode, for guests that mind errata */
	uint64_t de_cfg;
	uint64_t efer_allowed;
	uint64_t arch_capabilities;
	uint64_t spec_ctrl_allowed; /* of the bits that a CPU may have */
	unsigned traces;            /* enum x86_trace: what of a VM another could find, and can be emptied */
} host;

typedef uint64_t msr_reader(struct arch_vcpu *vcpu);
typedef bool msr_writer(struct arch_vcpu *vcpu, uint64_t value);

/* On which CPUs; the last two on those where the guest's CPUID says so. */
enum msr_presence { ON_ALL, ON_INTEL, ON_AMD, SPEC_CTRL, ARCH_CAPABILITIES };

struct msr_rule {
	uint32_t msr;
	enum msr_presence presence;
	msr_reader *read; /* NULL: reads give `value` */
	uint64_t value;
	msr_writer *write; /* NULL: #GP */
};

/* ---- the functions of the table ---- */

static uint64_t read_tsc(struct arch_vcpu *vcpu)
{
	(void)vcpu;
	return rdtsc();
}

static uint64_t read_patch_level(struct arch_vcpu *vcpu)
{
	(void)vcpu;
	return host.patch_level;
}

static uint64_t read_de_cfg(struct arch_vcpu *vcpu)
{
	(void)vcpu;
	return host.de_cfg;
}

static uint64_t read_arch_capabilities(struct arch_vcpu *vcpu)
{
	(void)vcpu;
	return host.arch_capabilities;
}

static uint64_t read_spec_ctrl(struct arch_vcpu *vcpu)
{
	return vcpu->vm->ops->get(vcpu, X86_SPEC_CTRL);
}

static uint64_t read_efer(struct arch_vcpu *vcpu)
{
	return vcpu->vm->ops->get(vcpu, X86_EFER);
}

static uint64_t read_apic_base(struct arch_vcpu *vcpu)
{
	return vcpu->lapic.base;
}

static uint64_t read_deadline(struct arch_vcpu *vcpu)
{
	return vcpu->lapic.deadline;
}

static uint64_t read_pat(struct arch_vcpu *vcpu)
{
	return vcpu->vm->ops->get(vcpu, X86_PAT);
}

/* A write that changes nothing: what it asks for is the host's, or is so already. */
static bool drop(struct arch_vcpu *vcpu, uint64_t value)
{
	(void)vcpu;
	(void)value;
	return true;
}

static bool only_zero(struct arch_vcpu *vcpu, uint64_t value)
{
	(void)vcpu;
	return value == 0;
}

/* SDM vol. 3A 4.1.1: LME cannot change while paging is on; LMA is the CPU's. */
static bool write_efer(struct arch_vcpu *vcpu, uint64_t value)
{
	const struct virt_ops *ops = vcpu->vm->ops;
	uint64_t now = ops->get(vcpu, X86_EFER);
	if (value & ~(host.efer_allowed | EFER_LMA)) {
		return false;
	}
	if (((value ^ now) & EFER_LME) && (ops->get(vcpu, X86_CR0) & CR0_PG)) {
		return false;
	}
	ops->set(vcpu, X86_EFER, (value & ~EFER_LMA) | (now & EFER_LMA));
	return true;
}

/* Up to its first value that is not zero: then the guest has the register itself. */
static bool write_spec_ctrl(struct arch_vcpu *vcpu, uint64_t value)
{
	if (value & ~host.spec_ctrl_allowed) {
		return false;
	}
	vcpu->vm->ops->set(vcpu, X86_SPEC_CTRL, value);
	return true;
}

static bool write_pat(struct arch_vcpu *vcpu, uint64_t value)
{
	for (unsigned i = 0; i < PAT_ENTRIES; i++) {
		uint64_t type = field(value, 8 * i + 7, 8 * i);
		if (type > 7 || !(PAT_TYPES & BIT(type))) {
			return false;
		}
	}
	vcpu->vm->ops->set(vcpu, X86_PAT, value);
	return true;
}

/* ---- the table ---- */

/* The TSC can be read without an exit; it cannot be set, as deadlines and the host share it. */
static const struct msr_rule rules[] = {
	{MSR_IA32_TSC, ON_ALL, read_tsc, 0, drop},
	{MSR_IA32_PLATFORM_ID, ON_INTEL, NULL, 0, NULL},
	{MSR_IA32_APIC_BASE, ON_ALL, read_apic_base, 0, x86_apic_base_write},
	{MSR_IA32_FEATURE_CONTROL, ON_INTEL, NULL, FEATURE_CONTROL_LOCK, NULL}, /* no VMX, and that is final */
	{MSR_IA32_SPEC_CTRL, SPEC_CTRL, read_spec_ctrl, 0, write_spec_ctrl},
	{MSR_IA32_BIOS_UPDT_TRIG, ON_INTEL, NULL, 0, drop},
	{MSR_IA32_BIOS_SIGN_ID, ON_ALL, read_patch_level, 0, drop},
	{MSR_IA32_MTRRCAP, ON_ALL, NULL, 0, NULL}, /* neither fixed nor variable ranges */
	{MSR_IA32_ARCH_CAPABILITIES, ARCH_CAPABILITIES, read_arch_capabilities, 0, NULL},
	{MSR_IA32_MCG_CAP, ON_ALL, NULL, 0, NULL}, /* no banks */
	{MSR_IA32_MCG_STATUS, ON_ALL, NULL, 0, only_zero},
	{MSR_IA32_MISC_ENABLE, ON_INTEL, NULL, MISC_ENABLE_FAST_STRING | MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS,
         drop},
	{MSR_IA32_DEBUGCTL, ON_ALL, NULL, 0, only_zero},
	{MSR_IA32_PAT, ON_ALL, read_pat, 0, write_pat},
	{MSR_IA32_MTRR_DEF_TYPE, ON_ALL, NULL, MTRR_DEF_TYPE_ENABLED | MTRR_WRITE_BACK, drop},
	{MSR_IA32_TSC_DEADLINE, ON_ALL, read_deadline, 0, NULL},
	{MSR_KVM_WALL_CLOCK, ON_ALL, NULL, 0, kvm_wall_clock_write},
	{MSR_KVM_SYSTEM_TIME, ON_ALL, NULL, 0, kvm_system_time_write},
	{MSR_KVM_PV_EOI, ON_AMD, NULL, 0, kvm_eoi_write},
	{MSR_EFER, ON_ALL, read_efer, 0, write_efer},
	/* Every AMD CPU has had these counters since the K7, without a CPUID bit; Xen makes one its NMI watchdog. They
         * count nothing here, and read as zero, by which Linux finds that out. */
	{MSR_K7_EVNTSEL0, ON_AMD, NULL, 0, drop},
	{MSR_K7_EVNTSEL0 + 1, ON_AMD, NULL, 0, drop},
	{MSR_K7_EVNTSEL0 + 2, ON_AMD, NULL, 0, drop},
	{MSR_K7_EVNTSEL0 + 3, ON_AMD, NULL, 0, drop},
	{MSR_K7_PERFCTR0, ON_AMD, NULL, 0, drop},
	{MSR_K7_PERFCTR0 + 1, ON_AMD, NULL, 0, drop},
	{MSR_K7_PERFCTR0 + 2, ON_AMD, NULL, 0, drop},
	{MSR_K7_PERFCTR0 + 3, ON_AMD, NULL, 0, drop},
	/* What kernels read or set by the CPU's family, without asking CPUID. */
	{MSR_AMD_SYSCFG, ON_AMD, NULL, 0, drop},
	{MSR_AMD_HWCR, ON_AMD, NULL, HWCR_TSC_FREQ_SEL, drop},
	{MSR_AMD_NB_CFG, ON_AMD, NULL, 0, drop},
	{MSR_AMD_PATCH_LOADER, ON_AMD, NULL, 0, drop},
	{MSR_AMD_INT_PENDING, ON_AMD, NULL, 0, drop},
	{MSR_AMD_MMIO_CFG_BASE, ON_AMD, NULL, 0, drop},
	{MSR_AMD_LS_CFG, ON_AMD, NULL, 0, drop},
	{MSR_AMD_IC_CFG, ON_AMD, NULL, 0, drop},
	{MSR_AMD_DC_CFG, ON_AMD, NULL, 0, drop},
	{MSR_AMD_BU_CFG, ON_AMD, NULL, 0, drop},
	{MSR_AMD_DE_CFG, ON_AMD, read_de_cfg, 0, drop},
	{MSR_AMD_BU_CFG2, ON_AMD, NULL, 0, drop},
};

/*
 * A hash table of the rules' places, built once: twice as many slots as rules at least, so that a look-up mostly
 * takes one step. The multiplier is that of Fibonacci hashing, 2^32 / golden ratio.
 */
#define SLOT_BITS 7
#define SLOTS     (1U << SLOT_BITS)
#define SLOT(msr) (((msr)*UINT32_C(0x9e3779b1)) >> (32 - SLOT_BITS))
_Static_assert(2 * ARRAY_SIZE(rules) < SLOTS, "SLOT_BITS");

/* What empty slots hold: it can be neither read nor written. */
static const struct msr_rule no_rule = {.msr = UINT32_MAX};
static const struct msr_rule *slots[SLOTS];

static inline const struct msr_rule *find(uint32_t msr)
{
	unsigned slot = SLOT(msr);
	/* Ends at an empty slot, of which there are many. */
	for (const struct msr_rule *rule = slots[slot];; rule = slots[slot]) {
		if (likely(rule->msr == msr) || rule == &no_rule) {
			return rule;
		}
		slot = (slot + 1) % SLOTS;
	}
}

static bool is_present(enum msr_presence presence)
{
	uint32_t structured = x86_guest_leaf(7, 0).edx;
	switch (presence) {
	case ON_INTEL:
		return !x86_features.svm;
	case ON_AMD:
		return x86_features.svm;
	case SPEC_CTRL:
		return structured & (CPUID_7_EDX_IBRS | CPUID_7_EDX_STIBP | CPUID_7_EDX_SSBD);
	case ARCH_CAPABILITIES:
		return structured & CPUID_7_EDX_CAPS;
	default:
		return true;
	}
}

static void fill_slots(void)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		slots[i] = &no_rule;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(rules); i++) {
		const struct msr_rule *rule = &rules[i];
		if (!is_present(rule->presence)) {
			continue;
		}
		unsigned slot = SLOT(rule->msr);
		while (slots[slot] != &no_rule) {
			slot = (slot + 1) % SLOTS;
		}
		slots[slot] = rule;
	}
}

/* The local APIC's, which has rules of its own. */
static inline bool is_x2apic(uint32_t msr)
{
	return msr >= LAPIC_MSR_FIRST && msr <= LAPIC_MSR_LAST;
}

bool x86_msr_read(struct arch_vcpu *vcpu, uint32_t msr, uint64_t *value)
{
	const struct msr_rule *rule = find(msr);
	if (unlikely(rule == &no_rule)) {
		return is_x2apic(msr) && x86_apic_msr_read(vcpu, msr, value);
	}
	*value = rule->read ? rule->read(vcpu) : rule->value;
	return true;
}

bool x86_msr_write(struct arch_vcpu *vcpu, uint32_t msr, uint64_t value)
{
	if (is_x2apic(msr)) {
		return x86_apic_msr_write(vcpu, msr, value);
	}
	if (msr == MSR_IA32_TSC_DEADLINE) {
		x86_deadline_write(vcpu, value);
		return true;
	}
	const struct msr_rule *rule = find(msr);
	return rule->write && rule->write(vcpu, value);
}

void x86_msr_passthrough(void (*allow)(void *context, uint32_t msr, bool read, bool write), void *context)
{
	static const uint32_t own[] = {
		MSR_IA32_SYSENTER_CS,
		MSR_IA32_SYSENTER_ESP,
		MSR_IA32_SYSENTER_EIP,
		MSR_STAR,
		MSR_LSTAR,
		MSR_CSTAR,
		MSR_SFMASK,
		MSR_FS_BASE,
		MSR_GS_BASE,
		MSR_KERNEL_GS_BASE,
	};
	for (unsigned i = 0; i < ARRAY_SIZE(own); i++) {
		allow(context, own[i], true, true);
	}
	if (x86_features.rdtscp) {
		allow(context, MSR_TSC_AUX, true, true);
	}
	allow(context, MSR_IA32_TSC, true, false);
	/* Commands, which keep nothing. */
	uint32_t structured = x86_guest_leaf(7, 0).edx;
	uint32_t amd = x86_guest_leaf(CPUID_AMD_SIZES, 0).ebx;
	if (host.traces & X86_TRACE_BRANCHES) {
		allow(context, MSR_IA32_PRED_CMD, false, true);
	}
	if (structured & CPUID_7_EDX_FLUSH) {
		allow(context, MSR_IA32_FLUSH_CMD, false, true);
	}
	/* These are shown only where SVM keeps the guest's value apart: APM vol. 2 "SPEC_CTRL virtualization". */
	if (amd & (CPUID_AMD_EBX_IBRS | CPUID_AMD_EBX_STIBP | CPUID_AMD_EBX_SSBD)) {
		allow(context, MSR_IA32_SPEC_CTRL, true, true);
	}
}

unsigned x86_foreign_traces(struct x86_cpu *cpu, const struct arch_vm *vm)
{
	bool foreign = cpu->last_vm != vm->number;
	cpu->last_vm = vm->number;
	return foreign ? host.traces : 0;
}

void x86_msr_init(void)
{
	fill_slots();
	uint32_t structured = x86_guest_leaf(7, 0).edx;
	uint32_t extended = x86_cpuid_leaf(CPUID_EXTENDED_FEATURES, 0).edx;
	uint64_t value;
	host.patch_level = rdmsr_safe(MSR_IA32_BIOS_SIGN_ID, &value) ? value : 0;
	host.de_cfg = x86_features.svm && rdmsr_safe(MSR_AMD_DE_CFG, &value) ? value & DE_CFG_LFENCE : 0;
	host.arch_capabilities = 0;
	if (structured & CPUID_7_EDX_CAPS) {
		(void)rdmsr_safe(MSR_IA32_ARCH_CAPABILITIES, &host.arch_capabilities);
	}
	bool leaks = (structured & CPUID_7_EDX_FLUSH) && !(host.arch_capabilities & ARCH_CAPABILITIES_L1D_SAFE);
	host.arch_capabilities &= ARCH_CAPABILITIES_SHOWN;
	bool barrier = (structured & CPUID_7_EDX_IBRS) || (x86_guest_leaf(CPUID_AMD_SIZES, 0).ebx & CPUID_AMD_EBX_IBPB);
	host.traces = X86_TRACE_BUFFERS | (barrier ? X86_TRACE_BRANCHES : 0) | (leaks ? X86_TRACE_L1D : 0);
	host.spec_ctrl_allowed = (structured & CPUID_7_EDX_IBRS ? SPEC_CTRL_IBRS : 0) |
	                         (structured & CPUID_7_EDX_STIBP ? SPEC_CTRL_STIBP : 0) |
	                         (structured & CPUID_7_EDX_SSBD ? SPEC_CTRL_SSBD : 0);
	host.efer_allowed = EFER_SCE | EFER_LME | (extended & CPUID_EXTENDED_EDX_NX ? EFER_NXE : 0) |
	                    (extended & CPUID_EXTENDED_EDX_FFXSR ? EFER_FFXSR : 0);
}
