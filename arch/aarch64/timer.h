/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's physical timer, which is emulated: timer.c answers, vcpu.c and sysreg.c ask. arm_virtual_timer_asserted
 * is in vgic.h.
 */
#pragma once

#include "arch_types.h"

/* Whether the emulated physical timer asserts its line now. */
bool arm_physical_timer_asserted(const struct arch_vcpu *vcpu);
/* When it will; UINT64_MAX: it is off or masked. */
uint64_t arm_physical_timer_due(const struct arch_vcpu *vcpu);
