/* SPDX-License-Identifier: Apache-2.0 */
// sources: arch/x86_64/svm_checks.c arch/x86_64/svm_names.c
/*
 * The report on a refused VMRUN: a state that APM vol. 2 15.5.1 allows breaks no rule, and one wrong field is
 * named by its rule. And the names of exit codes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "svm.h"

#define PHYSICAL_BITS 40

static struct vmcb good_vmcb(void)
{
	struct vmcb vmcb;
	memset(&vmcb, 0, sizeof(vmcb));
	vmcb.control.intercept_misc2 = (uint32_t)INTERCEPT_VMRUN;
	vmcb.control.asid = 1;
	vmcb.control.nested_control = NESTED_PAGING;
	vmcb.control.nested_cr3 = 0x1000;
	vmcb.control.iopm_base = 0x4000;
	vmcb.control.msrpm_base = 0x8000;
	vmcb.save.efer = EFER_SVME | EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	vmcb.save.cr0 = CR0_PE | CR0_PG | CR0_WP;
	vmcb.save.cr4 = CR4_PAE;
	vmcb.save.cs.attributes = 0xa9b;
	vmcb.save.dr6 = 0xffff0ff0;
	vmcb.save.dr7 = 0x400;
	vmcb.save.pat = 0x0007040600070406;
	return vmcb;
}

static const char *broken(const struct vmcb *vmcb)
{
	return svm_broken_rule(vmcb, PHYSICAL_BITS);
}

static void a_long_mode_state_breaks_no_rule(void **state)
{
	(void)state;
	struct vmcb vmcb = good_vmcb();
	assert_null(broken(&vmcb));
}

static void real_and_protected_mode_states_break_no_rule(void **state)
{
	(void)state;
	struct vmcb vmcb = good_vmcb();
	vmcb.save.efer = EFER_SVME;
	vmcb.save.cr0 = CR0_PE;
	vmcb.save.cr4 = 0;
	vmcb.save.cs.attributes = 0xc9b;
	assert_null(broken(&vmcb));
	vmcb.save.cr0 = 0;
	assert_null(broken(&vmcb));
	vmcb.save.cr0 = CR0_CD | CR0_NW;
	assert_null(broken(&vmcb));
}

static void a_wrong_control_field_is_named(void **state)
{
	(void)state;
	struct vmcb vmcb = good_vmcb();
	vmcb.control.intercept_misc2 = 0;
	assert_non_null(strstr(broken(&vmcb), "VMRUN intercept"));
	vmcb = good_vmcb();
	vmcb.control.asid = 0;
	assert_non_null(strstr(broken(&vmcb), "ASID"));
	vmcb = good_vmcb();
	vmcb.control.msrpm_base = BIT(PHYSICAL_BITS);
	assert_non_null(strstr(broken(&vmcb), "permission map"));
	vmcb = good_vmcb();
	vmcb.control.nested_cr3 = BIT(PHYSICAL_BITS);
	assert_non_null(strstr(broken(&vmcb), "nCR3"));
}

static void an_illegal_event_is_named(void **state)
{
	(void)state;
	static const uint64_t illegal[] = {
		EVENT_VALID | 1 << EVENT_TYPE_SHIFT,                         /* a reserved type */
		EVENT_VALID | EVENT_TYPE_EXCEPTION << EVENT_TYPE_SHIFT | 2,  /* NMI as an exception */
		EVENT_VALID | EVENT_TYPE_EXCEPTION << EVENT_TYPE_SHIFT | 32, /* no exception's vector */
	};
	for (unsigned i = 0; i < ARRAY_SIZE(illegal); i++) {
		struct vmcb vmcb = good_vmcb();
		vmcb.control.event_injection = illegal[i];
		assert_non_null(strstr(broken(&vmcb), "EVENTINJ"));
		vmcb.control.event_injection &= ~EVENT_VALID;
		assert_null(broken(&vmcb));
	}
}

static void a_wrong_register_is_named(void **state)
{
	(void)state;
	static const struct {
		size_t offset;
		uint64_t value;
		const char *word;
	} wrong[] = {
		{offsetof(struct vmcb, save.efer), EFER_LME | EFER_LMA, "EFER.SVME"},
		{offsetof(struct vmcb, save.efer), EFER_SVME | BIT(63), "EFER has reserved"},
		{offsetof(struct vmcb, save.cr0), CR0_PE | CR0_PG | CR0_NW, "CR0.NW"},
		{offsetof(struct vmcb, save.cr0), CR0_PE | CR0_PG | BIT(32), "CR0 bits"},
		{offsetof(struct vmcb, save.cr3), BIT(PHYSICAL_BITS), "CR3"},
		{offsetof(struct vmcb, save.cr4), CR4_PAE | BIT(32), "CR4 has reserved"},
		{offsetof(struct vmcb, save.dr6), BIT(32), "DR6"},
		{offsetof(struct vmcb, save.dr7), BIT(32), "DR7"},
		{offsetof(struct vmcb, save.pat), 0x0007040600070402, "G_PAT"},
		{offsetof(struct vmcb, save.cr4), 0, "CR4.PAE"},
		{offsetof(struct vmcb, save.cr0), CR0_PG, "CR0.PE"},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct vmcb vmcb = good_vmcb();
		memcpy((uint8_t *)&vmcb + wrong[i].offset, &wrong[i].value, sizeof(wrong[i].value));
		assert_non_null(broken(&vmcb));
		assert_non_null(strstr(broken(&vmcb), wrong[i].word));
	}
}

static void a_64_bit_segment_of_32_bit_size_is_named(void **state)
{
	(void)state;
	struct vmcb vmcb = good_vmcb();
	vmcb.save.cs.attributes |= SEGMENT_DEFAULT;
	assert_non_null(strstr(broken(&vmcb), "CS.L and CS.D"));
}

static void exit_codes_have_the_manuals_names(void **state)
{
	(void)state;
	assert_string_equal(svm_exit_name(VMEXIT_CPUID), "VMEXIT_CPUID");
	assert_string_equal(svm_exit_name(VMEXIT_EXCP_BASE + 14), "VMEXIT_EXCP14");
	assert_string_equal(svm_exit_name(VMEXIT_NPF), "VMEXIT_NPF");
	assert_string_equal(svm_exit_name(VMEXIT_INVALID), "VMEXIT_INVALID");
	assert_string_equal(svm_exit_name(0x300), "unknown VMEXIT");
	assert_string_equal(svm_exit_name(1), "unknown VMEXIT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_long_mode_state_breaks_no_rule),
		cmocka_unit_test(real_and_protected_mode_states_break_no_rule),
		cmocka_unit_test(a_wrong_control_field_is_named),
		cmocka_unit_test(an_illegal_event_is_named),
		cmocka_unit_test(a_wrong_register_is_named),
		cmocka_unit_test(a_64_bit_segment_of_32_bit_size_is_named),
		cmocka_unit_test(exit_codes_have_the_manuals_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
