/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entry formats, bit by bit against the manuals, and what each machine's capabilities make of them. The
 * numbers here are written out anew from the manuals on purpose: no constant of mm/formats/ is used.
 */
#include "tests/host/mm_arena.h"

#include "mm/npt_private.h"

#define ADDRESS    UINT64_C(0x1234567000)
#define ADDRESS_2M UINT64_C(0x1234600000)

static struct npt_format ept(void)
{
	struct ept_capabilities capabilities = {.leaf_2m = true, .leaf_1g = true, .physical_bits = 46};
	struct npt_format format;

	npt_format_ept(&format, &capabilities);
	return format;
}

static uint64_t leaf(const struct npt_format *format, unsigned level, uint8_t permissions, uint8_t type)
{
	return npt_leaf(format, level, level > 0 ? ADDRESS_2M : ADDRESS, (struct npt_attributes){permissions, type});
}

static void ept_entries_are_as_the_sdm_has_them(void **state)
{
	struct npt_format format = ept();

	(void)state;
	/* Accessed (8) and dirty (9) set, type in 5:3, no ignore-PAT (6), page (7) above level 0. */
	assert_int_equal(leaf(&format, 0, MM_RWX, MM_WRITE_BACK), ADDRESS | 0x337);
	assert_int_equal(leaf(&format, 1, MM_RWX, MM_WRITE_BACK), ADDRESS_2M | 0x3b7);
	assert_int_equal(leaf(&format, 0, MM_READ, MM_WRITE_THROUGH), ADDRESS | 0x321);
	assert_int_equal(leaf(&format, 0, MM_RW, MM_WRITE_COMBINING), ADDRESS | 0x30b);
	assert_int_equal(leaf(&format, 0, MM_RX, MM_UNCACHED), ADDRESS | 0x305);
	assert_int_equal(leaf(&format, 0, MM_RW, MM_DEVICE) & BITS(51, 0), ADDRESS | 0x303);
	assert_int_equal(leaf(&format, 0, MM_NONE, MM_WRITE_BACK) & 7, 0);
	assert_int_equal(npt_table_entry(&format, ADDRESS), ADDRESS | 0x107);
}

static void amd_entries_are_as_the_apm_has_them(void **state)
{
	struct amd_npt_capabilities capabilities = {.leaf_1g = true, .no_execute = true, .physical_bits = 48};
	struct npt_format format;

	(void)state;
	npt_format_amd(&format, &capabilities);
	/* Present, writable, user, PWT (3), PCD (4), accessed (5), dirty (6), page size (7), no-execute (63). */
	assert_int_equal(leaf(&format, 0, MM_RWX, MM_WRITE_BACK), ADDRESS | 0x67);
	assert_int_equal(leaf(&format, 1, MM_RWX, MM_WRITE_BACK), ADDRESS_2M | 0xe7);
	assert_int_equal(leaf(&format, 0, MM_RX, MM_WRITE_BACK), ADDRESS | 0x65);
	assert_int_equal(leaf(&format, 0, MM_RW, MM_UNCACHED), ADDRESS | 0x7f | BIT(63));
	assert_int_equal(leaf(&format, 0, MM_READ, MM_WRITE_COMBINING), ADDRESS | 0x75 | BIT(63));
	assert_int_equal(leaf(&format, 0, MM_NONE, MM_WRITE_BACK) & 1, 0);
	assert_int_equal(npt_table_entry(&format, ADDRESS), ADDRESS | 0x27);
	capabilities.no_execute = false;
	npt_format_amd(&format, &capabilities);
	assert_int_equal(format.legal_permissions, BIT(MM_NONE) | BIT(MM_RX) | BIT(MM_RWX));
}

static void x86_host_entries_are_supervisor_entries(void **state)
{
	struct x86_host_capabilities capabilities = {.leaf_1g = false, .physical_bits = 52};
	struct npt_format format;

	(void)state;
	npt_format_x86_host(&format, &capabilities);
	assert_int_equal(leaf(&format, 0, MM_RX, MM_WRITE_BACK), ADDRESS | 0x61);
	assert_int_equal(leaf(&format, 1, MM_RW, MM_WRITE_THROUGH), ADDRESS_2M | 0xeb | BIT(63));
	assert_int_equal(npt_table_entry(&format, ADDRESS), ADDRESS | 0x23);
	assert_false(format.level[2].leaf);
	assert_int_equal(format.input_bits, 47);
}

