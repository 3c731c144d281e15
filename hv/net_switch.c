/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switches between VMs: see net_switch.h. Called by the network devices. A frame's contents are the guest's: only
 * its two addresses are looked at, and whatever they say, it reaches no port but this switch's.
 */
#include "hv/net_switch.h"

#include "hv/clock.h"
#include "lib/string.h"
#include "lib/util.h"

#define MAC_GROUP 0x01 /* in the first byte: broadcast or multicast, IEEE 802 8.2.2 */
#define MAC_LOCAL 0x02 /* locally administered */

/* FNV-1a */
#define HASH_START UINT64_C(0xcbf29ce484222325)
#define HASH_PRIME UINT64_C(0x100000001b3)

static struct net_switch switches[NET_SWITCHES_MAX];
static struct spinlock switches_lock; /* which are in use, and their names; taken before a switch's own */

static uint64_t hash(uint64_t from, const void *data, size_t bytes)
{
	const uint8_t *byte = data;
	for (size_t i = 0; i < bytes; i++) {
		from = (from ^ byte[i]) * HASH_PRIME;
	}
	return from;
}

void net_mac(const char *vm_name, unsigned index, uint8_t mac[NET_MAC_BYTES])
{
	uint64_t value = hash(hash(HASH_START, vm_name, strlen(vm_name)), &index, sizeof(index));
	memcpy(mac, &value, NET_MAC_BYTES);
	mac[0] = MAC_LOCAL;
}

/* ---- ports ---- */

static struct net_switch *find(const char *name)
{
	struct net_switch *unused = NULL;
	for (unsigned i = 0; i < NET_SWITCHES_MAX; i++) {
		if (switches[i].port_count == 0) {
			unused = unused ? unused : &switches[i];
		} else if (strcmp(switches[i].name, name) == 0) {
			return &switches[i];
		}
	}
	if (unused) {
		*unused = (struct net_switch){.port_count = 0};
		memcpy(unused->name, name, MIN(strlen(name), sizeof(unused->name) - 1));
	}
	return unused;
}

bool net_switch_attach(struct net_port *port, const char *name)
{
	bool attached = false;
	spin_lock(&switches_lock);
	struct net_switch *net = find(name);
	if (net) {
		spin_lock(&net->lock);
		attached = net->port_count < NET_PORTS_MAX;
		if (attached) {
			net->port[net->port_count++] = port;
			port->net = net;
		}
		spin_unlock(&net->lock);
	}
	spin_unlock(&switches_lock);
	return attached;
}

void net_switch_detach(struct net_port *port)
{
	struct net_switch *net = port->net;
	spin_lock(&switches_lock);
	spin_lock(&net->lock);
	for (unsigned i = 0; i < net->port_count; i++) {
		if (net->port[i] == port) {
			net->port[i] = net->port[--net->port_count];
			break;
		}
	}
	for (unsigned i = 0; i < NET_ADDRESSES; i++) {
		if (net->address[i].port == port) {
			net->address[i].port = NULL;
		}
	}
	spin_unlock(&net->lock);
	spin_unlock(&switches_lock);
}

/* ---- frames ---- */

static struct net_address *place_of(struct net_switch *net, const uint8_t *mac)
{
	uint64_t value = hash(HASH_START, mac, NET_MAC_BYTES);
	return &net->address[(value ^ value >> 32) % NET_ADDRESSES];
}

static void learn(struct net_port *port, const uint8_t *mac)
{
	struct net_address *address = place_of(port->net, mac);
	memcpy(address->mac, mac, NET_MAC_BYTES);
	address->port = port;
}

/* Whatever becomes of its next try: since the last one a sender has lost its time for `to`. */
static void charge(struct net_port *to)
{
	uint64_t waited = MIN(clock_nanoseconds() - to->refused, NET_PATIENCE_TRY);
	to->patience -= MIN(waited, to->patience);
}

/* Two that wait for each other would wait in vain. */
static bool worth_waiting(struct net_port *to)
{
	to->refused = clock_nanoseconds();
	return to->patience > 0 && !to->waits;
}

static enum net_result deliver(struct net_port *to, uint8_t *frame, size_t bytes)
{
	enum net_result result = to->receive(to, frame, bytes);
	if (result == NET_TAKEN) {
		to->received++;
		to->patience = MIN(to->patience + NET_PATIENCE_FRAME, NET_PATIENCE_MAX);
	}
	return result;
}

static void count_drop(struct net_port *to, enum net_result result)
{
	to->dropped += result == NET_FULL || result == NET_DROPPED;
}

static int flood(const struct net_port *from, uint8_t *frame, size_t bytes)
{
	const struct net_switch *net = from->net;
	for (unsigned i = 0; i < net->port_count; i++) {
		if (net->port[i] != from) {
			count_drop(net->port[i], deliver(net->port[i], frame, bytes));
		}
	}
	return (int)net->port_count - 1;
}

static int send_to(struct net_port *from, struct net_port *to, uint8_t *frame, size_t bytes, bool again)
{
	if (again) {
		charge(to);
	}
	enum net_result result = deliver(to, frame, bytes);
	from->waits = result == NET_FULL && worth_waiting(to);
	if (from->waits) {
		return NET_SEND_AGAIN;
	}
	count_drop(to, result);
	return 1;
}

int net_switch_send(struct net_port *port, size_t bytes)
{
	struct net_switch *net = port->net;
	uint8_t *frame = net->packet + NET_HEADROOM;
	const uint8_t *to = frame, *from = frame + NET_MAC_BYTES;
	bool again = port->waits;
	port->waits = false;
	if (bytes < NET_HEADER_BYTES || bytes > NET_FRAME_MAX) {
		port->dropped++;
		return 0;
	}
	port->sent += !again;
	learn(port, from);
	const struct net_address *known = place_of(net, to);
	if (!(to[0] & MAC_GROUP) && known->port && memcmp(known->mac, to, NET_MAC_BYTES) == 0) {
		return known->port == port ? 0 : send_to(port, known->port, frame, bytes, again);
	}
	return flood(port, frame, bytes);
}
