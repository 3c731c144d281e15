/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks for what another VM may have left in this CPU's registers, then fills them all with a pattern and ends: run
 * twice, the second VM must find nothing of the first.
 */
#include "guest.h"

void guest_main(void)
{
	unsigned foreign = foreign_state();
	print("state: %u registers are not as after reset\n", foreign);
	leave_state();
	print("state: %u are not now\n", foreign_state());
}
