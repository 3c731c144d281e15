/* SPDX-License-Identifier: Apache-2.0 */
// sources: arch/x86_64/cpuid.c arch/x86_64/msr.c arch/x86_64/kvm_*.c arch/x86_64/interrupts.c arch/x86_64/[il]*apic.c
/*
 * The CPU that a guest sees, on a host that claims every feature there is: CPUID leaves out what is not
 * virtualized, and MSRs that a guest does not have are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cpu.h"
#include "interrupts.h"
#include "kvm_clock.h"
#include "vcpu.h"

/* ---- a host with everything, and a vCPU that is a few registers ---- */

struct x86_features x86_features = {.svm = true, .rdtscp = true, .xcr0_mask = 0x2e7};
static uint64_t registers[X86_SPEC_CTRL + 1];
static uint32_t svm_features = UINT32_MAX; /* CPUID 0x8000000a, EDX */
static uint32_t structured = UINT32_MAX;   /* CPUID 7, EDX */
static uint32_t amd_features = UINT32_MAX; /* CPUID 0x80000008, EBX */
static uint64_t capabilities = UINT64_MAX; /* IA32_ARCH_CAPABILITIES */

struct cpuid_result x86_cpuid_leaf(uint32_t leaf, uint32_t subleaf)
{
	(void)subleaf;
	return (struct cpuid_result){UINT32_MAX, leaf == 0x80000008 ? amd_features : UINT32_MAX, UINT32_MAX,
	                             leaf == 0x8000000a ? svm_features
	                             : leaf == 7        ? structured
	                                                : UINT32_MAX};
}

bool rdmsr_safe(uint32_t msr, uint64_t *value)
{
	*value = msr == 0x10a ? capabilities : UINT64_MAX;
	return true;
}

uint64_t arch_counter_hz(void)
{
	return 2500000000;
}

uint64_t arch_counter(void)
{
	return 1000;
}

static uint64_t armed; /* what the host's timer is set to */

int x86_host_timer_set(uint64_t counter, uint64_t now)
{
	(void)now;
	armed = counter;
	return X86_RUN_ON;
}

static _Alignas(8) uint8_t memory[64]; /* the guest's, at 0x1000 */

size_t guest_write(struct addr_space *space, gpa_t to, const void *from, size_t bytes, unsigned flags)
{
	(void)space;
	(void)flags;
	if (to < 0x1000 || to - 0x1000 + bytes > sizeof(memory)) {
		return 0;
	}
	memcpy(memory + (to - 0x1000), from, bytes);
	return bytes;
}

static bool read_only;

const void *guest_peek(struct addr_space *from_space, gpa_t address, size_t bytes)
{
	(void)from_space;
	return address < 0x1000 || address - 0x1000 + bytes > sizeof(memory) ? NULL : memory + (address - 0x1000);
}

bool guest_load(struct addr_space *from_space, gpa_t from, unsigned width, uint64_t *value)
{
	const void *at = guest_peek(from_space, from, width);
	*value = 0;
	if (at != NULL) {
		memcpy(value, at, width);
	}
	return at != NULL;
}

bool guest_store(struct addr_space *to_space, gpa_t to, unsigned width, uint64_t value)
{
	return !read_only && guest_write(to_space, to, &value, width, 0) == width;
}

uint64_t x86_xcr0_allowed(void)
{
	return x86_features.xcr0_mask & 0xe7;
}

uint64_t x86_current_xcr0(const struct arch_vcpu *vcpu)
{
	return vcpu->lazy.xcr0;
}

static uint64_t get(struct arch_vcpu *vcpu, enum x86_register name)
{
	(void)vcpu;
	return registers[name];
}

static void set(struct arch_vcpu *vcpu, enum x86_register name, uint64_t value)
{
	(void)vcpu;
	registers[name] = value;
}

static const struct virt_ops ops = {.name = "test", .get = get, .set = set};
static struct addr_space space;
static struct arch_vm vm = {.ops = &ops, .space = &space};
static struct arch_vcpu vcpu = {.vm = &vm, .deadline = UINT64_MAX};
static uint32_t apic_page[FRAME_SIZE / sizeof(uint32_t)];

static int set_up(void **state)
{
	(void)state;
	memset(registers, 0, sizeof(registers));
	memset(memory, 0, sizeof(memory));
	armed = 0;
	read_only = false;
	structured = amd_features = UINT32_MAX;
	vcpu.eoi = (struct kvm_eoi){0};
	vcpu.lapic.registers = apic_page;
	lapic_reset(&vcpu);
	x86_cpuid_init();
	return 0;
}

