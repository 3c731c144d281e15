/* SPDX-License-Identifier: Apache-2.0 */
/*
 * None: on Arm the hypervisor gets the access from the syndrome, and refuses what has none.
 */
#include "guest.h"

unsigned mmio_checks(unsigned *done)
{
	*done = 0;
	return 0;
}
