/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The EFI application: reads the configuration and what it names, describes the machine, leaves the firmware and
 * calls hv_main. Until then whatever fails prints one line and goes back to the firmware with a status; it prints
 * nothing else, since a line on the firmware's console costs more than all the rest.
 */
#include "boot/boot.h"

#include <stdarg.h>

#include "hv/builtin.h"
#include "lib/calendar.h"
#include "lib/enter.h"
#include "lib/image.h"
#include "lib/printf.h"
#include "lib/string.h"
#include "lib/util.h"

#define CONFIG_PATH "\\EFI\\caisson\\caisson.conf"

/* Longer than any configuration: what is larger is another file by mistake. */
#define CONFIG_BYTES_MAX MIB(1)

#define LINE_MAX 320

EFI_HANDLE boot_image;
EFI_SYSTEM_TABLE *boot_system;
EFI_BOOT_SERVICES *boot_services;

static struct boot_info boot_info;

/* Where the configuration came from, for messages. */
static const char *config_name = CONFIG_PATH;

/* Called by gnu-efi's crt0. */
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

/* ---- messages ---- */

static void print_text(const char *text)
{
	static CHAR16 line[LINE_MAX + 2];
	size_t length = 0;
	while (length < LINE_MAX - 1 && text[length] != '\0') {
		line[length] = (CHAR16)(unsigned char)text[length];
		length++;
	}
	line[length++] = L'\r';
	line[length++] = L'\n';
	line[length] = 0;
	boot_system->ConOut->OutputString(boot_system->ConOut, line);
}

void boot_print(const char *format, ...)
{
	char text[LINE_MAX] = "caisson: ";
	size_t prefix = strlen(text);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text + prefix, sizeof(text) - prefix, format, arguments);
	va_end(arguments);
	print_text(text);
}

/* A message about a line of the configuration; line 0 stands for all of it. */
__attribute__((format(printf, 2, 3))) static void print_at(unsigned line, const char *format, ...)
{
	char text[LINE_MAX];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (line == 0) {
		boot_print("%s: %s", config_name, text);
	} else {
		boot_print("%s:%u: %s", config_name, line, text);
	}
}

const char *boot_status_text(EFI_STATUS status)
{
	static const struct {
		EFI_STATUS status;
		const char *text;
	} texts[] = {
		{EFI_NOT_FOUND, "not found"},
		{EFI_NO_MEDIA, "no medium in the drive"},
		{EFI_MEDIA_CHANGED, "the medium was changed"},
		{EFI_DEVICE_ERROR, "device error"},
		{EFI_VOLUME_CORRUPTED, "the volume is corrupted"},
		{EFI_ACCESS_DENIED, "access denied"},
		{EFI_OUT_OF_RESOURCES, "out of memory"},
		{EFI_UNSUPPORTED, "not supported"},
		{EFI_INVALID_PARAMETER, "refused by the firmware"},
		{EFI_TIMEOUT, "timeout"},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		if (texts[i].status == status) {
			return texts[i].text;
		}
	}
	return "an error of the firmware";
}

/* ---- memory ---- */

void *boot_alloc(uint64_t bytes)
{
	EFI_PHYSICAL_ADDRESS address;
	if (bytes > UINT64_MAX - FRAME_SIZE ||
	    EFI_ERROR(boot_services->AllocatePages(AllocateAnyPages, EfiLoaderData,
	                                           align_up(bytes, FRAME_SIZE) >> FRAME_SHIFT, &address))) {
		return NULL;
	}
	return (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr) */
}

void boot_free(void *memory, uint64_t bytes)
{
	boot_services->FreePages((uintptr_t)memory, align_up(bytes, FRAME_SIZE) >> FRAME_SHIFT);
}

/* ---- configuration ---- */

static EFI_STATUS parse(const char *text, size_t bytes)
{
	struct config_error error;
	if (!config_parse(text, bytes, &boot_info.config, &error)) {
		print_at(error.line, "%s", error.text);
		return EFI_INVALID_PARAMETER;
	}
	return EFI_SUCCESS;
}

