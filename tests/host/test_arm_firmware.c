/* SPDX-License-Identifier: Apache-2.0 */
// sources: arch/aarch64/psci.c arch/aarch64/id_registers.c
/*
 * What a guest on Arm is told: PSCI's and SMCCC's answers, and the identification registers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/aarch64/id_registers.h"
#include "arch/aarch64/psci.h"
#include "lib/util.h"

#define NOT_SUPPORTED ((uint64_t)-1)

static int32_t workarounds[PSCI_WORKAROUNDS]; /* what the machine's firmware says */

static enum psci_action call(uint32_t function, uint64_t x1, uint64_t *result)
{
	const uint64_t argument[] = {x1, 0, 0};
	const struct psci_machine machine = {.vcpus = 1, .workarounds = workarounds};
	return psci_call(function, argument, &machine, result);
}

static int set_up(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PSCI_WORKAROUNDS; i++) {
		workarounds[i] = SMCCC_ABSENT;
	}
	return 0;
}

static uint64_t answer(uint32_t function, uint64_t x1)
{
	uint64_t result;
	assert_int_equal(call(function, x1, &result), PSCI_RETURN);
	return result;
}

static void versions_are_1_1(void **state)
{
	(void)state;
	assert_int_equal(answer(0x84000000, 0), 0x10001);
	assert_int_equal(answer(0x80000000, 0), 0x10001);
}

static void off_and_reset_end_the_vm(void **state)
{
	(void)state;
	uint64_t result;
	assert_int_equal(call(0x84000008, 0, &result), PSCI_POWER_OFF);
	assert_int_equal(call(0x84000009, 0, &result), PSCI_POWER_RESET);
}

static void features_are_what_there_is(void **state)
{
	(void)state;
	assert_int_equal(answer(0x8400000a, 0x84000008), 0);
	assert_int_equal(answer(0x8400000a, 0xc4000003), 0);
	assert_int_equal(answer(0x8400000a, 0x80000000), 0);
	assert_true(answer(0x8400000a, 0xc4000008) == NOT_SUPPORTED); /* no 64-bit variant */
	assert_true(answer(0x8400000a, 0x84000012) == NOT_SUPPORTED); /* SYSTEM_RESET2 */
	assert_true(answer(0x80000001, 0x80008000) == NOT_SUPPORTED);
	assert_int_equal(answer(0x80000001, 0x80000000), 0);
}

static void the_only_cpu_is_on_and_stays_on(void **state)
{
	(void)state;
	assert_true(answer(0xc4000003, 0) == (uint64_t)-4);
	assert_true(answer(0xc4000003, 1) == (uint64_t)-2);
	assert_true(answer(0x84000002, 0) == (uint64_t)-3);
	assert_int_equal(answer(0xc4000004, 0), 0);
	assert_true(answer(0xc4000004, 0x100) == (uint64_t)-2);
}

static void suspend_waits_and_powerdown_is_refused(void **state)
{
	(void)state;
	uint64_t result;
	assert_int_equal(call(0xc4000001, 0, &result), PSCI_WAIT);
	assert_int_equal(result, 0);
	assert_true(answer(0xc4000001, 1 << 16) == (uint64_t)-2);
}

static void a_32_bit_call_has_32_bit_arguments(void **state)
{
	(void)state;
	uint64_t garbage = UINT64_C(0xdeadbeef00000000);
	assert_true(answer(0x84000003, garbage) == (uint64_t)-4);
	assert_true(answer(0xc4000003, garbage) == (uint64_t)-2);
	assert_int_equal(answer(0x84000004, garbage), 0);
}