static void arm_stage2_entries_are_as_the_arm_arm_has_them(void **state)
{
	struct arm_stage2_capabilities capabilities = {.ipa_bits = 40, .physical_bits = 48};
	struct npt_format format;

	(void)state;
	assert_status(npt_format_arm_stage2(&format, &capabilities), MM_OK);
	/* Valid, page (1), MemAttr 5:2, S2AP 7:6, SH 9:8, AF 10, XN 54. */
	assert_int_equal(leaf(&format, 0, MM_RWX, MM_WRITE_BACK), ADDRESS | 0x7ff);
	assert_int_equal(leaf(&format, 1, MM_RWX, MM_WRITE_BACK), ADDRESS_2M | 0x7fd);
	assert_int_equal(leaf(&format, 0, MM_READ, MM_WRITE_THROUGH), ADDRESS | 0x76b | BIT(54));
	assert_int_equal(leaf(&format, 0, MM_WRITE, MM_WRITE_COMBINING), ADDRESS | 0x797 | BIT(54));
	assert_int_equal(leaf(&format, 0, MM_RW, MM_UNCACHED), ADDRESS | 0x4c7 | BIT(54));
	assert_int_equal(leaf(&format, 0, MM_RW, MM_DEVICE), ADDRESS | 0x4c3 | BIT(54));
	assert_int_equal(leaf(&format, 0, MM_EXECUTE, MM_WRITE_BACK), ADDRESS | 0x73f);
	assert_int_equal(leaf(&format, 0, MM_NONE, MM_WRITE_BACK) & 1, 0);
	assert_int_equal(npt_table_entry(&format, ADDRESS), ADDRESS | 3);
	assert_true(format.break_before_make);
}

static void arm_stage2_forces_write_back_where_it_is_told_to(void **state)
{
	struct arm_stage2_capabilities capabilities = {.ipa_bits = 40, .physical_bits = 48, .force_write_back = true};
	static const uint8_t back[] = {MM_WRITE_BACK, MM_WRITE_COMBINING, MM_WRITE_COMBINING, MM_UNCACHED, MM_DEVICE};
	static const uint8_t memattr[] = {0x6, 0x5, 0x5, 0x1, 0x0};
	struct npt_format format;

	(void)state;
	assert_status(npt_format_arm_stage2(&format, &capabilities), MM_OK);
	for (uint8_t type = MM_WRITE_BACK; type <= MM_DEVICE; type++) {
		uint64_t entry = leaf(&format, 1, MM_RW, type);

		assert_int_equal(field(entry, 5, 2), memattr[type]);
		assert_int_equal(format.attributes(entry).type, back[type]);
		assert_int_equal(format.attributes(entry).permissions, MM_RW);
	}
	assert_int_equal(leaf(&format, 0, MM_RWX, MM_WRITE_BACK), ADDRESS | 0x7db);
}

static void arm_stage2_start_level_follows_from_the_ipa_size(void **state)
{
	/*
	 * Arm ARM D8.2, 4 KiB granule, each size that there is: a level has 9 bits, and up to 16 tables of a level
	 * stand for one entry each of the level above.
	 */
	static const struct {
		uint8_t ipa_bits, levels, root_order, root_bits;
	} expected[] = {
		{32, 2, 2, 11}, {33, 2, 3, 12}, {34, 2, 4, 13}, {35, 3, 0, 5},  {36, 3, 0, 6},  {37, 3, 0, 7},
		{38, 3, 0, 8},  {39, 3, 0, 9},  {40, 3, 1, 10}, {41, 3, 2, 11}, {42, 3, 3, 12}, {43, 3, 4, 13},
		{44, 4, 0, 5},  {45, 4, 0, 6},  {46, 4, 0, 7},  {47, 4, 0, 8},  {48, 4, 0, 9},
	};
	struct arm_stage2_capabilities capabilities = {.physical_bits = 48};
	struct npt_format format;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(expected); i++) {
		capabilities.ipa_bits = expected[i].ipa_bits;
		assert_status(npt_format_arm_stage2(&format, &capabilities), MM_OK);
		assert_int_equal(format.levels, expected[i].levels);
		assert_int_equal(format.root_order, expected[i].root_order);
		assert_int_equal(format.level[format.levels - 1].bits, expected[i].root_bits);
		assert_int_equal(format.input_bits, expected[i].ipa_bits);
	}
	capabilities.ipa_bits = 31;
	assert_status(npt_format_arm_stage2(&format, &capabilities), MM_ERANGE);
	capabilities.ipa_bits = 49;
	assert_status(npt_format_arm_stage2(&format, &capabilities), MM_ERANGE);
	capabilities = (struct arm_stage2_capabilities){.ipa_bits = 40, .physical_bits = 36};
	assert_status(npt_format_arm_stage2(&format, &capabilities), MM_ERANGE);
}

