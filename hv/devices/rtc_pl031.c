/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See rtc_pl031.h. Called by the MMIO bus. Numbers of sections are those of Arm DDI 0224. Every value that a guest
 * writes means no more than its own clock.
 */
#include "hv/devices/rtc_pl031.h"

#include "lib/util.h"

/* 3.2. The interrupt's registers, RTCIMSC to RTCICR, read as zeros and take nothing. */
enum {
	REG_DR = 0x00,
	REG_MR = 0x04,
	REG_LR = 0x08,
	REG_CR = 0x0c,
	REG_PERIPH_ID0 = 0xfe0,
};
#define CR_START 1

#define NS_PER_SECOND UINT64_C(1000000000)

/* RTCPeriphID0-3 and RTCPCellID0-3. */
static const uint8_t identification[8] = {0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1};

static uint32_t host_seconds(const struct pl031_device *rtc)
{
	return (uint32_t)(rtc->nanoseconds() / NS_PER_SECOND);
}

static bool pl031_read(struct device *device, uint64_t offset, unsigned width, uint64_t *value)
{
	const struct pl031_device *rtc = container_of(device, struct pl031_device, device);
	*value = 0;
	if (offset == REG_DR) {
		*value = host_seconds(rtc) + rtc->offset;
	} else if (offset == REG_MR) {
		*value = rtc->match;
	} else if (offset == REG_LR) {
		*value = rtc->load;
	} else if (offset == REG_CR) {
		*value = CR_START; /* 3.3.4: it cannot be stopped */
	} else if (offset >= REG_PERIPH_ID0) {
		*value = identification[(offset - REG_PERIPH_ID0) / 4];
	}
	return width == 4 && offset % 4 == 0;
}

static enum bus_result pl031_write(struct device *device, uint64_t offset, unsigned width, uint64_t value)
{
	struct pl031_device *rtc = container_of(device, struct pl031_device, device);
	if (width != 4 || offset % 4 != 0) {
		return BUS_NOBODY;
	}
	if (offset == REG_LR) {
		rtc->load = (uint32_t)value;
		rtc->offset = rtc->load - host_seconds(rtc);
	} else if (offset == REG_MR) {
		rtc->match = (uint32_t)value;
	}
	return BUS_DONE;
}

static const struct device_ops ops = {.read = pl031_read, .write = pl031_write};

void pl031_device_init(struct pl031_device *rtc, uint64_t (*nanoseconds)(void))
{
	*rtc = (struct pl031_device){.device = {.name = "rtc", .ops = &ops}, .nanoseconds = nanoseconds};
}
