/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the device model for a port or an address. On the exit path: binary search over a handful of ranges,
 * after a look at the one that answered last. Never allocates, never logs.
 */
#include "hv/bus.h"

#include "lib/util.h"

static bool holds(const struct bus_range *range, uint64_t address, unsigned width)
{
	uint64_t offset = address - range->start;
	return offset < range->size && width <= range->size - offset;
}

bool bus_add(struct bus *bus, uint64_t start, uint64_t size, struct device *device)
{
	if (bus->count == BUS_RANGES_MAX || size == 0 || start + (size - 1) < start) {
		return false;
	}
	unsigned place = 0;
	while (place < bus->count && bus->ranges[place].start < start) {
		place++;
	}
	if (place > 0 && start - bus->ranges[place - 1].start < bus->ranges[place - 1].size) {
		return false;
	}
	if (place < bus->count && bus->ranges[place].start - start < size) {
		return false;
	}
	for (unsigned i = bus->count; i > place; i--) {
		bus->ranges[i] = bus->ranges[i - 1];
	}
	bus->ranges[place] = (struct bus_range){start, size, device};
	bus->count++;
	return true;
}

static const struct bus_range *search(struct bus *bus, uint64_t address, unsigned width)
{
	/* Invariant: ranges below `low` start at or before address; those from `high` on start after it. */
	unsigned low = 0;
	unsigned high = bus->count;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (bus->ranges[middle].start <= address) {
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	if (low == 0 || !holds(&bus->ranges[low - 1], address, width)) {
		return NULL;
	}
	bus->last = bus->ranges[low - 1];
	return &bus->last;
}

static __attribute__((noinline)) bool read_elsewhere(struct bus *bus, uint64_t address, unsigned width, uint64_t *value)
{
	const struct bus_range *range = search(bus, address, width);
	return range && range->device->ops->read(range->device, address - range->start, width, value);
}

static __attribute__((noinline)) enum bus_result write_elsewhere(struct bus *bus, uint64_t address, unsigned width,
                                                                 uint64_t value)
{
	const struct bus_range *range = search(bus, address, width);
	return range ? range->device->ops->write(range->device, address - range->start, width, value) : BUS_NOBODY;
}

bool bus_read(struct bus *bus, uint64_t address, unsigned width, uint64_t *value)
{
	const struct bus_range *last = &bus->last;
	if (unlikely(!holds(last, address, width))) {
		return read_elsewhere(bus, address, width, value);
	}
	return last->device->ops->read(last->device, address - last->start, width, value);
}

enum bus_result bus_write(struct bus *bus, uint64_t address, unsigned width, uint64_t value)
{
	const struct bus_range *last = &bus->last;
	if (unlikely(!holds(last, address, width))) {
		return write_elsewhere(bus, address, width, value);
	}
	return last->device->ops->write(last->device, address - last->start, width, value);
}
