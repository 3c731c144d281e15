/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts as a guest sees them: each ISA's checks print a line, and the last line counts what failed.
 */
#include "guest.h"

void guest_main(void)
{
	print("interrupts: %u failed\n", interrupt_checks());
}