static void workarounds_are_the_machines(void **state)
{
	(void)state;
	static const uint32_t functions[] = {0x80008000, 0x80007fff, 0x80003fff};
	uint64_t result;
	for (unsigned i = 0; i < 3; i++) {
		assert_true(answer(0x80000001, functions[i]) == NOT_SUPPORTED);
		assert_true(answer(functions[i], 0) == NOT_SUPPORTED);
		workarounds[i] = 1;
		assert_int_equal(answer(0x80000001, functions[i]), 1);
		workarounds[i] = 0;
	}
	assert_int_equal(answer(0x80000001, functions[0]), 0);
	assert_int_equal(answer(0x80000001, functions[1]), 1); /* always on: nothing to switch */
	assert_int_equal(answer(0x80000001, functions[2]), 0);
	assert_int_equal(call(functions[0], 0, &result), PSCI_FIRMWARE);
	assert_int_equal(result, 0);
	assert_int_equal(answer(functions[1], 0), 0);
	assert_int_equal(call(functions[2], 0, &result), PSCI_FIRMWARE);
}

/* What TF-A answers where the mitigation cannot be switched, on Cortex-A72 for one. */
static void store_bypass_that_is_mitigated_for_good_is_no_unknown_one(void **state)
{
	(void)state;
	workarounds[1] = -2;
	assert_int_equal(answer(0x80000001, 0x80007fff), 1);
	assert_int_equal(answer(0x80007fff, 0), 0);
	workarounds[0] = workarounds[2] = -2; /* not an answer for these */
	assert_true(answer(0x80000001, 0x80008000) == NOT_SUPPORTED);
	assert_true(answer(0x80000001, 0x80003fff) == NOT_SUPPORTED);
}

static void everything_else_is_not_supported(void **state)
{
	(void)state;
	uint64_t result;
	for (uint64_t i = 0; i < 1 << 20; i++) {
		uint32_t function = (uint32_t)(i * 0x9e3779b1u);
		enum psci_action action = call(function, ~i, &result);
		if (function >> 8 != 0x840000 && function >> 8 != 0xc40000 && function >> 8 != 0x800000) {
			assert_int_equal(action, PSCI_RETURN);
			assert_true(result == NOT_SUPPORTED);
		}
	}
}

/* ---- identification registers ---- */

static const struct id_machine machine3 = {.gic_version = 3, .pa_range = 2};
static const struct id_machine machine2 = {.gic_version = 2, .pa_range = 2};

static unsigned field_of(uint64_t value, unsigned low)
{
	return (unsigned)(value >> low) & 0xf;
}

static void a_guest_sees_one_exception_level_and_no_extensions(void **state)
{
	(void)state;
	uint64_t host = UINT64_C(0x1101111122222222);
	uint64_t seen = id_register(4, 0, host, &machine3);
	assert_int_equal(field_of(seen, 0), 1);
	assert_int_equal(field_of(seen, 4), 1);
	assert_int_equal(field_of(seen, 8), 0);
	assert_int_equal(field_of(seen, 12), 0);
	assert_int_equal(field_of(seen, 24), 1);
	assert_int_equal(field_of(seen, 28), 0); /* RAS */
	assert_int_equal(field_of(seen, 32), 0); /* SVE */
	assert_int_equal(field_of(seen, 44), 0); /* AMU */
	assert_int_equal(field_of(id_register(4, 0, host, &machine2), 24), 0);
}

static void absent_floating_point_stays_absent(void **state)
{
	(void)state;
	uint64_t seen = id_register(4, 0, UINT64_C(0xff0000), &machine3);
	assert_int_equal(field_of(seen, 16), 0xf);
	assert_int_equal(field_of(seen, 20), 0xf);
}

static void what_the_table_does_not_name_reads_as_zero(void **state)
{
	(void)state;
	for (unsigned crm = 1; crm < 8; crm++) {
		for (unsigned op2 = 0; op2 < 8; op2++) {
			bool named = (crm == 4 && op2 <= 1) || (crm == 5 && op2 == 0) || (crm == 6 && op2 <= 2) ||
			             (crm == 7 && op2 <= 2);
			uint64_t seen = id_register(crm, op2, UINT64_MAX, &machine3);
			assert_int_equal(seen != 0, named);
		}
	}
}

