/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stack protector's guard and what happens when a function finds its own changed: an error of the
 * hypervisor's, so the end of it.
 */
#include "lib/stack_protector.h"

#include "lib/panic.h"

uintptr_t __stack_chk_guard = UINT64_C(0x5bd1e995a7c34e00); /* NOLINT(bugprone-reserved-identifier) */

_Noreturn void __stack_chk_fail(void) /* NOLINT(bugprone-reserved-identifier) */
{
	panic("stack overwritten in the function at %p", __builtin_return_address(0));
}
