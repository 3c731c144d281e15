/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/devices/virtqueue.c
/*
 * How a queue reads the rings where no window shows them: by an accessor that tells one access from several. What the
 * queue makes of the rings is test_virtio.c's subject.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/devices/virtqueue.h"

#define DESCRIPTORS 0x1000
#define AVAILABLE   0x2000
#define USED        0x3000
#define MEMORY      0x4000

static uint8_t memory[MEMORY];
static struct addr_space space;
static unsigned loads; /* of 16 bits, in one access */

const void *guest_peek(struct addr_space *of, gpa_t address, size_t bytes)
{
	(void)of, (void)address, (void)bytes;
	return NULL;
}

bool guest_load(struct addr_space *of, gpa_t from, unsigned width, uint64_t *value)
{
	(void)of;
	assert_int_equal(width, 2);
	*value = (uint64_t)memory[from] | (uint64_t)memory[from + 1] << 8;
	loads++;
	return true;
}

bool guest_store(struct addr_space *of, gpa_t to, unsigned width, uint64_t value)
{
	(void)of;
	memcpy(memory + to, &value, width);
	return true;
}

/* Byte by byte, for all that the caller can know. */
size_t guest_read(struct addr_space *of, gpa_t from, void *to, size_t bytes, unsigned flags)
{
	(void)of, (void)flags;
	assert_true(from < AVAILABLE); /* descriptors, which do not change while they are available */
	memcpy(to, memory + from, bytes);
	return bytes;
}

size_t guest_write(struct addr_space *of, gpa_t to, const void *from, size_t bytes, unsigned flags)
{
	(void)of, (void)flags;
	memcpy(memory + to, from, bytes);
	return bytes;
}

static void indexes_are_read_in_one_access_even_where_no_window_is(void **state)
{
	(void)state;
	struct virtqueue queue = {.space = &space};
	struct virtq_chain chain;
	virtq_reset(&queue);
	queue.descriptors = DESCRIPTORS;
	queue.available = AVAILABLE;
	queue.used = USED;
	queue.size = 4;
	queue.event_index = true;
	virtq_start(&queue);
	assert_true(queue.ready);
	memory[DESCRIPTORS + 16 + 8] = 5; /* descriptor 1: 5 bytes at 0 */
	memory[AVAILABLE + 2] = 1;
	memory[AVAILABLE + 4] = 1;
	assert_int_equal(virtq_pop(&queue, &chain), VIRTQ_CHAIN);
	assert_int_equal(chain.head, 1);
	assert_int_equal(chain.readable_bytes, 5);
	assert_int_equal(loads, 2);
	virtq_push(&queue, &chain);
	assert_true(virtq_publish(&queue));
	assert_int_equal(loads, 3);
	assert_int_equal(memory[USED + 2], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(indexes_are_read_in_one_access_even_where_no_window_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
