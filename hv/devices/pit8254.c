/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 8254 (Intel 231164) by arithmetic: a counter's value follows from the time since it was loaded, so
 * nothing ticks while nobody looks. Guests use it to measure the TSC; its interrupt is not wired up.
 */
#include "hv/devices/pit8254.h"

#include "lib/util.h"

#define PORT_CONTROL 3

/* Control word: counter[7:6], access[5:4], mode[3:1], BCD[0]; counter 3 is the read-back command. */
#define CONTROL_READ_BACK   3
#define READ_BACK_NO_COUNT  BIT(5)
#define READ_BACK_NO_STATUS BIT(4)
#define STATUS_OUT          0x80
#define STATUS_NULL_COUNT   0x40
#define PORT61_GATE2        0x01
#define PORT61_SPEAKER      0x02
#define PORT61_REFRESH      0x10
#define PORT61_OUT2         0x20
#define NANOSECONDS         UINT64_C(1000000000)
#define REFRESH_NS          15085 /* channel 1 of a PC toggles the refresh bit this often */

/* PIT ticks since the channel was loaded; wraps only after centuries of 64-bit nanoseconds. */
static uint64_t ticks(const struct pit8254_device *pit, const struct pit_channel *channel)
{
	uint64_t passed = pit->nanoseconds() - channel->start;
	return passed / NANOSECONDS * PIT_HZ + passed % NANOSECONDS * PIT_HZ / NANOSECONDS;
}

static uint16_t count(const struct pit8254_device *pit, const struct pit_channel *channel)
{
	if (!channel->loaded || !channel->gate) {
		return (uint16_t)channel->reload;
	}
	uint64_t passed = ticks(pit, channel);
	switch (channel->mode) {
	case 2:
		return (uint16_t)(channel->reload - passed % channel->reload);
	case 3: /* counts down by two, twice a period */
		return (uint16_t)(channel->reload - passed * 2 % channel->reload);
	default: /* counts on through zero */
		return (uint16_t)(channel->reload - passed);
	}
}

static bool output(const struct pit8254_device *pit, const struct pit_channel *channel)
{
	if (!channel->loaded) {
		return channel->mode != 0;
	}
	if (!channel->gate) {
		return channel->mode >= 2;
	}
	uint64_t passed = ticks(pit, channel);
	switch (channel->mode) {
	case 2:
		return passed % channel->reload != channel->reload - 1;
	case 3:
		return passed % channel->reload < (channel->reload + 1) / 2;
	case 0:
	case 1:
		return passed >= channel->reload;
	default: /* 4, 5: low for one tick */
		return passed != channel->reload;
	}
}

static void latch_status(const struct pit8254_device *pit, struct pit_channel *channel)
{
	if (channel->status_latched) {
		return;
	}
	channel->status =
		(uint8_t)((output(pit, channel) ? STATUS_OUT : 0) | (channel->loaded ? 0 : STATUS_NULL_COUNT) |
	                  (channel->access << 4) | (channel->mode << 1));
	channel->status_latched = true;
}

static void latch_count(const struct pit8254_device *pit, struct pit_channel *channel)
{
	if (!channel->latched) {
		channel->latch = count(pit, channel);
		channel->latched = true;
	}
}

static void write_control(struct pit8254_device *pit, uint8_t value)
{
	unsigned select = value >> 6;
	if (select == CONTROL_READ_BACK) {
		for (unsigned i = 0; i < ARRAY_SIZE(pit->channel); i++) {
			if (!(value & (2U << i))) {
				continue;
			}
			if (!(value & READ_BACK_NO_COUNT)) {
				latch_count(pit, &pit->channel[i]);
			}
			if (!(value & READ_BACK_NO_STATUS)) {
				latch_status(pit, &pit->channel[i]);
			}
		}
		return;
	}
	struct pit_channel *channel = &pit->channel[select];
	uint8_t access = (value >> 4) & 3;
	if (access == 0) {
		latch_count(pit, channel);
		return;
	}
	uint8_t mode = (value >> 1) & 7;
	bool gate = channel->gate;
	*channel = (struct pit_channel){
		.access = access,
		.mode = mode > 5 ? mode - 4 : mode,
		.reload = UINT16_MAX + 1,
		.gate = gate,
	};
}