static struct cpuid_result ask(uint32_t leaf, uint32_t subleaf)
{
	vcpu.gpr[GPR_RAX] = leaf;
	vcpu.gpr[GPR_RCX] = subleaf;
	x86_cpuid(&vcpu);
	return (struct cpuid_result){(uint32_t)vcpu.gpr[GPR_RAX], (uint32_t)vcpu.gpr[GPR_RBX],
	                             (uint32_t)vcpu.gpr[GPR_RCX], (uint32_t)vcpu.gpr[GPR_RDX]};
}

/* ---- CPUID ---- */

static void virtualization_is_hidden(void **state)
{
	(void)state;
	assert_int_equal(ask(1, 0).ecx & (BIT(5) | BIT(6)), 0);           /* VMX, SMX */
	assert_int_equal(ask(0x80000001, 0).ecx & (BIT(2) | BIT(12)), 0); /* SVM, SKINIT */
	assert_int_equal(ask(0x80000001, 0).edx & BIT(12), 0);
	assert_int_equal(ask(0x8000000a, 0).edx, 0);
	assert_int_equal(ask(0x12, 0).eax, 0); /* SGX */
}

static void the_interrupt_controller_and_the_clock_are_ours(void **state)
{
	(void)state;
	assert_int_equal(ask(1, 0).ecx & (BIT(21) | BIT(24)), BIT(21) | BIT(24)); /* x2APIC, TSC-deadline */
	assert_int_equal(ask(1, 0).edx & BIT(9), BIT(9));                         /* APIC */
	assert_int_equal(ask(6, 0).eax, BIT(2));                                  /* ARAT */
	assert_int_equal(ask(0x80000007, 0).edx, BIT(8));                         /* invariant TSC */
}

static void all_memory_is_write_back_by_mtrrs_without_a_range(void **state)
{
	(void)state;
	uint64_t value;
	assert_int_equal(ask(1, 0).edx & BIT(12), BIT(12)); /* MTRR */
	assert_true(x86_msr_read(&vcpu, MSR_IA32_MTRRCAP, &value) && value == 0);
	assert_true(x86_msr_write(&vcpu, MSR_IA32_MTRR_DEF_TYPE, 0));
	assert_true(x86_msr_read(&vcpu, MSR_IA32_MTRR_DEF_TYPE, &value) && value == (BIT(11) | 6));
	assert_false(x86_msr_read(&vcpu, MSR_IA32_MTRR_PHYSBASE0, &value));
}

static void machine_checks_are_there_and_have_no_bank(void **state)
{
	(void)state;
	uint64_t value = 1;
	assert_int_equal(ask(1, 0).edx & (BIT(7) | BIT(14)), BIT(7) | BIT(14)); /* MCE, MCA */
	assert_true(x86_msr_read(&vcpu, MSR_IA32_MCG_CAP, &value));
	assert_int_equal(value, 0);
	assert_true(x86_msr_read(&vcpu, MSR_IA32_MCG_STATUS, &value) && value == 0);
	assert_true(x86_msr_write(&vcpu, MSR_IA32_MCG_STATUS, 0));
	assert_false(x86_msr_write(&vcpu, MSR_IA32_MCG_STATUS, 1));
	/* By that value there is no MCG_CTL, no bank of Intel's or AMD's, and nobody to interrupt at a threshold. */
	static const uint32_t none[] = {0x17b, 0x280, 0x400, 0x401, 0x402, 0x403, 0x4d0, 0xc0002000, 0xc0000408};
	for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
		assert_false(x86_msr_read(&vcpu, none[i], &value));
		assert_false(x86_msr_write(&vcpu, none[i], 0));
	}
}

static void counters_power_and_sleep_are_hidden(void **state)
{
	(void)state;
	assert_int_equal(ask(1, 0).ecx & (BIT(3) | BIT(7) | BIT(15)), 0); /* MONITOR, EST, PDCM */
	assert_int_equal(ask(5, 0).eax | ask(6, 0).ecx | ask(0xa, 0).eax, 0);
	assert_int_equal(ask(7, 0).ecx & BIT(5), 0);                       /* WAITPKG */
	assert_int_equal(ask(0x80000001, 0).ecx & (BIT(10) | BIT(29)), 0); /* IBS, MONITORX */
}

