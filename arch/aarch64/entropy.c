/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU's random generator, FEAT_RNG's RNDR (DDI 0487, D19.12.1), or the firmware's. Called by hv/ for seeds.
 */
#include "cpu.h"
#include "firmware.h"
#include "lib/string.h"

#define ISAR0_RNDR_LOW 60
#define RNDR_ATTEMPTS  100

/* Z is set when there was none in time. */
static bool rndr(uint64_t *value)
{
	bool valid;
	__asm__ volatile("mrs %0, s3_3_c2_c4_0; cset %w1, ne" : "=r"(*value), "=r"(valid) : : "cc");
	return valid;
}

bool arch_entropy(void *to, size_t bytes)
{
	bool (*source)(uint64_t *) = arm_firmware_random;
	if (ID_FIELD(sysreg_read(id_aa64isar0_el1), ISAR0_RNDR_LOW) != 0) {
		source = rndr;
	}
	unsigned failed = 0;
	for (size_t done = 0; done < bytes;) {
		uint64_t value;
		if (!source(&value)) {
			if (++failed == RNDR_ATTEMPTS) {
				return false;
			}
			continue;
		}
		size_t part = MIN(bytes - done, sizeof(value));
		memcpy((char *)to + done, &value, part);
		done += part;
	}
	return true;
}
