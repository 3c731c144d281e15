/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues (VIRTIO 1.2, 2.7) seen from the device: device models take chains of buffers off the available
 * ring, copy out of and into them, and put them on the used ring. All that stands in the rings is the guest's and is
 * checked here; what breaks the rules sets `broken`, and the queue is not touched again until it is reset. Nothing
 * allocates. The caller serializes: one lock a device (virtio.h).
 */
#pragma once

#include "mm/guest_memory.h"

#define VIRTQ_SIZE_MAX 128 /* descriptors in a ring, and segments in a chain */

/* A page of guest memory that was read last, as guest_peek gives it. */
struct virtq_window {
	const uint8_t *bytes;
	gpa_t page;
	uint64_t generation; /* of the space; VIRTQ_NO_GENERATION: nothing here */
};

struct virtqueue {
	struct addr_space *space;
	/* Set by the transport before virtq_start. */
	gpa_t descriptors, available, used;
	uint16_t size;
	bool event_index, indirect; /* negotiated: VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC */
	bool ready;
	/* Free-running indexes, as in the rings. */
	uint16_t available_seen;                     /* the driver's index when it was last looked at */
	uint16_t next;                               /* of the next chain to take */
	uint16_t used_next;                          /* of the next used entry */
	uint16_t published;                          /* what the used ring's index says */
	uint16_t event;                              /* what avail_event says */
	struct virtq_window ring, descriptor, table; /* available ring, descriptors, indirect table */
	const char *broken;                          /* what the driver did wrong; NULL: nothing yet */
	uint64_t broken_value;                       /* and with which value */
};

struct virtq_segment {
	gpa_t address;
	uint32_t bytes;
};

/* How far a chain has been read or written. */
struct virtq_cursor {
	uint32_t offset; /* in the segment */
	uint16_t segment;
};

/* What the device reads comes before what it writes, however the driver cut it. */
struct virtq_chain {
	uint64_t readable_bytes, writable_bytes;
	uint64_t written; /* for the used entry */
	struct virtq_cursor read, write;
	uint16_t head;
	uint16_t readable, count; /* segments: those to read, all */
	struct virtq_segment segment[VIRTQ_SIZE_MAX];
};

enum virtq_result { VIRTQ_EMPTY, VIRTQ_CHAIN, VIRTQ_BROKEN };

void virtq_reset(struct virtqueue *queue);
/* Checks size, alignment and addresses, and makes the queue ready, with all indexes at 0. Else it is broken. */
void virtq_start(struct virtqueue *queue);

enum virtq_result virtq_pop(struct virtqueue *queue, struct virtq_chain *chain);
/* Puts the chain that was popped last back, unread. */
void virtq_unpop(struct virtqueue *queue);
/* Asks the driver for a notification when it next makes a chain available. True: one is there by now. */
bool virtq_enable_notify(struct virtqueue *queue);

/* The next bytes of the chain. Fewer than asked for: the chain has no more, or memory is missing and the queue
 * broken. */
size_t virtq_read(struct virtqueue *queue, struct virtq_chain *chain, void *to, size_t bytes);
size_t virtq_write(struct virtqueue *queue, struct virtq_chain *chain, const void *from, size_t bytes);
/* Leaves the next writable bytes as they are. */
void virtq_skip(struct virtq_chain *chain, uint64_t bytes);

/* A used entry with chain->written. The driver sees it with the next virtq_publish. */
void virtq_push(struct virtqueue *queue, const struct virtq_chain *chain);
/* Shows the driver all that was pushed. True: it wants an interrupt for it. */
bool virtq_publish(struct virtqueue *queue);
