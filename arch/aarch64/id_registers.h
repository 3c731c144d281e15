/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's view of the CPU's identification registers, for sysreg.c. Pure arithmetic, tested on the host.
 */
#pragma once

#include <stdint.h>

/* What of the guest's machine shows in the registers. */
struct id_machine {
	unsigned gic_version;
	uint64_t pa_range; /* ID_AA64MMFR0_EL1.PARange of the guest's physical address space */
};

/* The value that a guest reads of the register with this CRm and Op2 (Op0 3, Op1 0, CRn 0) where the CPU has `host`. */
uint64_t id_register(unsigned crm, unsigned op2, uint64_t host, const struct id_machine *machine);
