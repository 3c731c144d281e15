/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image's snprintf against the C library's, conversion by conversion. Run by make host-tests.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define snprintf  image_snprintf
#define vsnprintf image_vsnprintf
#include "lib/printf.c"
#undef snprintf
#undef vsnprintf

/* Both with the same arguments, at every size of buffer from nothing to plenty. */
#define SAME(...)                                                                                                      \
	do {                                                                                                           \
		for (size_t size = 0; size <= 40; size++) {                                                            \
			char ours[64], theirs[64];                                                                     \
			memset(ours, '#', sizeof(ours));                                                               \
			memset(theirs, '#', sizeof(theirs));                                                           \
			int our_length = image_snprintf(ours, size, __VA_ARGS__);                                      \
			int their_length = snprintf(theirs, size, __VA_ARGS__);                                        \
			assert_int_equal(our_length, their_length);                                                    \
			assert_memory_equal(ours, theirs, sizeof(ours));                                               \
		}                                                                                                      \
	} while (0)

#pragma GCC diagnostic ignored "-Wformat-truncation"
#pragma GCC diagnostic ignored "-Wformat-overflow"
#pragma GCC diagnostic ignored "-Wformat-zero-length"
#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-extra-args"

static void integers_of_every_length_print_as_the_c_library_prints_them(void **state)
{
	static const long long values[] = {0,   1,     -1,      9,       10,       -10,       127,      -128,
	                                   255, 65535, INT_MAX, INT_MIN, UINT_MAX, LLONG_MAX, LLONG_MIN};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		int value = (int)values[i];
		SAME("%d", value);
		SAME("%u %x", (unsigned)value, (unsigned)value);
		SAME("%ld", (long)values[i]);
		SAME("%lx", (unsigned long)values[i]);
		SAME("%lld", values[i]);
		SAME("%llu", (unsigned long long)values[i]);
		SAME("%zu", (size_t)values[i]);
	}
}

static void flags_and_width_print_as_the_c_library_prints_them(void **state)
{
	static const int values[] = {0, 7, -7, 123456};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		SAME("[%5d][%-5d][%05d][%-05d]", values[i], values[i], values[i], values[i]);
		SAME("[%016llx]", (unsigned long long)values[i]);
	}
	SAME("[%5llu.%06llu] ", 12ULL, 345ULL);
	SAME("%1000u", 7U);
}

static void strings_characters_and_percent_print_as_the_c_library_prints_them(void **state)
{
	(void)state;
	SAME("%s|%10s|%-10s|", "text", "text", "text");
	SAME("%c%5c%-5c%c", 'x', 'y', 'z', 0);
	SAME("%s", (const char *)NULL);
	SAME("100%% %s", "");
	SAME("%p %20p", (void *)0x1234, (void *)0xfee00000);
	SAME("");
	SAME("nothing to convert, and quite a bit longer than that");
}

static void what_is_no_conversion_stays_as_it_stands(void **state)
{
	char text[32];

	(void)state;
	assert_int_equal(image_snprintf(text, sizeof(text), "50%"), 3);
	assert_string_equal(text, "50%");
	assert_int_equal(image_snprintf(text, sizeof(text), "%q %5k"), 6);
	assert_string_equal(text, "%q %5k");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers_of_every_length_print_as_the_c_library_prints_them),
		cmocka_unit_test(flags_and_width_print_as_the_c_library_prints_them),
		cmocka_unit_test(strings_characters_and_percent_print_as_the_c_library_prints_them),
		cmocka_unit_test(what_is_no_conversion_stays_as_it_stands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
