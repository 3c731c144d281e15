/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's life: memory, devices, loader, vCPU; then everything back. Called by sched.c. A VM that can't be built gives
 * back what it took and costs one line.
 */
#include "hv/vm.h"

#include "hv/builtin.h"
#include "hv/clock.h"
#include "hv/console.h"
#include "hv/host_memory.h"
#include "hv/loaders/loader.h"
#include "lib/log.h"
#include "lib/panic.h"
#include "lib/printf.h"
#include "lib/string.h"
#include "lib/util.h"

#define MESSAGE_MAX     LOG_LINE_MAX
#define BUILTIN_PREFIX  "builtin:"
#define ORDER_2M        9
#define ORDER_1G        18
#define UART16550_PORTS 8
#define PIT_PORT        0x40
#define PIT_PORTS       4
#define PORT61          0x61
#define EXITS_TEXT_MAX  150 /* of a log line, beside the time, the VM's name and `other` */
#define QUOTA_SHARE     256
#define QUOTA_FIXED     64
#define RESTARTED       offsetof(struct vm, space)

static const char *const backing_names[] = {
	[CONFIG_LAZY] = "lazy", [CONFIG_POPULATE] = "populated", [CONFIG_LINEAR] = "linear"};

static void flush(struct mm_hal *hal, struct npt *npt, const struct gpa_range *ranges, unsigned count)
{
	struct vm *vm = container_of(hal, struct vm, quota.hal);
	(void)npt;
	if (vm->arch_ready) {
		arch_vm_flush(&vm->arch, ranges, count);
	}
}

/* ---- memory ---- */

/* Returns where RAM ends. */
static gpa_t lay_out_ram(struct vm *vm)
{
	uint64_t memory = vm->config->memory;
	uint64_t hole = arch_platform.ram_hole_end - arch_platform.ram_hole_start;
	uint64_t below = hole ? arch_platform.ram_hole_start - arch_platform.ram_base : memory;
	vm->ram[0] = (struct vm_ram){arch_platform.ram_base, MIN(memory, below)};
	vm->ram[1] = (struct vm_ram){arch_platform.ram_hole_end, memory - vm->ram[0].bytes};
	const struct vm_ram *last = &vm->ram[vm->ram[1].bytes > 0];
	return last->start + last->bytes;
}

/*
 * What the VM may hold, in frames: the memory that it was promised, the flash bank, a copy of every block of its disks
 * that it may write, and for what stands around it
 *   - one frame in 256: half of that is the tables if every page is mapped by itself, the other half the nodes of areas
 *     that the guest splits by its own calls (CAISSON_CALL_PROTECT), which would otherwise have no end;
 *   - 64: the root, tables for the ends of the stretches, and the vCPU's control structures;
 *   - 512: the 2 MiB that CAISSON_CALL_ZERO takes for as long as it lasts.
 */
static uint64_t quota_of(const struct vm *vm)
{
	uint64_t promised = (vm->config->memory + arch_platform.flash_bytes) >> FRAME_SHIFT;
	for (unsigned i = 0; i < vm->config->disk_count; i++) {
		uint64_t bytes = vm->config->disk[i].readonly ? 0 : vm->files->disk[i].bytes;
		promised += align_up(bytes, FRAME_SIZE) >> FRAME_SHIFT;
	}
	return promised + promised / QUOTA_SHARE + QUOTA_FIXED + BIT(ORDER_2M);
}

/* One contiguous run for both stretches; zeroed, for the frames may have been another guest's. */
static int map_linear(struct vm *vm, struct npt_attributes attributes)
{
	uint64_t frames = vm->config->memory >> FRAME_SHIFT;
	/* From 1 GiB on the CPU's largest leaves are worth looking for a place where they fit. */
	vm->linear_base =
		frames >> ORDER_1G ? frame_quota_alloc_run(&vm->quota, frames, BIT(ORDER_1G), FRAME_GUEST) : HPA_NONE;
	if (vm->linear_base == HPA_NONE) {
		vm->linear_base = frame_quota_alloc_run(&vm->quota, frames, BIT(ORDER_2M), FRAME_GUEST);
	}
	if (vm->linear_base == HPA_NONE) {
		return MM_ENOMEM;
	}
	memset(mm_pointer(&vm->quota.hal, vm->linear_base), 0, vm->config->memory);
	attributes.type = (uint8_t)arch_memory_type(vm->linear_base, vm->config->memory);
	hpa_t next = vm->linear_base;
	for (unsigned i = 0; i < ARRAY_SIZE(vm->ram) && vm->ram[i].bytes > 0; i++) {
		int64_t offset = (int64_t)(vm->ram[i].start - next);
		int status = addr_space_map_linear(&vm->space, vm->ram[i].start, vm->ram[i].bytes, offset, attributes);
		if (status != MM_OK) {
			return status;
		}
		next += vm->ram[i].bytes;
	}
	return MM_OK;
}

