/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the guest's code through its own page tables, in every paging mode, with and without the cached page. The
 * guest's memory is an array here and its registers are a table. Run by make host-tests.
 */
// sources: arch/x86_64/fetch.c arch/x86_64/decode.c
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/decode.h"
#include "arch/x86_64/vcpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MEMORY_BYTES 0x40000
#define PRESENT      1
#define LARGE        0x80
#define ENTRY_PSE    0x10 /* CR4.PSE */

static uint8_t memory[MEMORY_BYTES];
static struct addr_space space;
static uint64_t registers[X86_PAT + 1];
static struct x86_segment cs;
static unsigned loads; /* table entries read by walks */

/* ---- what mm and the virtualization would do ---- */

size_t guest_read(struct addr_space *from_space, gpa_t from, void *to, size_t bytes, unsigned flags)
{
	(void)from_space;
	(void)flags;
	if (from >= MEMORY_BYTES) {
		return 0;
	}
	bytes = MIN(bytes, MEMORY_BYTES - from);
	memcpy(to, memory + from, bytes);
	return bytes;
}

bool guest_load(struct addr_space *from_space, gpa_t from, unsigned width, uint64_t *value)
{
	*value = 0;
	loads++;
	return guest_read(from_space, from, value, width, 0) == width;
}

const void *guest_peek(struct addr_space *from_space, gpa_t address, size_t bytes)
{
	(void)from_space;
	return address > MEMORY_BYTES || bytes > MEMORY_BYTES - address ? NULL : memory + address;
}

static uint64_t get_register(struct arch_vcpu *vcpu, enum x86_register name)
{
	(void)vcpu;
	return registers[name];
}

static void get_segment(struct arch_vcpu *vcpu, enum x86_segment_name name, struct x86_segment *segment)
{
	(void)vcpu;
	assert_int_equal(name, X86_CS);
	*segment = cs;
}

static const struct virt_ops ops = {.get = get_register, .get_segment = get_segment};
static struct arch_vm vm = {.space = &space, .ops = &ops};
static struct arch_vcpu vcpu;

/* ---- guests ---- */

static int start_empty(void **state)
{
	(void)state;
	memset(memory, 0, sizeof(memory));
	memset(registers, 0, sizeof(registers));
	memset(&cs, 0, sizeof(cs));
	memset(&vcpu, 0, sizeof(vcpu));
	space.generation = 1;
	vcpu.vm = &vm;
	loads = 0;
	return 0;
}

static void put64(gpa_t at, uint64_t value)
{
	memcpy(memory + at, &value, sizeof(value));
}

static void put32(gpa_t at, uint64_t value)
{
	memcpy(memory + at, &value, sizeof(uint32_t));
}

/* 64-bit mode: 0xffffffff80000000 + 4 KiB * n, for n = 0 and 1, at 0x8000 and 0xc000; a 2 MiB page after them. */
#define CODE_64 UINT64_C(0xffffffff80000000)

static void set_long_mode(void)
{
	registers[X86_CR0] = CR0_PG | CR0_PE;
	registers[X86_CR4] = CR4_PAE;
	registers[X86_EFER] = EFER_LME | EFER_LMA;
	registers[X86_CR3] = 0x1000;
	registers[X86_RIP] = CODE_64;
	cs.attributes = BIT(9);
	put64(0x1000 + 511 * 8, 0x2000 | PRESENT);
	put64(0x2000 + 510 * 8, 0x3000 | PRESENT);
	put64(0x3000, 0x4000 | PRESENT);
	put64(0x3000 + 8, 0x200000 | PRESENT | LARGE);
	put64(0x4000, UINT64_C(0x8000000000008000) | PRESENT); /* the no-execute bit is no address */
	put64(0x4000 + 8, 0xc000 | PRESENT);
}

static uint32_t error; /* of the last translation */

static bool translate(uint64_t linear, uint64_t *gpa)
{
	return x86_guest_translate(&vcpu, linear, 0, gpa, &error);
}

/* ---- tests ---- */

static void without_paging_an_address_is_itself(void **state)
{
	uint64_t gpa;

	(void)state;
	assert_true(translate(0x12345, &gpa));
	assert_int_equal(gpa, 0x12345);
	assert_int_equal(loads, 0);
}

