/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's firmware behind SMC: what it does against speculation attacks, for us and for guests (psci.c tells
 * them), and its random generator. arch.c sets it up, vcpu.c and entropy.c call.
 */
#pragma once

#include <stdbool.h>

#include "psci.h"

struct arch_host;

/* What SMCCC_ARCH_FEATURES answers for each, valid after arm_firmware_init. */
extern int32_t arm_workarounds[PSCI_WORKAROUNDS];

void arm_firmware_init(const struct arch_host *host);
/* 64 bits from the firmware's generator (DEN0098). False: it has none, or no entropy left. */
bool arm_firmware_random(uint64_t *value);
/* A call that arm_workarounds says is there. */
void arm_firmware_call(uint32_t function);
/* Another guest follows: nothing that the one before taught this CPU's branch predictors may steer it. */
void arm_firmware_forget_branches(void);
