/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtio devices (VIRTIO 1.2) behind the virtio-mmio transport, version 2: what all kinds share, and the kinds. A VM
 * makes them (hv/vm_virtio.c), its MMIO bus reaches their registers. They know an address space, an interrupt line and
 * what they were given as backend, and nothing else of the VM, so they build and are tested on the host.
 *
 * virtio-mmio and not virtio-pci: Debian's kernels of both ISAs have its driver as a module, and one page of registers
 * and one interrupt line a device is all it takes.
 *
 * Locking: `lock` covers a device's registers, queues and request. It is the device's own, except that network devices
 * use their switch's, for a frame goes from the queue of one into that of another. Under it the address space's lock
 * and the interrupt controller's may be taken, never the other way round.
 */
#pragma once

#include "hv/devices/serial.h"
#include "hv/devices/virtqueue.h"
#include "hv/net_switch.h"
#include "lib/random.h"
#include "lib/spinlock.h"

#define VIRTIO_MMIO_BYTES UINT64_C(0x200) /* registers, then configuration space */
#define VIRTIO_QUEUES_MAX 2

struct virtio_device;

/* A kind of device. Requests come by its last queue; a queue before it takes buffers for what the device receives. */
struct virtio_type {
	uint32_t id;
	unsigned queues;
	/* Bytes of work at one go. What is left is done when the guest executes its notification again: BUS_BUSY.
	 */
	uint32_t slice;
	/*
	 * Answers the request device->chain, of device->budget bytes at most. False: not finished, call again (a first
	 * call for a chain finds device->started false, and sets it if it wants). With device->waits set nothing of it
	 * has been done, and the guest is told BUS_WAITS.
	 */
	bool (*serve)(struct virtio_device *device);
	/* The driver has made buffers available in queue 0. May be NULL. */
	void (*buffers)(struct virtio_device *device);
};

struct virtio_device {
	struct device device;
	const struct virtio_type *type;
	const char *log_name; /* the VM's */
	struct spinlock *lock, own_lock;
	struct irq_line *irq;
	uint64_t features; /* offered, over those that every device has */
	const void *config;
	uint32_t config_bytes;
	/* registers */
	uint64_t driver_features;
	uint32_t device_features_select, driver_features_select, queue_select;
	uint32_t status, interrupt_status;
	bool told; /* that its driver broke it: once is enough for the log */
	/* the request under way */
	bool open, started;
	bool busy;       /* work is left over, which comes before all else */
	bool waits;      /* in the course of a write: for another VM */
	uint32_t budget; /* bytes of work that this go still has */
	struct virtqueue queue[VIRTIO_QUEUES_MAX];
	struct virtq_chain chain;
};

/* What every kind is given; all of it stays the caller's. */
struct virtio_place {
	const char *name; /* "virtio-blk 0" */
	struct addr_space *space;
	struct irq_line *irq;
	const char *log_name;
};

/* ---- for the kinds ---- */

void virtio_init(struct virtio_device *device, const struct virtio_type *type, const struct virtio_place *place);
/* The queue that requests come by. */
static inline struct virtqueue *virtio_requests(struct virtio_device *device)
{
	return &device->queue[device->type->queues - 1];
}
/* Whether the driver lets the device use queue `index` now. */
bool virtio_running(const struct virtio_device *device, unsigned index);
/* Shows the driver what was pushed, and interrupts it if it wants that; or tells that the queue is broken. */
void virtio_publish(struct virtio_device *device, struct virtqueue *queue);
/* The driver has broken a rule of the device's own. Always false. */
bool virtio_broken(struct virtio_device *device, const char *what, uint64_t value);

/* ---- block: an image in memory ---- */

/* 5.2.4 Device configuration layout */
struct virtio_blk_config {
	uint64_t capacity; /* in sectors of 512 bytes */
	uint32_t size_max;
	uint32_t seg_max;
	uint8_t geometry[4];
	uint32_t blk_size;
};

/* A guest's own copies of the 4 KiB blocks that it wrote: frames in two levels of tables. */
struct blk_overlay {
	struct mm_hal *hal;
	uint64_t blocks; /* of the disk */
	hpa_t map;       /* HPA_NONE until the first write */
	uint64_t frames; /* that all this holds */
};

struct virtio_blk {
	struct virtio_device virtio;
	struct virtio_blk_config config;
	const uint8_t *image;
	uint64_t image_bytes;
	struct blk_overlay *overlay; /* NULL: the disk is read-only */
	/* The request under way. */
	uint32_t type;
	uint8_t status;
	uint64_t position, remaining; /* bytes */
};

/*
 * `image` (page-aligned, `bytes` long, never written, the caller's) as a disk; a last part of a sector is filled up
 * with zeros. What the guest writes is kept in `overlay`, which may outlive the device; NULL: it may not write.
 */
void virtio_blk_init(struct virtio_blk *disk, const struct virtio_place *place, const void *image, uint64_t bytes,
                     struct blk_overlay *overlay);
/* Of a disk whose image has so many bytes. The frames come from `hal`, as they are written. */
void blk_overlay_init(struct blk_overlay *overlay, uint64_t image_bytes, struct mm_hal *hal);
void blk_overlay_destroy(struct blk_overlay *overlay);

/* ---- console: one port ---- */

struct virtio_console {
	struct virtio_device virtio;
	struct serial_backend *backend;
	struct virtq_chain input;
};

void virtio_console_init(struct virtio_console *console, const struct virtio_place *place,
                         struct serial_backend *backend);
/* Takes what waits in the backend, as far as the driver has given buffers for it; the rest stays there. */
void virtio_console_poll(struct virtio_console *console);

/* ---- network ---- */

/* 5.1.4 Device configuration layout, as far as the features offered reach */
struct virtio_net_config {
	uint8_t mac[NET_MAC_BYTES];
	uint16_t status;
};

struct virtio_net {
	struct virtio_device virtio;
	struct virtio_net_config config;
	struct net_port port;
};

/* On a port of the switch of that name, which the caller detaches after the VM's end. False: as net_switch_attach. */
bool virtio_net_init(struct virtio_net *net, const struct virtio_place *place, const uint8_t mac[NET_MAC_BYTES],
                     const char *switch_name);

/* ---- entropy ---- */

struct virtio_rng {
	struct virtio_device virtio;
	struct random random;
};

void virtio_rng_init(struct virtio_rng *rng, const struct virtio_place *place, const uint8_t seed[RANDOM_SEED_BYTES]);
