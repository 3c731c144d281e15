/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network device (VIRTIO 1.2, 5.1) on a port of a switch. Called by the transport for frames to send, by the switch
 * for frames to receive. It offers no offloads: frames go from memory to memory, so a checksum left out would save the
 * sender what every receiver would have to be trusted with, and segments of 64 KiB would need buffers of that size.
 */
#include "hv/devices/virtio.h"
#include "lib/string.h"
#include "lib/util.h"

#define DEVICE_ID_NET 1
#define QUEUE_RECEIVE 0
#define SLICE_BYTES   KIB(64)
#define FRAME_COST    512 /* bytes that a copy is charged at least: its chain has to be followed too */

/* 5.1.3 Feature bits */
#define FEATURE_MAC    BIT(5)
#define FEATURE_STATUS BIT(16)

#define STATUS_LINK_UP 1 /* 5.1.4 */

/* 5.1.6 Device Operation: before each frame. All zeros but for num_buffers, as no offload is negotiated. */
struct frame_header {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t header_length;
	uint16_t gso_size;
	uint16_t checksum_start;
	uint16_t checksum_offset;
	uint16_t num_buffers;
};
_Static_assert(sizeof(struct frame_header) == NET_HEADROOM, "VIRTIO 1.2, 5.1.6");

/* Frames that are too long or too short are the switch's to drop. */
static bool serve(struct virtio_device *device)
{
	struct virtio_net *net = container_of(device, struct virtio_net, virtio);
	struct virtqueue *queue = virtio_requests(device);
	struct virtq_chain *chain = &device->chain;
	if (chain->readable_bytes < NET_HEADROOM) {
		return virtio_broken(device, "a frame lacks its header, head", chain->head);
	}
	/* The header, which says nothing as no offload is negotiated, goes where the receivers put theirs. */
	size_t bytes = chain->readable_bytes - NET_HEADROOM;
	if (bytes <= NET_FRAME_MAX &&
	    virtq_read(queue, chain, net->port.net->packet, chain->readable_bytes) != chain->readable_bytes) {
		return false;
	}
	int copies = net_switch_send(&net->port, bytes);
	if (copies == NET_SEND_AGAIN) { /* taken off the queue anew: what is received meanwhile needs the chain */
		virtq_unpop(queue);
		device->open = false;
		device->waits = true;
		return false;
	}
	uint64_t cost = MAX(chain->readable_bytes, (uint64_t)FRAME_COST) * (1 + (unsigned)copies);
	device->budget -= (uint32_t)MIN(cost, (uint64_t)device->budget);
	return true;
}

/* Under the switch's lock, which is this device's. The chain is free: a frame never comes back to its own port. */
static enum net_result receive(struct net_port *port, uint8_t *frame, size_t bytes)
{
	static const struct frame_header header = {.num_buffers = 1};
	struct virtio_net *net = container_of(port, struct virtio_net, port);
	struct virtio_device *device = &net->virtio;
	struct virtqueue *queue = &device->queue[QUEUE_RECEIVE];
	struct virtq_chain *chain = &device->chain;
	if (!virtio_running(device, QUEUE_RECEIVE)) {
		return NET_ABSENT;
	}
	enum virtq_result result = virtq_pop(queue, chain);
	if (result == VIRTQ_CHAIN && chain->writable_bytes < sizeof(header) + bytes) {
		virtq_unpop(queue);
		return NET_DROPPED;
	}
	if (result == VIRTQ_CHAIN) {
		memcpy(frame - sizeof(header), &header, sizeof(header));
		virtq_write(queue, chain, frame - sizeof(header), sizeof(header) + bytes);
		virtq_push(queue, chain);
	}
	virtio_publish(device, queue);
	if (queue->broken) {
		return NET_DROPPED;
	}
	return result == VIRTQ_CHAIN ? NET_TAKEN : NET_FULL;
}

static const struct virtio_type type = {
	.id = DEVICE_ID_NET,
	.queues = 2,
	.slice = SLICE_BYTES,
	.serve = serve,
};

/* From the moment it is attached, frames come: nobody takes them before the driver is there. */
bool virtio_net_init(struct virtio_net *net, const struct virtio_place *place, const uint8_t mac[NET_MAC_BYTES],
                     const char *switch_name)
{
	virtio_init(&net->virtio, &type, place);
	net->port.receive = receive;
	memcpy(net->config.mac, mac, NET_MAC_BYTES);
	net->config.status = STATUS_LINK_UP;
	net->virtio.features |= FEATURE_MAC | FEATURE_STATUS;
	net->virtio.config = &net->config;
	net->virtio.config_bytes = sizeof(net->config);
	if (!net_switch_attach(&net->port, switch_name)) {
		return false;
	}
	net->virtio.lock = &net->port.net->lock;
	return true;
}
