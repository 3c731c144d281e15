/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block device (VIRTIO 1.2, 5.2): an image in memory, which is never written. Called by the transport for each
 * request. What a guest writes goes into frames of its own, a block of 4 KiB each, found by two levels of tables; they
 * come from the VM's mm_hal, so its quota holds for them.
 */
#include "hv/devices/virtio.h"
#include "lib/string.h"
#include "lib/util.h"

#define DEVICE_ID_BLOCK 2
#define SLICE_BYTES     KIB(256)

#define SECTOR_BYTES 512
#define BLOCK_BYTES  FRAME_SIZE

/* 5.2.3 Feature bits */
#define FEATURE_SEG_MAX  BIT(2)
#define FEATURE_RO       BIT(5)
#define FEATURE_BLK_SIZE BIT(6)
#define FEATURE_FLUSH    BIT(9)

/* 5.2.6 Device Operation */
enum { TYPE_IN = 0, TYPE_OUT = 1, TYPE_FLUSH = 4, TYPE_GET_ID = 8 };
enum { STATUS_OK, STATUS_IOERR, STATUS_UNSUPP };

struct request_header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
};

#define HEADER_AND_STATUS 2 /* segments of a request that are no data */
#define ID_BYTES          20

/* ---- the guest's own blocks ---- */

#define TABLE_ENTRIES (FRAME_SIZE / sizeof(hpa_t))
#define TABLE_BLOCKS  TABLE_ENTRIES
#define NO_BLOCK      0 /* as an entry; no frame is at address 0 */

static uint64_t table_count(const struct blk_overlay *overlay)
{
	return (overlay->blocks + TABLE_BLOCKS - 1) / TABLE_BLOCKS;
}

/* The upper table: a run of 2^order frames. */
static unsigned map_order(const struct blk_overlay *overlay)
{
	unsigned order = 0;
	while (TABLE_ENTRIES << order < table_count(overlay)) {
		order++;
	}
	return order;
}

static hpa_t *entries(const struct blk_overlay *overlay, hpa_t table)
{
	return mm_pointer(overlay->hal, table);
}

/* A guest's writes make these grow: they are its memory, and stay out of the reserve for others' tables. */
static hpa_t take(struct blk_overlay *overlay, unsigned order)
{
	hpa_t base = overlay->hal->alloc_frames(overlay->hal, order, FRAME_GUEST);
	overlay->frames += base != HPA_NONE ? BIT(order) : 0;
	return base;
}

static void give(struct blk_overlay *overlay, hpa_t base, unsigned order)
{
	overlay->hal->free_frames(overlay->hal, base, order, FRAME_GUEST);
	overlay->frames -= BIT(order);
}

static hpa_t take_table(struct blk_overlay *overlay, unsigned order)
{
	hpa_t table = take(overlay, order);
	if (table != HPA_NONE) {
		memset(mm_pointer(overlay->hal, table), NO_BLOCK, FRAME_SIZE << order);
	}
	return table;
}

/* The guest's own copy of a block, or NULL. */
static uint8_t *own_block(const struct virtio_blk *disk, uint64_t block)
{
	const struct blk_overlay *overlay = disk->overlay;
	if (!overlay || overlay->map == HPA_NONE) {
		return NULL;
	}
	hpa_t table = entries(overlay, overlay->map)[block / TABLE_BLOCKS];
	if (table == NO_BLOCK) {
		return NULL;
	}
	hpa_t frame = entries(overlay, table)[block % TABLE_BLOCKS];
	return frame == NO_BLOCK ? NULL : mm_pointer(overlay->hal, frame);
}

/* What the image has of a block; zeros after its end. */
static void copy_block(const struct virtio_blk *disk, uint64_t block, uint8_t *to)
{
	uint64_t start = block * BLOCK_BYTES;
	uint64_t bytes = MIN(BLOCK_BYTES, disk->image_bytes - start);
	memcpy(to, disk->image + start, bytes);
	memset(to + bytes, 0, BLOCK_BYTES - bytes);
}