static void state_that_is_not_switched_is_hidden(void **state)
{
	(void)state;
	assert_int_equal(ask(7, 0).ebx & (BIT(4) | BIT(11) | BIT(14) | BIT(25)), 0); /* HLE, RTM, MPX, PT */
	assert_int_equal(ask(7, 0).ecx & (BIT(3) | BIT(4) | BIT(7) | BIT(16)), 0);   /* PKU, OSPKE, CET, LA57 */
	assert_int_equal(ask(7, 0).edx & (BIT(20) | BIT(22) | BIT(24) | BIT(25) | BIT(26)),
	                 0); /* CET, AMX, SPEC_CTRL */
}

static void linear_addresses_are_as_wide_as_without_la57(void **state)
{
	(void)state;
	assert_int_equal(ask(0x80000008, 0).eax, 48 << 8 | 0xff);
}

static void vector_features_go_with_their_registers(void **state)
{
	(void)state;
	assert_int_not_equal(ask(7, 0).ebx & BIT(16), 0);
	x86_features.xcr0_mask = 7;
	x86_cpuid_init();
	assert_int_equal(ask(7, 0).ebx & BIT(16), 0);    /* AVX-512 */
	assert_int_not_equal(ask(7, 0).ebx & BIT(5), 0); /* AVX2 */
	x86_features.xcr0_mask = 3;
	x86_cpuid_init();
	assert_int_equal(ask(7, 0).ebx & BIT(5), 0);
	assert_int_equal(ask(1, 0).ecx & (BIT(12) | BIT(28) | BIT(29)), 0); /* FMA, AVX, F16C */
	x86_features.xcr0_mask = 0x2e7;
}

static void osxsave_mirrors_cr4(void **state)
{
	(void)state;
	assert_int_equal(ask(1, 0).ecx & BIT(27), 0);
	registers[X86_CR4] = CR4_OSXSAVE;
	assert_int_not_equal(ask(1, 0).ecx & BIT(27), 0);
}

static void the_hypervisor_gives_its_name_and_the_tsc_frequency(void **state)
{
	(void)state;
	struct cpuid_result r = ask(0x40000000, 0);
	assert_int_not_equal(ask(1, 0).ecx & BIT(31), 0);
	assert_int_equal(r.eax, 0x40000010);
	assert_memory_equal(&r.ebx, "CaissonHV\0\0", 12);
	assert_int_equal(ask(0x40000010, 0).eax, 2500000);
	assert_int_equal(ask(0x40000010, 0).ebx, 2500000); /* of the local APIC's timer */
	r = ask(0x40000100, 0);
	assert_int_equal(r.eax, 0x40000101);
	assert_memory_equal(&r.ebx, "KVMKVMKVM\0\0", 12);
	assert_int_equal(ask(0x40000101, 0).eax, BIT(1) | BIT(3) | BIT(6) | BIT(24));
	assert_int_equal(ask(0x40000101, 0).ebx | ask(0x40000101, 0).ecx | ask(0x40000101, 0).edx, 0);
	assert_int_equal(ask(0x40000005, 0).eax | ask(0x40000005, 0).ebx, 0);
}

static void leaves_beyond_the_table_read_as_zeros(void **state)
{
	(void)state;
	static const uint32_t leaves[] = {0xe,        0x1f,       0x20,       0x3fffffff, 0x40000011,
	                                  0x40000102, 0x80000022, 0xc0000000, UINT32_MAX};
	for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
		struct cpuid_result r = ask(leaves[i], 0);
		assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
	}
	struct cpuid_result r = ask(7, 2);
	assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
	r = ask(4, UINT32_MAX);
	assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
}

/* ---- MSRs ---- */

static void unknown_msrs_are_refused(void **state)
{
	(void)state;
	static const uint32_t unknown[] = {0,     0x3b,       0x48,       0xc1,       0x800,
	                                   0xda0, 0x40000000, 0xc0010114, 0xc0010117, UINT32_MAX};
	uint64_t value;
	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
		assert_false(x86_msr_read(&vcpu, unknown[i], &value));
		assert_false(x86_msr_write(&vcpu, unknown[i], 0));
	}
}