/* The volume's configuration; where there is none, the demo. */
static EFI_STATUS read_config(void)
{
	struct boot_file file;
	char reason[REASON_MAX];
	EFI_STATUS status = files_open_volume();
	if (!EFI_ERROR(status)) {
		status = files_read(CONFIG_PATH, &file, reason);
		if (EFI_ERROR(status) && status != EFI_NOT_FOUND) {
			print_at(0, "%s", reason);
			return status;
		}
	}
	if (EFI_ERROR(status)) {
		config_name = "built-in configuration";
		return parse(config_demo, strlen(config_demo));
	}
	if (file.bytes > CONFIG_BYTES_MAX) {
		print_at(0, "has %llu KiB; a configuration has at most 1024", (unsigned long long)(file.bytes >> 10));
		status = EFI_INVALID_PARAMETER;
	} else {
		status = parse(file.data, file.bytes);
	}
	boot_free((void *)(uintptr_t)file.data, file.bytes);
	return status;
}

/* ---- files ---- */

#define BUILTIN "builtin:"

static EFI_STATUS check_builtin(const struct config_vm *vm)
{
	const char *name = vm->kernel + strlen(BUILTIN);
	char known[LINE_MAX] = "";
	size_t length = 0;
	for (unsigned i = 0; i < builtin_guest_count; i++) {
		if (strcmp(builtin_guests[i].name, name) == 0) {
			return EFI_SUCCESS;
		}
		if (length < sizeof(known)) {
			length +=
				(size_t)snprintf(known + length, sizeof(known) - length, " %s", builtin_guests[i].name);
		}
	}
	print_at(vm->kernel_line, "kernel: there is no built-in guest \"%s\"; there are:%s", name, known);
	return EFI_NOT_FOUND;
}

/* The same path named before, so that VMs share what they load. */
static const struct boot_file *find_loaded(const char *path, unsigned vm_count)
{
	for (unsigned i = 0; i < vm_count; i++) {
		if (strcmp(boot_info.config.vms[i].kernel, path) == 0) {
			return &boot_info.files[i].kernel;
		}
		if (strcmp(boot_info.config.vms[i].initrd, path) == 0) {
			return &boot_info.files[i].initrd;
		}
		for (unsigned j = 0; j < boot_info.config.vms[i].disk_count; j++) {
			if (strcmp(boot_info.config.vms[i].disk[j].path, path) == 0) {
				return &boot_info.files[i].disk[j];
			}
		}
	}
	return NULL;
}

static EFI_STATUS load_file(unsigned vm, const char *key, const char *path, unsigned line, struct boot_file *file)
{
	char reason[REASON_MAX];
	const struct boot_file *loaded = find_loaded(path, vm);
	if (loaded && loaded->data) {
		*file = *loaded;
		return EFI_SUCCESS;
	}
	EFI_STATUS status = files_read(path, file, reason);
	if (EFI_ERROR(status)) {
		print_at(line, "%s: %s %s", key, path, reason);
	}
	return status;
}

static EFI_STATUS load_files(void)
{
	for (unsigned i = 0; i < boot_info.config.vm_count; i++) {
		const struct config_vm *vm = &boot_info.config.vms[i];
		struct boot_vm_files *files = &boot_info.files[i];
		EFI_STATUS status;
		if (strncmp(vm->kernel, BUILTIN, strlen(BUILTIN)) == 0) {
			status = check_builtin(vm);
		} else {
			status = load_file(i, "kernel", vm->kernel, vm->kernel_line, &files->kernel);
		}
		if (!EFI_ERROR(status) && vm->initrd[0] != '\0') {
			status = load_file(i, "initrd", vm->initrd, vm->initrd_line, &files->initrd);
		}
		for (unsigned j = 0; j < vm->disk_count && !EFI_ERROR(status); j++) {
			status = load_file(i, "disk", vm->disk[j].path, vm->disk[j].line, &files->disk[j]);
		}
		if (EFI_ERROR(status)) {
			return status;
		}
	}
	return EFI_SUCCESS;
}

