/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console device (VIRTIO 1.2, 5.3), one port. Called by the transport, and by whoever notices that input waits.
 * Input is taken from the backend only when there is a buffer for it, so nothing is lost.
 */
#include "hv/devices/virtio.h"
#include "lib/util.h"

#define DEVICE_ID_CONSOLE 3
#define QUEUE_INPUT       0
#define SLICE_BYTES       256 /* at 115200 bit/s 22 ms; a backend that queues is faster */
#define INPUT_BYTES       64

static bool serve(struct virtio_device *device)
{
	struct virtio_console *console = container_of(device, struct virtio_console, virtio);
	struct virtq_chain *chain = &device->chain;
	uint8_t bytes[SLICE_BYTES];
	size_t count = virtq_read(virtio_requests(device), chain, bytes, device->budget);
	for (size_t i = 0; i < count; i++) {
		console->backend->write(console->backend, bytes[i]);
	}
	device->budget -= (uint32_t)count;
	return chain->read.segment == chain->readable;
}

/* Input that waits, up to `limit` bytes. */
static size_t take_input(struct virtio_console *console, uint8_t *bytes, uint64_t limit)
{
	size_t count = 0;
	while (count < limit) {
		int byte = console->backend->read(console->backend);
		if (byte < 0) {
			break;
		}
		bytes[count++] = (uint8_t)byte;
	}
	return count;
}

/* One buffer, as far as input and it reach. False: there is no buffer, or no input. */
static bool fill_buffer(struct virtio_console *console, struct virtqueue *queue)
{
	uint8_t bytes[INPUT_BYTES];
	if (virtq_pop(queue, &console->input) != VIRTQ_CHAIN &&
	    !(virtq_enable_notify(queue) && virtq_pop(queue, &console->input) == VIRTQ_CHAIN)) {
		return false;
	}
	size_t count = take_input(console, bytes, MIN(sizeof(bytes), console->input.writable_bytes));
	if (count == 0 && console->input.writable_bytes > 0) {
		virtq_unpop(queue);
		return false;
	}
	virtq_write(queue, &console->input, bytes, count);
	virtq_push(queue, &console->input);
	return true;
}

static void fill(struct virtio_device *device)
{
	struct virtio_console *console = container_of(device, struct virtio_console, virtio);
	struct virtqueue *queue = &device->queue[QUEUE_INPUT];
	unsigned filled = 0;
	while (filled < queue->size && fill_buffer(console, queue)) {
		filled++;
	}
	virtio_publish(device, queue);
}

void virtio_console_poll(struct virtio_console *console)
{
	struct virtio_device *device = &console->virtio;
	spin_lock(device->lock);
	if (virtio_running(device, QUEUE_INPUT)) {
		fill(device);
	}
	spin_unlock(device->lock);
}

static const struct virtio_type type = {
	.id = DEVICE_ID_CONSOLE,
	.queues = 2,
	.slice = SLICE_BYTES,
	.serve = serve,
	.buffers = fill,
};

void virtio_console_init(struct virtio_console *console, const struct virtio_place *place,
                         struct serial_backend *backend)
{
	*console = (struct virtio_console){.backend = backend};
	virtio_init(&console->virtio, &type, place);
}
