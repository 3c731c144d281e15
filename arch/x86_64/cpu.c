/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host CPU can do, and its control registers. x86_cpu_probe is called by arch_check while the
 * firmware still owns the machine, so it only reads; x86_cpu_take is called once on each CPU that the
 * hypervisor takes.
 */
#include "arch/x86_64/cpu.h"

#include "lib/string.h"
#include "mm/formats.h"

/* CPUID leaves: SDM vol. 2A "CPUID"; APM vol. 3 appendix E. */
#define CPUID_MAXIMUM             0x00000000
#define CPUID_FEATURES            0x00000001
#define CPUID_STRUCTURED_FEATURES 0x00000007
#define CPUID_XSAVE               0x0000000d
#define CPUID_EXTENDED_MAXIMUM    0x80000000
#define CPUID_EXTENDED_FEATURES   0x80000001
#define CPUID_BRAND               0x80000002 /* and the two after it */
#define CPUID_POWER               0x80000007
#define CPUID_ADDRESS_SIZES       0x80000008

#define FEATURES_ECX_VMX           BIT(5)
#define FEATURES_ECX_PCID          BIT(17)
#define FEATURES_ECX_X2APIC        BIT(21)
#define FEATURES_ECX_TSC_DEADLINE  BIT(24)
#define FEATURES_ECX_XSAVE         BIT(26)
#define FEATURES_ECX_HYPERVISOR    BIT(31)
#define FEATURES_EDX_MACHINE_CHECK (BIT(7) | BIT(14)) /* MCE and MCA */
#define FEATURES_EDX_APIC          BIT(9)
#define FEATURES_EDX_MTRR          BIT(12)
#define FEATURES_EDX_PAT           BIT(16)
#define STRUCTURED_EBX_SMEP        BIT(7)
#define STRUCTURED_EBX_SMAP        BIT(20)
#define STRUCTURED_ECX_UMIP        BIT(2)
#define STRUCTURED_ECX_LA57        BIT(16)
#define XSAVE_1_EAX_XSAVES         BIT(3)
#define EXTENDED_ECX_SVM           BIT(2)
#define EXTENDED_EDX_NX            BIT(20)
#define EXTENDED_EDX_PAGE1GB       BIT(26)
#define EXTENDED_EDX_RDTSCP        BIT(27)
#define POWER_EDX_INVARIANT_TSC    BIT(8)
#define PHYSICAL_BITS_WITHOUT_LEAF 36 /* SDM vol. 3A 4.1.4 */
#define FXSAVE_BYTES               512

struct x86_features x86_features;

struct cpuid_result x86_cpuid_leaf(uint32_t leaf, uint32_t subleaf)
{
	uint32_t last = cpuid(leaf & CPUID_EXTENDED_MAXIMUM, 0).eax;
	if (leaf > last) {
		return (struct cpuid_result){0};
	}
	return cpuid(leaf, subleaf);
}

/* The brand string's 48 bytes come padded with blanks on either side. */
static void read_brand(char *brand)
{
	char text[49] = {0};
	for (unsigned i = 0; i < 3; i++) {
		struct cpuid_result r = x86_cpuid_leaf(CPUID_BRAND + i, 0);
		memcpy(text + i * sizeof(r), &r, sizeof(r));
	}
	const char *from = text;
	while (*from == ' ') {
		from++;
	}
	size_t length = strlen(from);
	while (length > 0 && from[length - 1] == ' ') {
		length--;
	}
	if (length == 0) {
		from = "unnamed CPU";
		length = strlen(from);
	}
	memcpy(brand, from, length);
	brand[length] = '\0';
}

static void probe_xsave(struct x86_features *f)
{
	f->xsave_size = FXSAVE_BYTES;
	if (!f->xsave) {
		return;
	}
	struct cpuid_result all = x86_cpuid_leaf(CPUID_XSAVE, 0);
	f->xcr0_mask = ((uint64_t)all.edx << 32) | all.eax;
	f->xsave_size = all.ecx;
	f->xsaves = x86_cpuid_leaf(CPUID_XSAVE, 1).eax & XSAVE_1_EAX_XSAVES;
}

