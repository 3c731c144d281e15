/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues: see virtqueue.h. Reads of the rings go through cached host pointers, which hold as long as the
 * address space's generation does; writes go through the guest accessor, which a log of dirty pages sees. Every value
 * is copied once and then checked, for another vCPU may change it meanwhile.
 */
#include "hv/devices/virtqueue.h"

#include "lib/util.h"

/* 2.7.5 The Virtqueue Descriptor Table */
struct virtq_descriptor {
	uint64_t address;
	uint32_t bytes;
	uint16_t flags;
	uint16_t next;
};
_Static_assert(sizeof(struct virtq_descriptor) == 16, "VIRTIO 1.2, 2.7.5");

#define DESCRIPTOR_NEXT     BIT(0)
#define DESCRIPTOR_WRITE    BIT(1)
#define DESCRIPTOR_INDIRECT BIT(2)
#define DESCRIPTOR_ALIGN    16

/* 2.7.6 The Virtqueue Available Ring: flags, idx, ring[size], used_event */
#define AVAILABLE_NO_INTERRUPT BIT(0)
#define AVAILABLE_INDEX        2
#define AVAILABLE_RING         4
#define AVAILABLE_ENTRY        2
#define AVAILABLE_ALIGN        2

/* 2.7.8 The Virtqueue Used Ring: flags, idx, ring[size], avail_event */
struct virtq_used_entry {
	uint32_t head;
	uint32_t written;
};
#define USED_INDEX 2
#define USED_RING  4
#define USED_ALIGN 4

#define VIRTQ_NO_GENERATION UINT64_MAX

/* The first mistake counts. Always false, so that callers can return it. */
static __attribute__((noinline)) bool broken(struct virtqueue *queue, const char *what, uint64_t value)
{
	if (!queue->broken) {
		queue->broken = what;
		queue->broken_value = value;
	}
	return false;
}

/* ---- reading the rings ---- */

static uint64_t generation(const struct virtqueue *queue)
{
	return __atomic_load_n(&queue->space->generation, __ATOMIC_ACQUIRE);
}

static void move_window(struct virtqueue *queue, struct virtq_window *window, gpa_t from)
{
	uint64_t before = generation(queue);
	gpa_t page = align_down(from, FRAME_SIZE);
	window->generation = VIRTQ_NO_GENERATION;
	window->bytes = guest_peek(queue->space, page, FRAME_SIZE);
	if (window->bytes) {
		window->page = page;
		window->generation = before;
	}
}

/* In one access: another vCPU may be writing. */
static __attribute__((noinline)) bool read_16(struct virtqueue *queue, gpa_t from, uint16_t *value)
{
	uint64_t wide;
	move_window(queue, &queue->ring, from);
	if (!guest_load(queue->space, from, sizeof(*value), &wide)) {
		return broken(queue, "no memory for the ring at", from);
	}
	*value = (uint16_t)wide;
	return true;
}

static __attribute__((noinline)) bool read_descriptor(struct virtqueue *queue, struct virtq_window *window, gpa_t from,
                                                      struct virtq_descriptor *descriptor)
{
	move_window(queue, window, from);
	return guest_read(queue->space, from, descriptor, sizeof(*descriptor), GUEST_ACCESS_DEFAULT) ==
	               sizeof(*descriptor) ||
	       broken(queue, "no memory for the ring at", from);
}

/* Where the window shows `bytes` at `from`, naturally aligned; NULL: it does not. */
static inline const void *view(const struct virtqueue *queue, const struct virtq_window *window, gpa_t from,
                               size_t bytes)
{
	uint64_t offset = from - window->page;
	bool shown = offset <= FRAME_SIZE - bytes && is_aligned(offset, MIN(bytes, sizeof(uint64_t))) &&
	             window->generation == generation(queue);
	return likely(shown) ? window->bytes + offset : NULL;
}

/* What was copied out of the window counts, and what is read later comes after it. */
static inline bool was_valid(const struct virtqueue *queue, const struct virtq_window *window)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return likely(window->generation == generation(queue));
}

static inline bool look_16(struct virtqueue *queue, gpa_t from, uint16_t *value)
{
	const uint16_t *shown = view(queue, &queue->ring, from, sizeof(*value));
	if (shown) {
		*value = __atomic_load_n(shown, __ATOMIC_RELAXED);
		if (was_valid(queue, &queue->ring)) {
			return true;
		}
	}
	return read_16(queue, from, value);
}

static inline bool look_descriptor(struct virtqueue *queue, struct virtq_window *window, gpa_t from,
                                   struct virtq_descriptor *descriptor)
{
	const volatile struct virtq_descriptor *shown = view(queue, window, from, sizeof(*descriptor));
	if (shown) {
		*descriptor = *shown; /* once: another vCPU may be writing */
		if (was_valid(queue, window)) {
			return true;
		}
	}
	return read_descriptor(queue, window, from, descriptor);
}

static bool put_16(struct virtqueue *queue, gpa_t to, uint16_t value)
{
	return guest_store(queue->space, to, sizeof(value), value) || broken(queue, "no memory for the ring at", to);
}

/* ---- starting ---- */

