/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's random generator: see entropy.h. Any CPU may ask, so it has a lock.
 */
#include "hv/entropy.h"

#include "arch/arch.h"
#include "lib/log.h"
#include "lib/random.h"
#include "lib/spinlock.h"

#define JITTER_ROUNDS 1024

static struct random generator;
static struct spinlock lock;

/* What the time of one step tells hangs on caches, interrupts and the bus: at best a bit a round, on real machines. */
static void seed_from_jitter(void)
{
	for (unsigned i = 0; i < JITTER_ROUNDS; i++) {
		uint64_t seed[RANDOM_SEED_BYTES / sizeof(uint64_t)] = {arch_counter()};
		random_seed(&generator, (const uint8_t *)seed);
	}
}

void entropy_init(struct boot_info *info)
{
	uint8_t seed[RANDOM_SEED_BYTES];
	if (info->has_random_seed) {
		random_seed(&generator, info->random_seed);
		random_wipe(info->random_seed, sizeof(info->random_seed));
	}
	if (arch_entropy(seed, sizeof(seed))) {
		random_seed(&generator, seed);
		random_wipe(seed, sizeof(seed));
		return;
	}
	seed_from_jitter();
	log_line("caisson", "this CPU has no random generator: guests' randomness hangs on %s",
	         info->has_random_seed ? "the firmware's and the counter's jitter" : "the counter's jitter alone");
}

void entropy_get(void *to, size_t bytes)
{
	spin_lock(&lock);
	random_bytes(&generator, to, bytes);
	spin_unlock(&lock);
}
