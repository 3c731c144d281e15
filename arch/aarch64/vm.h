/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arch.c calls of vm.c.
 */
#pragma once

#include <stdbool.h>

/* Chooses the stage-2 format and sets VTCR_EL2. */
bool arm_stage2_init(void);
