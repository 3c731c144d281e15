/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arch.c calls of vm.c.
 */
#pragma once

/* Before the first VM: no translation of an earlier hypervisor's is left, and frames are cleaned if they must be. */
void arm_stage2_init(void);
