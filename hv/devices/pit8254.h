/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's 8254 interval timer at ports 0x40-0x43 and the part of port 0x61 that gates and reads its
 * channel 2. Time comes from outside in nanoseconds, so the model is tested on the host.
 */
#pragma once

#include "hv/bus.h"

#define PIT_HZ 1193182u

struct pit_channel {
	uint64_t start;  /* nanoseconds when counting began */
	uint32_t reload; /* 1 to 65,536 */
	uint16_t latch;
	uint8_t mode;   /* 0 to 5 */
	uint8_t access; /* 1 low byte, 2 high byte, 3 both */
	uint8_t write_low;
	uint8_t status;
	bool latched, status_latched, read_high, write_high, gate, loaded;
};

struct pit8254_device {
	struct device device; /* four ports */
	struct device port61; /* one port */
	struct pit_channel channel[3];
	bool speaker;
	uint64_t (*nanoseconds)(void);
};

void pit8254_device_init(struct pit8254_device *pit, uint64_t (*nanoseconds)(void));
