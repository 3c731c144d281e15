/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entropy device (VIRTIO 1.2, 5.4): random bytes from a generator of its own. Called by the transport.
 */
#include "hv/devices/virtio.h"
#include "lib/util.h"

#define DEVICE_ID_ENTROPY 4
#define SLICE_BYTES       KIB(4)
#define REQUEST_BYTES     256 /* a device may give less than it was asked for */

static bool serve(struct virtio_device *device)
{
	struct virtio_rng *rng = container_of(device, struct virtio_rng, virtio);
	uint8_t bytes[REQUEST_BYTES];
	size_t count = MIN(sizeof(bytes), device->chain.writable_bytes);
	random_bytes(&rng->random, bytes, count);
	virtq_write(virtio_requests(device), &device->chain, bytes, count);
	device->budget -= MIN((uint32_t)sizeof(bytes), device->budget);
	return true;
}

static const struct virtio_type type = {
	.id = DEVICE_ID_ENTROPY,
	.queues = 1,
	.slice = SLICE_BYTES,
	.serve = serve,
};

void virtio_rng_init(struct virtio_rng *rng, const struct virtio_place *place, const uint8_t seed[RANDOM_SEED_BYTES])
{
	*rng = (struct virtio_rng){.virtio.open = false};
	virtio_init(&rng->virtio, &type, place);
	random_seed(&rng->random, seed);
}
