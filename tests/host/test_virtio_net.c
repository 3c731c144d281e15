/* SPDX-License-Identifier: Apache-2.0 */
// sources: tests/host/mm_arena.c mm/*.c mm/formats/*.c lib/rbtree.c lib/random.c hv/devices/virt*.c hv/net_switch.c
/*
 * Network devices on switches: who gets which frame, and what becomes of those that nobody can take.
 */
#include "virtio_driver.h"

#define RECEIVE 0
#define SEND    1
#define HEADER  12
#define DEVICES 3

/* Each device's buffers: one to send from, and room for frames received. */
#define SEND_BUFFER(n)       (BUFFERS + (n)*KIB(64))
#define RECEIVE_BUFFER(n, i) (SEND_BUFFER(n) + KIB(4) + (i)*KIB(2))
#define RECEIVE_BYTES        1530

static struct virtio_net net[DEVICES];
static struct driver driver[DEVICES];
static uint8_t mac[DEVICES][NET_MAC_BYTES];

static const uint8_t broadcast[NET_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static int setup(void **state)
{
	static const char *const names[] = {"vm test", "vm other", "vm third"};
	(void)state;
	machine_start();
	clock_step = NET_PATIENCE_MAX;
	memset(net, 0, sizeof(net));
	memset(driver, 0, sizeof(driver));
	for (unsigned i = 0; i < DEVICES; i++) {
		struct virtio_place place = driver_place(&driver[i], "virtio-net 0");
		place.log_name = names[i];
		net_mac(names[i], 0, mac[i]);
		assert_true(virtio_net_init(&net[i], &place, mac[i], "lan"));
		driver_start(&driver[i], &net[i].virtio, 0, i);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DEVICES; i++) {
		net_switch_detach(&net[i].port);
	}
	machine_end();
	return 0;
}

static void give_buffer(unsigned n)
{
	struct driver_queue *queue = &driver[n].queue[RECEIVE];
	const struct descriptor one = {RECEIVE_BUFFER(n, queue->available % 16), RECEIVE_BYTES, WRITE, 0};
	add_chain(queue, &one, 1);
}

/* Makes a frame available: `payload` bytes of `value` after the addresses and an EtherType. */
static void offer_frame(unsigned n, const uint8_t *to, const uint8_t *from, uint8_t value, uint32_t payload)
{
	const struct descriptor parts[] = {
		{SEND_BUFFER(n), HEADER, 0, 0},
		{SEND_BUFFER(n) + HEADER, NET_HEADER_BYTES + payload, 0, 0},
	};
	gpa_t frame = SEND_BUFFER(n) + HEADER;
	poke(frame, to, NET_MAC_BYTES);
	poke(frame + 6, from, NET_MAC_BYTES);
	poke_16(frame + 12, 0x0008);
	assert_int_equal(guest_fill(&space, frame + NET_HEADER_BYTES, value, payload, 0), payload);
	add_chain(&driver[n].queue[SEND], parts, ARRAY_SIZE(parts));
}

static void send(unsigned n, const uint8_t *to, const uint8_t *from, uint8_t value, uint32_t payload)
{
	uint32_t head, written;
	offer_frame(n, to, from, value, payload);
	notify(&driver[n], SEND);
	assert_true(take_used(&driver[n].queue[SEND], &head, &written));
	assert_int_equal(written, 0);
}

static void assert_received(unsigned n, uint8_t value, uint32_t payload)
{
	static const uint8_t header[HEADER] = {[10] = 1}; /* num_buffers */
	struct driver_queue *queue = &driver[n].queue[RECEIVE];
	gpa_t at = RECEIVE_BUFFER(n, queue->used % 16);
	uint8_t bytes[HEADER];
	uint32_t head, written;
	assert_true(take_used(queue, &head, &written));
	assert_int_equal(written, HEADER + NET_HEADER_BYTES + payload);
	peek(at, bytes, sizeof(bytes));
	assert_memory_equal(bytes, header, sizeof(header));
	assert_int_equal(peek_16(at + HEADER + 12), 0x0008);
	for (uint32_t i = 0; i < payload; i++) {
		assert_int_equal(peek_8(at + HEADER + NET_HEADER_BYTES + i), value);
	}
	assert_true(driver[n].level);
	acknowledge(&driver[n]);
}

static void assert_nothing(unsigned n)
{
	assert_nothing_used(&driver[n].queue[RECEIVE]);
}

static void give_buffers(void)
{
	for (unsigned i = 0; i < DEVICES; i++) {
		give_buffer(i);
	}
}

static void the_device_tells_its_address_and_that_the_link_is_up(void **state)
{
	(void)state;
	assert_int_equal(get(&driver[0], 0x008), 1);
	put(&driver[0], 0x014, 0);
	assert_int_equal(get(&driver[0], 0x010), F_INDIRECT | F_EVENT | BIT(5) | BIT(16));
	uint64_t low = get(&driver[0], 0x100), high = get(&driver[0], 0x104);
	uint64_t both = low | high << 32;
	assert_memory_equal(&both, mac[0], NET_MAC_BYTES);
	assert_int_equal(both >> 48, 1);
}

static void addresses_are_local_and_hang_on_the_name(void **state)
{
	(void)state;
	uint8_t again[NET_MAC_BYTES], second[NET_MAC_BYTES];
	net_mac("vm test", 0, again);
	net_mac("vm test", 1, second);
	assert_memory_equal(again, mac[0], NET_MAC_BYTES);
	assert_memory_not_equal(second, mac[0], NET_MAC_BYTES);
	assert_memory_not_equal(mac[0], mac[1], NET_MAC_BYTES);
	assert_int_equal(mac[0][0] & 3, 2); /* locally administered, one station */
}

static void broadcasts_reach_all_others(void **state)
{
	(void)state;
	give_buffers();
	send(0, broadcast, mac[0], 0x11, 46);
	assert_received(1, 0x11, 46);
	assert_received(2, 0x11, 46);
	assert_nothing(0);
	assert_int_equal(net[0].port.sent, 1);
	assert_int_equal(net[1].port.received, 1);
}

static void an_unknown_address_is_flooded_and_a_learned_one_is_not(void **state)
{
	(void)state;
	give_buffers();
	send(0, mac[1], mac[0], 0x22, 46);
	assert_received(1, 0x22, 46);
	assert_received(2, 0x22, 46);
	send(1, mac[0], mac[1], 0x33, 46); /* 0 was learned */
	assert_received(0, 0x33, 46);
	assert_nothing(2);
	give_buffers();
	send(0, mac[1], mac[0], 0x44, 46); /* and now 1 */
	assert_received(1, 0x44, 46);
	assert_nothing(2);
}

static void multicasts_are_flooded_whatever_was_learned(void **state)
{
	(void)state;
	static const uint8_t group[NET_MAC_BYTES] = {0x01, 0x00, 0x5e, 0, 0, 1};
	give_buffers();
	send(0, mac[1], group, 0x55, 46); /* a group as sender: nonsense */
	assert_received(1, 0x55, 46);
	assert_received(2, 0x55, 46);
	give_buffers();
	send(1, group, mac[1], 0x66, 46);
	assert_received(0, 0x66, 46);
	assert_received(2, 0x66, 46);
}

static void a_station_that_moves_is_found_again(void **state)
{
	(void)state;
	static const uint8_t station[NET_MAC_BYTES] = {0x02, 9, 9, 9, 9, 9};
	send(1, broadcast, station, 0, 46);
	send(2, broadcast, station, 0, 46);
	give_buffers();
	send(0, station, mac[0], 0x77, 46);
	assert_nothing(1);
	assert_received(2, 0x77, 46);
}

static void a_frame_to_its_own_port_goes_nowhere(void **state)
{
	(void)state;
	send(0, broadcast, mac[0], 0, 46);
	give_buffers();
	send(0, mac[0], mac[0], 0x88, 46);
	assert_nothing(0);
	assert_nothing(1);
	assert_nothing(2);
}

static void frames_without_a_buffer_are_dropped_and_counted(void **state)
{
	(void)state;
	give_buffer(2);
	send(0, broadcast, mac[0], 0x99, 46);
	assert_nothing(1);
	assert_received(2, 0x99, 46);
	assert_int_equal(net[1].port.dropped, 1);
	give_buffer(1);
	send(0, broadcast, mac[0], 0xaa, 46);
	assert_received(1, 0xaa, 46);
	assert_int_equal(net[1].port.dropped, 1);
}

/* 0 and 1 know each other, and 1 has taken a frame. */
static void introduce(void)
{
	give_buffer(0);
	give_buffer(1);
	send(1, broadcast, mac[1], 0, 46);
	assert_received(0, 0, 46);
	send(0, mac[1], mac[0], 1, 46);
	assert_received(1, 1, 46);
	clock_step = 1000;
}

/* One execution of the notification. */
static enum bus_result notify_once(unsigned n)
{
	return driver[n].device->device.ops->write(&driver[n].device->device, 0x050, 4, SEND);
}

static void a_frame_waits_for_a_receiver_that_has_no_buffer_just_now(void **state)
{
	(void)state;
	introduce();
	offer_frame(0, mac[1], mac[0], 0xa1, 46);
	assert_int_equal(notify_once(0), BUS_WAITS);
	assert_nothing_used(&driver[0].queue[SEND]);
	give_buffer(0);
	send(2, broadcast, mac[2], 0xa2, 46); /* others have the switch meanwhile, and the place of the frame */
	assert_received(0, 0xa2, 46);
	assert_int_equal(notify_once(0), BUS_WAITS);
	give_buffer(1);
	assert_int_equal(notify_once(0), BUS_DONE);
	assert_received(1, 0xa1, 46);
	assert_int_equal(net[1].port.dropped, 1); /* the broadcast, which waits for nobody */
	assert_int_equal(net[0].port.sent, 2);
}

static void a_receiver_is_waited_for_no_longer_than_it_has_earned(void **state)
{
	(void)state;
	introduce();
	offer_frame(0, mac[1], mac[0], 0xa3, 46);
	assert_int_equal(notify_once(0), BUS_WAITS);
	clock_now += NET_PATIENCE_FRAME - 10000;
	assert_int_equal(notify_once(0), BUS_WAITS);
	clock_now += 10000;
	assert_int_equal(notify_once(0), BUS_DONE);
	assert_int_equal(net[1].port.dropped, 1);
	send(0, mac[1], mac[0], 0xa4, 46); /* and not again before it took one */
	assert_int_equal(driver[0].goes, 1);
	assert_int_equal(net[1].port.dropped, 2);
}

static void a_receiver_that_gives_one_buffer_at_a_time_pays_for_the_waits_in_between(void **state)
{
	(void)state;
	introduce();
	for (unsigned i = 0; i < 2; i++) {
		offer_frame(0, mac[1], mac[0], 0xb1, 46);
	}
	assert_int_equal(notify_once(0), BUS_WAITS);
	give_buffer(1);
	clock_now += 10 * NET_PATIENCE_FRAME;
	assert_int_equal(notify_once(0), BUS_WAITS); /* one taken, and that one it has earned a wait by */
	assert_int_equal(net[1].port.patience, NET_PATIENCE_FRAME);
	clock_now += 10 * NET_PATIENCE_FRAME;
	assert_int_equal(notify_once(0), BUS_DONE);
	assert_int_equal(net[1].port.dropped, 1);
}

static void two_that_have_no_buffers_do_not_wait_for_each_other(void **state)
{
	(void)state;
	introduce();
	offer_frame(0, mac[1], mac[0], 0xa5, 46);
	assert_int_equal(notify_once(0), BUS_WAITS);
	send(1, mac[0], mac[1], 0xa6, 46);
	assert_int_equal(driver[1].goes, 1);
	assert_int_equal(net[0].port.dropped, 1);
}

static void nobody_waits_for_a_receiver_that_is_reset_or_gone(void **state)
{
	(void)state;
	introduce();
	offer_frame(0, mac[1], mac[0], 0xa7, 46);
	assert_int_equal(notify_once(0), BUS_WAITS);
	put(&driver[1], 0x070, 0);
	assert_int_equal(notify_once(0), BUS_DONE);
	assert_int_equal(net[1].port.dropped, 0);
}

/* 64 KiB a go: frames of 46 bytes to two receivers cost three times the least. */
static void every_copy_of_a_frame_is_charged(void **state)
{
	(void)state;
	for (unsigned i = 0; i < QUEUE_SIZE / 2; i++) {
		offer_frame(0, broadcast, mac[0], 0xa8, 1500);
	}
	driver[0].device->budget = 0;
	assert_int_equal(notify_once(0), BUS_DONE);
	assert_int_equal(KIB(64) - driver[0].device->budget, QUEUE_SIZE / 2 * 3 * (HEADER + NET_HEADER_BYTES + 1500));
}

static void a_buffer_that_is_too_small_stays_for_the_next_frame(void **state)
{
	(void)state;
	struct driver_queue *queue = &driver[1].queue[RECEIVE];
	const struct descriptor small = {RECEIVE_BUFFER(1, 0), HEADER + NET_HEADER_BYTES + 46, WRITE, 0};
	add_chain(queue, &small, 1);
	send(0, broadcast, mac[0], 0xbb, 47);
	assert_nothing(1);
	assert_int_equal(net[1].port.dropped, 1);
	send(0, broadcast, mac[0], 0xcc, 46);
	assert_received(1, 0xcc, 46);
}

static void frames_of_full_length_pass_and_longer_or_shorter_ones_do_not(void **state)
{
	(void)state;
	give_buffers();
	send(0, broadcast, mac[0], 0xdd, 1504);
	assert_received(1, 0xdd, 1504);
	assert_received(2, 0xdd, 1504);
	give_buffers();
	send(0, broadcast, mac[0], 0xee, 1505);
	assert_nothing(1);
	const struct descriptor shorter = {SEND_BUFFER(0), HEADER + NET_HEADER_BYTES - 1, 0, 0};
	add_chain(&driver[0].queue[SEND], &shorter, 1);
	notify(&driver[0], SEND);
	assert_nothing(1);
	assert_int_equal(net[0].port.dropped, 2);
	assert_int_equal(get(&driver[0], 0x070), STATUS_RUNNING);
}

static void a_frame_without_header_breaks_the_sender_alone(void **state)
{
	(void)state;
	const struct descriptor part = {SEND_BUFFER(0), HEADER - 1, 0, 0};
	add_chain(&driver[0].queue[SEND], &part, 1);
	notify(&driver[0], SEND);
	assert_int_equal(get(&driver[0], 0x070), STATUS_RUNNING | STATUS_NEEDS_RESET);
	assert_int_equal(get(&driver[1], 0x070), STATUS_RUNNING);
	give_buffers();
	send(1, broadcast, mac[1], 0x12, 46);
	assert_received(2, 0x12, 46);
	assert_nothing_used(&driver[0].queue[RECEIVE]);
}

static void a_receiver_with_broken_rings_harms_no_sender(void **state)
{
	(void)state;
	const struct descriptor outside = {OUTSIDE, RECEIVE_BYTES, WRITE, 0};
	add_chain(&driver[1].queue[RECEIVE], &outside, 1);
	give_buffer(2);
	send(0, broadcast, mac[0], 0x13, 46);
	assert_received(2, 0x13, 46);
	assert_int_equal(get(&driver[1], 0x070), STATUS_RUNNING | STATUS_NEEDS_RESET);
	assert_int_equal(get(&driver[0], 0x070), STATUS_RUNNING);
	assert_non_null(strstr(last_log, "vm other: virtio-net 0 needs a reset"));
	assert_int_equal(net[1].port.dropped, 1);
}

static void switches_are_apart_by_name_and_gone_without_ports(void **state)
{
	(void)state;
	struct net_port port[NET_PORTS_MAX + 1] = {{0}};
	char name[] = "switch A";
	for (unsigned i = 0; i < NET_SWITCHES_MAX - 1; i++) { /* "lan" is one too */
		assert_true(net_switch_attach(&port[i], name));
		name[7]++;
		assert_true(i == 0 || port[i].net != port[i - 1].net);
		assert_true(port[i].net != net[0].port.net);
	}
	assert_false(net_switch_attach(&port[NET_SWITCHES_MAX], name));
	for (unsigned i = 0; i < NET_SWITCHES_MAX - 1; i++) {
		net_switch_detach(&port[i]);
	}
	for (unsigned i = 0; i < NET_PORTS_MAX; i++) {
		assert_true(net_switch_attach(&port[i], name));
	}
	assert_false(net_switch_attach(&port[NET_PORTS_MAX], name));
	for (unsigned i = 0; i < NET_PORTS_MAX; i++) {
		net_switch_detach(&port[i]);
	}
}

static void nothing_reaches_a_port_that_was_detached(void **state)
{
	(void)state;
	send(1, broadcast, mac[1], 0, 46); /* learned */
	give_buffers();
	net_switch_detach(&net[1].port);
	send(0, mac[1], mac[0], 0x14, 46);
	assert_nothing_used(&driver[1].queue[RECEIVE]);
	assert_received(2, 0x14, 46); /* unknown again, so flooded */
	assert_true(net_switch_attach(&net[1].port, "lan"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_device_tells_its_address_and_that_the_link_is_up),
		TEST(addresses_are_local_and_hang_on_the_name),
		TEST(broadcasts_reach_all_others),
		TEST(an_unknown_address_is_flooded_and_a_learned_one_is_not),
		TEST(multicasts_are_flooded_whatever_was_learned),
		TEST(a_station_that_moves_is_found_again),
		TEST(a_frame_to_its_own_port_goes_nowhere),
		TEST(frames_without_a_buffer_are_dropped_and_counted),
		TEST(a_frame_waits_for_a_receiver_that_has_no_buffer_just_now),
		TEST(a_receiver_is_waited_for_no_longer_than_it_has_earned),
		TEST(a_receiver_that_gives_one_buffer_at_a_time_pays_for_the_waits_in_between),
		TEST(two_that_have_no_buffers_do_not_wait_for_each_other),
		TEST(nobody_waits_for_a_receiver_that_is_reset_or_gone),
		TEST(every_copy_of_a_frame_is_charged),
		TEST(a_buffer_that_is_too_small_stays_for_the_next_frame),
		TEST(frames_of_full_length_pass_and_longer_or_shorter_ones_do_not),
		TEST(a_frame_without_header_breaks_the_sender_alone),
		TEST(a_receiver_with_broken_rings_harms_no_sender),
		TEST(switches_are_apart_by_name_and_gone_without_ports),
		TEST(nothing_reaches_a_port_that_was_detached),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
