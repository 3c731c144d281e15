/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The look-up of names for addresses, over a small table and an image that is an array. Run by make host-tests.
 */
// sources: lib/symbols.c
#include "lib/image.h"
#include "lib/symbols.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TEXT_OFFSET 0x10
#define TEXT_BYTES  0x40

/* The linker script's symbols: the image is 0x100 bytes, its text [0x10, 0x50). */
__asm__(".pushsection .bss\n"
        ".globl image_start, text_start, text_end\n"
        "image_start: .skip 0x10\n"
        "text_start: .skip 0x40\n"
        "text_end: .skip 0xb0\n"
        ".popsection\n");

const struct symbol symbol_table[] = {{0x10, 0}, {0x18, 6}, {0x40, 12}};
const uint32_t symbol_count = sizeof(symbol_table) / sizeof(symbol_table[0]);
const char symbol_names[] = "first\0other\0last";

static void expect(uintptr_t image_offset, const char *name, uint64_t distance)
{
	uint64_t offset = UINT64_MAX;
	const char *found = symbol_find((uintptr_t)image_start + image_offset, &offset);

	assert_non_null(found);
	assert_string_equal(found, name);
	assert_int_equal(offset, distance);
}

static void an_address_has_the_name_of_the_function_that_holds_it(void **state)
{
	(void)state;
	expect(TEXT_OFFSET, "first", 0);
	expect(0x17, "first", 7);
	expect(0x18, "other", 0);
	expect(0x3f, "other", 0x27);
	expect(0x40, "last", 0);
	expect(TEXT_OFFSET + TEXT_BYTES - 1, "last", 0xf);
}

static void an_address_outside_the_text_has_no_name(void **state)
{
	uint64_t offset;

	(void)state;
	assert_null(symbol_find((uintptr_t)image_start, &offset));
	assert_null(symbol_find((uintptr_t)image_start + TEXT_OFFSET + TEXT_BYTES, &offset));
	assert_null(symbol_find(0, &offset));
	assert_null(symbol_find(UINTPTR_MAX, &offset));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_has_the_name_of_the_function_that_holds_it),
		cmocka_unit_test(an_address_outside_the_text_has_no_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