/* ---- memory that is promised in advance ---- */

static uint64_t free_bytes(void)
{
	uint64_t frames = 0;
	for (unsigned i = 0; i < boot_info.region_count; i++) {
		frames += boot_info.regions[i].kind == MEMORY_CONVENTIONAL ? boot_info.regions[i].frames : 0;
	}
	for (unsigned i = 0; i < boot_info.reclaimable_count; i++) {
		frames += boot_info.reclaimable[i].frames;
	}
	return frames << FRAME_SHIFT;
}

/* A lazily backed VM may promise more than there is; the others are given all of it at their start. */
static EFI_STATUS check_memory(void)
{
	uint64_t available = free_bytes();
	for (unsigned i = 0; i < boot_info.config.vm_count; i++) {
		const struct config_vm *vm = &boot_info.config.vms[i];
		if (vm->backing != CONFIG_LAZY && vm->memory > available) {
			print_at(vm->memory_line != 0 ? vm->memory_line : vm->line,
			         "memory: [vm %s] wants %llu MiB and this machine has %llu MiB free; take less, or "
			         "backing = lazy",
			         vm->name, (unsigned long long)(vm->memory >> 20),
			         (unsigned long long)(available >> 20));
			return EFI_OUT_OF_RESOURCES;
		}
	}
	return EFI_SUCCESS;
}

/* ---- the way ---- */

/* Runs in arch_call_firmware, long after everything else here. */
static void reset(void *power_off)
{
	boot_system->RuntimeServices->ResetSystem(*(const bool *)power_off ? EfiResetShutdown : EfiResetCold,
	                                          EFI_SUCCESS, 0, NULL);
}

/* Firmware that does not know its time zone tells UTC. */
static uint64_t start_time(void)
{
	EFI_TIME now;
	if (EFI_ERROR(boot_system->RuntimeServices->GetTime(&now, NULL))) {
		return 0;
	}
	const struct calendar calendar = {.year = now.Year,
	                                  .month = MIN(MAX(now.Month, 1U), 12U),
	                                  .day = now.Day,
	                                  .hours = now.Hour,
	                                  .minutes = now.Minute,
	                                  .seconds = now.Second};
	int64_t zone = now.TimeZone == EFI_UNSPECIFIED_TIMEZONE ? 0 : now.TimeZone;
	return (uint64_t)MAX(calendar_time(&calendar) + zone * 60, 0);
}

static EFI_STATUS check_machine(void)
{
	char message[LINE_MAX];
	if (!hv_check(message, sizeof(message))) {
		boot_print("%s", message);
		return EFI_UNSUPPORTED;
	}
	return EFI_SUCCESS;
}

static EFI_STATUS gather(void)
{
	EFI_STATUS status = read_config();
	if (!EFI_ERROR(status)) {
		status = check_machine();
	}
	if (!EFI_ERROR(status)) {
		status = load_files();
	}
	if (!EFI_ERROR(status)) {
		status = machine_describe(&boot_info);
	}
	if (!EFI_ERROR(status)) {
		status = machine_map_memory(&boot_info);
	}
	if (!EFI_ERROR(status)) {
		status = check_memory();
	}
	return status;
}

static void enter_hypervisor(void *info)
{
	hv_main(info);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system)
{
	boot_info.start_counter = hv_counter();
	boot_image = image;
	boot_system = system;
	boot_services = system->BootServices;
	boot_info.firmware_reset = reset;
	boot_info.start_time = start_time();
	/* Loading from a slow stick may take longer than the firmware's five minutes. */
	boot_services->SetWatchdogTimer(0, 0, 0, NULL);

	EFI_STATUS status = gather();
	if (!EFI_ERROR(status)) {
		status = machine_leave_firmware(&boot_info);
	}
	if (!EFI_ERROR(status)) {
		enter_on_stack((uintptr_t)boot_stack_top, enter_hypervisor, &boot_info);
	}
	return status;
}
