/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vCPU loop: runs the vCPU and answers what the architecture returned. Whatever a guest does ends here at
 * worst, with a report on the log and its VM stopped.
 */
#include "hv/clock.h"
#include "hv/console.h"
#include "hv/host_memory.h"
#include "hv/hypercall.h"
#include "hv/vm.h"
#include "lib/log.h"
#include "lib/printf.h"
#include "lib/util.h"

#define IDLE_SLICE_MS 10 /* how long an idle CPU sleeps between looks at the console */
#define LOG_WAIT_MS   1  /* how long the boot log may wait for a guest that is running */

static const char *access_name(const struct nested_fault *fault)
{
	if (fault->access & MM_EXECUTE) {
		return "execute";
	}
	return fault->access & MM_WRITE ? "write" : "read";
}

static void permission_text(uint8_t permissions, char text[4])
{
	text[0] = permissions & MM_READ ? 'r' : '-';
	text[1] = permissions & MM_WRITE ? 'w' : '-';
	text[2] = permissions & MM_EXECUTE ? 'x' : '-';
	text[3] = '\0';
}

/* The guest did nothing wrong: it used what it was promised, and the machine has not so much. */
static void log_out_of_memory(struct vm *vm, const struct vm_exit *exit)
{
	struct frame_quota_counts quota = frame_quota_counts(&vm->quota);
	log_line(vm->log_name,
	         "stopped: out of memory: %s: %s of GPA 0x%llx; %llu frames are free, the last %llu are kept from "
	         "guests; this one holds %llu of %llu",
	         arch_exit_name(exit->raw), access_name(&exit->fault), (unsigned long long)exit->fault.gpa,
	         (unsigned long long)host_memory_counts().free, (unsigned long long)host_memory_reserve(),
	         (unsigned long long)quota.held, (unsigned long long)quota.limit);
}

static void log_fault(struct vm *vm, const struct vm_exit *exit)
{
	const struct nested_fault *fault = &exit->fault;
	char where[32] = "no area there";
	struct gpa_range range;
	uint8_t permissions;
	if (addr_space_find_area(&vm->space, fault->gpa, &range, &permissions)) {
		char text[4];
		permission_text(permissions, text);
		snprintf(where, sizeof(where), "area is %s", text);
	}
	log_line(vm->log_name, "stopped: %s: %s of GPA 0x%llx, %s (%s)", arch_exit_name(exit->raw), access_name(fault),
	         (unsigned long long)fault->gpa, where, mm_status_name(exit->status));
}

static enum vm_outcome stop_for_fault(struct vcpu *vcpu, const struct vm_exit *exit)
{
	struct vm *vm = vcpu->vm;
	const struct nested_fault *fault = &exit->fault;
	if (exit->status == MM_ENOMEM) {
		log_out_of_memory(vm, exit);
	} else {
		log_fault(vm, exit);
	}
	if (fault->linear_valid) {
		log_line(vm->log_name, "guest-linear address 0x%llx%s", (unsigned long long)fault->linear_address,
		         fault->table_walk ? ", in the guest's own page walk" : "");
	}
	arch_vcpu_report(&vcpu->arch, vm->log_name);
	return VM_STOPPED;
}

/* The guest may have asked to go on elsewhere after a refused access: CAISSON_CALL_EXPECT_FAULT. True: it does. */
static bool survives_fault(struct vcpu *vcpu, const struct vm_exit *exit)
{
	const struct nested_fault *fault = &exit->fault;
	uint64_t pc = vcpu->fault_resume;
	vcpu->fault_resume = 0;
	if (pc == 0 || (exit->status != MM_EACCES && exit->status != MM_EFAULT)) {
		return false;
	}
	uint64_t told = fault->access | (uint64_t)fault->table_walk << CALL_FAULT_TABLE_WALK |
	                (uint64_t)-exit->status << CALL_FAULT_STATUS | fault->gpa << CALL_FAULT_GPA;
	return arch_vcpu_resume_at(&vcpu->arch, pc, told);
}

static enum vm_outcome stop(struct vcpu *vcpu, const struct vm_exit *exit, const char *why)
{
	log_line(vcpu->vm->log_name, "stopped: %s: %s", arch_exit_name(exit->raw), why);
	arch_vcpu_report(&vcpu->arch, vcpu->vm->log_name);
	return VM_STOPPED;
}

/* If a device is busy or waits, the guest executes the instruction again. BUS_NOBODY: a fault like any other, in *exit.
 */
static enum bus_result answer_mmio(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct io_access *io = &exit->io;
	enum bus_result result = io->write ? bus_write(&vcpu->vm->mmio, io->address, io->width, io->value)
	                                   : bus_read(&vcpu->vm->mmio, io->address, io->width, &io->value);
	if (likely(result == BUS_DONE)) {
		arch_vcpu_finish_io(&vcpu->arch, io);
	} else if (result == BUS_NOBODY) {
		exit->status = MM_EFAULT;
	}
	return result;
}

/* Ports are byte-wide here. Nobody there: all ones, and writes go nowhere. */
static uint64_t port_byte(struct bus *ports, const struct io_access *io, uint16_t port, uint64_t byte)
{
	if (io->write) {
		bus_write(ports, port, 1, byte);
	} else if (!bus_read(ports, port, 1, &byte)) {
		byte = UINT8_MAX;
	}
	return byte;
}

