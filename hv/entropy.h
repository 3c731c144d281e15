/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's random generator, from which guests' entropy devices and boot seeds are seeded.
 */
#pragma once

#include "hv/boot_info.h"

/* Seeds it: from the CPU, from the firmware, and where the CPU has no generator from the counter's jitter, which the
 * log then tells. */
void entropy_init(struct boot_info *info);
void entropy_get(void *to, size_t bytes);
