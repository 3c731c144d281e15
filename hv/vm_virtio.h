/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio devices of a VM: its disks, its network device, its console if that is to be virtio, and always an entropy
 * device. Made when the VM is created. Loaders describe them to the guest from the list in here.
 */
#pragma once

#include "hv/config.h"
#include "hv/devices/virtio.h"

struct vm;
struct arch_vm;

#define VM_VIRTIO_MAX 8 /* devices */

/* Where one is: its registers, VIRTIO_MMIO_BYTES of them, and its line (level; x86: GSI, Arm: INTID). */
struct vm_virtio_slot {
	struct irq_line irq;
	struct arch_vm *arch;
	gpa_t base;
	unsigned line;
	char name[16];
};

struct vm_virtio {
	unsigned count;
	struct vm_virtio_slot slot[VM_VIRTIO_MAX];
	struct virtio_blk disk[CONFIG_DISKS_MAX];
	bool has_net;
	struct virtio_net net;
	struct virtio_console console; /* with console = virtio */
	struct virtio_rng rng;
};

/* Makes vm->virtio from vm->config and vm->files and puts it on the VM's MMIO bus. False: `message` tells why; what was
 * made is given back by vm_virtio_destroy. */
bool vm_virtio_init(struct vm *vm, char *message, size_t size);
/* Gives back what the devices took; also where not all were made. The disks' overlays stay: they are the VM's. */
void vm_virtio_destroy(struct vm *vm);