void virtq_reset(struct virtqueue *queue)
{
	*queue = (struct virtqueue){
		.space = queue->space,
		.ring.generation = VIRTQ_NO_GENERATION,
		.descriptor.generation = VIRTQ_NO_GENERATION,
		.table.generation = VIRTQ_NO_GENERATION,
	};
}

static bool check_part(struct virtqueue *queue, gpa_t start, uint64_t bytes, uint64_t alignment)
{
	if (!is_aligned(start, alignment)) {
		return broken(queue, "a ring is not aligned:", start);
	}
	return start <= UINT64_MAX - bytes || broken(queue, "a ring wraps:", start);
}

void virtq_start(struct virtqueue *queue)
{
	uint64_t size = queue->size;
	if (size == 0 || size > VIRTQ_SIZE_MAX || (size & (size - 1)) != 0) {
		broken(queue, "the size of a queue is", size);
		return;
	}
	queue->ready =
		check_part(queue, queue->descriptors, size * DESCRIPTOR_ALIGN, DESCRIPTOR_ALIGN) &&
		check_part(queue, queue->available, AVAILABLE_RING + (size + 1) * AVAILABLE_ENTRY, AVAILABLE_ALIGN) &&
		check_part(queue, queue->used, USED_RING + size * sizeof(struct virtq_used_entry) + sizeof(uint16_t),
	                   USED_ALIGN);
}

/* ---- taking chains ---- */

static bool add_segment(struct virtqueue *queue, struct virtq_chain *chain, const struct virtq_descriptor *from)
{
	if (unlikely(chain->count == queue->size)) {
		return broken(queue, "a chain is longer than its queue, head", chain->head);
	}
	if (unlikely(from->bytes == 0 || from->address > UINT64_MAX - from->bytes)) {
		return broken(queue, "a descriptor is empty or wraps:", from->address);
	}
	if (from->flags & DESCRIPTOR_WRITE) {
		chain->writable_bytes += from->bytes;
	} else if (likely(chain->readable == chain->count)) {
		chain->readable++;
		chain->readable_bytes += from->bytes;
	} else {
		return broken(queue, "readable after writable in chain", chain->head);
	}
	chain->segment[chain->count++] = (struct virtq_segment){from->address, from->bytes};
	return true;
}

/*
 * Follows the descriptors of one table from `index` on. Answers false where the queue broke. *last is the descriptor
 * that refers to an indirect table, or the chain's last one. Loops end at add_segment's limit.
 */
static bool follow(struct virtqueue *queue, struct virtq_chain *chain, struct virtq_window *window, gpa_t table,
                   uint32_t entries, uint32_t index, struct virtq_descriptor *last)
{
	for (;;) {
		gpa_t at = table + (uint64_t)index * sizeof(*last);
		if (unlikely(index >= entries)) {
			return broken(queue, "there is no descriptor", index);
		}
		if (unlikely(!look_descriptor(queue, window, at, last))) {
			return false;
		}
		if (last->flags & DESCRIPTOR_INDIRECT) {
			return true;
		}
		if (unlikely(!add_segment(queue, chain, last))) {
			return false;
		}
		if (!(last->flags & DESCRIPTOR_NEXT)) {
			return true;
		}
		index = last->next;
	}
}

/* 2.7.5.3 Indirect Descriptors: at the end of a chain, one level deep. */
static bool follow_indirect(struct virtqueue *queue, struct virtq_chain *chain, struct virtq_descriptor *table)
{
	uint32_t entries = table->bytes / (uint32_t)sizeof(*table);
	if (!queue->indirect || (table->flags & DESCRIPTOR_NEXT)) {
		return broken(queue, "an indirect descriptor that may not be, head", chain->head);
	}
	if (entries == 0 || table->bytes % sizeof(*table) != 0 || table->address > UINT64_MAX - table->bytes) {
		return broken(queue, "the length of an indirect table is", table->bytes);
	}
	struct virtq_descriptor last;
	if (!follow(queue, chain, &queue->table, table->address, entries, 0, &last)) {
		return false;
	}
	return !(last.flags & DESCRIPTOR_INDIRECT) || broken(queue, "indirect inside indirect, head", chain->head);
}

/* Whether a chain waits. False also where the queue broke. */
static bool any_available(struct virtqueue *queue)
{
	if (queue->available_seen != queue->next) {
		return true;
	}
	uint16_t index;
	if (!look_16(queue, queue->available + AVAILABLE_INDEX, &index)) {
		return false;
	}
	if (unlikely((uint16_t)(index - queue->next) > queue->size)) {
		return broken(queue, "the available index jumped to", index);
	}
	queue->available_seen = index;
	return index != queue->next;
}