/* Makes the copy, and the tables on the way to it, which stay if a frame is missing. NULL: a frame is missing. */
static uint8_t *make_block(struct virtio_blk *disk, uint64_t block, bool whole)
{
	struct blk_overlay *overlay = disk->overlay;
	if (overlay->map == HPA_NONE) {
		overlay->map = take_table(overlay, map_order(overlay));
	}
	if (overlay->map == HPA_NONE) {
		return NULL;
	}
	hpa_t *table = &entries(overlay, overlay->map)[block / TABLE_BLOCKS];
	if (*table == NO_BLOCK) {
		hpa_t taken = take_table(overlay, 0);
		if (taken == HPA_NONE) {
			return NULL;
		}
		*table = taken;
	}
	hpa_t frame = take(overlay, 0);
	if (frame == HPA_NONE) {
		return NULL;
	}
	uint8_t *bytes = mm_pointer(overlay->hal, frame);
	if (!whole) {
		copy_block(disk, block, bytes);
	}
	entries(overlay, *table)[block % TABLE_BLOCKS] = frame;
	return bytes;
}

void blk_overlay_init(struct blk_overlay *overlay, uint64_t image_bytes, struct mm_hal *hal)
{
	*overlay = (struct blk_overlay){
		.hal = hal,
		.blocks = (image_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES,
		.map = HPA_NONE,
	};
}

void blk_overlay_destroy(struct blk_overlay *overlay)
{
	if (overlay->map == HPA_NONE) {
		return;
	}
	for (uint64_t i = 0; i < table_count(overlay); i++) {
		hpa_t table = entries(overlay, overlay->map)[i];
		if (table == NO_BLOCK) {
			continue;
		}
		for (uint64_t j = 0; j < TABLE_ENTRIES; j++) {
			if (entries(overlay, table)[j] != NO_BLOCK) {
				give(overlay, entries(overlay, table)[j], 0);
			}
		}
		give(overlay, table, 0);
	}
	give(overlay, overlay->map, map_order(overlay));
	overlay->map = HPA_NONE;
}

/* ---- requests ---- */

/* Copies up to the end of a block. False: the chain's memory is missing. */
static bool read_piece(struct virtio_blk *disk, size_t bytes)
{
	static const uint8_t zeros[SECTOR_BYTES];
	struct virtio_device *device = &disk->virtio;
	const uint8_t *from = own_block(disk, disk->position / BLOCK_BYTES);
	if (from) {
		from += disk->position % BLOCK_BYTES;
	} else if (disk->position < disk->image_bytes) {
		from = disk->image + disk->position;
		bytes = MIN(bytes, disk->image_bytes - disk->position);
	} else {
		from = zeros; /* the rest of the last sector */
		bytes = MIN(bytes, sizeof(zeros));
	}
	size_t done = virtq_write(virtio_requests(device), &device->chain, from, bytes);
	disk->position += done;
	disk->remaining -= done;
	device->budget -= (uint32_t)MIN(done, (size_t)device->budget);
	return done == bytes;
}

/* A block that is new to the guest must not stay unfilled: a whole one is filled by one piece, or with zeros. */
static bool write_piece(struct virtio_blk *disk, size_t bytes)
{
	struct virtio_device *device = &disk->virtio;
	uint64_t block = disk->position / BLOCK_BYTES;
	uint8_t *to = own_block(disk, block);
	if (!to) {
		to = make_block(disk, block, bytes == BLOCK_BYTES);
	}
	if (!to) {
		disk->status = STATUS_IOERR;
		return true;
	}
	to += disk->position % BLOCK_BYTES;
	size_t done = virtq_read(virtio_requests(device), &device->chain, to, bytes);
	if (unlikely(done < bytes)) {
		memset(to + done, 0, bytes - done); /* the frame may have been another guest's */
	}
	disk->position += done;
	disk->remaining -= done;
	device->budget -= (uint32_t)MIN(done, (size_t)device->budget);
	return done == bytes;
}

static void write_id(struct virtio_blk *disk)
{
	struct virtio_device *device = &disk->virtio;
	char id[ID_BYTES] = {0};
	memcpy(id, device->device.name, MIN(strlen(device->device.name), sizeof(id)));
	virtq_write(virtio_requests(device), &device->chain, id, MIN(sizeof(id), device->chain.writable_bytes - 1));
}

/* `data` bytes from `sector` on lie on the disk, and it may be written if need be. */
static bool may_transfer(const struct virtio_blk *disk, uint64_t sector, uint64_t data)
{
	return sector <= disk->config.capacity && data % SECTOR_BYTES == 0 &&
	       data / SECTOR_BYTES <= disk->config.capacity - sector && (disk->type == TYPE_IN || disk->overlay);
}

/* False: no request at all. */
static bool start(struct virtio_blk *disk)
{
	struct virtio_device *device = &disk->virtio;
	struct virtq_chain *chain = &device->chain;
	struct request_header header;
	if (chain->readable_bytes < sizeof(header) || chain->writable_bytes == 0) {
		return virtio_broken(device, "a request lacks header or status, head", chain->head);
	}
	if (virtq_read(virtio_requests(device), chain, &header, sizeof(header)) != sizeof(header)) {
		return false;
	}
	uint64_t data = header.type == TYPE_IN ? chain->writable_bytes - 1 : chain->readable_bytes - sizeof(header);
	disk->type = header.type;
	disk->status = STATUS_OK;
	disk->remaining = 0;
	switch (header.type) {
	case TYPE_IN:
	case TYPE_OUT:
		if (may_transfer(disk, header.sector, data)) {
			disk->position = header.sector * SECTOR_BYTES;
			disk->remaining = data;
		} else {
			disk->status = STATUS_IOERR;
		}
		break;
	case TYPE_FLUSH: /* nothing is kept back */
		break;
	case TYPE_GET_ID:
		write_id(disk);
		break;
	default:
		disk->status = STATUS_UNSUPP;
		break;
	}
	device->started = true;
	return true;
}

/* 5.2.6: the status is the last writable byte. */
static bool finish(struct virtio_blk *disk)
{
	struct virtq_chain *chain = &disk->virtio.chain;
	uint64_t written = disk->status == STATUS_OK ? chain->written : 0;
	bool filled = chain->written == chain->writable_bytes - 1;
	virtq_skip(chain, chain->writable_bytes - 1 - chain->written);
	virtq_write(virtio_requests(&disk->virtio), chain, &disk->status, sizeof(disk->status));
	chain->written = written + (filled && disk->status == STATUS_OK);
	return true;
}

static bool serve(struct virtio_device *device)
{
	struct virtio_blk *disk = container_of(device, struct virtio_blk, virtio);
	if (!device->started && !start(disk)) {
		return false;
	}
	while (disk->remaining > 0 && disk->status == STATUS_OK) {
		size_t bytes = MIN(disk->remaining, BLOCK_BYTES - disk->position % BLOCK_BYTES);
		if (device->budget == 0 ||
		    !(disk->type == TYPE_IN ? read_piece(disk, bytes) : write_piece(disk, bytes))) {
			return false;
		}
	}
	return finish(disk);
}

static const struct virtio_type type = {
	.id = DEVICE_ID_BLOCK,
	.queues = 1,
	.slice = SLICE_BYTES,
	.serve = serve,
};

void virtio_blk_init(struct virtio_blk *disk, const struct virtio_place *place, const void *image, uint64_t bytes,
                     struct blk_overlay *overlay)
{
	*disk = (struct virtio_blk){
		.image = image,
		.image_bytes = bytes,
		.overlay = overlay,
		.config =
			{
				.capacity = bytes / SECTOR_BYTES + (bytes % SECTOR_BYTES != 0),
				.seg_max = VIRTQ_SIZE_MAX - HEADER_AND_STATUS,
				.blk_size = SECTOR_BYTES,
			},
	};
	virtio_init(&disk->virtio, &type, place);
	disk->virtio.features |= FEATURE_SEG_MAX | FEATURE_BLK_SIZE | FEATURE_FLUSH | (overlay ? 0 : FEATURE_RO);
	disk->virtio.config = &disk->config;
	disk->virtio.config_bytes = sizeof(disk->config);
}
