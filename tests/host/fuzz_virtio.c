/* SPDX-License-Identifier: Apache-2.0 */
// sources: tests/host/mm_arena.c mm/*.c mm/formats/*.c lib/rbtree.c lib/random.c hv/devices/virt*.c hv/net_switch.c
/*
 * libFuzzer on all virtio devices: `make fuzz-virtio`. The input is a driver's program: accesses to registers, and
 * writes into a small guest memory in which rings, tables and buffers overlap. Beside what the sanitizers see: no disk
 * image changes, no read-only disk keeps blocks, every write comes to an end, every frame comes back.
 */
#include <stdlib.h>

#include "virtio_driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEVICES     6
#define IMAGE_BYTES (5 * FRAME_SIZE + 700)
#define GOES_MAX    20000
#define SMALL_RAM   KIB(64) /* what offsets in the input reach */

static struct virtio_blk disk, readonly_disk;
static struct virtio_console console;
static struct blk_overlay overlay;
static struct virtio_net net[2];
static struct virtio_rng rng;
static struct virtio_device *const devices[DEVICES] = {&disk.virtio,   &readonly_disk.virtio, &console.virtio,
                                                       &net[0].virtio, &net[1].virtio,        &rng.virtio};
static struct driver drivers[DEVICES];
static uint8_t image[IMAGE_BYTES], original[IMAGE_BYTES];
static unsigned typed;

static void require(bool condition)
{
	if (!condition) {
		abort();
	}
}

static void backend_write(struct serial_backend *backend, uint8_t byte)
{
	(void)backend;
	(void)byte;
}

static int backend_read(struct serial_backend *backend)
{
	(void)backend;
	return typed > 0 ? (int)(typed-- & 0x7f) : -1;
}

static struct serial_backend backend = {.write = backend_write, .read = backend_read};

static void write_register(struct virtio_device *device, uint64_t offset, unsigned width, uint64_t value)
{
	unsigned goes = 0;
	enum bus_result result;
	do {
		result = device->device.ops->write(&device->device, offset, width, value);
		require(++goes < GOES_MAX);
	} while (result == BUS_BUSY || result == BUS_WAITS);
}

/* Running, with queues of `size` whose rings lie `step` apart, in pages that the input writes. */
static void run_device(unsigned which, uint64_t features, uint32_t size, uint64_t step)
{
	struct driver *driver = &drivers[which];
	driver->device = devices[which];
	put(driver, 0x070, 0);
	put(driver, 0x070, 3);
	put(driver, 0x020, (uint32_t)features & (uint32_t)(F_INDIRECT | F_EVENT));
	put(driver, 0x024, 1);
	put(driver, 0x020, 1);
	put(driver, 0x070, 11);
	for (unsigned i = 0; i < devices[which]->type->queues; i++) {
		put(driver, 0x030, i);
		put(driver, 0x038, size);
		put_address(driver, 0x080, RAM_BASE + i * step);
		put_address(driver, 0x090, RAM_BASE + i * step + 0x100);
		put_address(driver, 0x0a0, RAM_BASE + i * step + 0x200);
		put(driver, 0x044, 1);
	}
	put(driver, 0x070, STATUS_RUNNING);
}

static void start(void)
{
	machine_start();
	memset(drivers, 0, sizeof(drivers));
	memset(net, 0, sizeof(net));
	typed = 0;
	struct virtio_place places[DEVICES];
	for (unsigned i = 0; i < DEVICES; i++) {
		places[i] = driver_place(&drivers[i], "fuzzed");
	}
	blk_overlay_init(&overlay, sizeof(image), &arena.hal);
	virtio_blk_init(&disk, &places[0], image, sizeof(image), &overlay);
	virtio_blk_init(&readonly_disk, &places[1], image, sizeof(image), NULL);
	virtio_console_init(&console, &places[2], &backend);
	for (unsigned i = 0; i < ARRAY_SIZE(net); i++) {
		require(virtio_net_init(&net[i], &places[3 + i], (const uint8_t[NET_MAC_BYTES]){2, (uint8_t)i}, "lan"));
	}
	virtio_rng_init(&rng, &places[5], (const uint8_t[RANDOM_SEED_BYTES]){1});
}

static void finish(void)
{
	require(memcmp(image, original, sizeof(image)) == 0);
	for (unsigned i = 0; i < ARRAY_SIZE(net); i++) {
		net_switch_detach(&net[i].port);
	}
	blk_overlay_destroy(&overlay);
	machine_end();
}