static void each_vendor_has_its_own_msrs(void **state)
{
	(void)state;
	uint64_t value;
	assert_true(x86_msr_read(&vcpu, 0xc0010015, &value));                  /* HWCR */
	assert_false(x86_msr_read(&vcpu, 0x1a0, &value));                      /* IA32_MISC_ENABLE */
	for (uint32_t counter = 0xc0010000; counter < 0xc0010008; counter++) { /* PERF_CTL0 to 3, PERF_CTR0 to 3 */
		assert_true(x86_msr_write(&vcpu, counter, UINT64_MAX));
		assert_true(x86_msr_read(&vcpu, counter, &value) && value == 0);
	}
	assert_false(x86_msr_write(&vcpu, 0xc0010008, 0));
	x86_features.svm = false;
	x86_cpuid_init();
	assert_false(x86_msr_read(&vcpu, 0xc0010015, &value));
	assert_false(x86_msr_write(&vcpu, 0xc0010004, 0));
	assert_true(x86_msr_read(&vcpu, 0x1a0, &value));
	x86_features.svm = true;
}

static void note_spec_ctrl(void *context, uint32_t msr, bool read, bool write)
{
	(void)read;
	(void)write;
	*(bool *)context |= msr == MSR_IA32_SPEC_CTRL;
}

static bool passes_spec_ctrl(void)
{
	bool passed = false;
	x86_msr_passthrough(note_spec_ctrl, &passed);
	return passed;
}

static void spec_ctrl_is_there_where_it_can_be_kept_apart(void **state)
{
	(void)state;
	uint64_t value;
	uint32_t amd = BIT(14) | BIT(15) | BIT(24), ibpb = BIT(12), intel = BIT(26) | BIT(27) | BIT(31);
	assert_int_equal(ask(7, 0).edx & intel, 0);
	assert_int_equal(ask(0x80000008, 0).ebx & (amd | ibpb), amd | ibpb);
	assert_true(passes_spec_ctrl()); /* SVM keeps two of them */

	svm_features = UINT32_MAX & ~BIT(20);
	x86_cpuid_init();
	assert_int_equal(ask(0x80000008, 0).ebx & (amd | ibpb), ibpb);
	assert_false(passes_spec_ctrl());
	assert_false(x86_msr_read(&vcpu, MSR_IA32_SPEC_CTRL, &value));
	assert_false(x86_msr_write(&vcpu, MSR_IA32_SPEC_CTRL, 0));

	x86_features.svm = false;
	x86_cpuid_init();
	assert_int_equal(ask(7, 0).edx & intel, intel);
	assert_false(passes_spec_ctrl()); /* not yet */
	assert_true(x86_msr_write(&vcpu, MSR_IA32_SPEC_CTRL, 7));
	assert_true(x86_msr_read(&vcpu, MSR_IA32_SPEC_CTRL, &value) && value == 7);
	assert_false(x86_msr_write(&vcpu, MSR_IA32_SPEC_CTRL, 8));
	structured = UINT32_MAX & ~BIT(26); /* SSBD without IBRS: the bits are there each by itself */
	x86_cpuid_init();
	assert_true(x86_msr_write(&vcpu, MSR_IA32_SPEC_CTRL, 4));
	assert_false(x86_msr_write(&vcpu, MSR_IA32_SPEC_CTRL, 1));
	x86_features.svm = true;
	svm_features = UINT32_MAX;
}

static void another_vm_finds_nothing_of_the_one_before(void **state)
{
	(void)state;
	struct x86_cpu cpu = {0};
	const struct arch_vm one = {.number = 1}, two = {.number = 2};
	const unsigned amd = X86_TRACE_BRANCHES | X86_TRACE_BUFFERS;
	assert_int_equal(x86_foreign_traces(&cpu, &one), amd); /* the firmware's */
	assert_int_equal(x86_foreign_traces(&cpu, &one), 0);
	assert_int_equal(x86_foreign_traces(&cpu, &two), amd);
	assert_int_equal(x86_foreign_traces(&cpu, &one), amd);
	/* Where a CPU has no such command, there is none to give. */
	amd_features = UINT32_MAX & ~BIT(12);
	x86_cpuid_init();
	assert_int_equal(x86_foreign_traces(&cpu, &two), X86_TRACE_BUFFERS);
	x86_features.svm = false;
	x86_cpuid_init();
	assert_int_equal(x86_foreign_traces(&cpu, &one), X86_TRACE_BRANCHES | X86_TRACE_BUFFERS);
	structured = UINT32_MAX & ~BIT(26);
	x86_cpuid_init();
	assert_int_equal(x86_foreign_traces(&cpu, &two), X86_TRACE_BUFFERS);
	x86_features.svm = true;
}