static void debug_is_the_hosts_and_nothing_beside_it(void **state)
{
	(void)state;
	assert_int_equal(id_register(5, 0, UINT64_C(0x1111111123114519), &machine3), UINT64_C(0xf020104006));
}

static void memory_is_as_wide_as_the_guests_not_the_hosts(void **state)
{
	(void)state;
	uint64_t host = UINT64_C(0x2100032310211126); /* 52 bits, LPA2 */
	uint64_t seen = id_register(7, 0, host, &machine3);
	assert_int_equal(field_of(seen, 0), 2);
	assert_int_equal(field_of(seen, 28), 0);
	assert_int_equal(field_of(seen, 20), 1);
	assert_int_equal(field_of(seen, 56), 0); /* FGT */
	assert_int_equal(field_of(seen, 60), 0); /* ECV */
	/* A granule that the CPU lacks stays away. */
	assert_int_equal(field_of(id_register(7, 0, UINT64_C(0xf0000000), &machine3), 28), 0xf);
}

static void only_little_endian_guests_are_offered(void **state)
{
	(void)state;
	assert_int_equal(field_of(id_register(7, 0, UINT64_C(0x100), &machine3), 8), 0);    /* BigEnd */
	assert_int_equal(field_of(id_register(7, 0, UINT64_C(0x10000), &machine3), 16), 0); /* BigEndEL0 */
}

/* FEAT_HAFT, FEAT_HDBSS and FEAT_LVA3 are switched on in TCR2_EL1, which is undefined for a guest. */
static void what_is_switched_on_in_hidden_registers_is_hidden_too(void **state)
{
	(void)state;
	for (uint64_t host = 0; host <= 4; host++) {
		assert_int_equal(field_of(id_register(7, 1, host, &machine3), 0), MIN(host, 2));        /* HAFDBS */
		assert_int_equal(field_of(id_register(7, 2, host << 16, &machine3), 16), MIN(host, 1)); /* VARange */
	}
}

static void pointer_authentication_is_hidden(void **state)
{
	(void)state;
	uint64_t seen = id_register(6, 1, UINT64_MAX, &machine3);
	assert_int_equal(field_of(seen, 4), 0);
	assert_int_equal(field_of(seen, 8), 0);
	assert_int_equal(field_of(seen, 24), 0);
	assert_int_equal(field_of(seen, 28), 0);
	assert_int_equal(field_of(id_register(6, 2, UINT64_MAX, &machine3), 8), 0);
	assert_int_equal(field_of(id_register(6, 2, UINT64_MAX, &machine3), 12), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_are_1_1),
		cmocka_unit_test(off_and_reset_end_the_vm),
		cmocka_unit_test_setup(features_are_what_there_is, set_up),
		cmocka_unit_test(the_only_cpu_is_on_and_stays_on),
		cmocka_unit_test(suspend_waits_and_powerdown_is_refused),
		cmocka_unit_test(a_32_bit_call_has_32_bit_arguments),
		cmocka_unit_test_setup(workarounds_are_the_machines, set_up),
		cmocka_unit_test_setup(store_bypass_that_is_mitigated_for_good_is_no_unknown_one, set_up),
		cmocka_unit_test_setup(everything_else_is_not_supported, set_up),
		cmocka_unit_test(a_guest_sees_one_exception_level_and_no_extensions),
		cmocka_unit_test(absent_floating_point_stays_absent),
		cmocka_unit_test(what_the_table_does_not_name_reads_as_zero),
		cmocka_unit_test(debug_is_the_hosts_and_nothing_beside_it),
		cmocka_unit_test(memory_is_as_wide_as_the_guests_not_the_hosts),
		cmocka_unit_test(only_little_endian_guests_are_offered),
		cmocka_unit_test(what_is_switched_on_in_hidden_registers_is_hidden_too),
		cmocka_unit_test(pointer_authentication_is_hidden),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
