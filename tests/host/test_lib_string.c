/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image's own string functions, C and x86-64 assembly, against the C library's. Run by make host-tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The C ones under other names, so that both are there. */
#define memcmp  image_memcmp
#define memchr  image_memchr
#define strlen  image_strlen
#define strnlen image_strnlen
#define strcmp  image_strcmp
#define strncmp image_strncmp
#define strchr  image_strchr
#include "lib/string.c"
#undef memcmp
#undef memchr
#undef strlen
#undef strnlen
#undef strcmp
#undef strncmp
#undef strchr

/*
 * The assembly keeps its names, hidden in this program: only calls from this file that the compiler neither expands
 * nor hands to the sanitizer arrive there, so all go through these pointers.
 */
__asm__(".pushsection .text\n"
        ".include \"lib/x86_64/memset.S\"\n"
        ".include \"lib/x86_64/memcpy.S\"\n"
        ".popsection\n");
static void *(*volatile image_memset)(void *, int, size_t) = memset;
static void *(*volatile image_memcpy)(void *restrict, const void *restrict, size_t) = memcpy;
static void *(*volatile image_memmove)(void *, const void *, size_t) = memmove;

#define GUARD 32 /* bytes on both sides that must stay */
#define ROOM  1400

static const size_t sizes[] = {0,  1,  2,  3,  4,  5,  6,   7,   8,   9,   12,  15,  16,  17,  23,  24,  31,   32,
                               33, 47, 48, 63, 64, 65, 100, 127, 128, 255, 256, 257, 263, 264, 511, 512, 1000, 1024};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void fill_with_pattern(uint8_t *p, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++) {
		p[i] = (uint8_t)(i * 7 + i / 251 + seed);
	}
}

static void expect_equal(const uint8_t *found, const uint8_t *expected, size_t at, size_t bytes, size_t distance)
{
	for (size_t i = 0; i < ROOM; i++) {
		if (found[i] != expected[i]) {
			fail_msg("offset %zu, %zu bytes, distance %zu: byte %zu is %02x, not %02x", at, bytes, distance,
			         i, found[i], expected[i]);
		}
	}
}

static void memset_sets_its_bytes_and_no_other(void **state)
{
	static uint8_t found[ROOM], expected[ROOM];

	(void)state;
	for (size_t i = 0; i < SIZES; i++) {
		for (size_t offset = 0; offset < 16; offset++) {
			for (unsigned value = 0; value < 2; value++) {
				size_t at = GUARD + offset;
				fill_with_pattern(found, ROOM, 1);
				fill_with_pattern(expected, ROOM, 1);
				for (size_t j = 0; j < sizes[i]; j++) {
					expected[at + j] = (uint8_t)(value * 0xa5);
				}
				assert_ptr_equal(image_memset(found + at, (int)(value * 0x123a5), sizes[i]),
				                 found + at);
				expect_equal(found, expected, at, sizes[i], 0);
			}
		}
	}
}

static void memcpy_copies_its_bytes_and_no_other(void **state)
{
	static uint8_t found[ROOM], expected[ROOM], from[ROOM];

	(void)state;
	fill_with_pattern(from, ROOM, 77);
	for (size_t i = 0; i < SIZES; i++) {
		for (size_t to_offset = 0; to_offset < 9; to_offset++) {
			for (size_t from_offset = 0; from_offset < 9; from_offset++) {
				size_t at = GUARD + to_offset;
				fill_with_pattern(found, ROOM, 1);
				fill_with_pattern(expected, ROOM, 1);
				for (size_t j = 0; j < sizes[i]; j++) {
					expected[at + j] = from[from_offset + j];
				}
				assert_ptr_equal(image_memcpy(found + at, from + from_offset, sizes[i]), found + at);
				expect_equal(found, expected, at, sizes[i], from_offset);
			}
		}
	}
}

static void memmove_copies_rightly_however_the_ranges_overlap(void **state)
{
	static uint8_t found[ROOM], expected[ROOM], before[ROOM];
	static const size_t distances[] = {0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 64, 100, 255, 300};

	(void)state;
	fill_with_pattern(before, ROOM, 9);
	for (size_t i = 0; i < SIZES; i++) {
		for (size_t j = 0; j < sizeof(distances) / sizeof(distances[0]); j++) {
			for (unsigned forward = 0; forward < 2; forward++) {
				size_t to = GUARD + (forward != 0 ? 0 : distances[j]);
				size_t from = GUARD + (forward != 0 ? distances[j] : 0);
				fill_with_pattern(found, ROOM, 9);
				fill_with_pattern(expected, ROOM, 9);
				for (size_t k = 0; k < sizes[i]; k++) {
					expected[to + k] = before[from + k];
				}
				assert_ptr_equal(image_memmove(found + to, found + from, sizes[i]), found + to);
				expect_equal(found, expected, to, sizes[i], distances[j]);
			}
		}
	}
}

static int sign(int value)
{
	return (value > 0) - (value < 0);
}

static void comparisons_and_searches_agree_with_the_c_library(void **state)
{
	static const char *const texts[] = {"",    "a",    "b",     "ab",     "abc",
	                                    "abd", "\xff", "a\xff", "abcabc", "/soc/serial@0"};
	const size_t count = sizeof(texts) / sizeof(texts[0]);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(image_strlen(texts[i]), strlen(texts[i]));
		assert_int_equal(image_strnlen(texts[i], 2), strnlen(texts[i], 2));
		assert_ptr_equal(image_strchr(texts[i], 'c'), strchr(texts[i], 'c'));
		assert_ptr_equal(image_strchr(texts[i], 0), strchr(texts[i], 0));
		assert_ptr_equal(image_memchr(texts[i], 0xff, strlen(texts[i])),
		                 memchr(texts[i], 0xff, strlen(texts[i])));
		for (size_t j = 0; j < count; j++) {
			assert_int_equal(sign(image_strcmp(texts[i], texts[j])), sign(strcmp(texts[i], texts[j])));
			for (size_t n = 0; n < 5; n++) {
				assert_int_equal(sign(image_strncmp(texts[i], texts[j], n)),
				                 sign(strncmp(texts[i], texts[j], n)));
			}
		}
	}
	assert_int_equal(sign(image_memcmp("a\0b", "a\0c", 3)), -1);
	assert_int_equal(sign(image_memcmp("\xff", "\x01", 1)), 1);
	assert_int_equal(image_memcmp("x", "y", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memset_sets_its_bytes_and_no_other),
		cmocka_unit_test(memcpy_copies_its_bytes_and_no_other),
		cmocka_unit_test(memmove_copies_rightly_however_the_ranges_overlap),
		cmocka_unit_test(comparisons_and_searches_agree_with_the_c_library),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
