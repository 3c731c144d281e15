/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host CPU, inside arch/x86_64: privileged instructions as inline functions, registers and bits by their
 * manual names, per-CPU data. cpu.c, paging.c, traps.c, host_lapic.c and time.c are its owners.
 */
#pragma once

#include "lib/util.h"
#include "mm/frames.h"
#include "mm/hal.h"

struct arch_vcpu;

struct cpuid_result {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid_result cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_result r;
	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
	return r;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return ((uint64_t)high << 32) | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* RDMSR that answers false where the CPU raises #GP. Only after x86_traps_init. */
bool rdmsr_safe(uint32_t msr, uint64_t *value);

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return ((uint64_t)high << 32) | low;
}

static inline void xsetbv(uint32_t index, uint64_t value)
{
	__asm__ volatile("xsetbv" : : "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

/* IF off; the RFLAGS from before, for x86_interrupts_restore. */
static inline uint64_t x86_interrupts_save(void)
{
	uint64_t flags;
	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
	return flags;
}

static inline void x86_interrupts_restore(uint64_t flags)
{
	__asm__ volatile("pushq %0; popfq" : : "r"(flags) : "memory", "cc");
}

#define X86_READ_REGISTER(name)                                                                                        \
	static inline uint64_t read_##name(void)                                                                       \
	{                                                                                                              \
		uint64_t value;                                                                                        \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(value));                                                 \
		return value;                                                                                          \
	}
#define X86_WRITE_REGISTER(name)                                                                                       \
	static inline void write_##name(uint64_t value)                                                                \
	{                                                                                                              \
		__asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory");                                        \
	}
X86_READ_REGISTER(cr0)
X86_READ_REGISTER(cr2)
X86_READ_REGISTER(cr3)
X86_READ_REGISTER(cr4)
X86_WRITE_REGISTER(cr0)
X86_WRITE_REGISTER(cr2)
X86_WRITE_REGISTER(cr3)
X86_WRITE_REGISTER(cr4)
X86_READ_REGISTER(dr6)
X86_READ_REGISTER(dr7)
X86_WRITE_REGISTER(dr0)
X86_WRITE_REGISTER(dr1)
X86_WRITE_REGISTER(dr2)
X86_WRITE_REGISTER(dr3)
X86_WRITE_REGISTER(dr6)
X86_WRITE_REGISTER(dr7)
X86_READ_REGISTER(dr0)
X86_READ_REGISTER(dr1)
X86_READ_REGISTER(dr2)
X86_READ_REGISTER(dr3)

/* CR0, CR4, EFER, RFLAGS: SDM vol. 3A 2.5, 2.2.1; APM vol. 2 3.1. */
#define CR0_PE         BIT(0)
#define CR0_MP         BIT(1)
#define CR0_EM         BIT(2)
#define CR0_TS         BIT(3)
#define CR0_ET         BIT(4)
#define CR0_NE         BIT(5)
#define CR0_WP         BIT(16)
#define CR0_NW         BIT(29)
#define CR0_CD         BIT(30)
#define CR0_PG         BIT(31)
#define CR4_VME        BIT(0)
#define CR4_PVI        BIT(1)
#define CR4_TSD        BIT(2)
#define CR4_DE         BIT(3)
#define CR4_PSE        BIT(4)
#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_PCE        BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_LA57       BIT(12)
#define CR4_VMXE       BIT(13)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define CR4_PKE        BIT(22)
#define CR4_CET        BIT(23)
#define EFER_SCE       BIT(0)
#define EFER_LME       BIT(8)
#define EFER_LMA       BIT(10)
#define EFER_NXE       BIT(11)
#define EFER_SVME      BIT(12)
#define RFLAGS_FIXED   BIT(1)
#define RFLAGS_IF      BIT(9)
#define RFLAGS_DF      BIT(10)
#define RFLAGS_AC      BIT(18)

#define MSR_IA32_APIC_BASE      0x1b
#define MSR_IA32_MCG_CAP        0x179
#define MSR_IA32_MCG_STATUS     0x17a
#define MSR_IA32_MC0_STATUS     0x401 /* bank n: 4 further each */
#define MSR_IA32_SPEC_CTRL      0x48
#define MSR_IA32_PRED_CMD       0x49
#define MSR_IA32_FLUSH_CMD      0x10b
#define MSR_IA32_TSC_DEADLINE   0x6e0
#define MSR_IA32_PAT            0x277
#define MSR_IA32_MTRRCAP        0xfe
#define MSR_IA32_MTRR_DEF_TYPE  0x2ff
#define MSR_IA32_MTRR_PHYSBASE0 0x200 /* pair n: 2 further each */
#define MSR_IA32_MTRR_PHYSMASK0 0x201
#define MSR_AMD_SYSCFG          0xc0010010
#define MSR_AMD_TOP_MEM2        0xc001001d
#define MSR_IA32_XSS            0xda0
#define MSR_EFER                0xc0000080
#define MSR_STAR                0xc0000081
#define MSR_LSTAR               0xc0000082
#define MSR_CSTAR               0xc0000083
#define MSR_SFMASK              0xc0000084
#define MSR_FS_BASE             0xc0000100
#define MSR_GS_BASE             0xc0000101
#define MSR_KERNEL_GS_BASE      0xc0000102
#define MSR_TSC_AUX             0xc0000103

/* ---- per-CPU data: %gs points at it while the host runs ---- */

#define X86_GDT_ENTRIES 8
/*
 * Selectors of the host's GDT. CS and DS are those of EDK II's, on which nearly all firmware stands: an NMI that comes
 * while CPU and IDT still hold the firmware's then finds its segments in the new table.
 */
#define HOST_TR 0x08 /* two entries */
#define HOST_DS 0x30
#define HOST_CS 0x38

/* What the stubs of traps_asm.S leave on the stack, lowest address first. */
struct x86_trap_frame {
	uint64_t rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t vector, error_code;
	uint64_t rip, cs, rflags, rsp, ss; /* pushed by the CPU */
};

struct x86_cpu {
	struct x86_cpu *self; /* %gs:0 */
	unsigned index;
	uint32_t apic_id;
	struct arch_vcpu *loaded; /* whose lazy state this CPU holds */
	uint64_t armed_deadline;  /* what the host timer is set to, UINT64_MAX: off, 0: it has come */
	/* Once it has come, the timer comes again within so many TSC ticks unless it is set anew. UINT64_MAX: it does
	 * not. */
	uint64_t timer_repeats;
	uint64_t timer_span; /* host_lapic.c: how much longer than the shortest a wait may be that takes only a store */
	const struct x86_trap_frame *trapped; /* what the panic handler prints; NULL: panic() was called */
	uint64_t gdt[X86_GDT_ENTRIES];
	struct __attribute__((packed)) x86_tss {
		uint32_t reserved0;
		uint64_t rsp[3];
		uint64_t reserved1;
		uint64_t ist[7]; /* 1: double fault, 2: NMI, 3: machine check */
		uint64_t reserved2;
		uint16_t reserved3, iomap_base;
	} tss;
	hpa_t virt_area;  /* VMXON region or SVM host save area */
	uint64_t last_vm; /* arch_vm.number of the VM that ran last: x86_foreign_traces; 0: none has */
};

static inline struct x86_cpu *this_cpu(void)
{
	struct x86_cpu *cpu;
	__asm__ volatile("mov %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

/* Features of this CPU that several files ask for; filled once by x86_cpu_probe (called by arch_check). */
struct x86_features {
	uint8_t physical_bits;
	bool leaf_1g, no_execute, xsave, xsaves, x2apic, tsc_deadline, invariant_tsc, la57, smep, smap, umip, rdtscp,
		pcid;
	bool vmx, svm, apic, mtrr, pat, machine_check, hypervisor;
	uint64_t xcr0_mask;  /* CPUID 0xd.0 EDX:EAX */
	uint32_t xsave_size; /* bytes for all of xcr0_mask, standard format; 512 where there is only FXSAVE */
	char brand[49];
};
extern struct x86_features x86_features;
void x86_cpu_probe(void);

/* CPUID, or zeros where the CPU has no such leaf. */
struct cpuid_result x86_cpuid_leaf(uint32_t leaf, uint32_t subleaf);

/*
 * Puts EFER, PAT, CR0, CR3 and CR4 of this CPU as the hypervisor wants them; `root` is a table of
 * x86_paging_init, whose mapping of the code that runs must be the one in force.
 */
void x86_cpu_take(hpa_t root);

/* ---- time.c ---- */

/* Finds the TSC's frequency: CPUID 0x15/0x16, the hypervisor leaf 0x40000010, else measured against the 8254. */
void x86_time_init(void);
/* A second chance for a machine that had neither: ACPI's timer, once the tables are mapped. */
void x86_time_refine(hpa_t rsdp);
/* Where the frequency comes from, for the log. */
const char *x86_time_source(void);

/* ---- host_lapic.c: the host's local APIC and its timer ---- */

/*
 * The task priority of the host is X86_HOST_TPR: what devices still send to the vectors that the firmware gave
 * them stays pending for good and disturbs nobody. Our own vectors lie above it.
 */
#define X86_HOST_TPR    0xe0
#define VECTOR_TIMER    0xf0
#define VECTOR_SPURIOUS 0xff

/* This CPU's: all sources masked, the timer ready. False, with one line in message: it has none that works. */
bool x86_host_lapic_init(char *message, size_t size);
/* Arms the timer for an arch_counter() value (UINT64_MAX: off), `now` is another; cheap when it is armed for that
 * already. Always X86_RUN_ON: exits end with it. */
int x86_host_timer_set(uint64_t counter, uint64_t now);
/* An interrupt at a vector that nobody claims: counted, ended where the APIC waits for it. */
void x86_host_lapic_stray(unsigned vector);
/* "xAPIC, TSC-deadline timer", for the log. */
const char *x86_host_lapic_mode(void);

/* ---- traps.c ---- */

/* This CPU's GDT, TSS, IDT and %gs. `cpu` lives for ever. */
void x86_traps_init(struct x86_cpu *cpu);
/*
 * Stacks of their own for double fault, NMI and machine check, which need guard pages: the first CPU's come after
 * x86_traps_init and x86_paging_init, those of each further one, with the one IDT, before its x86_traps_init.
 * False: no memory.
 */
bool x86_traps_stacks(struct x86_cpu *cpu);

/* ---- paging.c ---- */

/* Builds the hypervisor's own tables and takes them into use on this CPU. An mm_status. */
int x86_paging_init(const struct memory_region *regions, unsigned count, struct mm_hal *hal);
/* What the tables themselves take, in frames. */
uint64_t x86_paging_frames(void);
/* Whether the eight bytes at `address` can be read and written without a fault: for backtraces. */
bool x86_paging_is_data(uintptr_t address);
/* Maps (writable and executable) or unmaps the firmware's own memory, for a call into it. */
bool x86_paging_firmware(bool map);