static int map_memory(struct vm *vm)
{
	struct npt_attributes attributes = {.permissions = MM_RWX, .type = MM_WRITE_BACK};
	enum area_pages pages = vm->config->pages == CONFIG_PAGES_4K ? AREA_PAGES_4K : AREA_PAGES_AUTO;
	int status = MM_OK;

	if (arch_platform.flash_bytes > 0) {
		struct npt_attributes flash = {.permissions = MM_RX, .type = MM_WRITE_BACK};
		status = addr_space_map_alloc(&vm->space, arch_platform.flash_base, arch_platform.flash_bytes, flash,
		                              false, AREA_PAGES_4K);
	}
	if (status == MM_OK && vm->config->backing == CONFIG_LINEAR) {
		return map_linear(vm, attributes);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(vm->ram) && status == MM_OK && vm->ram[i].bytes > 0; i++) {
		status = addr_space_map_alloc(&vm->space, vm->ram[i].start, vm->ram[i].bytes, attributes,
		                              vm->config->backing == CONFIG_POPULATE, pages);
	}
	return status;
}

/* ---- devices ---- */

static void set_console_irq(struct irq_line *line, bool level)
{
	struct vm *vm = container_of(line, struct vm, console_irq);
	arch_vm_set_irq(&vm->arch, arch_platform.console_irq, level);
}

static void uart_write(struct serial_backend *backend, uint8_t byte)
{
	struct vm *vm = container_of(backend, struct vm, uart_console);
	vm->console.backend.write(&vm->console.backend, byte);
}

static int uart_read(struct serial_backend *backend)
{
	struct vm *vm = container_of(backend, struct vm, uart_console);
	return vm->config->console == CONFIG_CONSOLE_UART ? vm->console.backend.read(&vm->console.backend) : -1;
}

static void poll_console(void *context)
{
	struct vm *vm = context;
	if (vm->config->console == CONFIG_CONSOLE_VIRTIO) {
		virtio_console_poll(&vm->virtio.console);
	} else if (arch_platform.console == CONSOLE_16550) {
		uart16550_device_poll(&vm->uart16550);
	} else {
		pl011_device_poll(&vm->pl011);
	}
}

static void add_devices(struct vm *vm)
{
	bool added = true;
	vm->console_irq.set = set_console_irq;
	vm->uart_console = (struct serial_backend){.write = uart_write, .read = uart_read};
	if (arch_platform.console == CONSOLE_16550) {
		uart16550_device_init(&vm->uart16550, &vm->uart_console, &vm->console_irq);
		added = bus_add(&vm->mmio, arch_platform.console_mmio, UART16550_PORTS, &vm->uart16550.device) &&
		        bus_add(&vm->ports, arch_platform.console_port, UART16550_PORTS, &vm->uart16550.device);
		pit8254_device_init(&vm->pit, clock_nanoseconds);
		added = added && bus_add(&vm->ports, PIT_PORT, PIT_PORTS, &vm->pit.device) &&
		        bus_add(&vm->ports, PORT61, 1, &vm->pit.port61);
		rtc_cmos_device_init(&vm->rtc, clock_wall_nanoseconds);
		acpi_power_device_init(&vm->power);
		pci_host_device_init(&vm->pci);
		added = added && bus_add(&vm->ports, RTC_PORT, RTC_PORTS, &vm->rtc.device) &&
		        bus_add(&vm->ports, ACPI_POWER_PORT, ACPI_POWER_PORTS, &vm->power.device) &&
		        bus_add(&vm->ports, PCI_HOST_PORT, PCI_HOST_PORTS, &vm->pci.device);
	} else {
		pl011_device_init(&vm->pl011, &vm->uart_console, &vm->console_irq);
		pl031_device_init(&vm->pl031, clock_wall_nanoseconds);
		added = bus_add(&vm->mmio, arch_platform.console_mmio, FRAME_SIZE, &vm->pl011.device) &&
		        bus_add(&vm->mmio, PL031_GPA, PL031_BYTES, &vm->pl031.device);
	}
	if (!added) {
		panic("%s: the platform's devices overlap", vm->log_name);
	}
}

/* ---- creation and end ---- */

static bool find_builtin(const char *path, struct boot_file *file)
{
	for (unsigned i = 0; i < builtin_guest_count; i++) {
		if (strcmp(builtin_guests[i].name, path + strlen(BUILTIN_PREFIX)) == 0) {
			const char *start = builtin_guests[i].start;
			file->data = start;
			file->bytes = (uint64_t)((const char *)builtin_guests[i].end - start);
			return true;
		}
	}
	return false;
}

