/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU's random generator: RDSEED, else RDRAND (SDM vol. 1, 7.3.17). Called by hv/ for seeds.
 */
#include "arch/arch.h"

#include "arch/x86_64/cpu.h"
#include "lib/string.h"

#define CPUID_FEATURES            0x00000001
#define CPUID_STRUCTURED_FEATURES 0x00000007
#define FEATURES_ECX_RDRAND       BIT(30)
#define STRUCTURED_EBX_RDSEED     BIT(18)

/* RDRAND hardly ever fails; RDSEED does while its source is exhausted. */
#define RDRAND_ATTEMPTS 10
#define RDSEED_ATTEMPTS 1000

static bool rdseed(uint64_t *value)
{
	bool valid;
	__asm__ volatile("rdseed %0; setc %1" : "=r"(*value), "=qm"(valid) : : "cc");
	return valid;
}

static bool rdrand(uint64_t *value)
{
	bool valid;
	__asm__ volatile("rdrand %0; setc %1" : "=r"(*value), "=qm"(valid) : : "cc");
	return valid;
}

static bool try(bool (*read)(uint64_t *value), unsigned attempts, uint64_t *value)
{
	for (unsigned i = 0; i < attempts; i++) {
		/* All ones is what some CPUs give, as valid, once their generator has died. */
		if (read(value) && *value != UINT64_MAX) {
			return true;
		}
	}
	return false;
}

bool arch_entropy(void *to, size_t bytes)
{
	bool has_rdseed = x86_cpuid_leaf(CPUID_STRUCTURED_FEATURES, 0).ebx & STRUCTURED_EBX_RDSEED;
	bool has_rdrand = x86_cpuid_leaf(CPUID_FEATURES, 0).ecx & FEATURES_ECX_RDRAND;
	for (size_t done = 0; done < bytes; done += sizeof(uint64_t)) {
		uint64_t value;
		if (!(has_rdseed && try(rdseed, RDSEED_ATTEMPTS, &value)) &&
		    !(has_rdrand && try(rdrand, RDRAND_ATTEMPTS, &value))) {
			return false;
		}
		memcpy((char *)to + done, &value, MIN(bytes - done, sizeof(value)));
	}
	return true;
}
