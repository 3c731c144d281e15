/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arch/x86_64/mtrr.c against the rules of SDM vol. 3A 11.11: each test's name is the sentence that it proves.
 */
// sources: arch/x86_64/mtrr.c
#include "arch/x86_64/mtrr.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PHYSICAL_BITS 40
#define ADDRESS_BITS  BITS(PHYSICAL_BITS - 1, 12)
#define ALL_WB        UINT64_C(0x0606060606060606)

static struct mtrrs machine(enum mtrr_type by_default)
{
	return (struct mtrrs){
		.def_type = MTRR_DEF_ENABLE | by_default,
		.has_fixed = true,
		.physical_bits = PHYSICAL_BITS,
	};
}

/* A range of `size` bytes, a power of two, at a multiple of it. */
static void add(struct mtrrs *m, uint64_t base, uint64_t size, enum mtrr_type type)
{
	m->variable[m->variable_count].base = base | type;
	m->variable[m->variable_count].mask = (ADDRESS_BITS & ~(size - 1)) | MTRR_MASK_VALID;
	m->variable_count++;
}

static void all_is_uncached_where_mtrrs_are_off_or_absent(void **state)
{
	(void)state;
	struct mtrrs m = machine(MTRR_WRITE_BACK);
	m.def_type &= ~MTRR_DEF_ENABLE;
	assert_int_equal(mtrr_memory_type(&m, MIB(16), MIB(2)), MM_UNCACHED);
	m = (struct mtrrs){.physical_bits = PHYSICAL_BITS};
	assert_int_equal(mtrr_memory_type(&m, 0, 1), MM_UNCACHED);
}

static void the_default_type_holds_where_no_range_is(void **state)
{
	(void)state;
	static const struct {
		enum mtrr_type type;
		enum mm_memory_type expected;
	} cases[] = {
		{MTRR_WRITE_BACK, MM_WRITE_BACK},           {MTRR_WRITE_THROUGH, MM_WRITE_THROUGH},
		{MTRR_WRITE_COMBINING, MM_WRITE_COMBINING}, {MTRR_UNCACHEABLE, MM_UNCACHED},
		{MTRR_WRITE_PROTECTED, MM_UNCACHED},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mtrrs m = machine(cases[i].type);
		assert_int_equal(mtrr_memory_type(&m, GIB(1), GIB(8)), cases[i].expected);
		assert_int_equal(mtrr_memory_type(&m, 0, 1), cases[i].expected);
	}
}

static void a_variable_range_reaches_from_its_first_byte_to_its_last(void **state)
{
	(void)state;
	struct mtrrs m = machine(MTRR_WRITE_BACK);
	add(&m, GIB(3), GIB(1), MTRR_UNCACHEABLE);
	assert_int_equal(mtrr_memory_type(&m, GIB(3) - 1, 1), MM_WRITE_BACK);
	assert_int_equal(mtrr_memory_type(&m, GIB(3), 1), MM_UNCACHED);
	assert_int_equal(mtrr_memory_type(&m, GIB(4) - 1, 1), MM_UNCACHED);
	assert_int_equal(mtrr_memory_type(&m, GIB(4), 1), MM_WRITE_BACK);
}

static void the_strictest_type_inside_a_span_wins(void **state)
{
	(void)state;
	struct mtrrs m = machine(MTRR_WRITE_BACK);
	add(&m, GIB(2), MIB(64), MTRR_WRITE_THROUGH);
	add(&m, GIB(3), FRAME_SIZE, MTRR_WRITE_COMBINING);
	add(&m, GIB(5), FRAME_SIZE, MTRR_UNCACHEABLE);
	assert_int_equal(mtrr_memory_type(&m, 0, GIB(2)), MM_WRITE_BACK);
	assert_int_equal(mtrr_memory_type(&m, 0, GIB(3)), MM_WRITE_THROUGH);
	assert_int_equal(mtrr_memory_type(&m, 0, GIB(4)), MM_WRITE_COMBINING);
	assert_int_equal(mtrr_memory_type(&m, 0, GIB(512)), MM_UNCACHED);
	assert_int_equal(mtrr_memory_type(&m, GIB(5) + FRAME_SIZE, GIB(512)), MM_WRITE_BACK);
}

