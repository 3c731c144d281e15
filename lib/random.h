/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A random generator: ChaCha20 (RFC 8439) with fast key erasure: every request takes its next key off the front of the
 * stream, so that what was given out cannot be computed from the state later. It is only as good as its seed, which the
 * caller brings. Not locked.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define RANDOM_SEED_BYTES 32

struct random {
	uint32_t key[RANDOM_SEED_BYTES / 4];
};

/* Mixes a seed into the generator's state, which is all zeros at first: more than one source may be given. */
void random_seed(struct random *random, const uint8_t seed[RANDOM_SEED_BYTES]);
void random_bytes(struct random *random, void *to, size_t bytes);

/* Overwrites a seed or key that is not needed any more; the compiler cannot leave it out. */
void random_wipe(void *secret, size_t bytes);

/* One block, RFC 8439 section 2.3: key, counter and nonce to 64 bytes. For the generator and its test. */
#define CHACHA20_BLOCK_BYTES 64
void chacha20_block(const uint32_t key[8], uint32_t counter, const uint32_t nonce[3],
                    uint8_t block[CHACHA20_BLOCK_BYTES]);