/* A wider access is one cycle per byte, as on an ISA bus. */
static __attribute__((noinline)) void answer_wide_port(struct bus *ports, struct io_access *io)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < io->width; i++) {
		uint64_t byte = port_byte(ports, io, (uint16_t)(io->address + i), (io->value >> (8 * i)) & UINT8_MAX);
		value |= byte << (8 * i);
	}
	io->value = value;
}

static void answer_port(struct vcpu *vcpu, struct vm_exit *exit)
{
	struct io_access *io = &exit->io;
	if (likely(io->width == 1)) {
		io->value = port_byte(&vcpu->vm->ports, io, (uint16_t)io->address, io->value);
	} else {
		answer_wide_port(&vcpu->vm->ports, io);
	}
	arch_vcpu_finish_io(&vcpu->arch, io);
}

bool vm_charge(struct vm *vm, uint64_t *from)
{
	uint64_t now = arch_counter();
	uint64_t used = now - *from;
	*from = now;
	if (vm->cpu_ticks_left == UINT64_MAX) {
		return false;
	}
	vm->cpu_ticks_left -= MIN(used, vm->cpu_ticks_left);
	return vm->cpu_ticks_left == 0;
}

static void set_deadline(struct vcpu *vcpu, uint64_t from, uint64_t slice_end)
{
	uint64_t left = vcpu->vm->cpu_ticks_left;
	if (log_pending) { /* the boot log waits: send it soon, whatever the guest does */
		left = MIN(left, clock_ticks(LOG_WAIT_MS));
	}
	uint64_t deadline = from + left;
	deadline = left == UINT64_MAX || deadline < from ? UINT64_MAX : deadline;
	arch_vcpu_set_deadline(&vcpu->arch, MIN(deadline, slice_end));
}

static enum vm_outcome stop_for_budget(struct vcpu *vcpu)
{
	log_line(vcpu->vm->log_name, "stopped: CPU time used up: %llu ms",
	         (unsigned long long)vcpu->vm->config->cpu_time);
	arch_vcpu_report(&vcpu->arch, vcpu->vm->log_name);
	return VM_STOPPED;
}

/* NMIs speak of errors of the machine: the first is told, all are counted. */
void host_look_around(void)
{
	static bool told;
	if (unlikely(arch_nmi_count() > 0) && !told) {
		told = true;
		log_line("cpu", "an NMI came, and nobody here knows why: a watchdog, or an error of the machine");
	}
	console_poll();
}

/* Every way out but a stop goes by here: what ran is charged, or a guest that restarts for ever would never pay. */
static enum vm_outcome leave(struct vcpu *vcpu, enum vm_outcome outcome, uint64_t from)
{
	return vm_charge(vcpu->vm, &from) && outcome != VM_ENDED ? stop_for_budget(vcpu) : outcome;
}

static enum vm_outcome power(struct vcpu *vcpu, bool restart, uint64_t from)
{
	return leave(vcpu, restart ? VM_RESTART : VM_ENDED, from);
}

static enum vm_outcome halt(struct vcpu *vcpu, const struct vm_exit *exit, uint64_t from)
{
	if (!arch_vcpu_wakeable(&vcpu->arch)) {
		return stop(vcpu, exit, "halted with no interrupt that could wake it");
	}
	return leave(vcpu, VM_WAITING, from);
}

enum vm_outcome vcpu_run(struct vcpu *vcpu, uint64_t slice_end)
{
	struct vm *vm = vcpu->vm;
	struct vm_exit exit;
	enum vm_outcome outcome;
	uint64_t call, result, from = arch_counter();
	set_deadline(vcpu, from, slice_end);
	for (;;) {
		switch (arch_vcpu_run(&vcpu->arch, &exit)) {
		case VM_EXIT_HYPERCALL:
			call = exit.call.number - CAISSON_CALL_BASE;
			if (likely(call < CAISSON_CALLS)) {
				result = caisson_calls[call](vm, exit.call.argument);
			} else if (!hypercall_psci(&exit.call, &result, &outcome)) {
				return leave(vcpu, outcome, from);
			}
			arch_vcpu_finish_hypercall(&vcpu->arch, result);
			break;
		case VM_EXIT_PORT:
			answer_port(vcpu, &exit);
			if (exit.io.write && unlikely(vm->power.request != ACPI_POWER_NONE)) {
				return power(vcpu, vm->power.request == ACPI_POWER_RESTART, from);
			}
			break;
		case VM_EXIT_MMIO:
			result = answer_mmio(vcpu, &exit);
			if (likely(result == BUS_DONE) || result == BUS_BUSY) {
				break;
			}
			if (result == BUS_WAITS) {
				return leave(vcpu, VM_PAUSED, from);
			}
			__attribute__((fallthrough));
		case VM_EXIT_NESTED_FAULT:
			if (!survives_fault(vcpu, &exit)) {
				return stop_for_fault(vcpu, &exit);
			}
			break;
		case VM_EXIT_HALT:
			return halt(vcpu, &exit, from);
		case VM_EXIT_INTERRUPT:
			host_look_around();
			break;
		case VM_EXIT_DEADLINE:
			console_log_at_once();
			if (vm_charge(vm, &from)) {
				return stop_for_budget(vcpu);
			}
			if (from >= slice_end) {
				return VM_PAUSED;
			}
			set_deadline(vcpu, from, slice_end);
			break;
		case VM_EXIT_POWER:
			return power(vcpu, exit.power == VM_POWER_RESET, from);
		case VM_EXIT_SHUTDOWN:
			return stop(vcpu, &exit, "the guest shut its CPU down");
		case VM_EXIT_FAILED:
			return stop(vcpu, &exit, "nothing that this hypervisor answers");
		}
	}
}