void x86_cpu_probe(void)
{
	struct x86_features *f = &x86_features;
	struct cpuid_result basic = x86_cpuid_leaf(CPUID_FEATURES, 0);
	f->vmx = basic.ecx & FEATURES_ECX_VMX;
	f->pcid = basic.ecx & FEATURES_ECX_PCID;
	f->x2apic = basic.ecx & FEATURES_ECX_X2APIC;
	f->tsc_deadline = basic.ecx & FEATURES_ECX_TSC_DEADLINE;
	f->xsave = basic.ecx & FEATURES_ECX_XSAVE;
	f->hypervisor = basic.ecx & FEATURES_ECX_HYPERVISOR;
	f->machine_check = (basic.edx & FEATURES_EDX_MACHINE_CHECK) == FEATURES_EDX_MACHINE_CHECK;
	f->apic = basic.edx & FEATURES_EDX_APIC;
	f->mtrr = basic.edx & FEATURES_EDX_MTRR;
	f->pat = basic.edx & FEATURES_EDX_PAT;

	struct cpuid_result structured = x86_cpuid_leaf(CPUID_STRUCTURED_FEATURES, 0);
	f->smep = structured.ebx & STRUCTURED_EBX_SMEP;
	f->smap = structured.ebx & STRUCTURED_EBX_SMAP;
	f->umip = structured.ecx & STRUCTURED_ECX_UMIP;
	f->la57 = structured.ecx & STRUCTURED_ECX_LA57;

	struct cpuid_result extended = x86_cpuid_leaf(CPUID_EXTENDED_FEATURES, 0);
	f->svm = extended.ecx & EXTENDED_ECX_SVM;
	f->no_execute = extended.edx & EXTENDED_EDX_NX;
	f->leaf_1g = extended.edx & EXTENDED_EDX_PAGE1GB;
	f->rdtscp = extended.edx & EXTENDED_EDX_RDTSCP;
	f->invariant_tsc = x86_cpuid_leaf(CPUID_POWER, 0).edx & POWER_EDX_INVARIANT_TSC;

	uint8_t physical_bits = (uint8_t)x86_cpuid_leaf(CPUID_ADDRESS_SIZES, 0).eax;
	f->physical_bits = physical_bits != 0 ? physical_bits : PHYSICAL_BITS_WITHOUT_LEAF;
	probe_xsave(f);
	read_brand(f->brand);
}

void x86_cpu_take(hpa_t root)
{
	const struct x86_features *f = &x86_features;
	wrmsr(MSR_EFER, (rdmsr(MSR_EFER) & ~EFER_SCE) | EFER_NXE);
	/* Only index 0 is used by the firmware's tables, and that one stays write-back. */
	wrmsr(MSR_IA32_PAT, X86_HOST_PAT);

	/* LA57 cannot change in 64-bit mode: the tables were built for what it is. With PGE and PCIDE off, one
	 * write to CR3 forgets all that the firmware's tables left in the TLB. */
	uint64_t cr4 = (read_cr4() & CR4_LA57) | CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	cr4 |= f->machine_check ? CR4_MCE : 0;
	cr4 |= f->xsave ? CR4_OSXSAVE : 0;
	write_cr4(cr4);
	write_cr3(root);
	/* TS and EM are off: the guests' FPU state stays in the registers, the hypervisor has none of its own. */
	write_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
	/* SMEP only now: the firmware's tables may call all pages the user's. SMAP guards nothing, as our own tables
	 * have no user page. */
	cr4 |= f->smep ? CR4_SMEP : 0;
	cr4 |= f->umip ? CR4_UMIP : 0;
	write_cr4(cr4);
}