static void a_cpu_that_leaks_its_cache_empties_it_for_another_vm(void **state)
{
	(void)state;
	struct x86_cpu cpu = {0};
	const struct arch_vm one = {.number = 1}, two = {.number = 2};
	x86_features.svm = false;
	capabilities = UINT64_MAX & ~(BIT(0) | BIT(3)); /* RDCL_NO, SKIP_L1DFL_VMENTRY */
	x86_cpuid_init();
	assert_true(x86_foreign_traces(&cpu, &one) & X86_TRACE_L1D);
	assert_int_equal(x86_foreign_traces(&cpu, &one), 0);
	capabilities |= BIT(3);
	x86_cpuid_init();
	assert_false(x86_foreign_traces(&cpu, &two) & X86_TRACE_L1D);
	/* A CPU older than the MSR says nothing, and leaks; one without the command cannot help it. */
	structured = UINT32_MAX & ~BIT(29);
	x86_cpuid_init();
	assert_true(x86_foreign_traces(&cpu, &one) & X86_TRACE_L1D);
	structured = UINT32_MAX & ~(BIT(28) | BIT(29));
	x86_cpuid_init();
	assert_false(x86_foreign_traces(&cpu, &two) & X86_TRACE_L1D);
	capabilities = UINT64_MAX;
	x86_features.svm = true;
}

static void what_the_cpu_is_immune_to_may_be_read(void **state)
{
	(void)state;
	uint64_t value;
	assert_false(x86_msr_read(&vcpu, 0x10a, &value));
	x86_features.svm = false;
	x86_cpuid_init();
	assert_true(x86_msr_read(&vcpu, 0x10a, &value));
	assert_int_equal(value & (BIT(0) | BIT(1) | BIT(2)), BIT(0) | BIT(1) | BIT(2)); /* RDCL_NO, IBRS_ALL, RSBA */
	assert_int_equal(value & (BIT(3) | BIT(7) | BIT(18)), 0); /* for nesting, TSX_CTRL, FB_CLEAR_CTRL */
	assert_false(x86_msr_write(&vcpu, 0x10a, value));
	x86_features.svm = true;
}

static void efer_takes_no_reserved_bit_and_never_svme(void **state)
{
	(void)state;
	assert_false(x86_msr_write(&vcpu, MSR_EFER, EFER_SVME));
	assert_false(x86_msr_write(&vcpu, MSR_EFER, BIT(1)));
	assert_false(x86_msr_write(&vcpu, MSR_EFER, BIT(63)));
	assert_true(x86_msr_write(&vcpu, MSR_EFER, EFER_LME | EFER_NXE | EFER_SCE));
	assert_int_equal(registers[X86_EFER], EFER_LME | EFER_NXE | EFER_SCE);
}

static void long_mode_cannot_be_switched_under_paging(void **state)
{
	(void)state;
	registers[X86_EFER] = EFER_LME | EFER_LMA;
	registers[X86_CR0] = CR0_PE | CR0_PG;
	assert_false(x86_msr_write(&vcpu, MSR_EFER, 0));
	assert_true(x86_msr_write(&vcpu, MSR_EFER, EFER_LME | EFER_NXE)); /* LMA is not the guest's to clear */
	assert_int_equal(registers[X86_EFER], EFER_LME | EFER_LMA | EFER_NXE);
}

static void pat_takes_only_memory_types_that_exist(void **state)
{
	(void)state;
	assert_false(x86_msr_write(&vcpu, MSR_IA32_PAT, 0x0007040600070402));
	assert_false(x86_msr_write(&vcpu, MSR_IA32_PAT, 0x0800000000000000));
	assert_true(x86_msr_write(&vcpu, MSR_IA32_PAT, 0x0007010500070406));
	assert_int_equal(registers[X86_PAT], 0x0007010500070406);
}

