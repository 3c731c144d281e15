/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-mmio transport (VIRTIO 1.2, 4.2) and the life of a device's requests. Called by the MMIO bus for a guest's
 * accesses. Nothing a guest does here harms more than its own device: what breaks the rules sets DEVICE_NEEDS_RESET,
 * and the device does nothing until its driver resets it.
 */
#include "hv/devices/virtio.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/util.h"

/* 4.2.2 MMIO Device Register Layout */
enum {
	REG_MAGIC_VALUE = 0x000,
	REG_VERSION = 0x004,
	REG_DEVICE_ID = 0x008,
	REG_VENDOR_ID = 0x00c,
	REG_DEVICE_FEATURES = 0x010,
	REG_DEVICE_FEATURES_SEL = 0x014,
	REG_DRIVER_FEATURES = 0x020,
	REG_DRIVER_FEATURES_SEL = 0x024,
	REG_QUEUE_SEL = 0x030,
	REG_QUEUE_NUM_MAX = 0x034,
	REG_QUEUE_NUM = 0x038,
	REG_QUEUE_READY = 0x044,
	REG_QUEUE_NOTIFY = 0x050,
	REG_INTERRUPT_STATUS = 0x060,
	REG_INTERRUPT_ACK = 0x064,
	REG_STATUS = 0x070,
	REG_QUEUE_DESC_LOW = 0x080, /* and high, and the same of the driver's and the device's area */
	REG_SHM_LEN_LOW = 0x0b0,
	REG_SHM_BASE_HIGH = 0x0bc,
	REG_CONFIG_GENERATION = 0x0fc,
	REG_CONFIG = 0x100,
};

#define MAGIC_VALUE UINT32_C(0x74726976) /* "virt" */
#define VERSION     2
#define VENDOR_ID   UINT32_C(0x53494143) /* "CAIS" */

#define REGISTER_BYTES 4
#define HIGH_SHIFT     32

#define QUEUE_ADDRESS_STRIDE 16 /* bytes from one pair of address registers to the next */

#define INTERRUPT_USED_BUFFER   BIT(0)
#define INTERRUPT_CONFIGURATION BIT(1)

/* 2.1 Device Status Field */
#define STATUS_DRIVER_OK   4U
#define STATUS_FEATURES_OK 8U
#define STATUS_NEEDS_RESET 64U
#define STATUS_DRIVERS     0x8fU /* ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, FAILED */

/* 6 Reserved Feature Bits */
#define FEATURE_INDIRECT_DESC BIT(28)
#define FEATURE_EVENT_IDX     BIT(29)
#define FEATURE_VERSION_1     BIT(32)
#define FEATURES_OF_ALL       (FEATURE_INDIRECT_DESC | FEATURE_EVENT_IDX | FEATURE_VERSION_1)

/* ---- state ---- */

static void update_irq(struct virtio_device *device)
{
	device->irq->set(device->irq, device->interrupt_status != 0);
}

static void interrupt(struct virtio_device *device, uint32_t reason)
{
	device->interrupt_status |= reason;
	update_irq(device);
}

/* 2.1.2: with DRIVER_OK set the driver is told by a configuration change. */
static __attribute__((noinline)) void stop(struct virtio_device *device, const char *what, uint64_t value)
{
	if (!device->told) {
		log_line(device->log_name, "%s needs a reset: %s 0x%llx", device->device.name, what,
		         (unsigned long long)value);
		device->told = true;
	}
	device->status |= STATUS_NEEDS_RESET;
	device->open = false;
	device->busy = false;
	if (device->status & STATUS_DRIVER_OK) {
		interrupt(device, INTERRUPT_CONFIGURATION);
	}
}

static void reset(struct virtio_device *device)
{
	device->status = 0;
	device->interrupt_status = 0;
	device->driver_features = 0;
	device->device_features_select = device->driver_features_select = device->queue_select = 0;
	device->open = false;
	device->busy = false;
	for (unsigned i = 0; i < device->type->queues; i++) {
		virtq_reset(&device->queue[i]);
	}
	update_irq(device);
}

bool virtio_running(const struct virtio_device *device, unsigned index)
{
	return (device->status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET)) == STATUS_DRIVER_OK &&
	       device->queue[index].ready;
}

void virtio_publish(struct virtio_device *device, struct virtqueue *queue)
{
	bool wanted = virtq_publish(queue);
	if (unlikely(queue->broken)) {
		stop(device, queue->broken, queue->broken_value);
	} else if (wanted) {
		interrupt(device, INTERRUPT_USED_BUFFER);
	}
}

