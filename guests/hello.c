/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The smallest guest: says where it is and turns itself off.
 */
#include "guest.h"

void guest_main(void)
{
	print("hello: a guest on %s, %lu KiB at 0x%lx, command line \"%s\"\n", isa_name,
	      (unsigned long)(guest.ram_bytes >> 10), (unsigned long)guest.ram_start, guest.cmdline);
}