static void x2apic_msrs_are_there_in_x2apic_mode(void **state)
{
	const uint64_t base = LAPIC_BASE | BIT(11) | BIT(8);
	uint64_t value;

	(void)state;
	assert_true(x86_msr_read(&vcpu, MSR_IA32_APIC_BASE, &value));
	assert_int_equal(value, base);
	assert_false(x86_msr_write(&vcpu, MSR_IA32_APIC_BASE, UINT64_MAX));
	assert_false(x86_msr_read(&vcpu, 0x802, &value));
	assert_true(x86_msr_write(&vcpu, MSR_IA32_APIC_BASE, base | BIT(10)));
	assert_true(x86_msr_read(&vcpu, 0x802, &value));
	assert_int_equal(value, 0);
	assert_true(x86_msr_write(&vcpu, 0x808, 0x70));
	assert_int_equal(registers[X86_CR8], 7); /* TPR and CR8 are one */
	assert_false(x86_msr_write(&vcpu, 0x802, 0));
	assert_false(x86_msr_read(&vcpu, 0x8ff, &value));
}

static void the_guests_timer_is_the_hosts_when_it_comes_first(void **state)
{
	uint64_t value, far = UINT64_MAX - 5;

	(void)state;
	lapic_mmio_write(&vcpu, LAPIC_SVR, 4, 0x1ff);
	lapic_mmio_write(&vcpu, LAPIC_LVT_TIMER, 4, BIT(18) | 0xec);
	assert_true(x86_msr_write(&vcpu, MSR_IA32_TSC_DEADLINE, far));
	assert_int_equal(armed, far);
	assert_int_equal(arch_vcpu_wake_time(&vcpu), far);
	assert_true(x86_msr_read(&vcpu, MSR_IA32_TSC_DEADLINE, &value));
	assert_int_equal(value, far);
	assert_false(arch_vcpu_interrupt_pending(&vcpu));
	vcpu.deadline = 12345;
	assert_true(x86_msr_write(&vcpu, MSR_IA32_TSC_DEADLINE, far - 1));
	assert_int_equal(armed, 12345);
	assert_true(x86_msr_write(&vcpu, MSR_IA32_TSC_DEADLINE, 1)); /* past: pending at once */
	assert_true(arch_vcpu_interrupt_pending(&vcpu));
	assert_int_equal(lapic_pending(&vcpu.lapic), 0xec);
	vcpu.deadline = UINT64_MAX;
}

/* The host's timer has not fired yet when the guest sets its own anew: what was due is due. */
static void a_timer_that_is_set_anew_when_it_was_due_has_interrupted(void **state)
{
	const uint64_t far = UINT64_MAX - 5;
	struct io_access stop = {
		.address = LAPIC_BASE + LAPIC_INITIAL_COUNT, .width = 4, .write = true}; /* of 0: stops it */

	(void)state;
	lapic_mmio_write(&vcpu, LAPIC_SVR, 4, 0x1ff);
	lapic_mmio_write(&vcpu, LAPIC_LVT_TIMER, 4, BIT(18) | 0xec);
	assert_true(x86_msr_write(&vcpu, MSR_IA32_TSC_DEADLINE, far));
	assert_false(arch_vcpu_interrupt_pending(&vcpu));
	vcpu.lapic.deadline = vcpu.lapic.due = rdtsc();
	assert_true(x86_msr_write(&vcpu, MSR_IA32_TSC_DEADLINE, far));
	assert_int_equal(lapic_pending(&vcpu.lapic), 0xec);
	assert_int_equal(armed, far);
	lapic_accept(&vcpu.lapic, 0xec);
	lapic_mmio_write(&vcpu, LAPIC_EOI, 4, 0);
	lapic_mmio_write(&vcpu, LAPIC_LVT_TIMER, 4, 0xed);
	lapic_mmio_write(&vcpu, LAPIC_INITIAL_COUNT, 4, 1000); /* over long ago, by the CPU's own counter */
	assert_int_equal(lapic_pending(&vcpu.lapic), LAPIC_NO_VECTOR);
	assert_true(x86_apic_mmio(&vcpu, &stop));
	assert_int_equal(lapic_pending(&vcpu.lapic), 0xed);
	assert_int_equal(vcpu.lapic.due, LAPIC_TIMER_OFF);
}

