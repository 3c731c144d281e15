/* SPDX-License-Identifier: Apache-2.0 */
// sources: arch/x86_64/cpuid.c arch/x86_64/msr.c
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
#include "vcpu.h"

#define MSR_APIC_BASE_DISABLED BIT(11)

/* ---- a host with everything, and a vCPU that is a few registers ---- */

struct x86_features x86_features = {.svm = true, .rdtscp = true, .xcr0_mask = 0x2e7};
static uint64_t registers[X86_PAT + 1];

struct cpuid_result x86_cpuid_leaf(uint32_t leaf, uint32_t subleaf)
{
	(void)leaf;
	(void)subleaf;
	return (struct cpuid_result){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
}

bool rdmsr_safe(uint32_t msr, uint64_t *value)
{
	(void)msr;
	*value = UINT64_MAX;
	return true;
}

uint64_t arch_counter_hz(void)
{
	return 2000000000;
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
static struct arch_vm vm = {.ops = &ops};
static struct arch_vcpu vcpu = {.vm = &vm};

static int set_up(void **state)
{
	(void)state;
	memset(registers, 0, sizeof(registers));
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

static void virtualization_and_interrupt_controllers_are_hidden(void **state)
{
	(void)state;
	assert_int_equal(ask(1, 0).ecx & (BIT(5) | BIT(6)), 0);           /* VMX, SMX */
	assert_int_equal(ask(1, 0).ecx & (BIT(21) | BIT(24)), 0);         /* x2APIC, TSC-deadline */
	assert_int_equal(ask(1, 0).edx & (BIT(9) | BIT(12)), 0);          /* APIC, MTRR */
	assert_int_equal(ask(0x80000001, 0).ecx & (BIT(2) | BIT(12)), 0); /* SVM, SKINIT */
	assert_int_equal(ask(0x80000001, 0).edx & (BIT(9) | BIT(12)), 0);
	assert_int_equal(ask(0x8000000a, 0).edx, 0);
	assert_int_equal(ask(0x12, 0).eax, 0); /* SGX */
}

static void counters_power_and_sleep_are_hidden(void **state)
{
	(void)state;
	assert_int_equal(ask(1, 0).ecx & (BIT(3) | BIT(7) | BIT(15)), 0); /* MONITOR, EST, PDCM */
	assert_int_equal(ask(5, 0).eax | ask(6, 0).eax | ask(6, 0).ecx | ask(0xa, 0).eax, 0);
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
	assert_int_equal(ask(0x40000010, 0).eax, 2000000);
	assert_int_equal(ask(0x40000005, 0).eax | ask(0x40000005, 0).ebx, 0);
}

static void leaves_beyond_the_table_read_as_zeros(void **state)
{
	(void)state;
	static const uint32_t leaves[] = {0xe, 0x1f, 0x20, 0x3fffffff, 0x40000011, 0x80000022, 0xc0000000, UINT32_MAX};
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
	assert_true(x86_msr_read(&vcpu, 0xc0010015, &value)); /* HWCR */
	assert_false(x86_msr_read(&vcpu, 0x1a0, &value));     /* IA32_MISC_ENABLE */
	x86_features.svm = false;
	x86_cpuid_init();
	assert_false(x86_msr_read(&vcpu, 0xc0010015, &value));
	assert_true(x86_msr_read(&vcpu, 0x1a0, &value));
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

static void the_apic_stays_disabled(void **state)
{
	(void)state;
	uint64_t value;
	assert_true(x86_msr_write(&vcpu, MSR_IA32_APIC_BASE, UINT64_MAX));
	assert_true(x86_msr_read(&vcpu, MSR_IA32_APIC_BASE, &value));
	assert_int_equal(value & MSR_APIC_BASE_DISABLED, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(virtualization_and_interrupt_controllers_are_hidden, set_up),
		cmocka_unit_test_setup(counters_power_and_sleep_are_hidden, set_up),
		cmocka_unit_test_setup(state_that_is_not_switched_is_hidden, set_up),
		cmocka_unit_test_setup(vector_features_go_with_their_registers, set_up),
		cmocka_unit_test_setup(osxsave_mirrors_cr4, set_up),
		cmocka_unit_test_setup(the_hypervisor_gives_its_name_and_the_tsc_frequency, set_up),
		cmocka_unit_test_setup(leaves_beyond_the_table_read_as_zeros, set_up),
		cmocka_unit_test_setup(unknown_msrs_are_refused, set_up),
		cmocka_unit_test_setup(each_vendor_has_its_own_msrs, set_up),
		cmocka_unit_test_setup(efer_takes_no_reserved_bit_and_never_svme, set_up),
		cmocka_unit_test_setup(long_mode_cannot_be_switched_under_paging, set_up),
		cmocka_unit_test_setup(pat_takes_only_memory_types_that_exist, set_up),
		cmocka_unit_test_setup(the_apic_stays_disabled, set_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