bool virtio_broken(struct virtio_device *device, const char *what, uint64_t value)
{
	struct virtqueue *queue = virtio_requests(device);
	if (!queue->broken) {
		queue->broken = what;
		queue->broken_value = value;
	}
	return false;
}

/* ---- requests ---- */

/* A request is under way. False: none waits, and the driver will notify; or the queue broke. */
static bool next_request(struct virtio_device *device, struct virtqueue *queue)
{
	while (!device->open) {
		enum virtq_result result = virtq_pop(queue, &device->chain);
		if (result == VIRTQ_CHAIN) {
			device->open = true;
			device->started = false;
		} else if (result == VIRTQ_BROKEN || !virtq_enable_notify(queue)) {
			return false;
		}
	}
	return true;
}

/* One go: at most a slice of bytes, and as many requests as the queue holds. */
static void serve(struct virtio_device *device)
{
	struct virtqueue *queue = virtio_requests(device);
	bool more = true;
	device->budget = device->type->slice;
	for (unsigned i = 0; i < queue->size && device->budget > 0; i++) {
		more = next_request(device, queue);
		if (!more || !device->type->serve(device) || queue->broken) {
			break;
		}
		device->open = false;
		virtq_push(queue, &device->chain);
	}
	device->busy = more && !device->waits;
	virtio_publish(device, queue);
}

static void notify(struct virtio_device *device, uint32_t index)
{
	if (index >= device->type->queues || !virtio_running(device, index)) {
		return;
	}
	if (index == device->type->queues - 1) {
		serve(device);
	} else if (device->type->buffers) {
		device->type->buffers(device);
	}
}

/* ---- registers ---- */

static uint32_t read_features(const struct virtio_device *device)
{
	switch (device->device_features_select) {
	case 0:
		return (uint32_t)device->features;
	case 1:
		return (uint32_t)(device->features >> HIGH_SHIFT);
	default:
		return 0;
	}
}

static uint32_t read_register(const struct virtio_device *device, uint64_t offset)
{
	bool there = device->queue_select < device->type->queues;
	switch (offset) {
	case REG_INTERRUPT_STATUS:
		return device->interrupt_status;
	case REG_MAGIC_VALUE:
		return MAGIC_VALUE;
	case REG_VERSION:
		return VERSION;
	case REG_DEVICE_ID:
		return device->type->id;
	case REG_VENDOR_ID:
		return VENDOR_ID;
	case REG_DEVICE_FEATURES:
		return read_features(device);
	case REG_QUEUE_NUM_MAX:
		return there ? VIRTQ_SIZE_MAX : 0;
	case REG_QUEUE_READY:
		return there && device->queue[device->queue_select].ready;
	case REG_STATUS:
		return device->status;
	default: /* no shared memory: length and base all ones, 4.2.2. The configuration never changes. */
		return offset >= REG_SHM_LEN_LOW && offset <= REG_SHM_BASE_HIGH ? UINT32_MAX : 0;
	}
}

static void write_driver_features(struct virtio_device *device, uint32_t value)
{
	unsigned shift = device->driver_features_select * HIGH_SHIFT;
	if (!(device->status & STATUS_FEATURES_OK) && shift <= HIGH_SHIFT) {
		device->driver_features &= ~((uint64_t)UINT32_MAX << shift);
		device->driver_features |= (uint64_t)value << shift;
	}
}

/* 3.1.1: bits are only added; FEATURES_OK stays clear for features that were not offered. */
static void write_status(struct virtio_device *device, uint32_t value)
{
	uint32_t added = value & STATUS_DRIVERS & ~device->status;
	if (value == 0) {
		reset(device);
		return;
	}
	if ((device->driver_features & ~device->features) || !(device->driver_features & FEATURE_VERSION_1)) {
		added &= ~STATUS_FEATURES_OK;
	}
	device->status |= added;
	if (added & STATUS_DRIVER_OK) {
		for (unsigned i = 0; i < device->type->queues; i++) {
			notify(device, i);
		}
	}
}

static void write_ready(struct virtio_device *device, struct virtqueue *queue, bool ready)
{
	if (!ready) {
		virtq_reset(queue); /* no request is under way: the device is not busy */
	} else if (!queue->ready && (device->status & STATUS_FEATURES_OK)) {
		queue->indirect = device->driver_features & FEATURE_INDIRECT_DESC;
		queue->event_index = device->driver_features & FEATURE_EVENT_IDX;
		virtq_start(queue);
		if (queue->broken) {
			stop(device, queue->broken, queue->broken_value);
		}
	}
}