static void thirty_two_bit_paging_has_4k_and_with_pse_4m_pages(void **state)
{
	uint64_t gpa;

	(void)state;
	registers[X86_CR0] = CR0_PG | CR0_PE;
	registers[X86_CR3] = 0x1018; /* PWT, PCD */
	put32(0x1000 + 4 * 1, 0x2000 | PRESENT);
	put32(0x2000 + 4 * 3, 0x9000 | PRESENT);
	put32(0x1000 + 4 * 2, 0x00c00000 | (0x12 << 13) | PRESENT | LARGE); /* PSE-36: bits 39:32 are 0x12 */
	put32(0x1000 + 4 * 3, 0x0002e000 | PRESENT | LARGE);
	assert_true(translate(0x00403abc, &gpa));
	assert_int_equal(gpa, 0x9abc);
	assert_false(translate(0x00404000, &gpa));
	assert_false(translate(0x01000000, &gpa));
	registers[X86_CR4] = ENTRY_PSE;
	assert_true(translate(0x00812345, &gpa));
	assert_int_equal(gpa, 0x1200c12345);
	/* Without PSE the same bit means nothing, and the entry leads to a table. */
	registers[X86_CR4] = 0;
	put32(0x2e000 + 4 * 1, 0x5000 | PRESENT);
	assert_true(translate(0x00c01234, &gpa));
	assert_int_equal(gpa, 0x5234);
}

static void pae_paging_has_four_pointers_and_2m_pages(void **state)
{
	uint64_t gpa;

	(void)state;
	registers[X86_CR0] = CR0_PG | CR0_PE;
	registers[X86_CR4] = CR4_PAE;
	registers[X86_CR3] = 0x1020; /* 32-byte alignment is enough */
	put64(0x1020 + 8 * 3, 0x2000 | PRESENT);
	put64(0x2000 + 8 * 511, UINT64_C(0x123400000) | PRESENT | LARGE);
	put64(0x2000, 0x3000 | PRESENT);
	put64(0x3000 + 8, 0x7000 | PRESENT | LARGE); /* PAT in a 4 KiB entry */
	assert_true(translate(0xffe12345, &gpa));
	assert_int_equal(gpa, 0x123412345);
	assert_true(translate(0xc0001678, &gpa));
	assert_int_equal(gpa, 0x7678);
	assert_false(translate(0x1000, &gpa));
}

static void four_level_paging_has_pages_of_4k_2m_and_1g(void **state)
{
	uint64_t gpa;

	(void)state;
	set_long_mode();
	put64(0x2000 + 8 * 509, UINT64_C(0xff40000000) | PRESENT | LARGE);
	assert_true(translate(CODE_64 + 0x1234, &gpa));
	assert_int_equal(gpa, 0xc234);
	assert_true(translate(CODE_64 + 0x212345, &gpa));
	assert_int_equal(gpa, 0x212345);
	assert_true(translate(UINT64_C(0xffffffff52345678), &gpa));
	assert_int_equal(gpa, 0xff52345678);
	assert_false(translate(0, &gpa));
	assert_int_equal(error, 0);
	assert_false(translate(UINT64_C(0x0000ffff80000000), &gpa)); /* not canonical */
	assert_int_equal(error, X86_NO_ERROR_CODE);
}

/* What the CPU would say to each kind of access: a page fault's code, or 0 for yes. */
static void expect_rights(uint64_t linear, uint32_t read, uint32_t write, uint32_t user_read, uint32_t user_write)
{
	const uint32_t codes[] = {read, write, user_read, user_write};
	const uint32_t accesses[] = {0, PF_WRITE, PF_USER, PF_USER | PF_WRITE};
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		uint64_t gpa;
		bool allowed = x86_guest_translate(&vcpu, linear, accesses[i], &gpa, &error);
		assert_int_equal(allowed, codes[i] == 0);
		assert_true(allowed || error == codes[i]);
	}
}

static void data_is_reached_with_the_rights_of_all_levels(void **state)
{
	(void)state;
	set_long_mode();
	expect_rights(CODE_64, 0, 0, 5, 7); /* without CR0.WP the supervisor writes everywhere */
	registers[X86_CR0] |= CR0_WP;
	expect_rights(CODE_64, 0, 3, 5, 7);
	put64(0x4000, 0x8000 | PRESENT | 2 | 4);
	expect_rights(CODE_64, 0, 3, 5, 7); /* the tables above say no */
	put64(0x1000 + 511 * 8, 0x2000 | PRESENT | 2 | 4);
	put64(0x2000 + 510 * 8, 0x3000 | PRESENT | 4);
	put64(0x3000, 0x4000 | PRESENT | 2 | 4);
	expect_rights(CODE_64, 0, 3, 0, 7);
	put64(0x2000 + 510 * 8, 0x3000 | PRESENT | 2 | 4);
	expect_rights(CODE_64, 0, 0, 0, 0);
	registers[X86_CR4] |= CR4_SMAP;
	expect_rights(CODE_64, 1, 3, 0, 0);
	registers[X86_RFLAGS] = RFLAGS_AC;
	expect_rights(CODE_64, 0, 0, 0, 0);
	put64(0x4000, 0);
	assert_false(translate(CODE_64, &(uint64_t){0}));
	assert_int_equal(error, 0);
}

