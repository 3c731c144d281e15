/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of a virtio device, for tests: an address space with some RAM, rings in it, requests, and what the
 * device says of them. Lets a test write nonsense wherever it wants. Included by one C file a program.
 */
#pragma once

#include <stdio.h>
#include <string.h>

#include "hv/devices/virtio.h"
#include "lib/log.h"
#include "mm_arena.h"

#define RAM_BASE    UINT64_C(0x40000000)
#define RAM_BYTES   MIB(4)
#define ARENA_BYTES MIB(16)

/* Each queue of a driver has a page for its rings; buffers come from BUFFERS on. */
#define RING_BYTES  FRAME_SIZE
#define AVAILABLE   UINT64_C(0x400)
#define USED        UINT64_C(0x800)
#define TABLES      (RAM_BASE + KIB(64)) /* indirect tables */
#define BUFFERS     (RAM_BASE + MIB(1))
#define QUEUE_SIZE  16
#define OUTSIDE     (RAM_BASE + RAM_BYTES)
#define FIRST_RINGS (RAM_BASE + KIB(4))

#define NEXT     1
#define WRITE    2
#define INDIRECT 4

#define F_INDIRECT  BIT(28)
#define F_EVENT     BIT(29)
#define F_VERSION_1 BIT(32)

#define STATUS_RUNNING     15U
#define STATUS_NEEDS_RESET 64U

struct descriptor {
	uint64_t address;
	uint32_t bytes;
	uint16_t flags, next;
};

struct driver_queue {
	gpa_t rings;
	uint16_t available, used; /* indexes: the next to make available, the next to look for */
	uint16_t free;            /* descriptor, round and round */
};

struct driver {
	struct virtio_device *device;
	struct irq_line irq;
	bool level;
	unsigned interrupts; /* times the line went up */
	uint64_t features;
	unsigned goes; /* how often the last notification was executed */
	struct driver_queue queue[VIRTIO_QUEUES_MAX];
};

static struct mm_arena arena;
static struct addr_space space;
static char last_log[LOG_LINE_MAX];
static unsigned log_lines;

void log_line(const char *subsystem, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int used = snprintf(last_log, sizeof(last_log), "%s: ", subsystem);
	vsnprintf(last_log + used, sizeof(last_log) - (size_t)used, format, arguments);
	va_end(arguments);
	log_lines++;
}

/* Time passes with each look at it, so that whoever waits does so for a while and no longer. */
static uint64_t clock_now, clock_step = 1000000;

uint64_t clock_nanoseconds(void);
uint64_t clock_nanoseconds(void)
{
	return clock_now += clock_step;
}

static inline void machine_start(void)
{
	log_lines = 0;
	mm_arena_init(&arena, ARENA_BYTES);
	assert_true(mm_format_count() > 0); /* makes them */
	assert_status(addr_space_init(&space, 0, GIB(2), mm_format(0), &arena.hal), MM_OK);
	assert_status(addr_space_map_alloc(&space, RAM_BASE, RAM_BYTES, RWX, false, AREA_PAGES_4K), MM_OK);
}

static inline void machine_end(void)
{
	addr_space_destroy(&space);
	mm_arena_fini(&arena);
}

static inline void set_level(struct irq_line *line, bool level)
{
	struct driver *driver = container_of(line, struct driver, irq);
	driver->interrupts += level && !driver->level;
	driver->level = level;
}

static inline struct virtio_place driver_place(struct driver *driver, const char *name)
{
	driver->irq.set = set_level;
	return (struct virtio_place){name, &space, &driver->irq, "vm test"};
}

/* ---- registers ---- */

static inline uint32_t get(struct driver *driver, uint64_t offset)
{
	uint64_t value = 0;
	assert_true(driver->device->device.ops->read(&driver->device->device, offset, 4, &value));
	return (uint32_t)value;
}

/* As a guest does: the instruction is executed until the device is not busy. */
static inline void put(struct driver *driver, uint64_t offset, uint32_t value)
{
	enum bus_result result;
	driver->goes = 0;
	do {
		result = driver->device->device.ops->write(&driver->device->device, offset, 4, value);
		assert_int_not_equal(result, BUS_NOBODY);
		driver->goes++;
		assert_true(driver->goes < 100000);
	} while (result != BUS_DONE);
}

static inline void put_address(struct driver *driver, uint64_t offset, gpa_t address)
{
	put(driver, offset, (uint32_t)address);
	put(driver, offset + 4, (uint32_t)(address >> 32));
}

static inline void negotiate(struct driver *driver, uint64_t features)
{
	driver->features = features | F_VERSION_1;
	put(driver, 0x070, 0);
	put(driver, 0x070, 1);
	put(driver, 0x070, 3);
	put(driver, 0x024, 0);
	put(driver, 0x020, (uint32_t)driver->features);
	put(driver, 0x024, 1);
	put(driver, 0x020, (uint32_t)(driver->features >> 32));
	put(driver, 0x070, 11);
}