enum virtq_result virtq_pop(struct virtqueue *queue, struct virtq_chain *chain)
{
	struct virtq_descriptor last;
	if (unlikely(!queue->ready || queue->broken) || !any_available(queue)) {
		return queue->broken ? VIRTQ_BROKEN : VIRTQ_EMPTY;
	}
	uint64_t slot = queue->next % queue->size;
	if (!look_16(queue, queue->available + AVAILABLE_RING + slot * AVAILABLE_ENTRY, &chain->head)) {
		return VIRTQ_BROKEN;
	}
	chain->readable_bytes = chain->writable_bytes = chain->written = 0;
	chain->readable = chain->count = 0;
	if (!follow(queue, chain, &queue->descriptor, queue->descriptors, queue->size, chain->head, &last) ||
	    ((last.flags & DESCRIPTOR_INDIRECT) && !follow_indirect(queue, chain, &last))) {
		return VIRTQ_BROKEN;
	}
	chain->read = (struct virtq_cursor){.segment = 0};
	chain->write = (struct virtq_cursor){.segment = chain->readable};
	queue->next++;
	return VIRTQ_CHAIN;
}

void virtq_unpop(struct virtqueue *queue)
{
	queue->next--;
}

/* 2.7.10 Available Buffer Notification Suppression. Without event index the used ring's flags stay 0: always. */
bool virtq_enable_notify(struct virtqueue *queue)
{
	if (unlikely(queue->broken)) {
		return false;
	}
	if (queue->event_index && queue->event != queue->next) {
		queue->event = queue->next;
		if (!put_16(queue, queue->used + USED_RING + queue->size * sizeof(struct virtq_used_entry),
		            queue->event)) {
			return false;
		}
		__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the driver writes its index, then reads ours */
	}
	return any_available(queue);
}

/* ---- contents ---- */

/* The bytes at the cursor that one copy can do: up to `bytes`, and inside one segment; 0 at the end. */
static size_t piece(const struct virtq_chain *chain, const struct virtq_cursor *cursor, unsigned end, size_t bytes)
{
	return cursor->segment < end ? MIN(bytes, (size_t)chain->segment[cursor->segment].bytes - cursor->offset) : 0;
}

static gpa_t advance(const struct virtq_chain *chain, struct virtq_cursor *cursor, size_t bytes)
{
	const struct virtq_segment *segment = &chain->segment[cursor->segment];
	gpa_t address = segment->address + cursor->offset;
	cursor->offset += (uint32_t)bytes;
	if (cursor->offset == segment->bytes) {
		cursor->offset = 0;
		cursor->segment++;
	}
	return address;
}

size_t virtq_read(struct virtqueue *queue, struct virtq_chain *chain, void *to, size_t bytes)
{
	size_t done = 0, part;
	while (done < bytes && (part = piece(chain, &chain->read, chain->readable, bytes - done)) > 0) {
		gpa_t from = advance(chain, &chain->read, part);
		size_t read = guest_read(queue->space, from, (char *)to + done, part, GUEST_ACCESS_DEFAULT);
		done += read;
		if (unlikely(read < part)) {
			broken(queue, "no memory to read at", from + read);
			break;
		}
	}
	return done;
}

size_t virtq_write(struct virtqueue *queue, struct virtq_chain *chain, const void *from, size_t bytes)
{
	size_t done = 0, part;
	while (done < bytes && (part = piece(chain, &chain->write, chain->count, bytes - done)) > 0) {
		gpa_t to = advance(chain, &chain->write, part);
		size_t wrote = guest_write(queue->space, to, (const char *)from + done, part, GUEST_ACCESS_DEFAULT);
		done += wrote;
		if (unlikely(wrote < part)) {
			broken(queue, "no memory to write at", to + wrote);
			break;
		}
	}
	chain->written += done;
	return done;
}

void virtq_skip(struct virtq_chain *chain, uint64_t bytes)
{
	size_t part;
	while (bytes > 0 && (part = piece(chain, &chain->write, chain->count, bytes)) > 0) {
		advance(chain, &chain->write, part);
		bytes -= part;
	}
}

/* ---- giving chains back ---- */

void virtq_push(struct virtqueue *queue, const struct virtq_chain *chain)
{
	struct virtq_used_entry entry = {chain->head, (uint32_t)MIN(chain->written, (uint64_t)UINT32_MAX)};
	gpa_t at = queue->used + USED_RING + queue->used_next % queue->size * sizeof(entry);
	if (unlikely(queue->broken)) {
		return;
	}
	if (guest_write(queue->space, at, &entry, sizeof(entry), GUEST_ACCESS_DEFAULT) != sizeof(entry)) {
		broken(queue, "no memory for the ring at", at);
		return;
	}
	queue->used_next++;
}

/* 2.7.7 Used Buffer Notification Suppression */
bool virtq_publish(struct virtqueue *queue)
{
	uint16_t before = queue->published;
	uint16_t event_or_flags;
	if (queue->used_next == before || queue->broken || !put_16(queue, queue->used + USED_INDEX, queue->used_next)) {
		return false;
	}
	queue->published = queue->used_next;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the driver writes what it wants, then reads our index */
	if (!queue->event_index) {
		return look_16(queue, queue->available, &event_or_flags) && !(event_or_flags & AVAILABLE_NO_INTERRUPT);
	}
	gpa_t used_event = queue->available + AVAILABLE_RING + queue->size * (uint64_t)AVAILABLE_ENTRY;
	return look_16(queue, used_event, &event_or_flags) &&
	       (uint16_t)(queue->published - event_or_flags - 1) < (uint16_t)(queue->published - before);
}