static bool load(struct vm *vm, char *message)
{
	struct loader loader = {
		.vm = vm,
		.kernel = vm->files->kernel,
		.initrd = vm->files->initrd,
		.cmdline = vm->config->cmdline,
		.message = message,
		.message_size = MESSAGE_MAX,
	};
	const char *path = vm->config->kernel;
	if (strncmp(path, BUILTIN_PREFIX, strlen(BUILTIN_PREFIX)) == 0 && !find_builtin(path, &loader.kernel)) {
		return loader_fail(&loader, "there is no such built-in guest");
	}
	if (!load_guest(&loader)) {
		return false;
	}
	arch_vcpu_start(&vm->vcpu.arch, &loader.entry);
	return true;
}

/* Builds everything after the address space. Each failure is told in `message`. */
static bool furnish(struct vm *vm, char *message)
{
	int status = map_memory(vm);
	if (status != MM_OK) {
		struct frame_counts counts = host_memory_counts();
		snprintf(message, MESSAGE_MAX, "%llu KiB of %s memory: %s (%llu KiB are free)",
		         (unsigned long long)(vm->config->memory >> 10), backing_names[vm->config->backing],
		         mm_status_name(status), (unsigned long long)(counts.free << (FRAME_SHIFT - 10)));
		return false;
	}
	if (arch_vm_init(&vm->arch, &vm->space, vm->config->vcpus) != MM_OK) {
		snprintf(message, MESSAGE_MAX, "no frames for the VM's control structures");
		return false;
	}
	vm->arch_ready = true;
	vm->vcpu.vm = vm;
	if (arch_vcpu_init(&vm->vcpu.arch, &vm->arch, 0) != MM_OK) {
		snprintf(message, MESSAGE_MAX, "no frames for the vCPU's control structures");
		return false;
	}
	vm->vcpu_ready = true;
	add_devices(vm);
	return vm_virtio_init(vm, message, MESSAGE_MAX) && load(vm, message);
}

static void destroy(struct vm *vm)
{
	console_detach(&vm->console);
	if (vm->vcpu_ready) {
		arch_vcpu_destroy(&vm->vcpu.arch);
	}
	vm_virtio_destroy(vm);
	addr_space_destroy(&vm->space);
	if (vm->arch_ready) {
		arch_vm_destroy(&vm->arch);
	}
	if (vm->linear_base != HPA_NONE) {
		frame_quota_free_run(&vm->quota, vm->linear_base, vm->config->memory >> FRAME_SHIFT, FRAME_GUEST);
	}
}

static bool create(struct vm *vm, char *message)
{
	struct npt_format format;
	vm->linear_base = HPA_NONE;
	gpa_t end = lay_out_ram(vm);
	if (vm->config->vcpus > 1) {
		snprintf(message, MESSAGE_MAX, "vcpus = %u: this version runs one vCPU a VM", vm->config->vcpus);
		return false;
	}
	if (end > BIT(arch_gpa_bits())) {
		snprintf(message, MESSAGE_MAX, "memory up to GPA 0x%llx: on this CPU a guest's have %u bits; take less",
		         (unsigned long long)end - 1, arch_gpa_bits());
		return false;
	}
	arch_nested_format(&format, end);
	if (addr_space_init(&vm->space, 0, BIT(format.input_bits), &format, &vm->quota.hal) != MM_OK) {
		snprintf(message, MESSAGE_MAX, "no frame for the nested page table's root");
		return false;
	}
	if (!furnish(vm, message)) {
		destroy(vm);
		return false;
	}
	return true;
}

/* The most frequent reason of those after *at, which had place *index. False: there is none left. */
static bool next_reason(const struct arch_vcpu *vcpu, struct arch_exit_count *at, unsigned *index)
{
	struct arch_exit_count count, best = {NULL, 0};
	unsigned place = 0;
	for (unsigned i = 0; arch_vcpu_exit_count(vcpu, i, &count); i++) {
		bool after = count.count < at->count || (count.count == at->count && i > *index);
		if (after && count.count > best.count) {
			best = count;
			place = i;
		}
	}
	*at = best;
	*index = place;
	return best.count != 0;
}