static void where_ranges_overlap_uncacheable_wins_then_write_through(void **state)
{
	(void)state;
	static const struct {
		enum mtrr_type a, b;
		enum mm_memory_type expected;
	} cases[] = {
		{MTRR_WRITE_BACK, MTRR_UNCACHEABLE, MM_UNCACHED},
		{MTRR_UNCACHEABLE, MTRR_WRITE_COMBINING, MM_UNCACHED},
		{MTRR_WRITE_BACK, MTRR_WRITE_THROUGH, MM_WRITE_THROUGH},
		{MTRR_WRITE_THROUGH, MTRR_WRITE_BACK, MM_WRITE_THROUGH},
		{MTRR_WRITE_BACK, MTRR_WRITE_BACK, MM_WRITE_BACK},
		{MTRR_WRITE_COMBINING, MTRR_WRITE_COMBINING, MM_WRITE_COMBINING},
		/* Undefined by the manual. */
		{MTRR_WRITE_COMBINING, MTRR_WRITE_BACK, MM_UNCACHED},
		{MTRR_WRITE_PROTECTED, MTRR_WRITE_BACK, MM_UNCACHED},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct mtrrs m = machine(MTRR_WRITE_THROUGH);
		add(&m, 0, GIB(4), cases[i].a);
		add(&m, GIB(1), GIB(1), cases[i].b);
		assert_int_equal(mtrr_memory_type(&m, GIB(1), GIB(1)), cases[i].expected);
	}
}

static void a_third_range_does_not_lift_what_two_make_uncached(void **state)
{
	(void)state;
	struct mtrrs m = machine(MTRR_WRITE_BACK);
	add(&m, 0, GIB(4), MTRR_UNCACHEABLE);
	add(&m, 0, GIB(4), MTRR_WRITE_BACK);
	add(&m, 0, GIB(4), MTRR_WRITE_THROUGH);
	assert_int_equal(mtrr_memory_type(&m, GIB(1), 1), MM_UNCACHED);
}

static void a_range_that_is_not_valid_counts_for_nothing(void **state)
{
	(void)state;
	struct mtrrs m = machine(MTRR_WRITE_BACK);
	add(&m, 0, GIB(4), MTRR_UNCACHEABLE);
	m.variable[0].mask &= ~MTRR_MASK_VALID;
	assert_int_equal(mtrr_memory_type(&m, GIB(1), GIB(8)), MM_WRITE_BACK);
}

static void a_mask_with_holes_matches_each_of_its_blocks(void **state)
{
	(void)state;
	struct mtrrs m = machine(MTRR_WRITE_BACK);
	/* Every other 4 GiB below 32 GiB is uncached. */
	add(&m, GIB(4), GIB(4), MTRR_UNCACHEABLE);
	m.variable[0].mask &= ~(GIB(8) | GIB(16));
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(mtrr_memory_type(&m, i * GIB(4), GIB(4)), i % 2 ? MM_UNCACHED : MM_WRITE_BACK);
	}
	assert_int_equal(mtrr_memory_type(&m, GIB(32), GIB(64)), MM_WRITE_BACK);
	assert_int_equal(mtrr_memory_type(&m, GIB(8), GIB(4) + 1), MM_UNCACHED);
}

static void fixed_ranges_come_before_variable_ones_below_1_mib(void **state)
{
	(void)state;
	struct mtrrs m = machine(MTRR_UNCACHEABLE);
	m.def_type |= MTRR_DEF_FIXED_ENABLE;
	add(&m, 0, GIB(1), MTRR_WRITE_THROUGH);
	for (unsigned i = 0; i < MTRR_FIXED_COUNT; i++) {
		m.fixed[i] = ALL_WB;
	}
	assert_int_equal(mtrr_memory_type(&m, 0, MIB(1)), MM_WRITE_BACK);
	assert_int_equal(mtrr_memory_type(&m, 0, MIB(1) + 1), MM_WRITE_THROUGH);
	assert_int_equal(mtrr_memory_type(&m, MIB(1) - 1, 1), MM_WRITE_BACK);
	m.def_type &= ~MTRR_DEF_FIXED_ENABLE;
	assert_int_equal(mtrr_memory_type(&m, 0, MIB(1)), MM_WRITE_THROUGH);
	m.def_type |= MTRR_DEF_FIXED_ENABLE;
	m.has_fixed = false;
	assert_int_equal(mtrr_memory_type(&m, 0, MIB(1)), MM_WRITE_THROUGH);
}