static inline void set_queue(struct driver *driver, unsigned index, uint32_t size, gpa_t rings)
{
	driver->queue[index] = (struct driver_queue){.rings = rings};
	assert_int_equal(guest_fill(&space, rings, 0, RING_BYTES, 0), RING_BYTES);
	put(driver, 0x030, index);
	put(driver, 0x038, size);
	put_address(driver, 0x080, rings);
	put_address(driver, 0x090, rings + AVAILABLE);
	put_address(driver, 0x0a0, rings + USED);
	put(driver, 0x044, 1);
}

/* Everything up to DRIVER_OK; the n-th driver's rings are apart from the others'. */
static inline void driver_start(struct driver *driver, struct virtio_device *device, uint64_t features, unsigned n)
{
	driver->device = device;
	negotiate(driver, features);
	assert_int_equal(get(driver, 0x070), 11);
	for (unsigned i = 0; i < device->type->queues; i++) {
		set_queue(driver, i, QUEUE_SIZE, FIRST_RINGS + (n * VIRTIO_QUEUES_MAX + i) * RING_BYTES);
		assert_int_equal(get(driver, 0x044), 1);
	}
	put(driver, 0x070, STATUS_RUNNING);
	assert_int_equal(get(driver, 0x070), STATUS_RUNNING);
}

static inline void notify(struct driver *driver, unsigned queue)
{
	put(driver, 0x050, queue);
}

static inline void acknowledge(struct driver *driver)
{
	put(driver, 0x064, get(driver, 0x060));
}

/* ---- guest memory ---- */

static inline void poke(gpa_t to, const void *from, size_t bytes)
{
	assert_int_equal(guest_write(&space, to, from, bytes, 0), bytes);
}

static inline void peek(gpa_t from, void *to, size_t bytes)
{
	assert_int_equal(guest_read(&space, from, to, bytes, 0), bytes);
}

static inline void poke_16(gpa_t to, uint16_t value)
{
	poke(to, &value, sizeof(value));
}

static inline uint16_t peek_16(gpa_t from)
{
	uint16_t value;
	peek(from, &value, sizeof(value));
	return value;
}

static inline uint8_t peek_8(gpa_t from)
{
	uint8_t value;
	peek(from, &value, sizeof(value));
	return value;
}

/* ---- rings ---- */

static inline void put_descriptor(struct driver_queue *queue, unsigned index, struct descriptor descriptor)
{
	poke(queue->rings + index * sizeof(descriptor), &descriptor, sizeof(descriptor));
}

/* Makes the chain that starts at `head` available. */
static inline void offer(struct driver_queue *queue, uint16_t head)
{
	poke_16(queue->rings + AVAILABLE + 4 + queue->available % QUEUE_SIZE * UINT64_C(2), head);
	queue->available++;
	poke_16(queue->rings + AVAILABLE + 2, queue->available);
}

/* Makes a chain of these descriptors, whose `next` and NEXT are filled in, and offers it; answers its head. */
static inline uint16_t add_chain(struct driver_queue *queue, const struct descriptor *descriptors, unsigned count)
{
	uint16_t head = queue->free;
	for (unsigned i = 0; i < count; i++) {
		struct descriptor descriptor = descriptors[i];
		uint16_t index = queue->free;
		queue->free = (uint16_t)((index + 1) % QUEUE_SIZE);
		if (i + 1 < count) {
			descriptor.flags |= NEXT;
			descriptor.next = queue->free;
		}
		put_descriptor(queue, index, descriptor);
	}
	offer(queue, head);
	return head;
}

/* The same by way of an indirect table at `table`. */
static inline uint16_t add_indirect(struct driver_queue *queue, gpa_t table, const struct descriptor *descriptors,
                                    unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct descriptor descriptor = descriptors[i];
		if (i + 1 < count) {
			descriptor.flags |= NEXT;
			descriptor.next = (uint16_t)(i + 1);
		}
		poke(table + i * sizeof(descriptor), &descriptor, sizeof(descriptor));
	}
	struct descriptor one = {table, count * (uint32_t)sizeof(one), INDIRECT, 0};
	return add_chain(queue, &one, 1);
}

/* The next used entry: its head and length. False: there is none. */
static inline bool take_used(struct driver_queue *queue, uint32_t *head, uint32_t *written)
{
	if (peek_16(queue->rings + USED + 2) == queue->used) {
		return false;
	}
	gpa_t entry = queue->rings + USED + 4 + queue->used % QUEUE_SIZE * UINT64_C(8);
	peek(entry, head, sizeof(*head));
	peek(entry + 4, written, sizeof(*written));
	queue->used++;
	return true;
}

#define assert_used(queue, expected_head, expected_written)                                                            \
	do {                                                                                                           \
		uint32_t used_head = UINT32_MAX, used_written = UINT32_MAX;                                            \
		assert_true(take_used(queue, &used_head, &used_written));                                              \
		assert_int_equal(used_head, expected_head);                                                            \
		assert_int_equal(used_written, expected_written);                                                      \
	} while (0)

#define assert_nothing_used(queue)                                                                                     \
	do {                                                                                                           \
		uint32_t used_head, used_written;                                                                      \
		assert_false(take_used(queue, &used_head, &used_written));                                             \
	} while (0)