/* The walk that the hardware makes, by the numbers of the manual: from the root's table and index down. */
static uint64_t walk_by_hand(const struct npt *npt, gpa_t gpa)
{
	unsigned shift = 12 + 9 * (npt->format.levels - 1U);
	const uint64_t *table = npt_pointer(npt, npt->root);
	uint64_t entry = table[gpa >> shift];

	while (shift > 12 && (entry & 3) == 3) {
		shift -= 9;
		table = npt_pointer(npt, entry & BITS(47, 12));
		entry = table[gpa >> shift & 511];
	}
	return entry;
}

static void every_ipa_size_reaches_each_of_its_concatenated_roots(void **state)
{
	struct arm_stage2_capabilities capabilities = {.physical_bits = 48};
	struct addr_space space;
	struct npt_format format;
	struct mm_arena arena;

	(void)state;
	mm_arena_init(&arena, MIB(16));
	for (capabilities.ipa_bits = 32; capabilities.ipa_bits <= 48; capabilities.ipa_bits++) {
		assert_status(npt_format_arm_stage2(&format, &capabilities), MM_OK);
		gpa_t limit = BIT(capabilities.ipa_bits);
		gpa_t each = limit >> MAX(format.root_order, 1);

		assert_status(addr_space_init(&space, 0, limit, &format, &arena.hal), MM_OK);
		/* D8.2.8: concatenated tables are aligned to their size together. */
		assert_int_equal(space.npt.root % (FRAME_SIZE << format.root_order), 0);
		for (gpa_t at = each - FRAME_SIZE; at < limit; at += each) {
			assert_status(addr_space_map_linear(&space, at, FRAME_SIZE, (int64_t)(at - ADDRESS), RWX),
			              MM_OK);
			assert_int_equal(walk_by_hand(&space.npt, at), ADDRESS | 0x7ff);
			assert_int_equal(walk_by_hand(&space.npt, at - FRAME_SIZE), 0);
		}
		assert_status(addr_space_map_linear(&space, limit, FRAME_SIZE, 0, RWX), MM_ERANGE);
		addr_space_destroy(&space);
		assert_int_equal(mm_arena_held(&arena), 0);
	}
	mm_arena_fini(&arena);
}

static void arm_el2_entries_are_as_the_arm_arm_has_them(void **state)
{
	struct arm_el2_capabilities capabilities = {.physical_bits = 52};
	struct npt_format format;

	(void)state;
	npt_format_arm_el2(&format, &capabilities);
	/* Valid, page (1), AttrIndx 4:2, AP[1] (6), AP[2] read-only (7), SH 9:8, AF 10, XN 54. */
	assert_int_equal(leaf(&format, 0, MM_RWX, MM_WRITE_BACK), ADDRESS | 0x743);
	assert_int_equal(leaf(&format, 1, MM_RX, MM_WRITE_BACK), ADDRESS_2M | 0x7c1);
	assert_int_equal(leaf(&format, 0, MM_RW, MM_DEVICE), ADDRESS | 0x453 | BIT(54));
	assert_int_equal(leaf(&format, 0, MM_READ, MM_WRITE_COMBINING), ADDRESS | 0x7cb | BIT(54));
	assert_int_equal(npt_table_entry(&format, ADDRESS), ADDRESS | 3);
	assert_int_equal(format.output_bits, 48);
}