static void paes_pointers_have_no_rights(void **state)
{
	(void)state;
	registers[X86_CR0] = CR0_PG | CR0_PE | CR0_WP;
	registers[X86_CR4] = CR4_PAE;
	registers[X86_CR3] = 0x1000;
	put64(0x1000, 0x2000 | PRESENT);
	put64(0x2000, UINT64_C(0x400000) | PRESENT | LARGE | 2 | 4);
	expect_rights(0x1000, 0, 0, 0, 0);
}

static void five_level_paging_takes_57_bits(void **state)
{
	uint64_t gpa, linear = UINT64_C(0xff12) << 48;

	(void)state;
	set_long_mode();
	registers[X86_CR4] |= CR4_LA57;
	registers[X86_CR3] = 0x5000;
	put64(0x5000 + 8 * ((linear >> 48) & 511), 0x6000 | PRESENT);
	put64(0x6000, 0x7000 | PRESENT);
	put64(0x7000, 0x0 | PRESENT | LARGE);
	assert_true(translate(linear + 0x1234, &gpa));
	assert_int_equal(gpa, 0x1234);
	assert_false(translate(UINT64_C(0xfe12) << 48, &gpa));
}

static void tables_outside_memory_map_nothing(void **state)
{
	uint64_t gpa;

	(void)state;
	set_long_mode();
	registers[X86_CR3] = UINT64_MAX;
	assert_false(translate(CODE_64, &gpa));
	registers[X86_CR3] = 0x1000;
	put64(0x4000, UINT64_MAX);
	uint8_t bytes[X86_INSTRUCTION_MAX];
	assert_true(translate(CODE_64, &gpa));
	assert_int_equal(x86_fetch(&vcpu, bytes, sizeof(bytes)), 0);
}

static void code_is_fetched_across_pages_as_far_as_they_are_mapped(void **state)
{
	uint8_t bytes[X86_INSTRUCTION_MAX];

	(void)state;
	set_long_mode();
	for (unsigned i = 0; i < 15; i++) {
		*(i < 5 ? &memory[0x8ffb + i] : &memory[0xc000 + i - 5]) = (uint8_t)(i + 1);
	}
	registers[X86_RIP] = CODE_64 + 0xffb;
	assert_int_equal(x86_fetch(&vcpu, bytes, sizeof(bytes)), 15);
	for (unsigned i = 0; i < 15; i++) {
		assert_int_equal(bytes[i], i + 1);
	}
	put64(0x4000 + 8, 0);
	assert_int_equal(x86_fetch(&vcpu, bytes, sizeof(bytes)), 5);
	put64(0x4000, 0);
	assert_int_equal(x86_fetch(&vcpu, bytes, sizeof(bytes)), 0);
}

static void the_mode_of_code_follows_efer_and_cs(void **state)
{
	uint8_t byte;

	(void)state;
	assert_int_equal(x86_code_mode(&vcpu), X86_CODE_16);
	cs.attributes = BIT(10);
	assert_int_equal(x86_code_mode(&vcpu), X86_CODE_32);
	cs.attributes = BIT(9);
	assert_int_equal(x86_code_mode(&vcpu), X86_CODE_16); /* CS.L means nothing outside long mode */
	registers[X86_EFER] = EFER_LMA;
	assert_int_equal(x86_code_mode(&vcpu), X86_CODE_64);
	cs.attributes = BIT(10);
	assert_int_equal(x86_code_mode(&vcpu), X86_CODE_32);
	/* The base counts, and the sum wraps at 32 bits, everywhere but in 64-bit mode. */
	registers[X86_EFER] = 0;
	cs.base = 0xfffff000;
	registers[X86_RIP] = 0x1123;
	memory[0x123] = 0x5a;
	assert_int_equal(x86_fetch(&vcpu, &byte, 1), 1);
	assert_int_equal(byte, 0x5a);
}

