/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio devices of a VM: see vm_virtio.h. Called by vm.c when a VM is created and when it is destroyed.
 */
#include "hv/vm_virtio.h"

#include "hv/entropy.h"
#include "hv/vm.h"
#include "lib/panic.h"
#include "lib/printf.h"
#include "lib/string.h"
#include "lib/util.h"

_Static_assert(CONFIG_DISKS_MAX + 3 <= VM_VIRTIO_MAX, "disks, network, console, entropy");
_Static_assert(CONFIG_NAME_MAX <= NET_NAME_MAX, "a switch's name is one of the configuration's");

static void set_irq(struct irq_line *line, bool level)
{
	struct vm_virtio_slot *slot = container_of(line, struct vm_virtio_slot, irq);
	arch_vm_set_irq(slot->arch, slot->line, level);
}

/* The next place; the device for it goes to `add` once it is made. */
static struct virtio_place next_place(struct vm *vm, const char *kind, unsigned index)
{
	unsigned n = vm->virtio.count++;
	struct vm_virtio_slot *slot = &vm->virtio.slot[n];
	*slot = (struct vm_virtio_slot){
		.irq.set = set_irq,
		.arch = &vm->arch,
		.base = arch_platform.virtio_base + (uint64_t)n * arch_platform.virtio_stride,
		.line = arch_platform.virtio_irq + n,
	};
	snprintf(slot->name, sizeof(slot->name), "virtio-%s %u", kind, index);
	return (struct virtio_place){slot->name, &vm->space, &slot->irq, vm->log_name};
}

static void add(struct vm *vm, struct virtio_device *device)
{
	const struct vm_virtio_slot *slot = &vm->virtio.slot[vm->virtio.count - 1];
	if (!bus_add(&vm->mmio, slot->base, VIRTIO_MMIO_BYTES, &device->device)) {
		panic("%s: the platform's devices overlap", vm->log_name);
	}
}

static void add_disk(struct vm *vm, unsigned index)
{
	struct virtio_blk *disk = &vm->virtio.disk[index];
	const struct boot_file *file = &vm->files->disk[index];
	struct virtio_place place = next_place(vm, "blk", index);
	bool readonly = vm->config->disk[index].readonly;
	virtio_blk_init(disk, &place, file->data, file->bytes, readonly ? NULL : &vm->overlay[index]);
	add(vm, &disk->virtio);
}

static bool add_net(struct vm *vm)
{
	struct virtio_net *net = &vm->virtio.net;
	uint8_t mac[NET_MAC_BYTES];
	net_mac(vm->config->name, 0, mac);
	struct virtio_place place = next_place(vm, "net", 0);
	vm->virtio.has_net = virtio_net_init(net, &place, mac, vm->config->net);
	if (!vm->virtio.has_net) {
		return false;
	}
	add(vm, &net->virtio);
	return true;
}

static void add_console(struct vm *vm)
{
	struct virtio_place place = next_place(vm, "console", 0);
	virtio_console_init(&vm->virtio.console, &place, &vm->console.backend);
	add(vm, &vm->virtio.console.virtio);
}

static void add_rng(struct vm *vm)
{
	uint8_t seed[RANDOM_SEED_BYTES];
	entropy_get(seed, sizeof(seed));
	struct virtio_place place = next_place(vm, "rng", 0);
	virtio_rng_init(&vm->virtio.rng, &place, seed);
	random_wipe(seed, sizeof(seed));
	add(vm, &vm->virtio.rng.virtio);
}

bool vm_virtio_init(struct vm *vm, char *message, size_t size)
{
	for (unsigned i = 0; i < vm->config->disk_count; i++) {
		add_disk(vm, i);
	}
	if (vm->config->net[0] != '\0' && !add_net(vm)) {
		snprintf(message, size, "net = %s: more than %d switches, or %d VMs on one", vm->config->net,
		         NET_SWITCHES_MAX, NET_PORTS_MAX);
		return false;
	}
	if (vm->config->console == CONFIG_CONSOLE_VIRTIO) {
		add_console(vm);
	}
	add_rng(vm);
	return true;
}

void vm_virtio_destroy(struct vm *vm)
{
	if (vm->virtio.has_net) {
		net_switch_detach(&vm->virtio.net.port);
	}
}