/* Most frequent first; what the line has no room for is one sum. */
static void log_exits(struct vm *vm)
{
	struct arch_exit_count reason = {NULL, UINT64_MAX};
	char text[EXITS_TEXT_MAX + 1] = "";
	unsigned index = 0;
	size_t used = 0;
	uint64_t other = 0;
	while (next_reason(&vm->vcpu.arch, &reason, &index)) {
		char entry[EXITS_TEXT_MAX];
		size_t length = (size_t)snprintf(entry, sizeof(entry), "%s%s %llu", used ? ", " : "", reason.name,
		                                 (unsigned long long)reason.count);
		if (other != 0 || used + length > EXITS_TEXT_MAX) {
			other += reason.count;
			continue;
		}
		memcpy(text + used, entry, length + 1);
		used += length;
	}
	if (other != 0) {
		log_line(vm->log_name, "exits: %s, other %llu", text, (unsigned long long)other);
	} else {
		log_line(vm->log_name, "exits: %s", text);
	}
}

static void log_end(struct vm *vm, enum vm_outcome outcome)
{
	static const char *const words[] = {[VM_ENDED] = "ended: turned itself off",
	                                    [VM_RESTART] = "restarts: asked for a reset",
	                                    [VM_STOPPED] = "stopped"};
	log_line(vm->log_name, "first entry %llu counter ticks after efi_main", (unsigned long long)vm->first_entry);
	log_exits(vm);
	log_line(vm->log_name, "%s; %llu lazy faults filled", words[outcome],
	         (unsigned long long)vm->space.statistics.faults_filled);
	if (vm->virtio.has_net) {
		const struct net_port *port = &vm->virtio.net.port;
		log_line(vm->log_name, "net: %llu frames sent, %llu received, %llu dropped",
		         (unsigned long long)port->sent, (unsigned long long)port->received,
		         (unsigned long long)port->dropped);
	}
	struct frame_quota_counts quota = frame_quota_counts(&vm->quota);
	log_line(vm->log_name, "held at most %llu frames of %llu", (unsigned long long)quota.peak,
	         (unsigned long long)quota.limit);
	host_memory_log("mm");
}

/* Two accounts that know nothing of each other: the machine's, and the VM's. Overlays may stay. */
static void check_frames(struct vm *vm)
{
	struct frame_counts after = host_memory_counts(), expected = vm->before;
	uint64_t held = frame_quota_counts(&vm->quota).held, kept = 0;
	for (unsigned i = 0; i < vm->config->disk_count; i++) {
		kept += vm->overlay[i].frames;
	}
	expected.free -= kept;
	expected.held[FRAME_GUEST] += kept;
	if (held != kept || (vm->alone && memcmp(&expected, &after, sizeof(after)) != 0)) {
		panic("%s: %lld frames did not come back, and by its own account %lld", vm->log_name,
		      (long long)(expected.free - after.free), (long long)(held - kept));
	}
	if (kept > 0) {
		log_line(vm->log_name, "every frame came back but the %llu of its disks", (unsigned long long)kept);
		return;
	}
	log_line(vm->log_name, "every frame came back: %llu free%s", (unsigned long long)after.free,
	         vm->alone ? ", as before" : "");
}

static void release_disks(struct vm *vm)
{
	for (unsigned i = 0; i < vm->config->disk_count; i++) {
		blk_overlay_destroy(&vm->overlay[i]);
	}
}

static bool begin(struct vm *vm)
{
	const struct config_vm *config = vm->config;
	char message[MESSAGE_MAX];
	if (!create(vm, message)) {
		log_line(vm->log_name, "not started: %s", message);
		release_disks(vm);
		check_frames(vm);
		return false;
	}
	console_attach(&vm->console, config->name, poll_console, vm);
	log_line(vm->log_name, "started: %s, %llu KiB %s, %u vCPU", config->kernel,
	         (unsigned long long)(config->memory >> 10), backing_names[config->backing], config->vcpus);
	return true;
}

bool vm_start(struct vm *vm, bool alone)
{
	snprintf(vm->log_name, sizeof(vm->log_name), "vm %s", vm->config->name);
	vm->alone = alone;
	vm->before = host_memory_counts();
	host_memory_quota(&vm->quota, quota_of(vm));
	vm->quota.hal.flush = flush;
	for (unsigned i = 0; i < vm->config->disk_count; i++) {
		blk_overlay_init(&vm->overlay[i], vm->files->disk[i].bytes, &vm->quota.hal);
	}
	return begin(vm);
}

bool vm_restart(struct vm *vm)
{
	uint64_t from = arch_counter();
	console_log_at_once();
	log_end(vm, VM_RESTART);
	destroy(vm);
	check_frames(vm);
	memset((char *)vm + RESTARTED, 0, sizeof(*vm) - RESTARTED);
	bool began = begin(vm);
	vm_charge(vm, &from); /* it is the guest that wants it */
	return began;
}

void vm_finish(struct vm *vm, enum vm_outcome outcome)
{
	console_log_at_once();
	log_end(vm, outcome);
	destroy(vm);
	release_disks(vm);
	check_frames(vm);
}