static void riscv_entries_are_as_the_privileged_specification_has_them(void **state)
{
	struct riscv_gstage_capabilities capabilities = {.levels = 3, .physical_bits = 56};
	struct npt_format format;

	(void)state;
	assert_status(npt_format_riscv(&format, &capabilities), MM_OK);
	/* V, R, W, X, U, A (6), D (7), PPN from 10, PBMT 62:61. */
	assert_int_equal(leaf(&format, 0, MM_RWX, MM_WRITE_BACK), ADDRESS >> 2 | 0xdf);
	assert_int_equal(leaf(&format, 1, MM_READ, MM_WRITE_BACK), ADDRESS_2M >> 2 | 0xd3);
	assert_int_equal(leaf(&format, 0, MM_EXECUTE, MM_WRITE_BACK), ADDRESS >> 2 | 0xd9);
	assert_int_equal(leaf(&format, 0, MM_RW, MM_DEVICE) & BITS(63, 54), 0);
	assert_int_equal(npt_table_entry(&format, ADDRESS), ADDRESS >> 2 | 1);
	assert_int_equal(format.input_bits, 41);
	assert_int_equal(format.root_order, 2);
	assert_int_equal(format.level[2].bits, 11);
	capabilities = (struct riscv_gstage_capabilities){.levels = 4, .physical_bits = 56, .svpbmt = true};
	assert_status(npt_format_riscv(&format, &capabilities), MM_OK);
	assert_int_equal(leaf(&format, 0, MM_RW, MM_DEVICE) >> 61, 2);
	assert_int_equal(leaf(&format, 0, MM_RW, MM_WRITE_COMBINING) >> 61, 1);
	assert_int_equal(leaf(&format, 0, MM_RW, MM_WRITE_BACK) >> 61, 0);
	assert_int_equal(format.input_bits, 50);
	assert_int_equal(format.level[3].bits, 11);
	capabilities.levels = 5;
	assert_status(npt_format_riscv(&format, &capabilities), MM_EINVAL);
}

static void every_legal_leaf_reads_back_as_it_was_made(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		for (unsigned i = 0; i < 3 * 8 * (MM_DEVICE + 1); i++) {
			unsigned level = i % 3;
			uint8_t permissions = i / 3 % 8;
			uint8_t type = (uint8_t)(i / 24);
			bool folded = format->address_shift != 0 && type == MM_WRITE_THROUGH;

			if (!(format->legal_permissions >> permissions & 1)) {
				continue;
			}
			uint64_t entry = npt_leaf(format, level, GIB(3), (struct npt_attributes){permissions, type});
			struct npt_attributes back = npt_leaf_attributes(format, entry);

			assert_int_not_equal(entry, 0);
			assert_false(npt_is_table(format, level, entry));
			assert_int_equal(npt_address(format, entry), GIB(3));
			assert_int_equal(back.permissions, permissions);
			assert_int_equal(back.type, folded ? MM_WRITE_COMBINING : type);
			assert_int_equal(npt_is_hidden(format, entry), permissions == MM_NONE);
		}
	}
}

static void hiding_keeps_kind_and_address_and_hides_from_the_cpu(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		uint64_t table = npt_table_entry(format, ADDRESS);
		uint64_t block = npt_leaf(format, 1, GIB(1), RWX);
		uint64_t guard = npt_leaf(format, 1, 0, (struct npt_attributes){MM_NONE, MM_UNCACHED});

		assert_int_equal(npt_hide(format, table) & format->valid_mask, 0);
		assert_int_equal(npt_unhide(format, npt_hide(format, table)), table);
		assert_false(npt_is_table(format, 1, npt_hide(format, table)));
		assert_int_equal(npt_hide(format, block) & format->valid_mask, 0);
		assert_false(npt_is_table(format, 1, npt_unhide(format, npt_hide(format, block))));
		assert_int_equal(npt_address(format, npt_hide(format, block)), GIB(1));
		assert_false(npt_is_table(format, 1, npt_unhide(format, guard)));
		assert_int_not_equal(guard, 0);
		assert_int_equal(format->permission_mask & (format->valid_mask | format->hidden_mark),
		                 format->valid_mask | format->hidden_mark);
	}
}

