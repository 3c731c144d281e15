/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which VM runs. The configured VMs run in turn, each from its start to its end, or together: then the CPU goes round
 * them in slices, and a guest that waits for an interrupt gives its slice away.
 */
#pragma once

#include "hv/boot_info.h"

/* Runs all configured VMs; returns how many ended by themselves. */
unsigned sched_run(const struct boot_info *info);
