/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock of an Arm machine: a PL031 (Arm DDI 0224). It tells the time of day in seconds and can be set, for its own
 * VM alone; its alarm never comes, for its interrupt line is not connected. The time comes from outside, so the model
 * is tested on the host.
 */
#pragma once

#include "hv/bus.h"

#define PL031_GPA   UINT64_C(0x09010000)
#define PL031_BYTES UINT64_C(0x1000)

struct pl031_device {
	struct device device;
	uint64_t (*nanoseconds)(void); /* since 1970-01-01, UTC */
	uint32_t offset;               /* seconds that the guest's clock is ahead, modulo 2^32 as all here */
	uint32_t load, match;          /* RTCLR, RTCMR: as they were written */
};

void pl031_device_init(struct pl031_device *rtc, uint64_t (*nanoseconds)(void));
