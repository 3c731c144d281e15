/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The random generator: see random.h. Called for the guests' entropy devices and boot seeds. Keeps nothing of what it
 * gave out; knows nothing of where seeds come from.
 */
#include "lib/random.h"

#include "lib/string.h"
#include "lib/util.h"

#define KEY_WORDS     8
#define STATE_WORDS   16
#define DOUBLE_ROUNDS 10
#define STACK_BYTES   1024 /* more than chacha20_block and what it calls take */

static uint32_t rotate(uint32_t value, unsigned bits)
{
	return value << bits | value >> (32 - bits);
}

/* RFC 8439, 2.1 */
static void quarter_round(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
	*a += *b;
	*d = rotate(*d ^ *a, 16);
	*c += *d;
	*b = rotate(*b ^ *c, 12);
	*a += *b;
	*d = rotate(*d ^ *a, 8);
	*c += *d;
	*b = rotate(*b ^ *c, 7);
}

static void double_round(uint32_t *x)
{
	quarter_round(&x[0], &x[4], &x[8], &x[12]);
	quarter_round(&x[1], &x[5], &x[9], &x[13]);
	quarter_round(&x[2], &x[6], &x[10], &x[14]);
	quarter_round(&x[3], &x[7], &x[11], &x[15]);
	quarter_round(&x[0], &x[5], &x[10], &x[15]);
	quarter_round(&x[1], &x[6], &x[11], &x[12]);
	quarter_round(&x[2], &x[7], &x[8], &x[13]);
	quarter_round(&x[3], &x[4], &x[9], &x[14]);
}

__attribute__((noinline)) void chacha20_block(const uint32_t key[KEY_WORDS], uint32_t counter, const uint32_t nonce[3],
                                              uint8_t block[CHACHA20_BLOCK_BYTES])
{
	uint32_t start[STATE_WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; /* "expand 32-byte k" */
	uint32_t x[STATE_WORDS];
	memcpy(&start[4], key, KEY_WORDS * sizeof(*key));
	start[12] = counter;
	memcpy(&start[13], nonce, 3 * sizeof(*nonce));
	memcpy(x, start, sizeof(x));
	for (unsigned i = 0; i < DOUBLE_ROUNDS; i++) {
		double_round(x);
	}
	for (unsigned i = 0; i < STATE_WORDS; i++) {
		x[i] += start[i];
	}
	memcpy(block, x, sizeof(x)); /* both ISAs are little-endian, as the block is */
}

void random_wipe(void *secret, size_t bytes)
{
	memset(secret, 0, bytes);
	__asm__ volatile("" : : "r"(secret) : "memory"); /* somebody might read it: the memset stays */
}

/* What chacha20_block had on the stack, wherever the compiler put it there. */
static __attribute__((noinline)) void wipe_stack(void)
{
	uint8_t below[STACK_BYTES];
	random_wipe(below, sizeof(below));
}

/* The first block gives the next key and the first bytes; each further one is all output. */
void random_bytes(struct random *random, void *to, size_t bytes)
{
	static const uint32_t nonce[3];
	uint8_t block[CHACHA20_BLOCK_BYTES];
	uint32_t key[KEY_WORDS];
	size_t part = sizeof(block) - sizeof(key);
	memcpy(key, random->key, sizeof(key));
	chacha20_block(key, 0, nonce, block);
	memcpy(random->key, block, sizeof(random->key));
	part = MIN(bytes, part);
	memcpy(to, block + sizeof(key), part);
	for (uint32_t counter = 1; part < bytes; counter++) {
		size_t more = MIN(bytes - part, sizeof(block));
		chacha20_block(key, counter, nonce, block);
		memcpy((char *)to + part, block, more);
		part += more;
	}
	wipe_stack();
	random_wipe(block, sizeof(block));
	random_wipe(key, sizeof(key));
}

void random_seed(struct random *random, const uint8_t seed[RANDOM_SEED_BYTES])
{
	uint32_t words[KEY_WORDS];
	memcpy(words, seed, sizeof(words));
	for (unsigned i = 0; i < KEY_WORDS; i++) {
		random->key[i] ^= words[i];
	}
	random_bytes(random, words, sizeof(words)); /* a new key that hangs on every bit of the seed */
	random_wipe(words, sizeof(words));
}
