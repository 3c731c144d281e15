/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See sched.h. One CPU and one vCPU a VM in this version. Called by hv_main; a switch between VMs happens here and
 * nowhere else, so a VM that runs by itself is never put aside.
 */
#include "hv/sched.h"

#include "hv/clock.h"
#include "hv/host_memory.h"
#include "hv/vm.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/util.h"

#define SLICE_MS      10
#define IDLE_SLICE_MS 10 /* input is looked for this often while all wait */

struct slot {
	struct vm *vm;        /* NULL: not running, or over */
	bool waiting;         /* for an interrupt */
	uint64_t rests_until; /* after a restart, which no slice ends: until the others have had as much */
};

static struct slot slots[CONFIG_VMS_MAX];
static unsigned live;
static struct vm *loaded; /* the VM whose vCPU's registers the CPU holds; NULL: none's */

static unsigned order_of_vm(void)
{
	unsigned order = 0;
	while ((FRAME_SIZE << order) < sizeof(struct vm)) {
		order++;
	}
	return order;
}

static void free_vm(struct vm *vm)
{
	struct mm_hal *hal = host_memory_hal();
	hal->free_frames(hal, (uintptr_t)vm, order_of_vm(), FRAME_KERNEL);
}

/* If that cannot be, it was told why. */
static void start(const struct boot_info *info, unsigned index)
{
	struct mm_hal *hal = host_memory_hal();
	const struct config_vm *config = &info->config.vms[index];
	hpa_t frames = hal->alloc_frames(hal, order_of_vm(), FRAME_KERNEL);
	if (frames == HPA_NONE) {
		log_line("sched", "vm %s: not started: no frames for its structure", config->name);
		return;
	}
	struct vm *vm = mm_pointer(hal, frames);
	memset(vm, 0, sizeof(*vm));
	vm->config = config;
	vm->files = &info->files[index];
	vm->cpu_ticks_left = config->cpu_time ? clock_ticks(config->cpu_time) : UINT64_MAX;
	if (!vm_start(vm, info->config.run == CONFIG_RUN_IN_TURN)) {
		free_vm(vm);
		return;
	}
	slots[index] = (struct slot){.vm = vm};
	live++;
}

static void load(struct vm *vm)
{
	if (loaded == vm) {
		return;
	}
	if (loaded) {
		arch_vcpu_put(&loaded->vcpu.arch);
	}
	loaded = vm;
	if (vm) {
		arch_vcpu_load(&vm->vcpu.arch);
	}
}

/* It ran to an end, unless it starts again: its budget is the VM's, restarts included. */
static void finish(struct slot *slot, enum vm_outcome outcome)
{
	struct vm *vm = slot->vm;
	load(NULL);
	if (outcome == VM_RESTART) {
		uint64_t from = arch_counter();
		if (vm_restart(vm)) {
			uint64_t now = arch_counter();
			slot->rests_until = now + (now - from) * (live - 1);
			return;
		}
	} else {
		vm_finish(vm, outcome);
	}
	free_vm(vm);
	slot->vm = NULL;
	live--;
}

static bool is_ready(struct slot *slot)
{
	struct arch_vcpu *vcpu = &slot->vm->vcpu.arch;
	if (slot->waiting && (arch_vcpu_interrupt_pending(vcpu) || arch_counter() >= arch_vcpu_wake_time(vcpu))) {
		slot->waiting = false;
	}
	return !slot->waiting && arch_counter() >= slot->rests_until;
}

/* The next slot after `last` whose VM can run; sleeps until there is one. */
static unsigned next_ready(unsigned count, unsigned last)
{
	for (;;) {
		uint64_t until = arch_counter() + clock_ticks(IDLE_SLICE_MS);
		for (unsigned i = 1; i <= count; i++) {
			unsigned index = (last + i) % count;
			if (!slots[index].vm) {
				continue;
			}
			if (is_ready(&slots[index])) {
				return index;
			}
			until = MIN(until, arch_vcpu_wake_time(&slots[index].vm->vcpu.arch));
		}
		arch_idle(until);
		host_look_around();
	}
}

/* Until no VM is left; returns how many of them ended by themselves. */
static unsigned run_live(const struct boot_info *info)
{
	/* The last one of several still has slices: console.c shows begun lines at their ends. */
	bool sliced = info->config.run == CONFIG_RUN_TOGETHER && info->config.vm_count > 1;
	unsigned ended = 0, index = 0;
	while (live > 0) {
		index = next_ready(info->config.vm_count, index);
		struct vm *vm = slots[index].vm;
		load(vm);
		if (vm->first_entry == 0) {
			vm->first_entry = clock_since_start();
		}
		uint64_t slice_end = sliced ? arch_counter() + clock_ticks(SLICE_MS) : UINT64_MAX;
		enum vm_outcome outcome = vcpu_run(&vm->vcpu, slice_end);
		console_slice_over(&vm->console, outcome != VM_PAUSED);
		if (outcome == VM_WAITING) {
			slots[index].waiting = true;
		} else if (outcome != VM_PAUSED) {
			ended += outcome == VM_ENDED;
			finish(&slots[index], outcome);
		}
	}
	return ended;
}

unsigned sched_run(const struct boot_info *info)
{
	unsigned ended = 0;
	for (unsigned i = 0; i < info->config.vm_count; i++) {
		start(info, i);
		if (info->config.run == CONFIG_RUN_IN_TURN) {
			ended += run_live(info);
		}
	}
	return ended + run_live(info);
}
