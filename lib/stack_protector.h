/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What -fstack-protector-strong expects of the run time. The names are the compiler's.
 */
#pragma once

#include <stdint.h>

extern uintptr_t __stack_chk_guard;    /* NOLINT(bugprone-reserved-identifier) */
_Noreturn void __stack_chk_fail(void); /* NOLINT(bugprone-reserved-identifier) */

/*
 * Changes the guard to one that is not in the file. `entropy`: whatever differs from boot to boot, a counter for
 * one. Only for a function that never returns, and before there is a second CPU: frames that are open carry the
 * old guard. The lowest byte stays 0, so that no string can write or read past it.
 */
static inline __attribute__((always_inline)) void stack_protector_seed(uint64_t entropy)
{
	const uint64_t golden_ratio = UINT64_C(0x9e3779b97f4a7c15);

	__stack_chk_guard = (__stack_chk_guard ^ (entropy * golden_ratio)) & ~(uintptr_t)UINT8_MAX;
}
