/* SPDX-License-Identifier: Apache-2.0 */
// sources: hv/config.c
/*
 * libFuzzer on the configuration parser: `make fuzz-config`. Beside what the sanitizers see, every accepted
 * configuration must keep the promises of hv/config.h, and every refusal must say something.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hv/config.h"
#include "lib/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool condition)
{
	if (!condition) {
		abort();
	}
}

static void check_vm(const struct config *config, unsigned index)
{
	const struct config_vm *vm = &config->vms[index];
	size_t length = strnlen(vm->name, sizeof(vm->name));
	require(length > 0 && length < sizeof(vm->name));
	require(vm->kernel[0] != '\0');
	require(strnlen(vm->kernel, sizeof(vm->kernel)) < sizeof(vm->kernel));
	require(strnlen(vm->initrd, sizeof(vm->initrd)) < sizeof(vm->initrd));
	require(strnlen(vm->cmdline, sizeof(vm->cmdline)) < sizeof(vm->cmdline));
	require(vm->memory >= MIB(1) && vm->memory <= UINT64_C(1) << 46 && is_aligned(vm->memory, KIB(4)));
	require(vm->backing <= CONFIG_LINEAR && vm->pages <= CONFIG_PAGES_4K);
	require(vm->vcpus >= 1 && vm->vcpus <= 64);
	require(vm->disk_count <= CONFIG_DISKS_MAX && vm->console <= CONFIG_CONSOLE_VIRTIO);
	for (unsigned i = 0; i < vm->disk_count; i++) {
		length = strnlen(vm->disk[i].path, sizeof(vm->disk[i].path));
		require(length > 0 && length < sizeof(vm->disk[i].path) && vm->disk[i].line > vm->line);
	}
	require(strnlen(vm->net, sizeof(vm->net)) < sizeof(vm->net));
	for (unsigned other = 0; other < index; other++) {
		require(strcmp(vm->name, config->vms[other].name) != 0);
		require(vm->line > config->vms[other].line);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct config config;
	struct config_error error;
	if (!config_parse((const char *)data, bytes, &config, &error)) {
		size_t length = strnlen(error.text, sizeof(error.text));
		require(length > 0 && length < sizeof(error.text));
		for (size_t i = 0; i < length; i++) {
			require(error.text[i] >= ' ' && error.text[i] <= '~');
		}
		return 0;
	}
	require(config.vm_count >= 1 && config.vm_count <= CONFIG_VMS_MAX);
	for (unsigned i = 0; i < config.vm_count; i++) {
		check_vm(&config, i);
	}
	return 0;
}
