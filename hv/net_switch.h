/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Ethernet switches between VMs, by name. A frame goes from the sender's queue into the receivers' at once, or
 * is dropped and counted: a switch keeps none. It learns which port an address is behind. A sender may wait for a
 * receiver that has no buffers left, for it may only want the CPU; but for no more time than it has earned by the
 * frames that it took, so that one which takes none, or few, holds nobody up.
 *
 * Locking: a switch's lock covers its ports and its table, and, because the devices on its ports use it as theirs, both
 * ends of every transfer. Every function here but net_switch_attach and net_switch_detach is called under it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/spinlock.h"

#define NET_MAC_BYTES    6
#define NET_HEADER_BYTES 14   /* addresses and EtherType: the shortest frame, for the switch does not pad */
#define NET_FRAME_MAX    1518 /* an MTU of 1500, and a VLAN tag */
#define NET_HEADROOM     12   /* bytes before a frame, for the header that virtio has there */
#define NET_NAME_MAX     32   /* with the terminating 0 */
#define NET_PORTS_MAX    32
#define NET_ADDRESSES    64 /* learned, a power of two; a newer one overwrites an older one in its place */
#define NET_SWITCHES_MAX 8

/* How long a port may keep senders waiting, in nanoseconds: for each frame that it took, and at most; and what one try
 * more is charged at most, for the time that others had the CPU is not the port's. */
#define NET_PATIENCE_FRAME UINT64_C(500000)
#define NET_PATIENCE_MAX   UINT64_C(100000000)
#define NET_PATIENCE_TRY   UINT64_C(25000000)

struct net_switch;

enum net_result {
	NET_TAKEN,
	NET_FULL,    /* no buffer now */
	NET_DROPPED, /* nor later */
	NET_ABSENT,  /* no driver listens */
};

/* Embedded in each network device. */
struct net_port {
	struct net_switch *net;
	/* Puts a frame into the device's queue; before it are NET_HEADROOM bytes to write to. */
	enum net_result (*receive)(struct net_port *port, uint8_t *frame, size_t bytes);
	uint64_t sent, received, dropped; /* frames; dropped: for want of this port's buffers, or not fit to be sent */
	bool waits;                       /* for a receiver's buffers, with a frame to send */
	uint64_t patience;                /* nanoseconds that others may yet wait for this port's */
	uint64_t refused;                 /* when a frame was last told to wait for it */
};

struct net_address {
	uint8_t mac[NET_MAC_BYTES];
	struct net_port *port; /* NULL: nothing learned here */
};

struct net_switch {
	char name[NET_NAME_MAX];
	struct spinlock lock;
	unsigned port_count;
	struct net_port *port[NET_PORTS_MAX];
	struct net_address address[NET_ADDRESSES];
	/* The sender's frame on its way, and before it what devices have there. */
	uint8_t packet[NET_HEADROOM + NET_FRAME_MAX];
};

/* Puts `port` (its receive set, else zeroed) on the switch `name`, which comes into being with its first port. False:
 * there are too many switches, or ports on this one. */
bool net_switch_attach(struct net_port *port, const char *name);
/* Nothing is delivered to the port any more. A switch without ports is gone. */
void net_switch_detach(struct net_port *port);

/* Sends the frame of `bytes` that lies at port->net->packet + NET_HEADROOM. The number of receivers tried, or
 * NET_SEND_AGAIN: the port's next frame must be this one, later. */
#define NET_SEND_AGAIN (-1)
int net_switch_send(struct net_port *port, size_t bytes);

/* The address of the n-th network device of a VM: locally administered, always the same for the same name. */
void net_mac(const char *vm_name, unsigned index, uint8_t mac[NET_MAC_BYTES]);
