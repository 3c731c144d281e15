/* SPDX-License-Identifier: Apache-2.0 */
// sources: lib/random.c
/*
 * The random generator: ChaCha20 by the RFC's vectors, and what the generator makes of it.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/random.h"

/* RFC 8439, 2.3.2 */
static void a_block_is_that_of_the_rfc(void **state)
{
	(void)state;
	static const uint8_t expected[CHACHA20_BLOCK_BYTES] = {
		0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4,
		0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22, 0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e,
		0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa, 0x09, 0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2,
		0xb5, 0x12, 0x9c, 0xd1, 0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e,
	};
	uint8_t bytes[32], block[CHACHA20_BLOCK_BYTES];
	uint32_t key[8];
	for (unsigned i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)i;
	}
	memcpy(key, bytes, sizeof(key));
	chacha20_block(key, 1, (const uint32_t[]){0x09000000, 0x4a000000, 0}, block);
	assert_memory_equal(block, expected, sizeof(expected));
}

/* RFC 8439, A.1, test vector 1; what follows the first 32 bytes is the generator's first output without a seed. */
static void output_follows_the_next_key_in_the_stream(void **state)
{
	(void)state;
	static const uint8_t expected[32] = {
		0xda, 0x41, 0x59, 0x7c, 0x51, 0x57, 0x48, 0x8d, 0x77, 0x24, 0xe0, 0x3f, 0xb8, 0xd8, 0x4a, 0x37,
		0x6a, 0x43, 0xb8, 0xf4, 0x15, 0x18, 0xa1, 0x1c, 0xc3, 0x87, 0xb6, 0x69, 0xb2, 0xee, 0x65, 0x86,
	};
	static const uint8_t next_key[] = {0x76, 0xb8, 0xe0, 0xad};
	/* A.1, test vector 2: the block with counter 1. */
	static const uint8_t second[] = {0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a};
	struct random random = {{0}};
	uint8_t output[100];
	random_bytes(&random, output, sizeof(output));
	assert_memory_equal(output, expected, sizeof(expected));
	assert_memory_equal(output + 32, second, sizeof(second));
	assert_memory_equal(random.key, next_key, sizeof(next_key));
}

static void every_length_is_filled_and_no_more(void **state)
{
	(void)state;
	for (size_t bytes = 0; bytes < 200; bytes++) {
		struct random once = {{7}}, again = {{7}};
		uint8_t all[200], part[200];
		memset(part, 0xee, sizeof(part));
		random_bytes(&once, all, sizeof(all));
		random_bytes(&again, part, bytes);
		assert_memory_equal(part, all, bytes);
		for (size_t i = bytes; i < sizeof(part); i++) {
			assert_int_equal(part[i], 0xee);
		}
	}
}

static void each_seed_changes_what_comes(void **state)
{
	(void)state;
	struct random plain = {{0}}, seeded = {{0}}, twice = {{0}};
	uint8_t seed[RANDOM_SEED_BYTES] = {[31] = 1}, a[16], b[16], c[16], d[16];
	random_seed(&seeded, seed);
	random_seed(&twice, seed);
	random_seed(&twice, seed);
	random_bytes(&plain, a, sizeof(a));
	random_bytes(&seeded, b, sizeof(b));
	random_bytes(&twice, c, sizeof(c));
	random_bytes(&twice, d, sizeof(d));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_memory_not_equal(b, c, sizeof(b));
	assert_memory_not_equal(c, d, sizeof(c));
}

#define STACK_BYTES 0x10000

static _Alignas(4096) uint8_t stack[STACK_BYTES];
static struct random generator;

static void *draw(void *unused)
{
	static uint8_t output[100];
	(void)unused;
	random_bytes(&generator, output, sizeof(output));
	return NULL;
}

static unsigned times_on_stack(const uint32_t key[8])
{
	unsigned times = 0;
	for (size_t i = 0; i + 2 * sizeof(*key) <= sizeof(stack); i++) {
		for (unsigned word = 0; word < 8; word += 2) {
			times += memcmp(stack + i, key + word, 2 * sizeof(*key)) == 0;
		}
	}
	return times;
}

/* On a stack of its own, which can be searched afterwards. */
static void neither_the_old_key_nor_the_new_one_stays_on_the_stack(void **state)
{
	(void)state;
	static const uint8_t seed[RANDOM_SEED_BYTES] = {9, 8, 7};
	struct random before;
	pthread_attr_t attributes;
	pthread_t thread;
	random_seed(&generator, seed);
	before = generator;
	assert_int_equal(pthread_attr_init(&attributes), 0);
	assert_int_equal(pthread_attr_setstack(&attributes, stack, sizeof(stack)), 0);
	assert_int_equal(pthread_create(&thread, &attributes, draw, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(times_on_stack(before.key), 0);
	assert_int_equal(times_on_stack(generator.key), 0);
	pthread_attr_destroy(&attributes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_block_is_that_of_the_rfc),
		cmocka_unit_test(output_follows_the_next_key_in_the_stream),
		cmocka_unit_test(every_length_is_filled_and_no_more),
		cmocka_unit_test(each_seed_changes_what_comes),
		cmocka_unit_test(neither_the_old_key_nor_the_new_one_stays_on_the_stack),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
