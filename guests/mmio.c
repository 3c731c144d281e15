/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every form of instruction that reaches a device's register, against the same one on memory: each ISA's checks print
 * what differs, and the last line counts it.
 */
#include "guest.h"

void guest_main(void)
{
	unsigned done = 0;
	unsigned failed = mmio_checks(&done);
	print("mmio: %u of %u differ from memory\n", failed, done);
}