static void the_controllers_answer_on_their_pages(void **state)
{
	struct io_access io = {.address = LAPIC_BASE + LAPIC_VERSION, .width = 4};

	(void)state;
	ioapic_reset(&vm.ioapic);
	assert_true(x86_apic_mmio(&vcpu, &io));
	assert_int_equal(io.value, 0x00050014);
	io = (struct io_access){.address = IOAPIC_BASE, .width = 4, .write = true, .value = 1};
	assert_true(x86_apic_mmio(&vcpu, &io));
	io = (struct io_access){.address = IOAPIC_BASE + 0x10, .width = 4};
	assert_true(x86_apic_mmio(&vcpu, &io));
	assert_int_equal(io.value, 0x00170020);
	io.width = 2;
	assert_true(x86_apic_mmio(&vcpu, &io));
	assert_int_equal(io.value, 0x0020);
	io.address = IOAPIC_BASE + IOAPIC_BYTES;
	assert_false(x86_apic_mmio(&vcpu, &io));
	assert_true(x86_msr_write(&vcpu, MSR_IA32_APIC_BASE, LAPIC_BASE | BIT(11) | BIT(10) | BIT(8)));
	io.address = LAPIC_BASE;
	assert_false(x86_apic_mmio(&vcpu, &io)); /* no page in x2APIC mode */
}

static void the_clock_is_written_where_the_guest_says(void **state)
{
	static const uint8_t nothing[sizeof(memory)];
	uint32_t wall[3], multiplier;
	uint64_t counter;

	(void)state;
	kvm_clock_init(UINT64_C(1700000000123456789));
	assert_true(x86_msr_write(&vcpu, MSR_KVM_WALL_CLOCK, 0x1004));
	memcpy(wall, memory + 4, sizeof(wall));
	assert_int_equal(wall[0] % 2, 0);
	assert_int_equal(wall[1], 1700000000);
	assert_int_equal(wall[2], 123456789);
	memset(memory, 0, sizeof(memory));
	assert_true(x86_msr_write(&vcpu, MSR_KVM_SYSTEM_TIME, 0x1000)); /* not enabled */
	assert_true(x86_msr_write(&vcpu, MSR_KVM_SYSTEM_TIME, 0x2001)); /* no memory there */
	assert_memory_equal(memory, nothing, sizeof(memory));
	assert_true(x86_msr_write(&vcpu, MSR_KVM_SYSTEM_TIME, 0x1001));
	memcpy(&counter, memory + 8, sizeof(counter));
	memcpy(&multiplier, memory + 24, sizeof(multiplier));
	assert_int_equal(counter, 1000);
	/* 2.5 GHz halved: one tick is 0.8 ns. */
	assert_int_equal((int8_t)memory[28], -1);
	assert_int_equal(multiplier, (UINT64_C(8) << 32) / 10);
	assert_int_equal(memory[29], 1);
}

/* The vCPU has taken `vector`, and its end may be told in memory. */
static void takes(unsigned vector)
{
	uint32_t *requests = &apic_page[(LAPIC_IRR + vector / 32 * 16) / 4];
	*requests |= UINT32_C(1) << (vector % 32);
	kvm_eoi_offer(&vcpu, vector);
	lapic_accept(&vcpu.lapic, vector);
}

static bool in_service(unsigned vector)
{
	return apic_page[(LAPIC_ISR + vector / 32 * 16) / 4] & UINT32_C(1) << (vector % 32);
}

static void an_interrupt_ends_by_a_bit_in_the_guests_memory(void **state)
{
	(void)state;
	takes(0x60);
	assert_int_equal(vcpu.eoi.vector, 0); /* not asked for */
	lapic_end_of_interrupt(&vcpu);
	assert_true(x86_msr_write(&vcpu, MSR_KVM_PV_EOI, 0x1004 | 1));
	memory[5] = 0x5a;
	takes(0x60);
	assert_int_equal(memory[4], 1);
	memory[4] = 0;
	kvm_eoi_settle(&vcpu);
	assert_false(in_service(0x60));
	/* Asked before it has ended: it takes an EOI after all. */
	takes(0x60);
	kvm_eoi_settle(&vcpu);
	assert_int_equal(memory[4], 0);
	assert_true(in_service(0x60));
	assert_int_equal(vcpu.eoi.vector, 0);
	/* So it does while another one is in service, or waits, or where a line may still stand. */
	takes(0x80);
	assert_int_equal(vcpu.eoi.vector, 0);
	lapic_end_of_interrupt(&vcpu);
	lapic_end_of_interrupt(&vcpu);
	apic_page[(LAPIC_IRR + 0x10) / 4] = 2;
	takes(0x60);
	assert_int_equal(vcpu.eoi.vector, 0);
	apic_page[(LAPIC_IRR + 0x10) / 4] = 0;
	lapic_end_of_interrupt(&vcpu);
	apic_page[(LAPIC_TMR + 0x30) / 4] = 1;
	takes(0x60);
	assert_int_equal(vcpu.eoi.vector, 0);
}