struct input {
	const uint8_t *data;
	size_t size;
};

static uint64_t take(struct input *input, size_t bytes)
{
	uint64_t value = 0;
	size_t part = MIN(bytes, input->size);
	memcpy(&value, input->data, part);
	input->data += part;
	input->size -= part;
	return value;
}

/* A descriptor whose address is mostly in memory, so that more than the first check is reached. */
static void put_some_descriptor(struct input *input)
{
	gpa_t at = RAM_BASE + take(input, 2) % (SMALL_RAM / 16) * 16;
	uint64_t address = take(input, 3);
	struct descriptor descriptor = {
		.address = address & BIT(23) ? address << 40 : RAM_BASE + address % SMALL_RAM,
		.bytes = (uint32_t)take(input, 2),
		.flags = (uint16_t)take(input, 1),
		.next = (uint16_t)take(input, 1),
	};
	guest_write(&space, at, &descriptor, sizeof(descriptor), 0);
}

static void offer_and_notify(struct virtio_device *device, unsigned index, uint16_t head)
{
	const struct virtqueue *queue = &device->queue[index];
	if (queue->ready) {
		uint16_t next = queue->next;
		guest_write(&space, queue->available + 4 + next % queue->size * UINT64_C(2), &head, sizeof(head), 0);
		next++;
		guest_write(&space, queue->available + 2, &next, sizeof(next), 0);
	}
	write_register(device, 0x050, 4, index);
}

/* A chain of three, such as drivers make: header, data, status; in the queue for receiving, one large buffer. */
static void send_request(struct input *input, struct virtio_device *device)
{
	static const uint32_t types[] = {0, 1, 1, 4, 8, 9};
	unsigned index = (unsigned)take(input, 1) % device->type->queues;
	uint64_t shape = take(input, 4);
	const uint64_t header[] = {types[shape % ARRAY_SIZE(types)], shape >> 8 & 0x3f};
	bool receive = index != device->type->queues - 1U, out = shape & BIT(14);
	uint32_t bytes = (shape & BIT(15) ? 512 : 1) * (uint32_t)(shape >> 16 & 0xff);
	const struct descriptor chain[] = {
		{BUFFERS, receive ? 1530 : 16, receive ? WRITE : NEXT, 1},
		{BUFFERS + FRAME_SIZE - (shape >> 24), bytes, out ? NEXT : NEXT | WRITE, 2},
		{BUFFERS + MIB(1), 1, WRITE, 0},
	};
	guest_write(&space, BUFFERS, header, sizeof(header), 0);
	guest_write(&space, device->queue[index].descriptors, chain, sizeof(chain), 0);
	offer_and_notify(device, index, 0);
}

static void step(struct input *input)
{
	unsigned operation = (unsigned)take(input, 1);
	unsigned which = operation / 9 % DEVICES;
	struct virtio_device *device = devices[which];
	uint64_t value;
	switch (operation % 9) {
	case 0:
		run_device(which, take(input, 1) << 28, 1U << take(input, 1) % 5, take(input, 1) * 64);
		break;
	case 1:
		write_register(device, take(input, 1) * 4 % VIRTIO_MMIO_BYTES, 4, take(input, 4));
		break;
	case 2:
		value = take(input, 3);
		device->device.ops->read(&device->device, value % (VIRTIO_MMIO_BYTES - 7), 1U << (value >> 16) % 4,
		                         &value);
		break;
	case 3:
		value = take(input, 8);
		guest_write(&space, RAM_BASE + take(input, 2), &value, sizeof(value), 0);
		break;
	case 4:
		put_some_descriptor(input);
		break;
	case 5:
		value = take(input, 2);
		offer_and_notify(device, (unsigned)value % device->type->queues, (uint16_t)(value >> 8));
		break;
	case 6:
		typed += (unsigned)take(input, 1);
		virtio_console_poll(&console);
		break;
	case 7:
		send_request(input, device);
		break;
	default:
		arena.fail_at = take(input, 1) % 4;
		addr_space_discard(&space, RAM_BASE + take(input, 1) % 16 * FRAME_SIZE, FRAME_SIZE);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	start();
	while (input.size > 0) {
		step(&input);
	}
	finish();
	return 0;
}
