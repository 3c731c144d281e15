/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a state of the machine is for start.c. Each file in tests/firmware/<isa>/ is one, and becomes an EFI
 * application of its own. It may use what the hypervisor's headers say of registers: the emulator judges that.
 */
#pragma once

#include "lib/util.h"

/* Puts the machine into the state; the firmware goes on in it. NULL, or why this machine has no such state. */
const char *state_enter(void);