static void a_bit_that_is_not_the_guests_to_have_is_left_alone(void **state)
{
	static const uint8_t nothing[sizeof(memory)];

	(void)state;
	assert_false(x86_msr_write(&vcpu, MSR_KVM_PV_EOI, 0x1002 | 1));
	assert_true(x86_msr_write(&vcpu, MSR_KVM_PV_EOI, UINT64_MAX & ~UINT64_C(2)));
	takes(0x60);
	assert_int_equal(vcpu.eoi.vector, 0);
	lapic_end_of_interrupt(&vcpu);
	read_only = true;
	assert_true(x86_msr_write(&vcpu, MSR_KVM_PV_EOI, 0x1000 | 1));
	takes(0x60);
	assert_int_equal(vcpu.eoi.vector, 0);
	lapic_end_of_interrupt(&vcpu);
	/* The mappings change between the interrupt and its end: the old pointer is not used. */
	read_only = false;
	takes(0x60);
	assert_int_equal(memory[0], 1);
	space.generation++;
	read_only = true;
	kvm_eoi_settle(&vcpu);
	assert_int_equal(memory[0], 1);
	assert_true(in_service(0x60));
	memset(memory, 0, sizeof(memory));
	assert_true(x86_msr_write(&vcpu, MSR_KVM_PV_EOI, 0));
	lapic_end_of_interrupt(&vcpu);
	takes(0x60);
	assert_memory_equal(memory, nothing, sizeof(memory));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(virtualization_is_hidden, set_up),
		cmocka_unit_test_setup(the_interrupt_controller_and_the_clock_are_ours, set_up),
		cmocka_unit_test_setup(all_memory_is_write_back_by_mtrrs_without_a_range, set_up),
		cmocka_unit_test_setup(machine_checks_are_there_and_have_no_bank, set_up),
		cmocka_unit_test_setup(counters_power_and_sleep_are_hidden, set_up),
		cmocka_unit_test_setup(state_that_is_not_switched_is_hidden, set_up),
		cmocka_unit_test_setup(linear_addresses_are_as_wide_as_without_la57, set_up),
		cmocka_unit_test_setup(vector_features_go_with_their_registers, set_up),
		cmocka_unit_test_setup(osxsave_mirrors_cr4, set_up),
		cmocka_unit_test_setup(the_hypervisor_gives_its_name_and_the_tsc_frequency, set_up),
		cmocka_unit_test_setup(leaves_beyond_the_table_read_as_zeros, set_up),
		cmocka_unit_test_setup(unknown_msrs_are_refused, set_up),
		cmocka_unit_test_setup(each_vendor_has_its_own_msrs, set_up),
		cmocka_unit_test_setup(spec_ctrl_is_there_where_it_can_be_kept_apart, set_up),
		cmocka_unit_test_setup(another_vm_finds_nothing_of_the_one_before, set_up),
		cmocka_unit_test_setup(a_cpu_that_leaks_its_cache_empties_it_for_another_vm, set_up),
		cmocka_unit_test_setup(what_the_cpu_is_immune_to_may_be_read, set_up),
		cmocka_unit_test_setup(efer_takes_no_reserved_bit_and_never_svme, set_up),
		cmocka_unit_test_setup(long_mode_cannot_be_switched_under_paging, set_up),
		cmocka_unit_test_setup(pat_takes_only_memory_types_that_exist, set_up),
		cmocka_unit_test_setup(x2apic_msrs_are_there_in_x2apic_mode, set_up),
		cmocka_unit_test_setup(the_guests_timer_is_the_hosts_when_it_comes_first, set_up),
		cmocka_unit_test_setup(a_timer_that_is_set_anew_when_it_was_due_has_interrupted, set_up),
		cmocka_unit_test_setup(the_controllers_answer_on_their_pages, set_up),
		cmocka_unit_test_setup(the_clock_is_written_where_the_guest_says, set_up),
		cmocka_unit_test_setup(an_interrupt_ends_by_a_bit_in_the_guests_memory, set_up),
		cmocka_unit_test_setup(a_bit_that_is_not_the_guests_to_have_is_left_alone, set_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