/* What npt_child relies on. */
static void nothing_but_the_entry_of_a_table_leads_to_a_table(void **state)
{
	struct mm_arena arena;
	struct npt npt;

	(void)state;
	mm_arena_init(&arena, MIB(1));
	FOR_EACH_FORMAT (format) {
		assert_status(npt_init(&npt, format, &arena.hal), MM_OK);
		uint64_t table = npt_table_entry(format, MM_ARENA_BASE);

		assert_ptr_equal(npt_child(&npt, table), arena.memory);
		assert_true(npt_is_child(npt_child(&npt, table)));
		assert_false(npt_is_child(npt_child(&npt, npt_hide(format, table))));
		assert_false(npt_is_child(npt_child(&npt, 0)));
		for (unsigned i = 0; i < (MM_RWX + 1) * (MM_DEVICE + 1); i++) {
			struct npt_attributes attributes = {i % (MM_RWX + 1), (uint8_t)(i / (MM_RWX + 1))};

			for (unsigned level = 1; level < format->levels; level++) {
				uint64_t entry = npt_leaf(format, level, MM_ARENA_BASE, attributes);

				assert_false(npt_is_child(npt_child(&npt, entry)));
				assert_false(npt_is_child(npt_child(&npt, npt_hide(format, entry))));
			}
		}
		npt_destroy(&npt);
	}
	mm_arena_fini(&arena);
}

static void levels_fit_together(void **state)
{
	(void)state;
	FOR_EACH_FORMAT (format) {
		unsigned bits = FRAME_SHIFT;

		for (unsigned level = 0; level < format->levels; level++) {
			assert_int_equal(format->level[level].shift, bits);
			assert_int_equal(format->level[level].shift, npt_shift(level));
			bits += format->level[level].bits;
		}
		assert_int_equal(bits, format->input_bits);
		assert_true(format->level[0].leaf);
		assert_true(format->level[format->levels - 1].bits <= 9 + format->root_order);
	}
}

static void a_leaf_size_that_the_cpu_lacks_is_cleared(void **state)
{
	struct ept_capabilities capabilities = {.physical_bits = 52};
	struct npt_format format;

	(void)state;
	npt_format_ept(&format, &capabilities);
	assert_true(format.level[0].leaf);
	assert_false(format.level[1].leaf);
	assert_false(format.level[2].leaf);
	assert_int_equal(format.legal_permissions >> MM_EXECUTE & 1, 0);
	assert_int_equal(format.legal_permissions >> MM_WRITE & 1, 0);
	assert_int_equal(format.output_bits, 52);
}

static void every_status_has_its_name(void **state)
{
	(void)state;
	assert_string_equal(mm_status_name(MM_OK), "MM_OK");
	assert_string_equal(mm_status_name(MM_ENOMEM), "MM_ENOMEM");
	assert_string_equal(mm_status_name(MM_EFAULT), "MM_EFAULT");
	assert_string_equal(mm_status_name(MM_ENOSPC), "MM_ENOSPC");
	assert_string_equal(mm_status_name(MM_ENOSPC - 1), "MM_?");
	assert_string_equal(mm_status_name(1), "MM_?");
	assert_string_equal(mm_status_name(INT32_MIN), "MM_?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ept_entries_are_as_the_sdm_has_them),
		cmocka_unit_test(amd_entries_are_as_the_apm_has_them),
		cmocka_unit_test(x86_host_entries_are_supervisor_entries),
		cmocka_unit_test(arm_stage2_entries_are_as_the_arm_arm_has_them),
		cmocka_unit_test(arm_stage2_forces_write_back_where_it_is_told_to),
		cmocka_unit_test(arm_stage2_start_level_follows_from_the_ipa_size),
		cmocka_unit_test(every_ipa_size_reaches_each_of_its_concatenated_roots),
		cmocka_unit_test(arm_el2_entries_are_as_the_arm_arm_has_them),
		cmocka_unit_test(riscv_entries_are_as_the_privileged_specification_has_them),
		cmocka_unit_test(every_legal_leaf_reads_back_as_it_was_made),
		cmocka_unit_test(hiding_keeps_kind_and_address_and_hides_from_the_cpu),
		cmocka_unit_test(nothing_but_the_entry_of_a_table_leads_to_a_table),
		cmocka_unit_test(levels_fit_together),
		cmocka_unit_test(a_leaf_size_that_the_cpu_lacks_is_cleared),
		cmocka_unit_test(every_status_has_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