static void a_cached_page_is_not_walked_again(void **state)
{
	uint8_t bytes[4];

	(void)state;
	set_long_mode();
	assert_int_equal(x86_fetch(&vcpu, bytes, 4), 4);
	assert_int_equal(loads, 4);
	registers[X86_RIP] += 0x800;
	assert_int_equal(x86_fetch(&vcpu, bytes, 4), 4);
	assert_int_equal(loads, 4);
}

static void whatever_changes_the_translation_empties_the_cache(void **state)
{
	uint8_t byte;

	(void)state;
	set_long_mode();
	memory[0x8000] = 1;
	memory[0xc000] = 2;
	memory[0xe000] = 3;
	assert_int_equal(x86_fetch(&vcpu, &byte, 1), 1);
	assert_int_equal(byte, 1);
	/* A changed entry, on the last level and on the first. */
	put64(0x4000, 0xc000 | PRESENT);
	assert_int_equal(x86_fetch(&vcpu, &byte, 1), 1);
	assert_int_equal(byte, 2);
	memcpy(memory + 0x10000, memory + 0x2000, 0x1000);
	put64(0x10000 + 510 * 8, 0x11000 | PRESENT);
	put64(0x11000, 0x12000 | PRESENT);
	put64(0x12000, 0xe000 | PRESENT);
	put64(0x1000 + 511 * 8, 0x10000 | PRESENT);
	assert_int_equal(x86_fetch(&vcpu, &byte, 1), 1);
	assert_int_equal(byte, 3);
	/* Another CR3. */
	memcpy(memory + 0x13000, memory + 0x1000, 0x1000);
	put64(0x13000 + 511 * 8, 0x2000 | PRESENT);
	registers[X86_CR3] = 0x13000;
	assert_int_equal(x86_fetch(&vcpu, &byte, 1), 1);
	assert_int_equal(byte, 2);
	/* Paging off: the address is out of memory now. */
	registers[X86_CR0] = 0;
	assert_int_equal(x86_fetch(&vcpu, &byte, 1), 0);
	registers[X86_CR0] = CR0_PG | CR0_PE;
	/* The space's own mappings changed: pointers are made anew. */
	assert_int_equal(x86_fetch(&vcpu, &byte, 1), 1);
	loads = 0;
	space.generation++;
	assert_int_equal(x86_fetch(&vcpu, &byte, 1), 1);
	assert_int_equal(loads, 4);
}

static void an_exit_s_length_is_told_by_the_bytes(void **state)
{
	static const uint8_t cpuid[] = {0x0f, 0xa2}, vmmcall[] = {0x0f, 0x01, 0xd9}, hlt[] = {0xf4};

	(void)state;
	set_long_mode();
	memcpy(memory + 0x8000, (uint8_t[]){0x0f, 0xa2, 0x0f, 0x01, 0xd9, 0xf4, 0x48, 0x0f, 0xa2}, 9);
	assert_int_equal(x86_exit_length(&vcpu, CODE_64, cpuid, sizeof(cpuid)), 2);
	loads = 0;
	assert_int_equal(x86_exit_length(&vcpu, CODE_64, cpuid, sizeof(cpuid)), 2);
	assert_int_equal(x86_exit_length(&vcpu, CODE_64 + 2, vmmcall, sizeof(vmmcall)), 3);
	assert_int_equal(x86_exit_length(&vcpu, CODE_64 + 5, hlt, sizeof(hlt)), 1);
	assert_int_equal(loads, 0);
	registers[X86_RIP] = CODE_64 + 6;
	assert_int_equal(x86_exit_length(&vcpu, CODE_64 + 6, cpuid, sizeof(cpuid)), 3); /* prefixed: the slow way */
	registers[X86_RIP] = CODE_64 + 1;
	assert_int_equal(x86_exit_length(&vcpu, CODE_64 + 1, cpuid, sizeof(cpuid)), 0);
	/* Across the end of the page. */
	memory[0x8fff] = 0x0f;
	memory[0xc000] = 0xa2;
	registers[X86_RIP] = CODE_64 + 0xfff;
	assert_int_equal(x86_exit_length(&vcpu, CODE_64 + 0xfff, cpuid, sizeof(cpuid)), 2);
}