static void each_byte_of_a_fixed_register_rules_its_own_range(void **state)
{
	(void)state;
	struct {
		unsigned reg;
		uint64_t start, step;
	} const registers[MTRR_FIXED_COUNT] = {
		{0, 0x00000, KIB(64)}, {1, 0x80000, KIB(16)}, {2, 0xa0000, KIB(16)}, {3, 0xc0000, KIB(4)},
		{4, 0xc8000, KIB(4)},  {5, 0xd0000, KIB(4)},  {6, 0xd8000, KIB(4)},  {7, 0xe0000, KIB(4)},
		{8, 0xe8000, KIB(4)},  {9, 0xf0000, KIB(4)},  {10, 0xf8000, KIB(4)},
	};
	struct mtrrs m = machine(MTRR_WRITE_BACK);
	m.def_type |= MTRR_DEF_FIXED_ENABLE;
	for (unsigned i = 0; i < MTRR_FIXED_COUNT; i++) {
		for (unsigned byte = 0; byte < 8; byte++) {
			uint64_t start = registers[i].start + byte * registers[i].step;
			for (unsigned j = 0; j < MTRR_FIXED_COUNT; j++) {
				m.fixed[j] = ALL_WB;
			}
			m.fixed[registers[i].reg] &= ~(UINT64_C(0xff) << (byte * 8));
			assert_int_equal(mtrr_memory_type(&m, start, 1), MM_UNCACHED);
			assert_int_equal(mtrr_memory_type(&m, start + registers[i].step - 1, 1), MM_UNCACHED);
			assert_int_equal(mtrr_memory_type(&m, start + registers[i].step, MIB(1)), MM_WRITE_BACK);
			assert_int_equal(mtrr_memory_type(&m, 0, MAX(start, 1)), start ? MM_WRITE_BACK : MM_UNCACHED);
		}
	}
}

static void amds_second_top_of_memory_replaces_the_default_above_4_gib(void **state)
{
	(void)state;
	struct mtrrs m = machine(MTRR_UNCACHEABLE);
	add(&m, 0, GIB(2), MTRR_WRITE_BACK);
	m.top_mem2 = GIB(10);
	assert_int_equal(mtrr_memory_type(&m, 0, GIB(2)), MM_WRITE_BACK);
	assert_int_equal(mtrr_memory_type(&m, GIB(4) - 1, 1), MM_UNCACHED);
	assert_int_equal(mtrr_memory_type(&m, GIB(4), GIB(6)), MM_WRITE_BACK);
	assert_int_equal(mtrr_memory_type(&m, GIB(4), GIB(6) + 1), MM_UNCACHED);
	assert_int_equal(mtrr_memory_type(&m, GIB(3), GIB(2)), MM_UNCACHED);
	add(&m, GIB(8), GIB(1), MTRR_WRITE_COMBINING);
	assert_int_equal(mtrr_memory_type(&m, GIB(4), GIB(6)), MM_WRITE_COMBINING);
}

static void a_span_outside_the_physical_addresses_is_uncached(void **state)
{
	(void)state;
	struct mtrrs m = machine(MTRR_WRITE_BACK);
	assert_int_equal(mtrr_memory_type(&m, 0, BIT(PHYSICAL_BITS)), MM_WRITE_BACK);
	assert_int_equal(mtrr_memory_type(&m, 0, BIT(PHYSICAL_BITS) + 1), MM_UNCACHED);
	assert_int_equal(mtrr_memory_type(&m, BIT(PHYSICAL_BITS), 1), MM_UNCACHED);
	assert_int_equal(mtrr_memory_type(&m, BIT(PHYSICAL_BITS) - 1, UINT64_MAX), MM_UNCACHED);
	assert_int_equal(mtrr_memory_type(&m, UINT64_MAX, UINT64_MAX), MM_UNCACHED);
	/* All 52 bits that the architecture allows. */
	m.physical_bits = 52;
	assert_int_equal(mtrr_memory_type(&m, 0, BIT(52)), MM_WRITE_BACK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_uncached_where_mtrrs_are_off_or_absent),
		cmocka_unit_test(the_default_type_holds_where_no_range_is),
		cmocka_unit_test(a_variable_range_reaches_from_its_first_byte_to_its_last),
		cmocka_unit_test(the_strictest_type_inside_a_span_wins),
		cmocka_unit_test(where_ranges_overlap_uncacheable_wins_then_write_through),
		cmocka_unit_test(a_third_range_does_not_lift_what_two_make_uncached),
		cmocka_unit_test(a_range_that_is_not_valid_counts_for_nothing),
		cmocka_unit_test(a_mask_with_holes_matches_each_of_its_blocks),
		cmocka_unit_test(fixed_ranges_come_before_variable_ones_below_1_mib),
		cmocka_unit_test(each_byte_of_a_fixed_register_rules_its_own_range),
		cmocka_unit_test(amds_second_top_of_memory_replaces_the_default_above_4_gib),
		cmocka_unit_test(a_span_outside_the_physical_addresses_is_uncached),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
