/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device bus: ranges of I/O ports or guest-physical addresses, each answered by a device model. One kind of
 * bus serves both. Built when a VM is created, only read while it runs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct device;

enum bus_result {
	BUS_NOBODY,
	BUS_DONE,
	/*
	 * There is work left over, because one exit may take only so long: the guest executes the same instruction
	 * again, which goes on with the work. Interrupts, deadlines and the scheduler have their turn in between.
	 */
	BUS_BUSY,
	BUS_WAITS, /* the same, and the work is another VM's turn first */
};

/* `offset` is relative to the range. A device checks every value itself: offset + width lies in its range, all
 * else is the guest's. A read's value has nothing above its width. False, BUS_NOBODY: the device does not answer this
 * width or offset here. */
struct device_ops {
	bool (*read)(struct device *device, uint64_t offset, unsigned width, uint64_t *value);
	enum bus_result (*write)(struct device *device, uint64_t offset, unsigned width, uint64_t value);
};

/* Embedded in each device model. */
struct device {
	const char *name;
	const struct device_ops *ops;
};

#define BUS_RANGES_MAX 16

struct bus_range {
	uint64_t start;
	uint64_t size;
	struct device *device;
};

struct bus {
	struct bus_range last; /* a copy of the one that answered last; at first it holds nothing */
	unsigned count;
	struct bus_range ranges[BUS_RANGES_MAX]; /* sorted by start, disjoint */
};

/* False: full, empty, wraps, or overlaps a range that is there. */
bool bus_add(struct bus *bus, uint64_t start, uint64_t size, struct device *device);

/* False: nobody answers. */
bool bus_read(struct bus *bus, uint64_t address, unsigned width, uint64_t *value);
enum bus_result bus_write(struct bus *bus, uint64_t address, unsigned width, uint64_t value);
