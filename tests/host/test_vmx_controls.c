/* SPDX-License-Identifier: Apache-2.0 */
// sources: arch/x86_64/vmx_names.c
/*
 * The arithmetic of VMX's capability MSRs and the manual's names of reasons, errors and control bits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vmcs.h"
#include "vmx_adjust.h"
#include "vmx_names.h"

static uint64_t capability(uint32_t must_be_one, uint32_t may_be_one)
{
	return (uint64_t)may_be_one << 32 | must_be_one;
}

static void what_the_cpu_forces_is_added_and_what_it_lacks_of_the_optional_left_out(void **state)
{
	(void)state;
	struct vmx_adjusted adjusted = vmx_adjust(capability(0x16, 0x7f), 0x09, 0xa0);
	assert_int_equal(adjusted.value, 0x16 | 0x09 | 0x20);
	assert_int_equal(adjusted.missing, 0);
}

static void an_indispensable_bit_that_cannot_be_set_is_reported(void **state)
{
	(void)state;
	struct vmx_adjusted adjusted = vmx_adjust(capability(0x16, 0x3f), 0x49, 0x80);
	assert_int_equal(adjusted.missing, 0x40);
}

static void exit_reasons_have_the_manual_s_names(void **state)
{
	(void)state;
	assert_string_equal(vmx_exit_name(EXIT_CPUID), "CPUID");
	assert_string_equal(vmx_exit_name(EXIT_EPT_VIOLATION), "EPT violation");
	assert_string_equal(vmx_exit_name(EXIT_TDCALL), "TDCALL");
	assert_string_equal(vmx_exit_name(EXIT_REASON_ENTRY_FAILURE | 33),
	                    "VM-entry failure due to invalid guest state");
	assert_string_equal(vmx_exit_name(VMX_ENTRY_REFUSED), "VM entry refused");
	assert_string_equal(vmx_exit_name(35), "unknown exit reason");
	assert_string_equal(vmx_exit_name(UINT16_MAX), "unknown exit reason");
}

static void instruction_errors_have_the_manual_s_names(void **state)
{
	(void)state;
	assert_string_equal(vmx_instruction_error_name(7), "VM entry with invalid control field(s)");
	assert_string_equal(vmx_instruction_error_name(28), "Invalid operand to INVEPT/INVVPID");
	assert_string_equal(vmx_instruction_error_name(0), "unknown VM-instruction error");
	assert_string_equal(vmx_instruction_error_name(UINT64_MAX), "unknown VM-instruction error");
}

static void every_control_that_is_asked_for_has_a_name(void **state)
{
	(void)state;
	assert_string_equal(vmx_control_name(VMX_PIN, 3), "NMI exiting");
	assert_string_equal(vmx_control_name(VMX_CPU2, 7), "Unrestricted guest");
	assert_string_equal(vmx_control_name(VMX_ENTRY, 9), "IA-32e mode guest");
	assert_string_equal(vmx_control_name(VMX_EXIT, 0), "reserved");
	assert_string_equal(vmx_control_field_name(VMX_EXIT), "VM-exit controls");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_cpu_forces_is_added_and_what_it_lacks_of_the_optional_left_out),
		cmocka_unit_test(an_indispensable_bit_that_cannot_be_set_is_reported),
		cmocka_unit_test(exit_reasons_have_the_manual_s_names),
		cmocka_unit_test(instruction_errors_have_the_manual_s_names),
		cmocka_unit_test(every_control_that_is_asked_for_has_a_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