static void load(struct pit8254_device *pit, struct pit_channel *channel, uint16_t value)
{
	channel->reload = value ? value : UINT16_MAX + 1;
	channel->start = pit->nanoseconds();
	channel->loaded = true;
}

static void write_counter(struct pit8254_device *pit, struct pit_channel *channel, uint8_t value)
{
	switch (channel->access) {
	case 1:
		load(pit, channel, value);
		break;
	case 2:
		load(pit, channel, (uint16_t)(value << 8));
		break;
	case 3:
		if (channel->write_high) {
			load(pit, channel, (uint16_t)((value << 8) | channel->write_low));
		} else {
			channel->write_low = value;
		}
		channel->write_high = !channel->write_high;
		break;
	default: /* never programmed */
		break;
	}
}

static uint8_t read_counter(const struct pit8254_device *pit, struct pit_channel *channel)
{
	if (channel->status_latched) {
		channel->status_latched = false;
		return channel->status;
	}
	uint16_t value = channel->latched ? channel->latch : count(pit, channel);
	bool high = channel->access == 2 || (channel->access == 3 && channel->read_high);
	if (channel->access == 3) {
		channel->read_high = !channel->read_high;
	}
	if (channel->access != 3 || high) {
		channel->latched = false;
	}
	return (uint8_t)(high ? value >> 8 : value);
}

static bool pit_read(struct device *device, uint64_t offset, unsigned width, uint64_t *value)
{
	struct pit8254_device *pit = container_of(device, struct pit8254_device, device);
	if (width != 1) {
		return false;
	}
	*value = offset == PORT_CONTROL ? UINT8_MAX : read_counter(pit, &pit->channel[offset]);
	return true;
}

static enum bus_result pit_write(struct device *device, uint64_t offset, unsigned width, uint64_t value)
{
	struct pit8254_device *pit = container_of(device, struct pit8254_device, device);
	if (width != 1) {
		return BUS_NOBODY;
	}
	if (offset == PORT_CONTROL) {
		write_control(pit, (uint8_t)value);
	} else {
		write_counter(pit, &pit->channel[offset], (uint8_t)value);
	}
	return BUS_DONE;
}

static bool port61_read(struct device *device, uint64_t offset, unsigned width, uint64_t *value)
{
	struct pit8254_device *pit = container_of(device, struct pit8254_device, port61);
	(void)offset;
	(void)width;
	bool refresh = pit->nanoseconds() / REFRESH_NS & 1;
	*value = (pit->channel[2].gate ? PORT61_GATE2 : 0U) | (pit->speaker ? PORT61_SPEAKER : 0U) |
	         (refresh ? PORT61_REFRESH : 0U) | (output(pit, &pit->channel[2]) ? PORT61_OUT2 : 0U);
	return true;
}

static enum bus_result port61_write(struct device *device, uint64_t offset, unsigned width, uint64_t value)
{
	struct pit8254_device *pit = container_of(device, struct pit8254_device, port61);
	(void)offset;
	(void)width;
	bool gate = value & PORT61_GATE2;
	if (gate && !pit->channel[2].gate) {
		pit->channel[2].start = pit->nanoseconds(); /* a rising gate starts the count afresh */
	}
	pit->channel[2].gate = gate;
	pit->speaker = value & PORT61_SPEAKER;
	return BUS_DONE;
}

static const struct device_ops pit_ops = {.read = pit_read, .write = pit_write};
static const struct device_ops port61_ops = {.read = port61_read, .write = port61_write};

void pit8254_device_init(struct pit8254_device *pit, uint64_t (*nanoseconds)(void))
{
	*pit = (struct pit8254_device){
		.device = {.name = "pit8254", .ops = &pit_ops},
		.port61 = {.name = "port61", .ops = &port61_ops},
		.nanoseconds = nanoseconds,
	};
	for (unsigned i = 0; i < ARRAY_SIZE(pit->channel); i++) {
		pit->channel[i].reload = UINT16_MAX + 1;
		pit->channel[i].gate = i != 2; /* 0 and 1 are wired to 1 */
	}
}