/* Queue{Desc,Driver,Device}{Low,High}; what else lies between them is reserved. */
static void write_address(struct virtqueue *queue, uint64_t offset, uint32_t value)
{
	uint64_t *const addresses[] = {&queue->descriptors, &queue->available, &queue->used};
	uint64_t place = offset - REG_QUEUE_DESC_LOW, shift = place % QUEUE_ADDRESS_STRIDE * 8;
	if (offset >= REG_QUEUE_DESC_LOW && place / QUEUE_ADDRESS_STRIDE < ARRAY_SIZE(addresses) &&
	    shift <= HIGH_SHIFT) {
		uint64_t *address = addresses[place / QUEUE_ADDRESS_STRIDE];
		*address = (*address & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value << shift;
	}
}

/* The registers of the queue that is selected. What is in use does not change. */
static void write_queue(struct virtio_device *device, uint64_t offset, uint32_t value)
{
	if (device->queue_select >= device->type->queues) {
		return;
	}
	struct virtqueue *queue = &device->queue[device->queue_select];
	if (offset == REG_QUEUE_READY) {
		write_ready(device, queue, value & 1);
		return;
	}
	if (queue->ready) {
		return;
	}
	if (offset == REG_QUEUE_NUM) {
		queue->size = (uint16_t)MIN(value, (uint32_t)UINT16_MAX);
	} else {
		write_address(queue, offset, value);
	}
}

static void write_register(struct virtio_device *device, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case REG_QUEUE_NOTIFY:
		notify(device, value);
		break;
	case REG_INTERRUPT_ACK:
		device->interrupt_status &= ~value;
		update_irq(device);
		break;
	case REG_DEVICE_FEATURES_SEL:
		device->device_features_select = value;
		break;
	case REG_DRIVER_FEATURES:
		write_driver_features(device, value);
		break;
	case REG_DRIVER_FEATURES_SEL:
		device->driver_features_select = MIN(value, 2U);
		break;
	case REG_QUEUE_SEL:
		device->queue_select = value;
		break;
	case REG_STATUS:
		write_status(device, value);
		break;
	default:
		write_queue(device, offset, value);
		break;
	}
}

/* ---- the bus ---- */

static bool read_config(const struct virtio_device *device, uint64_t offset, unsigned width, uint64_t *value)
{
	*value = 0;
	if (offset < device->config_bytes) {
		memcpy(value, (const char *)device->config + offset, MIN(width, device->config_bytes - offset));
	}
	return true;
}

static bool virtio_read(struct device *bus_device, uint64_t offset, unsigned width, uint64_t *value)
{
	const struct virtio_device *device = container_of(bus_device, struct virtio_device, device);
	if (offset >= REG_CONFIG) {
		return read_config(device, offset - REG_CONFIG, width, value);
	}
	if (width != REGISTER_BYTES || !is_aligned(offset, REGISTER_BYTES)) {
		return false;
	}
	*value = read_register(device, offset);
	return true;
}

/* Nothing in a configuration space can be written. */
static enum bus_result virtio_write(struct device *bus_device, uint64_t offset, unsigned width, uint64_t value)
{
	struct virtio_device *device = container_of(bus_device, struct virtio_device, device);
	if (offset >= REG_CONFIG) {
		return BUS_DONE;
	}
	if (width != REGISTER_BYTES || !is_aligned(offset, REGISTER_BYTES)) {
		return BUS_NOBODY;
	}
	spin_lock(device->lock);
	device->waits = false;
	bool resets = offset == REG_STATUS && value == 0;
	if (unlikely(device->busy) && !resets) {
		serve(device); /* what is left over comes first: the guest executes the write until it was its turn */
	}
	if (likely(!device->busy && !device->waits) || resets) {
		write_register(device, offset, (uint32_t)value);
	}
	enum bus_result result = device->waits ? BUS_WAITS : device->busy ? BUS_BUSY : BUS_DONE;
	spin_unlock(device->lock);
	return result;
}

static const struct device_ops virtio_ops = {.read = virtio_read, .write = virtio_write};

void virtio_init(struct virtio_device *device, const struct virtio_type *type, const struct virtio_place *place)
{
	device->device = (struct device){.name = place->name, .ops = &virtio_ops};
	device->type = type;
	device->log_name = place->log_name;
	device->lock = &device->own_lock;
	device->irq = place->irq;
	device->features = FEATURES_OF_ALL;
	for (unsigned i = 0; i < type->queues; i++) {
		device->queue[i].space = place->space;
	}
	reset(device);
}