static void pages_in_which_instructions_exit_in_turn_are_not_walked_again(void **state)
{
	static const uint8_t wrmsr[] = {0x0f, 0x30};
	const uint64_t rips[] = {CODE_64 + 8, CODE_64 + 0x1010};

	(void)state;
	set_long_mode();
	memcpy(memory + 0x8008, wrmsr, sizeof(wrmsr));
	memcpy(memory + 0xc010, wrmsr, sizeof(wrmsr));
	for (unsigned round = 0; round < 4; round++) {
		registers[X86_RIP] = rips[round % 2];
		assert_int_equal(x86_exit_length(&vcpu, rips[round % 2], wrmsr, sizeof(wrmsr)), 2);
		assert_int_equal(loads, round == 0 ? 4 : 8);
	}
	/* The bytes are still the proof, and the pointers hold as long as the space's mappings do. */
	memcpy(memory + 0x8008, (uint8_t[]){0x48, 0x0f, 0x30}, 3);
	registers[X86_RIP] = rips[0];
	assert_int_equal(x86_exit_length(&vcpu, rips[0], wrmsr, sizeof(wrmsr)), 3);
	loads = 0;
	space.generation++;
	registers[X86_RIP] = rips[1];
	assert_int_equal(x86_exit_length(&vcpu, rips[1], wrmsr, sizeof(wrmsr)), 2);
	assert_int_equal(loads, 4);
}

static void real_mode_code_is_found_by_cs_and_ip(void **state)
{
	static const uint8_t cpuid[] = {0x0f, 0xa2};

	(void)state;
	memcpy(memory + 0x12345, cpuid, 2);
	memcpy(memory + 0x22345, (uint8_t[]){0x66, 0x0f, 0xa2}, 3);
	cs.base = 0x12340;
	registers[X86_RIP] = 5;
	assert_int_equal(x86_exit_length(&vcpu, 5, cpuid, 2), 2);
	assert_int_equal(x86_exit_length(&vcpu, 5, cpuid, 2), 2);
	cs.base = 0x22340;
	memset(&vcpu.code, 0, sizeof(vcpu.code));
	assert_int_equal(x86_exit_length(&vcpu, 5, cpuid, 2), 3);
}

static void an_access_is_fetched_and_decoded_at_once(void **state)
{
	const struct x86_instruction *instruction;

	(void)state;
	set_long_mode();
	memcpy(memory + 0x8ffe, (uint8_t[]){0x48, 0x8b}, 2);
	memory[0xc000] = 0x07;
	registers[X86_RIP] = CODE_64 + 0xffe;
	instruction = x86_fetch_decode(&vcpu);
	assert_non_null(instruction);
	assert_int_equal(instruction->length, 3);
	assert_int_equal(instruction->width, 8);
	registers[X86_RIP] = 0;
	assert_null(x86_fetch_decode(&vcpu));
	/* In the middle of a page it is kept under its bytes, and found again only under the same ones. */
	registers[X86_RIP] = CODE_64;
	memcpy(memory + 0x8000, (uint8_t[]){0x8b, 0x07}, 2);
	assert_int_equal(x86_fetch_decode(&vcpu)->width, 4);
	assert_int_equal(x86_fetch_decode(&vcpu)->width, 4);
	memory[0x8000] = 0x8a;
	assert_int_equal(x86_fetch_decode(&vcpu)->width, 1);
	memory[0x8000] = 0x0f; /* nothing known: and nothing of it is kept */
	assert_null(x86_fetch_decode(&vcpu));
	assert_null(x86_fetch_decode(&vcpu));
}

#define TEST(name) cmocka_unit_test_setup(name, start_empty)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(without_paging_an_address_is_itself),
		TEST(thirty_two_bit_paging_has_4k_and_with_pse_4m_pages),
		TEST(pae_paging_has_four_pointers_and_2m_pages),
		TEST(four_level_paging_has_pages_of_4k_2m_and_1g),
		TEST(five_level_paging_takes_57_bits),
		TEST(data_is_reached_with_the_rights_of_all_levels),
		TEST(paes_pointers_have_no_rights),
		TEST(tables_outside_memory_map_nothing),
		TEST(code_is_fetched_across_pages_as_far_as_they_are_mapped),
		TEST(the_mode_of_code_follows_efer_and_cs),
		TEST(a_cached_page_is_not_walked_again),
		TEST(whatever_changes_the_translation_empties_the_cache),
		TEST(an_exit_s_length_is_told_by_the_bytes),
		TEST(pages_in_which_instructions_exit_in_turn_are_not_walked_again),
		TEST(real_mode_code_is_found_by_cs_and_ip),
		TEST(an_access_is_fetched_and_decoded_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
